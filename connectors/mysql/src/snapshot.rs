//! A consistent view of some tables, and reading their rows in it.
//!
//! Invariants: the view's place in the log is found under a lock of milliseconds (`point`), so that
//! a transaction is in the view or in the log after the mark, never in both and never in neither;
//! without a lock it may be in both, which replays over a copy with a key. A metadata lock is held
//! for one chunk at a time: a schema change waits for that, goes first, and ends the copy by the
//! server's error 1412, or by what the catalog says then, instead of holding up the table's traffic.
//! MariaDB keeps the lock with the view: there the copy ends as soon as a schema change waits (`guard`).
//!
//! Code map: [`point`] opening views and finding their place · [`pool`] the sessions that have them
//! · [`guard`] schema changes that wait · [`plan`] ranges of keys · [`reader`] the binary protocol
//! into record batches.

mod guard;
mod plan;
mod point;
mod pool;
mod reader;

use std::collections::HashMap;
use std::iter::zip;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use cdc_api::{
    BatchLimits, BatchReader, Chunk, Error, ErrorKind, Result, Snapshot, TableId, TableSchema,
    TableSize,
};

use crate::catalog::{self, CatalogTable, identifier, quoted};
use crate::connect::{Flavour, Session};
use crate::position::table_id;
use crate::refusal::{account, refused_with};
use crate::source::Server;
use crate::types::ColumnType;
use guard::Guard;
use plan::{Keys, Range};
use point::Opened;
use pool::Pool;
use reader::RowReader;

/// An open view.
pub(crate) struct TableView {
    id: u64,
    server: Arc<Server>,
    tables: Vec<Arc<TableSchema>>,
    /// The same with what the stream tells with the mark, and what of that has been asked for.
    told: Vec<Arc<OnceLock<Arc<TableSchema>>>>,
    whole: OnceLock<Vec<Arc<TableSchema>>>,
    reading: HashMap<TableId, Reading>,
    /// For the catalog and for planning; sees more than the view does.
    keeper: tokio::sync::Mutex<Session>,
    pool: Arc<Pool>,
    /// Ends the copy when a schema change waits for it, where the server does not.
    guard: Option<Guard>,
}

/// How a table's rows are asked for and read.
struct Reading {
    /// `SELECT … FROM …`, without a range.
    select: String,
    types: Vec<ColumnType>,
    /// `None`: it is read at once.
    keys: Option<Keys>,
    epoch: String,
    size: TableSize,
    /// As the catalog had it when the views were opened.
    viewed: CatalogTable,
}

impl TableView {
    /// Opens the views and finds their place in the log.
    pub(crate) async fn open(server: &Arc<Server>, tables: &[Arc<TableSchema>]) -> Result<Self> {
        let mut keeper = server.session().await?;
        let names: Vec<_> = tables.iter().map(|table| table.name.clone()).collect();
        let found = server.look_up(&mut keeper, &names).await?;
        let opened = point::take(server, &mut keeper, &found).await?;
        let id = opened.id;
        let opened = Self::describe(server, keeper, tables, found, opened).await;
        if opened.is_err() {
            server.marks.forget(id);
        }
        opened
    }

    async fn describe(
        server: &Arc<Server>,
        keeper: Session,
        asked: &[Arc<TableSchema>],
        found: Vec<CatalogTable>,
        Opened { id, sessions, told }: Opened,
    ) -> Result<Self> {
        let mut shapes = Vec::with_capacity(found.len());
        let mut reading = HashMap::new();
        for (table, asked) in zip(found, asked) {
            let shape = catalog::shape(&table, server.config.types, asked.version)?;
            shapes.push(if shape.same_shape(asked) {
                Arc::clone(asked)
            } else {
                Arc::new(shape.with_version(asked.version + 1))
            });
            let types = catalog::column_types(&table, server.config.types)?;
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|column| identifier(&column.name))
                .collect();
            let keys = Keys::of(&table, &types);
            let index = match table.key.is_empty() {
                true => "",
                false => " FORCE INDEX (PRIMARY)",
            };
            let select = format!(
                "SELECT {} FROM {}{index}",
                columns.join(", "),
                quoted(&table.name)
            );
            let read = Reading {
                select,
                types,
                keys,
                epoch: plan::epoch(&table),
                size: TableSize {
                    rows: table.rows,
                    bytes: table.bytes,
                },
                viewed: table,
            };
            reading.insert(table_id(&read.viewed.name), read);
        }
        let guard = match keeper.flavour() {
            Flavour::MySql => None,
            Flavour::MariaDb => {
                let threads = sessions.iter().map(Session::thread).collect();
                Some(Guard::begin(server.session().await?, threads).await?)
            }
        };
        Ok(Self {
            id,
            server: Arc::clone(server),
            guard,
            tables: shapes,
            told,
            whole: OnceLock::new(),
            reading,
            keeper: tokio::sync::Mutex::new(keeper),
            pool: Arc::new(Pool::new(sessions)),
        })
    }

    fn table(&self, table: TableId) -> Result<(&Arc<TableSchema>, &Reading)> {
        let shape = self.tables().iter().find(|shape| shape.id == table);
        shape
            .zip(self.reading.get(&table))
            .ok_or_else(|| Error::internal("the table is not in this snapshot").for_table(table))
    }
}

impl Drop for TableView {
    fn drop(&mut self) {
        self.server.marks.forget(self.id);
        self.pool.end();
    }
}

#[async_trait]
impl Snapshot for TableView {
    fn id(&self) -> u64 {
        self.id
    }

    fn tables(&self) -> &[Arc<TableSchema>] {
        if let Some(whole) = self.whole.get() {
            return whole;
        }
        let told = self.told.iter().map(|told| told.get().cloned());
        match told.collect() {
            Some(told) => self.whole.get_or_init(|| told),
            // The mark is still to come.
            None => &self.tables,
        }
    }

    async fn size(&self, table: TableId) -> Result<TableSize> {
        Ok(self.table(table)?.1.size)
    }

    async fn chunks(&self, table: TableId, bytes: u64) -> Result<Vec<Chunk>> {
        let (shape, reading) = self.table(table)?;
        let ranges = match &reading.keys {
            None => vec![Range::default()],
            Some(keys) => {
                let mut keeper = self.keeper.lock().await;
                plan::ranges(
                    &mut keeper,
                    &quoted(&shape.name),
                    keys,
                    (reading.size, bytes),
                )
                .await
                .map_err(|error| of_table(error, shape, &self.server))?
            }
        };
        let count = ranges.len().max(1) as u64;
        Ok(zip(0.., ranges)
            .map(|(index, range)| Chunk {
                index,
                range: range.text(),
                epoch: reading.epoch.clone(),
                rows: reading.size.rows / count,
                bytes: reading.size.bytes / count,
            })
            .collect())
    }

    async fn read(
        &self,
        table: TableId,
        chunk: &Chunk,
        limits: BatchLimits,
    ) -> Result<Box<dyn BatchReader>> {
        let (shape, reading) = self.table(table)?;
        let name = &shape.name;
        if reading.epoch != chunk.epoch {
            return Err(Error::log_lost(format!(
                "{name} was altered or emptied since its copy began"
            ))
            .hint(format!("cdc snapshot {name}"))
            .for_table(table));
        }
        let filter = Range::parse(&chunk.range)
            .and_then(|range| match &reading.keys {
                Some(keys) => keys.filter(&range),
                None => (range == Range::default()).then(String::new),
            })
            .ok_or_else(|| {
                Error::data(format!("a chunk of {name} cannot be read back"))
                    .hint(format!("cdc snapshot {name}"))
                    .for_table(table)
            })?;
        let select = format!("{}{filter}", reading.select);
        let lease = self.pool.lease().await?;
        if let Some(guard) = &self.guard {
            guard.watch(&quoted(name));
        }
        let reader = RowReader::begin(lease, &select, shape, &reading.types, limits).await;
        let reader = reader.map_err(|error| of_table(error, shape, &self.server))?;
        // The statement holds the table's definition from here on, and has read by it. Columns that have only changed
        // their names are no error of the server's: with two names exchanged, each would have the other's values.
        let mut keeper = self.keeper.lock().await;
        let viewed = std::slice::from_ref(&reading.viewed);
        point::unaltered(&self.server, &mut keeper, viewed)
            .await
            .map_err(|error| of_table(error, shape, &self.server))?;
        Ok(Box::new(reader))
    }
}

/// An error of reading one table as one of the table's, with its remedy.
fn of_table(error: Error, table: &TableSchema, server: &Server) -> Error {
    match error.kind() {
        ErrorKind::Auth => error.for_table(table.id).hint(format!(
            "GRANT SELECT ON {} TO {}",
            quoted(&table.name),
            account(&server.settings)
        )),
        _ => altered(error, table),
    }
}

/// An error of reading one table as one of the table's; where a schema change came first, the copy
/// begins again.
fn altered(error: Error, table: &TableSchema) -> Error {
    // The definition is newer than the view; a column, or the table, is gone.
    if refused_with(&error, &[1412, 1054, 1146]) {
        return Error::transient(format!("{} was altered while it was copied", table.name))
            .for_table(table.id)
            .caused_by(error);
    }
    error.for_table(table.id)
}
