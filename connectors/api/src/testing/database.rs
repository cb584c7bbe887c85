//! A model of a source database: tables, transactions, a log that can be read from a position and
//! forgotten up to one, and the whole content as of every commit.
//!
//! Invariant: [`Database::content`] at a commit is what every sink must hold at the checkpoint of
//! that commit. The model knows nothing of sources and sinks; [`super::source`] reads its log.

mod rows;
mod transaction;
mod value;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::{Position, TableId, TableName, TableSchema};

pub use rows::{Logged, change_batch, notice};
pub use transaction::{Change, RowChange, Transaction, Writer};
pub use value::{Kind, Value, batch_of, column, existing};
pub use workload::{Mix, Workload};

use super::canonical::Row;
use super::lock;

/// The number of a commit, from 1; 0 is the empty database.
pub type CommitNumber = usize;

/// Bytes of log that a transaction takes, so that offsets look like offsets.
pub(crate) const LOG_BYTES: u64 = 1000;

/// A database shared by its writers, its sources and its judges.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Mutex<Inner>>,
    committed: Arc<Notify>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// `states[n]` is the content after commit `n`.
    states: Vec<Arc<State>>,
    /// `log[n - 1]` made `states[n]`; `None` once it is forgotten.
    log: Vec<Option<Arc<Transaction>>>,
    /// Everything up to this commit is forgotten.
    forgotten: CommitNumber,
    /// Where the pipeline's log began to be kept, and `seq` counts from.
    origin: Option<CommitNumber>,
    /// Snapshots that hold schema changes off, by table.
    holds: BTreeMap<TableId, usize>,
    next_table: u64,
    next_snapshot: u64,
    clock: i64,
}

/// The content after one commit.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The tables by id.
    pub tables: BTreeMap<TableId, Arc<Table>>,
    /// The tables whose changes the log carries.
    pub captured: Arc<BTreeSet<TableId>>,
    /// Captured row changes, and notices, since the database began.
    pub changes: u64,
    /// Which of them are notices.
    pub notices: Vec<u64>,
}

/// A table's shape and rows after one commit.
#[derive(Debug, Clone)]
pub struct Table {
    /// The shape.
    pub schema: Arc<TableSchema>,
    /// What each column is.
    pub kinds: Vec<Kind>,
    /// Rises when ranges cut before no longer mean the same rows.
    pub epoch: u64,
    /// Rows by their place on the model's disk; an update moves a row to another place.
    pub rows: BTreeMap<u64, Arc<Vec<Value>>>,
    /// Places by key; empty without a key.
    pub keys: BTreeMap<Vec<Value>, u64>,
    /// The next column's lasting id.
    pub next_column: u64,
}

impl Table {
    /// The key of a row of this table.
    pub fn key_of(&self, row: &[Value]) -> Vec<Value> {
        self.schema.key.iter().map(|&i| row[i].clone()).collect()
    }

    /// The rows as cells, sorted.
    pub fn cells(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .rows
            .values()
            .map(|row| row.iter().map(Value::cell).collect())
            .collect();
        rows.sort();
        rows
    }

    /// The sum of the table's money column; 0 where it has none.
    pub fn money(&self) -> i64 {
        let Some(column) = self.kinds.iter().position(|kind| *kind == Kind::Money) else {
            return 0;
        };
        let amount = |row: &Arc<Vec<Value>>| match row[column] {
            Value::Int(amount) => amount,
            _ => 0,
        };
        self.rows.values().map(amount).sum()
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}

impl Database {
    /// An empty database.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                states: vec![Arc::default()],
                log: Vec::new(),
                forgotten: 0,
                origin: None,
                holds: BTreeMap::new(),
                next_table: 1000,
                next_snapshot: 1,
                clock: 1_700_000_000_000_000,
            })),
            committed: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Begins a transaction. One at a time: its writer is the database's only one.
    pub fn begin(&self) -> Writer {
        Writer::new(self.clone())
    }

    /// The last commit.
    pub fn head(&self) -> CommitNumber {
        self.inner().log.len()
    }

    /// Everything as of a commit.
    ///
    /// # Panics
    /// If there was no such commit.
    pub fn state(&self, commit: CommitNumber) -> Arc<State> {
        Arc::clone(&self.inner().states[commit])
    }

    /// A table as of a commit, or `None` if it did not exist.
    pub fn content(&self, table: TableId, commit: CommitNumber) -> Option<Arc<Table>> {
        self.inner().states.get(commit)?.tables.get(&table).cloned()
    }

    /// A table by name as of now.
    pub fn table(&self, name: &TableName) -> Option<Arc<Table>> {
        let inner = self.inner();
        inner
            .last()
            .tables
            .values()
            .find(|table| table.schema.name == *name)
            .cloned()
    }

    /// The `seq` of the last captured row change up to a commit; `None` before the origin.
    pub fn seq(&self, commit: CommitNumber) -> Option<u64> {
        let inner = self.inner();
        let origin = inner.origin?;
        let changes = inner.states.get(commit)?.changes;
        changes.checked_sub(inner.states[origin].changes)
    }

    /// The `seq` of every notice up to a commit, since the origin.
    pub fn notices(&self, commit: CommitNumber) -> Vec<u64> {
        let inner = self.inner();
        let origin = inner
            .origin
            .map_or(0, |origin| inner.states[origin].changes);
        let state = inner.states.get(commit);
        let notices = state.iter().flat_map(|state| &state.notices);
        notices
            .filter_map(|seq| seq.checked_sub(origin))
            .filter(|seq| *seq > 0)
            .collect()
    }

    /// The sum over all money columns as of a commit. Every transaction leaves it 0.
    pub fn money(&self, commit: CommitNumber) -> i64 {
        self.state(commit)
            .tables
            .values()
            .map(|table| table.money())
            .sum()
    }

    /// The position that names a commit.
    pub fn position(commit: CommitNumber) -> Position {
        Position::new(format!("{{\"v\":1,\"commit\":{commit}}}"))
    }

    /// The commit that a position names, or `None` if it is not one of ours.
    pub fn commit_of(position: &Position) -> Option<CommitNumber> {
        #[derive(serde::Deserialize)]
        struct Text {
            v: u32,
            commit: CommitNumber,
        }
        let text: Text = serde_json::from_str(position.as_str()).ok()?;
        (text.v == 1).then_some(text.commit)
    }

    /// Waits until there is a commit after `commit`.
    pub async fn committed_after(&self, commit: CommitNumber) {
        loop {
            let notified = self.committed.notified();
            if self.head() > commit {
                return;
            }
            notified.await;
        }
    }

    /// The log's entry of a commit; `None` when it is forgotten or not there yet.
    pub(crate) fn logged(&self, commit: CommitNumber) -> Option<Arc<Transaction>> {
        let inner = self.inner();
        inner.log.get(commit.checked_sub(1)?)?.clone()
    }

    /// Everything up to this commit is forgotten.
    pub fn forgotten(&self) -> CommitNumber {
        self.inner().forgotten
    }

    /// Drops the log up to a commit for good.
    pub(crate) fn forget(&self, upto: CommitNumber) {
        let mut inner = self.inner();
        let upto = upto.min(inner.log.len());
        for commit in inner.forgotten..upto {
            inner.log[commit] = None;
        }
        inner.forgotten = inner.forgotten.max(upto);
    }

    /// Begins to keep the log, the first time; where it began to be kept.
    pub(crate) fn origin(&self) -> CommitNumber {
        let head = self.head();
        let mut inner = self.inner();
        let fresh = inner.origin.is_none();
        let origin = *inner.origin.get_or_insert(head);
        drop(inner);
        if fresh {
            self.forget(origin);
        }
        origin
    }

    /// Captures exactly these tables from now on; a commit of its own when that is a change.
    pub(crate) fn capture(&self, tables: BTreeSet<TableId>) {
        if *self.state(self.head()).captured != tables {
            let mut writer = self.begin();
            writer.capture(tables);
            writer.commit();
        }
    }

    /// Holds schema changes and truncates of tables off; gives the snapshot's id and point.
    pub(crate) fn hold(&self, tables: &[TableId]) -> (u64, CommitNumber) {
        let mut inner = self.inner();
        for table in tables {
            *inner.holds.entry(*table).or_default() += 1;
        }
        let id = inner.next_snapshot;
        inner.next_snapshot += 1;
        (id, inner.log.len())
    }

    /// Takes a hold back.
    pub(crate) fn release(&self, tables: &[TableId]) {
        let mut inner = self.inner();
        for table in tables {
            if let Some(holds) = inner.holds.get_mut(table) {
                *holds = holds.saturating_sub(1);
            }
        }
    }

    /// Whether a live snapshot holds schema changes of the table off.
    pub fn is_held(&self, table: TableId) -> bool {
        self.inner().holds.get(&table).is_some_and(|&n| n > 0)
    }
}

impl Inner {
    fn last(&self) -> &Arc<State> {
        self.states.last().expect("starts with one, only grows")
    }
}

#[cfg(test)]
mod tests;
