//! The source itself: what the engine holds, shares and asks.
//!
//! Owns the order of calls on the server; what each part of the server is asked lives in
//! `catalog`, `publication`, `slot`, `snapshot`, `stream` and `check`. Every call opens a session of
//! its own, so that nothing here has a state that a lost connection could spoil.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use cdc_api::{
    BatchLimits, ChangeStream, Checkpoint, Error, ErrorKind, Finding, FoundTable, Generation,
    Identity, Position, Result, Snapshot, Source, SourceIdentity, TableId, TableSchema,
    TableSelection, TableSize,
};
use postgres_protocol::escape::escape_identifier;

use crate::catalog::{self, CatalogTable, Listed, Which};
use crate::config::{Choices, Manage, PostgresConfig};
use crate::connect::Settings;
use crate::marks::{Marks, next_id};
use crate::position::{Log, Lsn};
use crate::publication::{self, Member, Operations};
use crate::replication::command::{self, Lifetime};
use crate::session::{Purpose, Session};
use crate::slot;
use crate::snapshot::TableView;
use crate::storage::{self, Notes, Sighting, Subject};
use crate::stream;
use crate::takeover;
use crate::types::TypeTable;

/// How long a call waits for a slot that a dead session still holds.
const SLOT_PATIENCE: Duration = Duration::from_secs(10);

/// A PostgreSQL database, seen by one pipeline.
pub struct PostgresSource {
    server: Arc<Server>,
}

/// What every part of the source shares.
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) config: PostgresConfig,
    pub(crate) choices: Choices,
    pub(crate) marks: Marks,
    /// What is remembered of the tables' storage.
    pub(crate) notes: Notes,
    /// Where large transactions are kept until they commit.
    pub(crate) spool: PathBuf,
    /// Whether a type was met whose binary form cannot be read.
    pub(crate) text_only: AtomicBool,
    selection: RwLock<TableSelection>,
}

impl PostgresSource {
    /// A source for the pipeline `name`, which names slot and publication unless the
    /// configuration does. `folder`, made when it is needed, is this source's own: it remembers
    /// there over restarts what the server's log does not tell, and keeps large transactions there
    /// until they commit. Connects to nothing yet.
    ///
    /// # Errors
    /// `Config` where a URL, name or pattern cannot be used.
    pub fn new(config: PostgresConfig, name: &str, folder: &Path) -> Result<Self> {
        let server = Server {
            settings: Settings::parse(&config.url)?,
            choices: Choices::new(&config, name)?,
            selection: RwLock::new(TableSelection::parse(&config.tables)?),
            marks: Marks::default(),
            notes: Notes::new(folder.join("tables")),
            spool: folder.join("spool"),
            text_only: AtomicBool::new(false),
            config,
        };
        Ok(Self {
            server: Arc::new(server),
        })
    }
}

impl Server {
    /// A session for plain SQL.
    pub(crate) async fn session(&self) -> Result<Session> {
        Session::open(&self.settings, Purpose::Sql).await
    }

    /// Whether the table is one that the pipeline wants.
    pub(crate) fn wants(&self, table: &Listed) -> bool {
        self.selection
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .matches(&table.table.name)
    }

    /// The table with the configuration's choice of columns; why it cannot be captured.
    pub(crate) fn judge(&self, listed: &mut Listed, version: u32) -> Option<Error> {
        let append_only = self.choices.is_append_only(&listed.table.name);
        publication::narrow(&mut listed.table, &self.choices, version)
            .err()
            .or_else(|| catalog::refusal(listed, append_only))
    }

    /// Those of the tables that the pipeline wants, and why some of them cannot be captured.
    async fn find(
        &self,
        session: &mut Session,
        types: &TypeTable,
        which: Which<'_>,
    ) -> Result<Vec<FoundTable>> {
        let listed = catalog::tables(session, which).await?.into_iter();
        let version = session.version();
        let wanted = listed.filter(|table| self.wants(table));
        Ok(wanted
            .map(|mut listed| {
                let mut refused = self.judge(&mut listed, version);
                let table = found(&listed.table, types, &mut refused);
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

    /// Reads the storage of the tables and takes note of it.
    ///
    /// # Errors
    /// When the catalog cannot be read, or a note not be written.
    async fn look(
        &self,
        session: &mut Session,
        types: &TypeTable,
        subjects: &[Subject],
    ) -> Result<()> {
        let (horizon, seen) = storage::read(session, subjects).await?;
        let lsn = storage::log_end(session).await?.0;
        // A column that was added between the discovery and this reading would pass for one that is
        // not captured, and its rewrite for none: such a table is looked at the next time.
        let oids: Vec<u32> = subjects.iter().map(|(oid, _)| *oid).collect();
        let later = self.find(session, types, Which::Oids(&oids)).await?;
        let later: BTreeMap<_, _> = later.iter().map(|now| subject(&now.table)).collect();
        let then: BTreeMap<_, _> = subjects.iter().cloned().collect();
        let same = seen
            .into_iter()
            .filter(|(oid, _)| later.get(oid) == then.get(oid));
        self.notes.see(same.map(|(oid, storage)| {
            let sighting = Sighting {
                lsn,
                horizon,
                storage,
            };
            (oid, sighting)
        }))
    }

    /// Tables by their ids, with the configuration's choice of columns.
    ///
    /// # Errors
    /// Of one table where it is gone or cannot be captured.
    pub(crate) async fn look_up(
        &self,
        session: &mut Session,
        tables: &[Arc<TableSchema>],
    ) -> Result<Vec<CatalogTable>> {
        let present = self.present(session, tables).await?.into_iter();
        let mut present: HashMap<u32, CatalogTable> = present.map(|it| (it.oid, it)).collect();
        let found = tables.iter().map(|table| {
            present.remove(&oid(table.id)).ok_or_else(|| {
                Error::data(format!("{} has been dropped", table.name))
                    .for_table(table.id)
                    .hint("cdc reload, which looks for the tables anew")
            })
        });
        found.collect()
    }

    /// Those of the tables that there still are, in the order asked for, with the configuration's choice of columns.
    ///
    /// # Errors
    /// Of one table where it cannot be captured.
    async fn present(
        &self,
        session: &mut Session,
        tables: &[Arc<TableSchema>],
    ) -> Result<Vec<CatalogTable>> {
        let oids: Vec<u32> = tables.iter().map(|table| oid(table.id)).collect();
        let listed = catalog::tables(session, Which::Oids(&oids)).await?;
        let mut listed: HashMap<u32, Listed> =
            listed.into_iter().map(|it| (it.table.oid, it)).collect();
        let version = session.version();
        let mut found = Vec::with_capacity(tables.len());
        for mut listed in oids.iter().filter_map(|oid| listed.remove(oid)) {
            if let Some(refused) = self.judge(&mut listed, version) {
                return Err(refused);
            }
            found.push(listed.table);
        }
        Ok(found)
    }

    /// Sees to it that the publications carry the tables, where they are ours.
    async fn publish_all(&self, session: &mut Session, tables: &[CatalogTable]) -> Result<()> {
        let (append, full): (Vec<_>, Vec<_>) = tables
            .iter()
            .partition(|table| catalog::identity(table) == Identity::None);
        let members = |tables: &[&CatalogTable]| -> Vec<Member> {
            tables
                .iter()
                .map(|table| Member::new(table, &self.choices))
                .collect()
        };
        let name = &self.choices.publication;
        if self.config.manage_publication == Manage::Own {
            let append_name = self.choices.append_publication();
            self.publish(session, name, Operations::All, &members(&full))
                .await?;
            self.publish(session, &append_name, Operations::Append, &members(&append))
                .await
        } else {
            let Some(found) = publication::find(session, name).await? else {
                let statements =
                    publication::statements(None, name, Operations::All, &members(&full));
                return Err(Error::config(format!("there is no publication {name}"))
                    .hint(statements.join("; ")));
            };
            let partitioned = full.iter().any(|table| table.partitioned);
            publication::suffices(&found, &members(&full), partitioned)
        }
    }

    /// The names of the publications that exist for us.
    pub(crate) async fn publications(&self, session: &mut Session) -> Result<Vec<String>> {
        let mut names = vec![self.choices.publication.clone()];
        let append = self.choices.append_publication();
        if publication::find(session, &append).await?.is_some() {
            names.push(append);
        }
        Ok(names)
    }

    /// Runs the statements in a transaction, which the caller ends.
    async fn alter(
        &self,
        session: &mut Session,
        name: &str,
        operations: Operations,
        members: &[Member],
        statements: &[String],
    ) -> Result<()> {
        session.query("BEGIN").await?;
        for statement in statements {
            session.query(statement).await.map_err(|error| {
                let by_hand = error.kind() == ErrorKind::Auth;
                let error = error.context(format!("publishing the tables as {name}"));
                if by_hand {
                    error.hint(format!(
                        "run as a superuser, or as the owner of the tables with CREATE on the \
                         database, and set source.manage_publication: given: {statement}"
                    ))
                } else {
                    error
                }
            })?;
        }
        match operations {
            Operations::All => publication::verify_rows(session, name, members).await,
            Operations::Append => Ok(()),
        }
    }

    async fn publish(
        &self,
        session: &mut Session,
        name: &str,
        operations: Operations,
        members: &[Member],
    ) -> Result<()> {
        let found = publication::find(session, name).await?;
        if operations == Operations::Append && members.is_empty() && found.is_none() {
            return Ok(());
        }
        let statements = publication::statements(found.as_ref(), name, operations, members);
        if !statements.is_empty() {
            let result = self
                .alter(session, name, operations, members, &statements)
                .await;
            let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
            session.query(end).await?;
            result?;
        }
        let published = publication::find(session, name).await?;
        let missing = members.iter().find(|member| {
            !published
                .as_ref()
                .is_some_and(|it| it.tables.contains(&member.oid))
        });
        match missing {
            Some(member) => Err(Error::transient(format!(
                "{} is not in the publication {name} after it was put there",
                member.name
            ))
            .hint("look whether something else alters the publication")),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn check(&self) -> Result<Vec<Finding>> {
        crate::check::check(&self.server).await
    }

    async fn identify(&self) -> Result<SourceIdentity> {
        let mut session = self.server.session().await?;
        let row = session
            .query_one("SELECT system_identifier, current_database() FROM pg_control_system()")
            .await?;
        let version = session.parameter("server_version");
        let identity = SourceIdentity {
            id: row.text(0).to_owned(),
            version: format!(
                "PostgreSQL {}",
                version.split(' ').next().unwrap_or_default()
            ),
            database: row.text(1).to_owned(),
        };
        session.close().await;
        Ok(identity)
    }

    async fn discover(&self) -> Result<Vec<FoundTable>> {
        let mut session = self.server.session().await?;
        let types = catalog::types(&mut session, self.server.config.types).await?;
        let found = self.server.find(&mut session, &types, Which::All).await?;
        session.close().await;
        Ok(found)
    }

    fn select(&self, tables: TableSelection) {
        *self
            .server
            .selection
            .write()
            .unwrap_or_else(PoisonError::into_inner) = tables;
    }

    async fn capture(&self, tables: &[Arc<TableSchema>]) -> Result<()> {
        let server = &self.server;
        let mut session = server.session().await?;
        // An ALTER waits for other schema changes, not for writers.
        session.query("SET lock_timeout = '10s'").await?;
        // One that was dropped since it was found is its own error, where it is read: not everyone's. It may also
        // have been dropped between this look and the publication.
        let mut present = server.present(&mut session, tables).await?;
        while let Err(error) = server.publish_all(&mut session, &present).await {
            let still = server.present(&mut session, tables).await?;
            if still.len() == present.len() {
                return Err(error);
            }
            present = still;
        }
        session.close().await;
        Ok(())
    }

    async fn generations(
        &self,
        tables: &[Arc<TableSchema>],
    ) -> Result<BTreeMap<TableId, Generation>> {
        let server = &self.server;
        let mut session = server.session().await?;
        let subjects: Vec<Subject> = tables.iter().map(|table| subject(table)).collect();
        let types = catalog::types(&mut session, server.config.types).await?;
        for part in subjects.chunks(catalog::AT_ONCE) {
            server.look(&mut session, &types, part).await?;
        }
        server.notes.settle(&mut session, &server.marks).await?;
        session.close().await;
        let oids = subjects.iter().map(|(oid, _)| *oid).collect();
        server.notes.retain(&oids);
        let generation = |table: &Arc<TableSchema>| {
            let known = server.notes.generation(oid(table.id))?;
            Some((table.id, known))
        };
        Ok(tables.iter().filter_map(generation).collect())
    }

    async fn origin(&self) -> Result<Checkpoint> {
        let server = &self.server;
        let mut session = Session::open(&server.settings, Purpose::Replication).await?;
        let (log, end) = stream::identify(&mut session).await?;
        let name = &server.choices.slot;
        let lsn = match slot::find(&mut session, name).await? {
            Some(slot) => {
                slot.usable(&server.settings.database)?;
                let confirmed = slot.confirmed.unwrap_or_default();
                if let Some(offset) = &server.config.debezium_offset {
                    session.close().await;
                    return offset.place((&log, end), &slot);
                }
                confirmed
            }
            None if server.config.debezium_offset.is_some() => return Err(takeover::no_slot(name)),
            None if server.config.manage_slot == Manage::Given => {
                return Err(
                    Error::config(format!("there is no slot {name}")).hint(format!(
                        "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"
                    )),
                );
            }
            None => {
                let lifetime = Lifetime::Permanent {
                    failover: server.config.failover,
                };
                let create = command::create_slot(name, lifetime, session.version());
                session.query_one(&create).await?.text(1).parse::<Lsn>()?
            }
        };
        session.close().await;
        Ok(Checkpoint {
            position: log.at(lsn),
            seq: 0,
            offset: lsn.0,
            commit_time: 0,
        })
    }

    async fn start(
        &self,
        from: &Checkpoint,
        known: &[Arc<TableSchema>],
        limits: BatchLimits,
    ) -> Result<Box<dyn ChangeStream>> {
        let deadline = tokio::time::Instant::now() + SLOT_PATIENCE;
        loop {
            match stream::start(&self.server, from, known, limits).await {
                // A session that has just died keeps its slot for a moment.
                Err(error)
                    if stream::slot_is_busy(&error) && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                result => return result,
            }
        }
    }

    async fn snapshot(&self, tables: &[Arc<TableSchema>]) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(TableView::open(&self.server, tables).await?))
    }

    async fn mark(&self) -> Result<u64> {
        let mut session = self.server.session().await?;
        let end = storage::log_end(&mut session).await?;
        session.close().await;
        let id = next_id();
        self.server.marks.ask(id, end, None);
        Ok(id)
    }

    async fn teardown(&self) -> Result<Vec<String>> {
        let server = &self.server;
        let mut removed = Vec::new();
        let mut session = server.session().await?;
        let name = &server.choices.slot;
        if server.config.manage_slot == Manage::Own && drop_slot(&mut session, name).await? {
            removed.push(format!("slot {name}"));
        }
        if server.config.manage_publication == Manage::Own {
            for name in [
                &server.choices.publication,
                &server.choices.append_publication(),
            ] {
                if publication::find(&mut session, name).await?.is_some() {
                    session
                        .query(&format!("DROP PUBLICATION {}", escape_identifier(name)))
                        .await?;
                    removed.push(format!("publication {name}"));
                }
            }
        }
        session.close().await;
        Ok(removed)
    }
}

/// Drops the slot, waiting a moment for a session that has just died. Whether it was there.
async fn drop_slot(session: &mut Session, name: &str) -> Result<bool> {
    let deadline = tokio::time::Instant::now() + SLOT_PATIENCE;
    loop {
        match slot::drop(session, name).await {
            Err(error)
                if stream::slot_is_busy(&error) && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            result => return result,
        }
    }
}

/// The table's shape; where it cannot be described that is why it is refused, and the shape has
/// no columns.
fn found(table: &CatalogTable, types: &TypeTable, refused: &mut Option<Error>) -> TableSchema {
    catalog::shape(table, types, 1).unwrap_or_else(|error| {
        refused.get_or_insert(error);
        TableSchema::new(
            TableId(u64::from(table.oid)),
            table.name.clone(),
            1,
            Vec::new(),
            Vec::new(),
            catalog::identity(table),
        )
    })
}

/// The table as one whose storage is looked at.
pub(crate) fn subject(table: &TableSchema) -> Subject {
    let names = table.columns.iter().map(|column| column.name.clone());
    (oid(table.id), names.collect())
}

/// The oid that a table's id is.
pub(crate) fn oid(table: TableId) -> u32 {
    u32::try_from(table.0).unwrap_or(0)
}

/// Whether `position` is of this log, for acknowledging.
pub(crate) fn place(log: &Log, position: &Position) -> Result<Lsn> {
    let (stored, lsn) = Log::read(position)?;
    if stored != *log {
        return Err(Error::log_lost(
            "the position is of another server or timeline",
        ));
    }
    Ok(lsn)
}
