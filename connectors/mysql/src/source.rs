//! The source itself: what the engine holds, shares and asks.
//!
//! Owns the order of calls on the server; what each part of the server is asked lives in `catalog`,
//! `history`, `snapshot`, `stream` and `check`. Every call opens a session of its own, so that
//! nothing here has a state that a lost connection could spoil. Nothing is made on the server, so
//! that nothing has to be removed from it: its log is kept by time, not for a reader.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use cdc_api::{
    BatchLimits, ChangeStream, Checkpoint, Error, Finding, FoundTable, Identity, Result, Snapshot,
    Source, SourceIdentity, TableName, TableSchema, TableSelection, TableSize,
};
use cdc_database::Settings;

use crate::catalog::{self, CatalogTable, Which};
use crate::config::{Choices, MysqlConfig};
use crate::connect::{Flavour, Session, settings};
use crate::history;
use crate::marks::{Marks, next_id};
use crate::position::{Gtids, MariaGtids, Place, table_id};
use crate::snapshot::TableView;
use crate::stream;

/// A MySQL or MariaDB server, seen by one pipeline.
pub struct MysqlSource {
    server: Arc<Server>,
}

/// What every part of the source shares.
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) config: MysqlConfig,
    pub(crate) choices: Choices,
    pub(crate) marks: Marks,
    /// Where the stream may keep what is its own, across restarts.
    pub(crate) folder: PathBuf,
    selection: RwLock<TableSelection>,
    /// What the stream has before its start that the log does not name ([`history::verify`]).
    unlogged: RwLock<MariaGtids>,
}

impl MysqlSource {
    /// A source for the pipeline `name`, of which the reader's number is made unless the
    /// configuration gives one. `folder` is its own, and is made when it is needed: prepared XA
    /// transactions are kept there. Connects to nothing yet.
    ///
    /// # Errors
    /// `Config` where a URL, number or pattern cannot be used.
    pub fn new(config: MysqlConfig, name: &str, folder: &Path) -> Result<Self> {
        let server = Server {
            settings: settings::parse(&config.url)?,
            choices: Choices::new(&config, name)?,
            selection: RwLock::new(TableSelection::parse(&config.tables)?),
            marks: Marks::default(),
            unlogged: RwLock::default(),
            folder: folder.to_owned(),
            config,
        };
        Ok(Self {
            server: Arc::new(server),
        })
    }
}

impl Server {
    /// A session.
    pub(crate) async fn session(&self) -> Result<Session> {
        Session::open(&self.settings).await
    }

    /// A place of the log with what the stream has before it, also where the log does not name it: the
    /// two are to be compared.
    pub(crate) fn completed(&self, mut place: Place) -> Place {
        if let Gtids::Maria(gtids) = &mut place.gtids {
            let unlogged = self.unlogged.read();
            let unlogged = unlogged.unwrap_or_else(PoisonError::into_inner);
            for gtid in unlogged.beyond(gtids).iter() {
                gtids.add(gtid);
            }
        }
        place
    }

    /// Whether the table is one that the pipeline wants.
    pub(crate) fn wants(&self, table: &TableName) -> bool {
        self.selection
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .matches(table)
    }

    /// Why the table cannot be captured.
    pub(crate) fn judge(&self, table: &CatalogTable) -> Option<Error> {
        let allowed = self.choices.allows_cascades(&table.name);
        catalog::refusal(table, allowed)
    }

    /// Tables by their names, in the order asked for.
    ///
    /// # Errors
    /// Of one table where it is gone or cannot be captured.
    pub(crate) async fn look_up(
        &self,
        session: &mut Session,
        names: &[TableName],
    ) -> Result<Vec<CatalogTable>> {
        let listed = catalog::tables(session, Which::Named(names)).await?;
        let mut listed: HashMap<_, _> =
            listed.into_iter().map(|it| (it.name.clone(), it)).collect();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let table = listed.remove(name).ok_or_else(|| {
                Error::data(format!("{name} has been dropped, or cannot be seen"))
                    .for_table(table_id(name))
                    .hint(format!(
                        "cdc reload, which looks for the tables anew; or GRANT SELECT ON {} TO {}",
                        catalog::quoted(name),
                        crate::refusal::account(&self.settings)
                    ))
            })?;
            if let Some(refused) = self.judge(&table) {
                return Err(refused);
            }
            found.push(table);
        }
        Ok(found)
    }
}

#[async_trait]
impl Source for MysqlSource {
    async fn check(&self) -> Result<Vec<Finding>> {
        crate::check::check(&self.server).await
    }

    async fn identify(&self) -> Result<SourceIdentity> {
        let mut session = self.server.session().await?;
        let id = history::lineage(&mut session).await?;
        let (major, minor, patch) = session.version();
        let product = match session.flavour() {
            Flavour::MySql => "MySQL",
            Flavour::MariaDb => "MariaDB",
        };
        session.close().await;
        Ok(SourceIdentity {
            id,
            version: format!("{product} {major}.{minor}.{patch}"),
            database: match self.server.settings.database.as_str() {
                // Those of the captured tables.
                "" => "*".to_owned(),
                database => database.to_owned(),
            },
        })
    }

    async fn discover(&self) -> Result<Vec<FoundTable>> {
        let mut session = self.server.session().await?;
        let server = &self.server;
        let wanted = |name: &TableName| server.wants(name);
        let listed = catalog::tables(&mut session, Which::Wanted(&wanted)).await?;
        session.close().await;
        Ok(listed
            .into_iter()
            .map(|listed| {
                let mut refused = server.judge(&listed);
                let table = catalog::shape(&listed, server.config.types, 1);
                // Where it cannot be described that is why it is refused.
                let table = table.unwrap_or_else(|error| {
                    refused.get_or_insert(error);
                    let (id, name) = (table_id(&listed.name), listed.name.clone());
                    TableSchema::new(id, name, 1, Vec::new(), Vec::new(), Identity::Full)
                });
                FoundTable {
                    table: Arc::new(table),
                    refused,
                    size: TableSize {
                        rows: listed.rows,
                        bytes: listed.bytes,
                    },
                }
            })
            .collect())
    }

    fn select(&self, tables: TableSelection) {
        *self
            .server
            .selection
            .write()
            .unwrap_or_else(PoisonError::into_inner) = tables;
    }

    async fn capture(&self, tables: &[Arc<TableSchema>]) -> Result<()> {
        // The binlog has every table's changes, as long as the server's settings say so.
        let server = &self.server;
        let mut session = server.session().await?;
        let names: Vec<_> = tables.iter().map(|table| table.name.clone()).collect();
        // One that was dropped since it was found is its own error, where it is read: not everyone's.
        let found = catalog::tables(&mut session, Which::Named(&names)).await?;
        if let Some(refused) = found.iter().find_map(|table| server.judge(table)) {
            return Err(refused);
        }
        crate::check::demand(&mut session).await?;
        session.close().await;
        Ok(())
    }

    async fn origin(&self) -> Result<Checkpoint> {
        let mut session = self.server.session().await?;
        let (place, part) = match &self.server.config.debezium_offset {
            None => (history::end(&mut session).await?, None),
            Some(offset) => offset.place(&mut session).await?,
        };
        session.close().await;
        Ok(Checkpoint {
            position: place.within(part),
            seq: 0,
            offset: place.scale(),
            commit_time: 0,
        })
    }

    async fn start(
        &self,
        from: &Checkpoint,
        known: &[Arc<TableSchema>],
        limits: BatchLimits,
    ) -> Result<Box<dyn ChangeStream>> {
        let place = Place::read(&from.position)?;
        let mut session = self.server.session().await?;
        crate::check::demand(&mut session).await?;
        let continued = history::verify(&mut session, &place).await?;
        session.close().await;
        *self
            .server
            .unlogged
            .write()
            .unwrap_or_else(PoisonError::into_inner) = continued.unlogged;
        let from = (from, place, continued.server);
        stream::start(&self.server, from, known, limits).await
    }

    async fn snapshot(&self, tables: &[Arc<TableSchema>]) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(TableView::open(&self.server, tables).await?))
    }

    async fn mark(&self) -> Result<u64> {
        let mut session = self.server.session().await?;
        let end = history::end(&mut session).await?;
        session.close().await;
        let id = next_id();
        self.server.marks.ask(id, self.server.completed(end), None);
        Ok(id)
    }

    async fn teardown(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
