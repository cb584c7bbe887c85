//! A consistent view of some tables, and reading their rows in it.
//!
//! Invariants: the view's place in the log is the consistent point of a logical slot, so that a
//! transaction is in the view or in the log after the mark, never in both and never in neither.
//! The tables cannot be truncated, rewritten or dropped while the view lives, since it holds an
//! ACCESS SHARE lock on them from before its point; writers are not blocked. The slot lives only
//! until the view has been taken over, so that a long copy does not make the server keep its log.

mod reader;

use std::collections::HashMap;
use std::iter::zip;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use cdc_api::schema::quote_identifier;
use cdc_api::{
    BatchLimits, BatchReader, Chunk, Error, Result, Snapshot, TableId, TableSchema, TableSize,
};
use postgres_protocol::escape::escape_literal;

use crate::catalog::{self, CatalogTable, Leaf};
use crate::decode::copy::CopyDecoder;
use crate::marks::next_id;
use crate::position::Lsn;
use crate::replication::command::{self, Lifetime};
use crate::session::{Purpose, Session};
use crate::source::{Server, oid, subject};
use crate::storage::{self, Sighting, Subject};
use crate::types::ColumnType;
use reader::CopyReader;

/// How long the stream is stopped while the point is being found. Finding it waits for running
/// transactions, ordinarily a few milliseconds.
const HOLD: Duration = Duration::from_secs(2);

/// How often a point is looked for before the source counts as too busy.
const ATTEMPTS: usize = 5;

/// An open view.
pub(crate) struct TableView {
    id: u64,
    server: Arc<Server>,
    tables: Vec<Arc<TableSchema>>,
    generations: HashMap<TableId, u64>,
    reading: HashMap<TableId, Reading>,
    version: u32,
    /// The name under which the view can be taken over by other sessions.
    name: String,
    /// The session whose transaction keeps the view and the locks; `None` only when dropped.
    keeper: tokio::sync::Mutex<Option<Session>>,
    /// Sessions that have taken the view over and have nothing to do.
    idle: Arc<Mutex<Vec<Session>>>,
}

/// How a table's rows are asked for and read.
struct Reading {
    /// The expressions to select.
    columns: String,
    types: Vec<ColumnType>,
}

impl TableView {
    /// Locks the tables, finds a point in the log, and takes its view over.
    pub(crate) async fn open(server: &Arc<Server>, tables: &[Arc<TableSchema>]) -> Result<Self> {
        let mut keeper = server.session().await?;
        let asked = server.look_up(&mut keeper, tables).await?;
        keeper
            .query(
                "SET lock_timeout = '10s'; SET row_security = off; \
                 BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )
            .await?;
        for table in &asked {
            // One by one, so that a refusal is one table's.
            let only = if table.partitioned { "" } else { "ONLY " };
            let lock = format!(
                "LOCK TABLE {only}{} IN ACCESS SHARE MODE",
                table.name.quoted()
            );
            keeper
                .query(&lock)
                .await
                .map_err(|error| of_table(error, table))?;
        }
        let point = take_point(server, tables).await?;
        let id = point.id;
        let opened = Self::take_over(server, tables, keeper, point).await;
        if opened.is_err() {
            server.marks.forget(id);
        }
        opened
    }

    async fn take_over(
        server: &Arc<Server>,
        tables: &[Arc<TableSchema>],
        mut keeper: Session,
        point: Point,
    ) -> Result<Self> {
        keeper
            .query(&format!(
                "SET TRANSACTION SNAPSHOT {}",
                escape_literal(&point.view)
            ))
            .await?;
        point.session.close().await;
        let row = keeper.query_one("SELECT pg_export_snapshot()").await?;
        let name = row.text(0).to_owned();
        // Nothing can change the tables any more: their shapes are those of the view.
        let types = catalog::types(&mut keeper, server.config.types).await?;
        let found = server.look_up(&mut keeper, tables).await?;
        let mut shapes = Vec::with_capacity(found.len());
        let mut reading = HashMap::new();
        for (table, asked) in found.iter().zip(tables) {
            let shape = catalog::shape(table, &types, asked.version)?;
            shapes.push(if shape.same_shape(asked) {
                Arc::clone(asked)
            } else {
                Arc::new(shape.with_version(asked.version + 1))
            });
            let types = table
                .columns
                .iter()
                .map(|column| types.resolve(column.type_oid, column.typmod, column.dimensions))
                .collect::<Result<Vec<_>>>()?;
            let columns: Vec<String> = zip(&table.columns, &types)
                .map(|(column, resolved)| resolved.copy_expression(&quote_identifier(&column.name)))
                .collect();
            let columns = columns.join(", ");
            reading.insert(asked.id, Reading { columns, types });
        }
        let subjects: Vec<Subject> = shapes.iter().map(|shape| subject(shape)).collect();
        let (horizon, seen) = storage::read(&mut keeper, &subjects).await?;
        server.notes.see(seen.iter().map(|(oid, storage)| {
            let sighting = Sighting {
                lsn: point.lsn.0,
                horizon,
                storage: storage.clone(),
            };
            (*oid, sighting)
        }))?;
        let generation = |(oid, storage): (&u32, _)| {
            let generation = server.notes.generation_at(*oid, point.lsn, storage);
            (TableId(u64::from(*oid)), generation)
        };
        let generations = seen.iter().map(generation).collect();
        Ok(Self {
            id: point.id,
            server: Arc::clone(server),
            tables: shapes,
            generations,
            reading,
            version: keeper.version(),
            name,
            keeper: tokio::sync::Mutex::new(Some(keeper)),
            idle: Arc::default(),
        })
    }

    async fn leaves(&self, table: TableId) -> Result<Vec<Leaf>> {
        match &mut *self.keeper.lock().await {
            Some(keeper) => catalog::leaves(keeper, oid(table)).await,
            None => Err(Error::transient("the snapshot has ended")),
        }
    }

    fn shape(&self, table: TableId) -> Result<&Arc<TableSchema>> {
        self.tables
            .iter()
            .find(|shape| shape.id == table)
            .ok_or_else(|| Error::internal("the table is not in this snapshot").for_table(table))
    }

    /// A session that sees the view.
    async fn worker(&self) -> Result<Session> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(session) = idle {
            return Ok(session);
        }
        let mut session = self.server.session().await?;
        session
            .query(&format!(
                "SET row_security = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                 SET TRANSACTION SNAPSHOT {}",
                escape_literal(&self.name)
            ))
            .await
            .map_err(|error| {
                Error::transient("the snapshot has ended: the session that keeps it is gone")
                    .caused_by(error)
            })?;
        Ok(session)
    }
}

impl Drop for TableView {
    /// Releases the locks, and says good-bye where there is a runtime to say it on: else the
    /// server notes lost connections.
    fn drop(&mut self) {
        self.server.marks.forget(self.id);
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        let sessions: Vec<Session> = self
            .keeper
            .get_mut()
            .take()
            .into_iter()
            .chain(idle)
            .collect();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for session in sessions {
                    session.close().await;
                }
            });
        }
    }
}

#[async_trait]
impl Snapshot for TableView {
    fn id(&self) -> u64 {
        self.id
    }

    fn generation(&self, table: TableId) -> u64 {
        self.generations.get(&table).copied().unwrap_or(0)
    }

    fn tables(&self) -> &[Arc<TableSchema>] {
        &self.tables
    }

    async fn size(&self, table: TableId) -> Result<TableSize> {
        let leaves = self.leaves(table).await?;
        Ok(TableSize {
            rows: leaves.iter().map(|leaf| leaf.rows).sum(),
            bytes: leaves.iter().map(|leaf| leaf.bytes).sum(),
        })
    }

    async fn chunks(&self, table: TableId, bytes: u64) -> Result<Vec<Chunk>> {
        let leaves = self.leaves(table).await?;
        Ok(plan(&leaves, bytes, self.version >= 14_0000))
    }

    async fn read(
        &self,
        table: TableId,
        chunk: &Chunk,
        limits: BatchLimits,
    ) -> Result<Box<dyn BatchReader>> {
        let shape = self.shape(table)?;
        let leaves = self.leaves(table).await?;
        let name = &shape.name;
        if epoch(&leaves) != chunk.epoch {
            return Err(Error::log_lost(format!(
                "{name} was rewritten, truncated or partitioned anew since its copy began"
            ))
            .hint(format!("cdc snapshot {name}"))
            .for_table(table));
        }
        let range = Range::parse(&chunk.range)
            .filter(|range| leaves.iter().any(|leaf| leaf.oid == range.leaf))
            .ok_or_else(|| {
                Error::data(format!("a chunk of {name} cannot be read back"))
                    .hint(format!("cdc snapshot {name}"))
                    .for_table(table)
            })?;
        let leaf = leaves
            .iter()
            .find(|leaf| leaf.oid == range.leaf)
            .map(|leaf| leaf.name.quoted())
            .unwrap_or_default();
        let mut conditions = range.conditions();
        if let Some(rows) = self.server.choices.rows(name) {
            conditions.push(format!("({rows})"));
        }
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let reading = self
            .reading
            .get(&table)
            .ok_or_else(|| Error::internal("the table is not in this snapshot"))?;
        let copy = format!(
            "COPY (SELECT {} FROM ONLY {leaf}{filter}) TO STDOUT (FORMAT binary)",
            reading.columns
        );
        let decoder = CopyDecoder::new(Arc::clone(shape), reading.types.clone(), limits);
        let session = self.worker().await?;
        let reader = CopyReader::begin(session, &copy, decoder, table, &self.idle).await;
        Ok(Box::new(reader.map_err(|error| error.for_table(table))?))
    }
}

/// A consistent point.
struct Point {
    /// Its mark.
    id: u64,
    lsn: Lsn,
    /// The session that exports its view, until its next command.
    session: Session,
    /// The view's name.
    view: String,
}

/// Finds a consistent point.
///
/// The stream must not pass the point before the mark is asked for. So it is held before its next
/// transaction; when a long transaction keeps the point from being found it goes on meanwhile, and
/// if it has then passed the point, another is looked for: the long one is over now.
async fn take_point(server: &Arc<Server>, tables: &[Arc<TableSchema>]) -> Result<Point> {
    for _ in 0..ATTEMPTS {
        let mut session = Session::open(&server.settings, Purpose::Replication).await?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let slot = format!("cdc_copy_{:x}_{}", now.as_nanos(), std::process::id());
        let create = command::create_slot(&slot, Lifetime::Snapshot, session.version());
        let mut hold = Some(server.marks.hold());
        let row = {
            let creation = session.query_one(&create);
            tokio::pin!(creation);
            tokio::select! {
                row = &mut creation => row?,
                () = tokio::time::sleep(HOLD) => {
                    hold = None;
                    creation.await?
                }
            }
        };
        let lsn: Lsn = row.text(1).parse()?;
        let id = next_id();
        let ids = tables.iter().map(|table| table.id).collect();
        let asked = server.marks.ask(id, lsn, Some(ids));
        drop(hold);
        if asked {
            return Ok(Point {
                id,
                lsn,
                session,
                view: row.text(2).to_owned(),
            });
        }
        session.close().await;
    }
    Err(
        Error::transient("no consistent point was found between running transactions").hint(
            "a transaction has been open for long: SELECT pid, xact_start, query FROM \
               pg_stat_activity WHERE xact_start < now() - interval '1 minute'",
        ),
    )
}

/// An error of the lock or the catalog as one of the table's.
fn of_table(error: Error, table: &CatalogTable) -> Error {
    let missing = error.kind() == cdc_api::ErrorKind::Auth;
    let error = error.for_table(TableId(u64::from(table.oid)));
    if missing {
        error.hint(format!(
            "GRANT USAGE ON SCHEMA {} TO the role; GRANT SELECT ON {} TO the role",
            quote_identifier(&table.name.schema),
            table.name.quoted()
        ))
    } else {
        error
    }
}

/// Blocks of one leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    leaf: u32,
    from: u64,
    /// `None`: to the end of the file, however long it is when it is read.
    to: Option<u64>,
}

impl Range {
    /// As in [`Chunk::range`]: `16401:0-512`, `16401:512-`.
    fn text(self) -> String {
        let to = self.to.map(|to| to.to_string()).unwrap_or_default();
        format!("{}:{}-{to}", self.leaf, self.from)
    }

    fn parse(text: &str) -> Option<Self> {
        let (leaf, blocks) = text.split_once(':')?;
        let (from, to) = blocks.split_once('-')?;
        Some(Self {
            leaf: leaf.parse().ok()?,
            from: from.parse().ok()?,
            to: match to {
                "" => None,
                to => Some(to.parse().ok()?),
            },
        })
    }

    fn conditions(self) -> Vec<String> {
        let mut conditions = Vec::new();
        if self.from > 0 {
            conditions.push(format!("ctid >= '({},0)'::tid", self.from));
        }
        if let Some(to) = self.to {
            conditions.push(format!("ctid < '({to},0)'::tid"));
        }
        conditions
    }
}

/// Which files the ranges are of.
fn epoch(leaves: &[Leaf]) -> String {
    let files: Vec<String> = leaves
        .iter()
        .map(|leaf| format!("{}/{}", leaf.oid, leaf.file))
        .collect();
    files.join(",")
}

/// Cuts leaves into chunks of about `bytes`. `ranges`: the server can scan part of a table (14+).
fn plan(leaves: &[Leaf], bytes: u64, ranges: bool) -> Vec<Chunk> {
    let epoch = epoch(leaves);
    let mut chunks = Vec::new();
    for leaf in leaves {
        let blocks = leaf.blocks.max(1);
        let per_block = (leaf.bytes / blocks).max(1);
        let step = if ranges {
            (bytes / per_block).clamp(1, blocks)
        } else {
            blocks
        };
        let mut from = 0;
        while from < blocks {
            // A rest that is much smaller than a chunk is not worth one of its own.
            let end = from + step;
            let last = end + step / 2 >= blocks;
            let size = if last { blocks - from } else { step };
            chunks.push(Chunk {
                index: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
                range: Range {
                    leaf: leaf.oid,
                    from,
                    to: (!last).then_some(end),
                }
                .text(),
                epoch: epoch.clone(),
                rows: share(leaf.rows, size, blocks),
                bytes: share(leaf.bytes, size, blocks),
            });
            from += size;
        }
    }
    chunks
}

fn share(total: u64, part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(total) * u128::from(part) / u128::from(whole)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdc_api::TableName;

    fn leaf(oid: u32, blocks: u64) -> Leaf {
        Leaf {
            oid,
            name: TableName::new("public", "t"),
            file: oid + 1,
            blocks,
            bytes: blocks * 8192,
            rows: blocks * 50,
        }
    }

    #[test]
    fn chunks_cover_every_block_once_and_the_last_is_open() {
        for blocks in [0, 1, 7, 100, 1000, 1001, 1049, 1051] {
            let chunks = plan(&[leaf(1, blocks), leaf(2, 3)], 100 * 8192, true);
            let mut next = 0;
            let first: Vec<Range> = chunks
                .iter()
                .map(|chunk| Range::parse(&chunk.range).expect("ours"))
                .filter(|range| range.leaf == 1)
                .collect();
            for range in &first {
                assert_eq!(range.from, next, "{blocks}");
                next = range.to.unwrap_or(u64::MAX);
            }
            assert_eq!(next, u64::MAX, "{blocks}");
            let rows: u64 = chunks.iter().map(|chunk| chunk.rows).sum();
            assert!(rows >= (blocks + 3) * 50 - 20, "{blocks}: {rows}");
            assert_eq!(first.len() as u64, ((blocks + 50) / 100).max(1), "{blocks}");
        }
    }

    #[test]
    fn a_server_without_range_scans_reads_each_leaf_at_once() {
        let chunks = plan(&[leaf(1, 1000), leaf(2, 3)], 8192, false);
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[0].range, "1:0-");
        assert!(Range::parse("1:0-").expect("ours").conditions().is_empty());
    }

    #[test]
    fn a_rewrite_changes_the_epoch() {
        let before = plan(&[leaf(1, 10)], 8192, true);
        let mut rewritten = leaf(1, 10);
        rewritten.file = 99;
        assert_ne!(before[0].epoch, epoch(&[rewritten]));
        assert_eq!(before[0].epoch, epoch(&[leaf(1, 500)]));
    }
}
