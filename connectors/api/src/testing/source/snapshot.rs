//! A consistent view of the model, read in chunks.
//!
//! Invariant: the chunks of one view hold every row of it once. Tables with a key are cut by key
//! or by place, those without one by place; rows move between places when they are updated.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use rand::Rng;

use crate::testing::database::{CommitNumber, State, Table, Value, batch_of};
use crate::testing::lock;
use crate::{
    BatchLimits, BatchReader, Chunk, Error, Result, Snapshot, TableId, TableSchema, TableSize,
};

use super::{Shared, has_key};

pub(super) const ROW_BYTES: u64 = 100;

/// What a chunk covers: from the first key or place up to the next chunk's.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
enum Range {
    Key {
        from: Option<Vec<Value>>,
        to: Option<Vec<Value>>,
    },
    Place {
        from: u64,
        to: Option<u64>,
    },
}

pub(super) struct ScriptedSnapshot {
    shared: Arc<Shared>,
    id: u64,
    point: CommitNumber,
    state: Arc<State>,
    held: Vec<TableId>,
    tables: Vec<Arc<TableSchema>>,
    by_key: bool,
    lost: AtomicBool,
}

impl ScriptedSnapshot {
    pub(super) fn open(shared: &Arc<Shared>, tables: &[TableId]) -> Result<Self> {
        let (id, point) = shared.database.hold(tables);
        let state = shared.database.state(point);
        let by_key = {
            let mut source = lock(&shared.state);
            source.snapshots.insert(id, point);
            shared.seed.is_multiple_of(2)
        };
        shared.marked.notify_waiters();
        let mut snapshot = Self {
            shared: Arc::clone(shared),
            id,
            point,
            state,
            held: tables.to_vec(),
            tables: Vec::new(),
            by_key,
            lost: AtomicBool::new(false),
        };
        for table in tables {
            let schema = Arc::clone(&snapshot.table(*table)?.schema);
            snapshot.tables.push(schema);
        }
        shared.trace.note(format_args!(
            "snapshot {id} of {tables:?} at commit {point}"
        ));
        Ok(snapshot)
    }

    fn table(&self, table: TableId) -> Result<&Arc<Table>> {
        self.state
            .tables
            .get(&table)
            .ok_or_else(|| Error::data("there is no such table").for_table(table))
    }

    async fn asked(&self, what: &str) -> Result<()> {
        self.shared.busy(what).await?;
        let drops = {
            let mut state = lock(&self.shared.state);
            let chance = state.faults.snapshot;
            state.rng.random_range(0..1000) < chance
        };
        if drops {
            self.lost.store(true, Ordering::Relaxed);
        }
        if self.lost.load(Ordering::Relaxed) {
            self.shared
                .trace
                .note(format_args!("snapshot {} lost", self.id));
            return Err(Error::transient("the snapshot's connection was dropped"));
        }
        Ok(())
    }
}

impl Drop for ScriptedSnapshot {
    fn drop(&mut self) {
        self.shared.database.release(&self.held);
        lock(&self.shared.state).snapshots.remove(&self.id);
        self.shared.trace.note(format_args!(
            "snapshot {} at {} dropped",
            self.id, self.point
        ));
    }
}

#[async_trait]
impl Snapshot for ScriptedSnapshot {
    fn id(&self) -> u64 {
        self.id
    }

    fn tables(&self) -> &[Arc<TableSchema>] {
        &self.tables
    }

    async fn size(&self, table: TableId) -> Result<TableSize> {
        self.asked("size").await?;
        let rows = self.table(table)?.rows.len() as u64;
        Ok(TableSize {
            rows,
            bytes: rows * ROW_BYTES,
        })
    }

    async fn chunks(&self, table: TableId, bytes: u64) -> Result<Vec<Chunk>> {
        self.asked("chunks").await?;
        let now = self.table(table)?;
        let step = usize::try_from(bytes / ROW_BYTES)
            .unwrap_or(usize::MAX)
            .max(1);
        if now.rows.is_empty() && lock(&self.shared.state).rng.random_range(0..2) == 0 {
            // Nothing to read, and nothing to be read later either: what comes is in the stream.
            return Ok(Vec::new());
        }
        let count = now.rows.len().div_ceil(step).max(1);
        let chunk = |index: usize, range: &Range| Chunk {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            range: serde_json::to_string(range).expect("plain data"),
            epoch: now.epoch.to_string(),
            rows: step as u64,
            bytes: step as u64 * ROW_BYTES,
        };
        let ranges: Vec<Range> = if self.by_key && has_key(&now.schema) {
            let cut = |index: usize| now.keys.keys().nth(index * step).cloned();
            (0..count)
                .map(|index| Range::Key {
                    from: if index == 0 { None } else { cut(index) },
                    to: cut(index + 1),
                })
                .collect()
        } else {
            let cut = |index: usize| now.rows.keys().nth(index * step).copied();
            (0..count)
                .map(|index| Range::Place {
                    from: if index == 0 {
                        0
                    } else {
                        cut(index).unwrap_or(0)
                    },
                    to: cut(index + 1),
                })
                .collect()
        };
        Ok(ranges
            .iter()
            .enumerate()
            .map(|(index, range)| chunk(index, range))
            .collect())
    }

    async fn read(
        &self,
        table: TableId,
        chunk: &Chunk,
        limits: BatchLimits,
    ) -> Result<Box<dyn BatchReader>> {
        self.asked("read").await?;
        let now = Arc::clone(self.table(table)?);
        if chunk.epoch != now.epoch.to_string() {
            return Err(
                Error::log_lost("the table was rewritten since its chunks were cut")
                    .for_table(table),
            );
        }
        let range: Range = serde_json::from_str(&chunk.range)
            .map_err(|error| Error::data("not a range of ours").caused_by(error))?;
        let rows: Vec<Arc<Vec<Value>>> = match range {
            Range::Key { from, to } => {
                let from = from.map_or(Bound::Unbounded, Bound::Included);
                let to = to.map_or(Bound::Unbounded, Bound::Excluded);
                now.keys
                    .range((from, to))
                    .map(|(_, place)| Arc::clone(&now.rows[place]))
                    .collect()
            }
            Range::Place { from, to } => now
                .rows
                .range((
                    Bound::Included(from),
                    to.map_or(Bound::Unbounded, Bound::Excluded),
                ))
                .map(|(_, row)| Arc::clone(row))
                .collect(),
        };
        self.shared.trace.note(format_args!(
            "read {} chunk {} at {}: {} rows",
            now.schema.name,
            chunk.index,
            self.point,
            rows.len()
        ));
        Ok(Box::new(ScriptedReader {
            shared: Arc::clone(&self.shared),
            table: Arc::clone(&now.schema),
            rows,
            limits,
        }))
    }
}

struct ScriptedReader {
    shared: Arc<Shared>,
    table: Arc<TableSchema>,
    rows: Vec<Arc<Vec<Value>>>,
    limits: BatchLimits,
}

#[async_trait]
impl BatchReader for ScriptedReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.shared.busy("read chunk").await?;
        if self.rows.is_empty() {
            return Ok(None);
        }
        let most = self.rows.len().min(self.limits.rows.max(1));
        let count = lock(&self.shared.state).rng.random_range(1..=most);
        let rows: Vec<Arc<Vec<Value>>> = self.rows.drain(..count).collect();
        let rows: Vec<Option<&[Value]>> = rows.iter().map(|row| Some(row.as_slice())).collect();
        Ok(Some(batch_of(&self.table, &rows)))
    }
}
