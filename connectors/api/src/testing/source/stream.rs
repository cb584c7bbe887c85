//! The running stream: the log from a checkpoint on, cut at random places.
//!
//! Invariant: `seq` is counted from the checkpoint over the captured changes of the log, so every
//! stream gives a row the same `seq`, however it cuts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::testing::database::{
    Change, CommitNumber, Database, LOG_BYTES, Logged, Transaction, change_batch, notice,
};
use crate::testing::lock;
use crate::{
    BatchLimits, ChangeEvent, ChangeStream, Checkpoint, Error, Op, Position, Result,
    StreamProgress, TableId, TableSchema,
};

use super::{Shared, pause};

pub(super) struct ScriptedStream {
    shared: Arc<Shared>,
    rng: StdRng,
    limits: BatchLimits,
    started_at: CommitNumber,
    /// The last transaction that was taken from the log.
    read: CommitNumber,
    seq: u64,
    /// The position and time of the last commit given or queued.
    committed: CommitNumber,
    commit_time: i64,
    /// The shapes that this stream has announced, by version.
    announced: BTreeMap<TableId, u32>,
    open: BTreeMap<TableId, Vec<Logged>>,
    marked: BTreeSet<u64>,
    events: VecDeque<ChangeEvent>,
    over: bool,
}

impl ScriptedStream {
    pub(super) fn start(
        shared: &Arc<Shared>,
        from: &Checkpoint,
        known: &[Arc<TableSchema>],
        limits: BatchLimits,
    ) -> Result<Self> {
        let start = Database::commit_of(&from.position)
            .ok_or_else(|| Error::data("the position is not this source's"))?;
        let database = &shared.database;
        if start < database.forgotten() || start > database.head() {
            shared.trace.violation(format!(
                "start at commit {start}, but the log is there from {} to {}",
                database.forgotten(),
                database.head()
            ));
            return Err(Error::log_lost("the log no longer reaches back that far"));
        }
        if database.seq(start) != Some(from.seq) {
            shared.trace.violation(format!(
                "start at commit {start} with seq {}, which is {:?} there",
                from.seq,
                database.seq(start)
            ));
        }
        let number = {
            let mut state = lock(&shared.state);
            state.streams += 1;
            state.given = state.given.max(start);
            state.streams
        };
        shared.trace.note(format_args!(
            "stream {number} from commit {start} seq {} knowing {}",
            from.seq,
            known.len()
        ));
        Ok(Self {
            shared: Arc::clone(shared),
            rng: StdRng::seed_from_u64(shared.seed.wrapping_mul(31).wrapping_add(number)),
            limits,
            started_at: start,
            read: start,
            seq: from.seq,
            committed: start,
            commit_time: from.commit_time,
            announced: BTreeMap::new(),
            open: BTreeMap::new(),
            marked: BTreeSet::new(),
            events: VecDeque::new(),
            over: false,
        })
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// Closes the open batch of a table.
    fn flush(&mut self, table: TableId) {
        if let Some(rows) = self.open.remove(&table)
            && let Some(batch) = change_batch(&rows)
        {
            self.events.push_back(ChangeEvent::Rows(batch));
        }
    }

    /// Closes all open batches, in any order.
    fn flush_all(&mut self) {
        while !self.open.is_empty() {
            let nth = self.rng.random_range(0..self.open.len());
            if let Some(&table) = self.open.keys().nth(nth) {
                self.flush(table);
            }
        }
    }

    /// Announces a shape, if this stream has not done so yet.
    fn announce(&mut self, schema: &Arc<TableSchema>) {
        if self.announced.get(&schema.id) != Some(&schema.version) {
            self.flush(schema.id);
            self.announced.insert(schema.id, schema.version);
            self.events
                .push_back(ChangeEvent::Schema(Arc::clone(schema)));
        }
    }

    fn take(&mut self, transaction: &Arc<Transaction>) {
        for (index, change) in transaction.changes.iter().enumerate() {
            match change {
                Change::Schema(schema) => {
                    // A database tells of a new shape at once, or before the next row that has it.
                    if self.one_in(2) {
                        self.announce(schema);
                    }
                }
                Change::Truncate(tables) => {
                    self.flush_all();
                    self.seq += 1;
                    self.events.push_back(ChangeEvent::Truncate {
                        tables: tables.clone(),
                        seq: self.seq,
                        commit_time: transaction.commit_time,
                    });
                }
                Change::Notice(_) => {
                    self.seq += 1;
                    let notice = notice(transaction, index, self.seq);
                    self.events.extend(notice.map(ChangeEvent::Notice));
                }
                Change::Failed(table) => {
                    self.flush_all();
                    self.seq += 1;
                    self.events.push_back(ChangeEvent::Failed {
                        table: *table,
                        seq: self.seq,
                        message: "the table cannot be followed any more".to_owned(),
                        hint: "snapshot it again".to_owned(),
                    });
                }
                Change::Row(row) => {
                    self.announce(&row.table);
                    self.seq += 1;
                    let seq = self.seq;
                    let open = self.open.entry(row.table.id).or_default();
                    open.push(Logged {
                        transaction: Arc::clone(transaction),
                        index,
                        seq,
                    });
                    let full = open.len() >= self.limits.rows;
                    // A pair is never cut.
                    if row.op != Op::MoveOut && (full || self.one_in(12)) {
                        self.flush(row.table.id);
                    }
                }
            }
        }
    }

    /// The live snapshots whose point is where this stream stands, and the marks asked for that
    /// it has passed, but for those it has given.
    fn marks(&self) -> Vec<u64> {
        let state = lock(&self.shared.state);
        let snapshots = state.snapshots.iter().filter(|(_, p)| **p == self.read);
        let marks = state.marks.iter().filter(|(_, p)| **p <= self.read);
        snapshots
            .chain(marks)
            .map(|(id, _)| *id)
            .filter(|id| !self.marked.contains(id))
            .collect()
    }

    fn commit(&mut self) {
        self.flush_all();
        self.committed = self.read;
        self.events
            .push_back(ChangeEvent::Commit(self.shared.checkpoint(
                self.committed,
                self.seq,
                self.commit_time,
            )));
    }

    /// Reads on, one transaction at most; whether anything came of it.
    fn advance(&mut self) -> bool {
        let due = self.marks();
        if !due.is_empty() {
            if self.read > self.committed || self.one_in(2) {
                self.commit();
            }
            for id in due {
                self.marked.insert(id);
                self.events.push_back(ChangeEvent::Mark { id });
            }
            return true;
        }
        let database = &self.shared.database;
        let Some(transaction) = database.logged(self.read + 1) else {
            if self.read > self.committed {
                self.commit();
                return true;
            }
            return false;
        };
        self.read += 1;
        self.take(&transaction);
        self.commit_time = transaction.commit_time;
        if self.one_in(3) {
            self.commit();
        }
        true
    }
}

#[async_trait]
impl ChangeStream for ScriptedStream {
    async fn next(&mut self) -> Result<ChangeEvent> {
        if self.over {
            return Err(Error::transient("the stream is over"));
        }
        let (pause, dropped) = {
            let mut state = lock(&self.shared.state);
            let faults = state.faults;
            let dropped = state.rng.random_range(0..1000) < faults.dropped;
            (pause(&mut state.rng, faults.slow), dropped)
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        if dropped {
            self.over = true;
            self.shared.trace.note(format_args!("connection dropped"));
            return Err(Error::transient("the connection was dropped"));
        }
        loop {
            if let Some(event) = self.events.pop_front() {
                match &event {
                    ChangeEvent::Commit(checkpoint) => {
                        let commit = Database::commit_of(&checkpoint.position);
                        let mut state = lock(&self.shared.state);
                        state.given = state.given.max(commit.unwrap_or_default());
                    }
                    ChangeEvent::Mark { id } => {
                        lock(&self.shared.state).marks.remove(id);
                    }
                    _ => {}
                }
                self.shared.trace.note(format_args!("{}", told(&event)));
                return Ok(event);
            }
            // A mark is wanted on an idle database too.
            let shared = Arc::clone(&self.shared);
            let marked = shared.marked.notified();
            if self.advance() {
                continue;
            }
            tokio::select! {
                biased;
                () = shared.database.committed_after(self.read) => {}
                () = marked => {}
            }
        }
    }

    fn acknowledge(&self, upto: &Position) -> Result<()> {
        let commit = Database::commit_of(upto)
            .ok_or_else(|| Error::data("the position is not this source's"))?;
        if commit > lock(&self.shared.state).given {
            self.shared
                .trace
                .violation(format!("commit {commit} was acknowledged, but never given"));
        }
        self.shared.trace.note(format_args!("acknowledge {commit}"));
        self.shared.database.forget(commit);
        Ok(())
    }

    fn progress(&self) -> StreamProgress {
        StreamProgress {
            read: self.read as u64 * LOG_BYTES,
            server: self.shared.database.head() as u64 * LOG_BYTES,
        }
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.shared.trace.note(format_args!(
            "stream from {} closed at {}",
            self.started_at, self.read
        ));
        Ok(())
    }
}

fn told(event: &ChangeEvent) -> String {
    match event {
        ChangeEvent::Schema(table) => format!("> schema {} v{}", table.name, table.version),
        ChangeEvent::Rows(batch) => {
            let (first, last) = batch.seq_range().unwrap_or_default();
            format!("> rows {} {first}..={last}", batch.table.name)
        }
        ChangeEvent::Truncate { tables, seq, .. } => format!("> truncate {tables:?} {seq}"),
        ChangeEvent::Notice(notice) => format!("> notice {}", notice.seq),
        ChangeEvent::Failed { table, seq, .. } => format!("> failed {table} {seq}"),
        ChangeEvent::Commit(checkpoint) => {
            format!("> commit {} {}", checkpoint.position, checkpoint.seq)
        }
        ChangeEvent::Mark { id } => format!("> mark {id}"),
    }
}
