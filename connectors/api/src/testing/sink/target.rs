//! The durable half of a [`super::MemorySink`], which judges every commit (`judge`).
//!
//! Invariant: everything here happened; nothing here is taken back. Copies are `copying`'s.

mod copying;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::testing::content::{Content, Flavour};
use crate::testing::database::Database;
use crate::testing::lock;
use crate::testing::trace::Trace;
use crate::{Checkpoint, CopyId, Error, JoinedTable, Result, TableId, TableSchema};

use super::MemorySink;
use copying::Copying;
pub(crate) use judge::well_formed;

/// What goes wrong, in chances of a thousand per call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkFaults {
    /// The call fails before it did anything.
    pub rejected: u32,
    /// The call took effect, and its answer is lost.
    pub answer_lost: u32,
    /// The longest that a call takes.
    pub slow: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Rejected,
    AnswerLost,
}

/// What survives. Cheap to clone; every clone is the same target.
#[derive(Debug, Clone)]
pub struct MemoryTarget {
    name: Arc<str>,
    flavour: Flavour,
    trace: Trace,
    truth: Option<Database>,
    durable: Arc<Mutex<Durable>>,
    /// Copies in the order in which they were first seen: their ids come from a clock.
    seen: Arc<Mutex<Vec<CopyId>>>,
}

#[derive(Debug)]
struct Durable {
    owner: u64,
    checkpoint: Option<Checkpoint>,
    tables: BTreeMap<TableId, Joined>,
    /// The notices, by `seq`, and the first checkpoint's.
    notices: Vec<u64>,
    from: Option<u64>,
    copies: BTreeMap<CopyId, Copying>,
    /// Copies that were discarded, and their tables.
    discarded: BTreeMap<CopyId, TableId>,
    commits: u64,
    faults: SinkFaults,
    refused: BTreeSet<TableId>,
    rng: StdRng,
}

/// What a commit holds: contents, tables that join and leave, notices.
pub(super) type Accepted = (
    BTreeMap<TableId, Content>,
    Vec<(Arc<TableSchema>, CopyId)>,
    BTreeSet<TableId>,
    Vec<u64>,
);

#[derive(Debug, Clone)]
struct Joined {
    content: Content,
    copy: CopyId,
    /// Out of the stream: readers still see it, as it was.
    left: bool,
}

impl MemoryTarget {
    /// An empty target. With a database, every commit is compared with it.
    pub fn new(
        name: &str,
        flavour: Flavour,
        seed: u64,
        truth: Option<&Database>,
        trace: &Trace,
    ) -> Self {
        Self {
            name: name.into(),
            flavour,
            trace: trace.clone(),
            truth: truth.cloned(),
            durable: Arc::new(Mutex::new(Durable {
                owner: 0,
                checkpoint: None,
                tables: BTreeMap::new(),
                notices: Vec::new(),
                from: None,
                copies: BTreeMap::new(),
                discarded: BTreeMap::new(),
                commits: 0,
                faults: SinkFaults::default(),
                refused: BTreeSet::new(),
                rng: StdRng::seed_from_u64(seed ^ 0x7369_6e6b),
            })),
            seen: Arc::default(),
        }
    }

    /// A handle, not opened.
    pub fn sink(&self) -> MemorySink {
        MemorySink::new(self.clone())
    }

    /// What the target makes of changes.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: SinkFaults) {
        self.durable().faults = faults;
    }

    /// Refuses, or takes again, the rows of a table.
    pub fn refuse_rows_of(&self, table: TableId, refuse: bool) {
        let mut durable = self.durable();
        if refuse {
            durable.refused.insert(table);
        } else {
            durable.refused.remove(&table);
        }
    }

    /// The durable checkpoint.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.durable().checkpoint.clone()
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.durable().commits
    }

    /// What readers see of a table.
    pub fn joined_content(&self, table: TableId) -> Option<Content> {
        self.durable()
            .tables
            .get(&table)
            .map(|joined| joined.content.clone())
    }

    /// The tables that readers see and the stream keeps up to date.
    pub fn joined(&self) -> Vec<JoinedTable> {
        self.durable()
            .tables
            .values()
            .filter(|joined| !joined.left)
            .map(|joined| JoinedTable {
                table: Arc::clone(joined.content.table()),
                copy: joined.copy,
            })
            .collect()
    }

    /// Whether the stream keeps the table up to date.
    pub fn is_joined(&self, table: TableId) -> bool {
        self.durable()
            .tables
            .get(&table)
            .is_some_and(|joined| !joined.left)
    }

    /// The copies under way.
    pub fn copies(&self) -> Vec<CopyId> {
        self.durable().copies.keys().copied().collect()
    }

    /// Records a breach that someone else has found.
    pub fn judged(&self, what: impl Display) {
        self.violation(what);
    }

    /// The tables whose rows are refused.
    pub fn refused(&self) -> Vec<TableId> {
        self.durable().refused.iter().copied().collect()
    }

    fn durable(&self) -> MutexGuard<'_, Durable> {
        lock(&self.durable)
    }

    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        self.trace.note(format_args!("{}: {what}", self.name));
    }

    pub(super) fn violation(&self, what: impl Display) {
        self.trace.violation(format!("{}: {what}", self.name));
    }

    /// What a copy is called in the trace.
    pub(super) fn nth(&self, copy: CopyId) -> usize {
        let mut seen = lock(&self.seen);
        let known = seen.iter().position(|known| *known == copy);
        known.unwrap_or_else(|| {
            seen.push(copy);
            seen.len() - 1
        })
    }

    pub(super) fn owner(&self) -> u64 {
        self.durable().owner
    }

    pub(super) fn take_over(&self) -> u64 {
        let mut durable = self.durable();
        durable.owner += 1;
        for copy in durable.copies.values_mut() {
            copy.writing.clear();
        }
        durable.owner
    }

    pub(super) async fn pause(&self) {
        let pause = {
            let mut durable = self.durable();
            let slow = durable.faults.slow;
            let most = u64::try_from(slow.as_micros()).unwrap_or(u64::MAX);
            (most > 0 && durable.rng.random_range(0..3) == 0)
                .then(|| Duration::from_micros(durable.rng.random_range(1..=most)))
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) fn fault(&self, what: &str) -> Option<Fault> {
        let mut durable = self.durable();
        let faults = durable.faults;
        if faults.rejected + faults.answer_lost == 0 {
            return None;
        }
        let roll = durable.rng.random_range(0..1000);
        drop(durable);
        let fault = if roll < faults.rejected {
            Fault::Rejected
        } else if roll < faults.rejected + faults.answer_lost {
            Fault::AnswerLost
        } else {
            return None;
        };
        self.note(format_args!("{what} {fault:?}"));
        Some(fault)
    }

    pub(super) fn refuses_rows_of(&self, table: TableId) -> bool {
        self.durable().refused.contains(&table)
    }

    pub(super) fn commit(
        &self,
        checkpoint: &Checkpoint,
        (pending, joins, leaving, notices): Accepted,
    ) -> Result<()> {
        let before = self.checkpoint();
        if before
            .as_ref()
            .is_some_and(|before| before.seq > checkpoint.seq)
        {
            self.violation(format_args!("commit goes back to seq {}", checkpoint.seq));
        }
        let mut joining = Vec::new();
        for (table, copy) in joins {
            let assembled = {
                let durable = self.durable();
                let Some(copying) = durable.copies.get(&copy) else {
                    return Err(Error::internal("the copy is not there").for_table(table.id));
                };
                let at = copying
                    .caught_up
                    .or_else(|| copying.points().map(|(_, newest)| newest));
                if at.is_some_and(|at| at != checkpoint.seq) {
                    self.violation(format_args!(
                        "{} joins at seq {}, its copy is at {at:?}",
                        table.name, checkpoint.seq
                    ));
                }
                if copying
                    .points()
                    .is_some_and(|(_, newest)| newest > checkpoint.seq)
                {
                    self.violation(format_args!(
                        "{} joins at seq {}, before its newest chunk",
                        table.name, checkpoint.seq
                    ));
                }
                copying.assembled(self.flavour)
            };
            let content = assembled.map_err(|refusal| super::refused(refusal, table.id))?;
            joining.push((table, copy, content));
        }
        for (table, copy, content) in joining {
            let mut durable = self.durable();
            durable.copies.remove(&copy);
            durable.tables.insert(
                table.id,
                Joined {
                    content,
                    copy,
                    left: false,
                },
            );
            drop(durable);
            self.note(format_args!(
                "joined {} from copy {}",
                table.name,
                self.nth(copy)
            ));
        }
        {
            let mut durable = self.durable();
            for (table, content) in pending {
                if let Some(joined) = durable.tables.get_mut(&table) {
                    joined.content = content;
                }
            }
            for table in leaving {
                if let Some(joined) = durable.tables.get_mut(&table) {
                    joined.left = true;
                }
            }
            durable.notices.extend(notices);
            durable.from.get_or_insert(checkpoint.seq);
            durable.checkpoint = Some(checkpoint.clone());
            durable.commits += 1;
        }
        self.note(format_args!(
            "commit {} {}",
            checkpoint.position, checkpoint.seq
        ));
        self.judge(checkpoint);
        Ok(())
    }

    pub(super) fn forget_checkpoint(&self) {
        self.durable().checkpoint = None;
    }
}
