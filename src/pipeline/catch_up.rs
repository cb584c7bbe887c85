//! A copied table replays its own changes from its snapshot's point on, until it is where the
//! sink's main stream is.
//!
//! Invariant (4): a row change is applied to the copy exactly if its `seq` is above the point
//! that the copy starts from; of a copy whose chunks have several points (it was resumed after a
//! crash) the replay starts at the oldest, and the table is whole once the newest is passed.
//! Full rows make a replay over newer rows right, since each change sets what it sets again. The
//! exception is a key change with an absent column: the row now under its old key may be another
//! one than it was then. Before the newest point such a change sends the copy back to its start.

use std::collections::VecDeque;
use std::sync::Arc;

use cdc_api::{
    ChangeBatch, ChangeEvent, CopyId, Error, Op, Result, TableCopy, TableId, TableSchema,
};

use super::job::Purpose;
use crate::journal::{Cursor, Pin};

/// Rows applied to a copy before its progress is made durable.
const ROWS_PER_COMMIT: usize = 200_000;

/// A copy whose chunks are all finished.
pub(super) struct CatchUp {
    pub(super) id: CopyId,
    pub(super) purpose: Purpose,
    /// The shape that the copy has now.
    pub(super) table: Arc<TableSchema>,
    pub(super) copy: Box<dyn TableCopy>,
    cursor: Cursor,
    /// Everything up to here is in the copy.
    through: u64,
    /// The copy is not whole before here.
    pub(super) whole_at: u64,
    /// All events of the journal up to a commit with this `seq` have been seen.
    seen: u64,
    held: VecDeque<Step>,
    uncommitted: usize,
    pin: Pin,
}

/// A change of this table, past the target of the last run.
enum Step {
    Rows(ChangeBatch),
    Truncate {
        seq: u64,
        commit_time: i64,
    },
    Failed {
        seq: u64,
        message: String,
        hint: String,
    },
}

impl Step {
    fn seq(&self) -> u64 {
        match self {
            Self::Rows(batch) => batch.seq_range().map_or(0, |(first, _)| first),
            Self::Truncate { seq, .. } | Self::Failed { seq, .. } => *seq,
        }
    }
}

/// What a catch-up begins with.
pub(super) struct Begin {
    pub(super) id: CopyId,
    pub(super) purpose: Purpose,
    pub(super) table: Arc<TableSchema>,
    pub(super) copy: Box<dyn TableCopy>,
    pub(super) cursor: Cursor,
    pub(super) from: u64,
    pub(super) whole_at: u64,
    pub(super) pin: Pin,
}

impl CatchUp {
    /// From `begin.from`, with a cursor that yields everything after it.
    pub(super) fn begin(begin: Begin) -> Self {
        Self {
            id: begin.id,
            purpose: begin.purpose,
            table: begin.table,
            copy: begin.copy,
            cursor: begin.cursor,
            through: begin.from,
            whole_at: begin.whole_at,
            seen: begin.from,
            held: VecDeque::new(),
            uncommitted: 0,
            pin: begin.pin,
        }
    }

    /// Applies every change up to `target`, the `seq` of a commit; gives the rows applied.
    /// Durable when it returns.
    pub(super) async fn run_to(&mut self, target: u64) -> Result<usize> {
        let mut applied = 0;
        loop {
            while self.held.front().is_some_and(|step| step.seq() <= target) {
                if let Some(step) = self.held.pop_front() {
                    applied += self.apply(step, target).await?;
                }
            }
            if self.seen >= target {
                break;
            }
            let event = self.cursor.next().await?;
            self.hold(&event);
        }
        if self.through < target || self.uncommitted > 0 {
            self.copy.commit(target).await?;
            self.uncommitted = 0;
            self.through = self.through.max(target);
            self.pin.advance(self.through);
        }
        Ok(applied)
    }

    fn hold(&mut self, event: &ChangeEvent) {
        match event {
            ChangeEvent::Rows(batch) if batch.table.id == self.table.id => {
                self.held
                    .extend(batch.clone().after(self.through).map(Step::Rows));
            }
            ChangeEvent::Truncate {
                tables,
                seq,
                commit_time,
            } if tables.contains(&self.table.id) && *seq > self.through => {
                self.held.push_back(Step::Truncate {
                    seq: *seq,
                    commit_time: *commit_time,
                });
            }
            ChangeEvent::Failed {
                table,
                seq,
                message,
                hint,
            } if *table == self.table.id && *seq > self.through => {
                self.held.push_back(Step::Failed {
                    seq: *seq,
                    message: message.clone(),
                    hint: hint.clone(),
                });
            }
            ChangeEvent::Commit(checkpoint) => self.seen = self.seen.max(checkpoint.seq),
            _ => {}
        }
    }

    async fn apply(&mut self, step: Step, target: u64) -> Result<usize> {
        match step {
            Step::Rows(batch) => {
                let rest = batch.clone().after(target);
                let Some(batch) = batch.up_to(target) else {
                    self.held.extend(rest.map(Step::Rows));
                    return Ok(0);
                };
                if let Some(rest) = rest {
                    self.held.push_front(Step::Rows(rest));
                }
                if self.moves_blindly(&batch) {
                    return Err(Error::log_lost(
                        "a key changed while the copy was interrupted, and the row's unchanged \
                         columns may be in no chunk",
                    )
                    .for_table(self.table.id));
                }
                if !batch.table.same_shape(&self.table) {
                    self.copy.apply_schema(&batch.table).await?;
                    self.table = Arc::clone(&batch.table);
                }
                self.copy.write(&batch).await?;
                if let Some((_, last)) = batch.seq_range() {
                    self.through = self.through.max(last);
                }
                self.uncommitted += batch.len();
                if self.uncommitted >= ROWS_PER_COMMIT {
                    self.copy.commit(self.through).await?;
                    self.uncommitted = 0;
                    self.pin.advance(self.through);
                }
                Ok(batch.len())
            }
            Step::Truncate { seq, commit_time } => {
                self.copy.truncate(seq, commit_time).await?;
                self.through = self.through.max(seq);
                self.uncommitted += 1;
                Ok(1)
            }
            Step::Failed { message, hint, .. } => {
                Err(Error::data(message).hint(hint).for_table(self.table.id))
            }
        }
    }

    /// Whether a row takes absent columns over from under another key, at a time when the chunks
    /// of the copy do not agree.
    fn moves_blindly(&self, batch: &ChangeBatch) -> bool {
        let mixed = batch.seq.partition_point(|&seq| seq <= self.whole_at);
        (0..mixed).any(|row| {
            batch.op(row) == Op::MoveIn
                && (0..batch.absent.len()).any(|column| batch.is_absent(column, row))
        })
    }

    /// The table's id, whatever its shape.
    pub(super) fn table_id(&self) -> TableId {
        self.table.id
    }
}
