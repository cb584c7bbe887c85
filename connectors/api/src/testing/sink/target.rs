//! The durable half of a [`super::MemorySink`], and its judgement of every commit.
//!
//! Invariant: everything here happened; nothing here is taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::testing::canonical::Row;
use crate::testing::content::{Content, Flavour, Refusal};
use crate::testing::database::{CommitNumber, Database, Table};
use crate::testing::lock;
use crate::testing::trace::Trace;
use crate::{
    ChangeBatch, Checkpoint, Column, CopyId, CopyProgress, Difference, Error, JoinedTable, Op,
    Result, TableId, TableSchema,
};

use super::MemorySink;

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
    copies: BTreeMap<CopyId, Copying>,
    /// Copies that were discarded, and their tables.
    discarded: BTreeMap<CopyId, TableId>,
    commits: u64,
    faults: SinkFaults,
    refused: BTreeSet<TableId>,
    rng: StdRng,
}

#[derive(Debug, Clone)]
struct Joined {
    content: Content,
    copy: CopyId,
    /// Out of the stream: readers still see it, as it was.
    left: bool,
}

#[derive(Debug)]
struct Copying {
    table: Arc<TableSchema>,
    chunks: BTreeMap<u32, FinishedChunk>,
    writing: BTreeSet<u32>,
    caught_up: Option<u64>,
    content: Option<Content>,
}

#[derive(Debug)]
struct FinishedChunk {
    seq: u64,
    batches: Vec<ChangeBatch>,
}

impl Copying {
    /// The chunks put together, older points first.
    fn assembled(&self, flavour: Flavour) -> Result<Content, Refusal> {
        if let Some(content) = &self.content {
            return Ok(content.clone());
        }
        let mut chunks: Vec<(&u32, &FinishedChunk)> = self.chunks.iter().collect();
        chunks.sort_by_key(|(index, chunk)| (chunk.seq, **index));
        let mut content = Content::new(Arc::clone(&self.table), flavour);
        for (_, chunk) in chunks {
            for batch in &chunk.batches {
                content.apply(batch, false)?;
            }
        }
        Ok(content)
    }

    fn points(&self) -> Option<(u64, u64)> {
        let points = || self.chunks.values().map(|chunk| chunk.seq);
        Some((points().min()?, points().max()?))
    }
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

    /// Whether the target holds every captured table that it can take, whole, with the content
    /// as of a commit, at a checkpoint that covers all captured changes up to there.
    ///
    /// # Errors
    /// Says what differs.
    pub fn equals(&self, database: &Database, commit: CommitNumber) -> Result<(), String> {
        let at = self.checkpoint().map(|checkpoint| checkpoint.seq);
        if at != database.seq(commit) {
            return Err(format!(
                "{} is at seq {at:?}, not {:?}",
                self.name,
                database.seq(commit)
            ));
        }
        let state = database.state(commit);
        for (id, table) in &state.tables {
            if !state.captured.contains(id) || self.durable().refused.contains(id) {
                continue;
            }
            let mirrored = self.flavour == Flavour::Log
                || !table.schema.key.is_empty()
                || table.schema.identity == crate::Identity::Full;
            if !mirrored {
                continue;
            }
            let content = self.joined_content(*id).filter(|_| self.is_joined(*id));
            let content = content
                .ok_or_else(|| format!("{} does not follow {}", self.name, table.schema.name))?;
            same(&content, table)
                .map_err(|what| format!("{}: {}: {what}", self.name, table.schema.name))?;
        }
        Ok(())
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
        pending: BTreeMap<TableId, Content>,
        joins: Vec<(Arc<TableSchema>, CopyId)>,
        leaving: BTreeSet<TableId>,
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

    /// Compares what readers see from now on with the truth.
    fn judge(&self, checkpoint: &Checkpoint) {
        let Some(truth) = &self.truth else {
            return;
        };
        let Some(commit) =
            Database::commit_of(&checkpoint.position).filter(|&commit| commit <= truth.head())
        else {
            self.violation(format_args!("commit at an unknown {}", checkpoint.position));
            return;
        };
        if truth.seq(commit) != Some(checkpoint.seq) {
            self.violation(format_args!(
                "commit {commit} with seq {}, which is {:?} there",
                checkpoint.seq,
                truth.seq(commit)
            ));
        }
        let state = truth.state(commit);
        let (mut money, mut purses) = (0, 0);
        for (id, joined) in &self.durable().tables {
            let Some(table) = state.tables.get(id) else {
                continue;
            };
            if joined.left || !state.captured.contains(id) {
                continue;
            }
            if let Err(what) = same(&joined.content, table) {
                self.violation(format_args!(
                    "at commit {commit} {} is not the source's: {what}",
                    table.schema.name
                ));
            }
            if table.money() != 0 || table.kinds.contains(&crate::testing::database::Kind::Money) {
                purses += 1;
                money += table.money();
            }
        }
        if purses == 2 && money != 0 {
            self.violation(format_args!("at commit {commit} the money sums to {money}"));
        }
    }

    pub(super) fn begin_copy(&self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        let mut durable = self.durable();
        if let Some(joined) = durable.tables.values().find(|joined| joined.copy == copy) {
            let name = joined.content.table().name.clone();
            drop(durable);
            self.violation(format_args!(
                "copy {} of {name} was joined already",
                self.nth(copy)
            ));
            return Err(Error::internal("joined already").for_table(table.id));
        }
        if let Some(copying) = durable.copies.get(&copy) {
            let shape = copying
                .content
                .as_ref()
                .map_or(&copying.table, |content| content.table());
            let other =
                shape.id != table.id || (!shape.same_shape(table) && copying.caught_up.is_none());
            drop(durable);
            if other {
                self.violation(format_args!(
                    "copy {} of {} resumed with another shape",
                    self.nth(copy),
                    table.name
                ));
            }
            return Ok(());
        }
        durable.copies.insert(
            copy,
            Copying {
                table: Arc::clone(table),
                chunks: BTreeMap::new(),
                writing: BTreeSet::new(),
                caught_up: None,
                content: None,
            },
        );
        drop(durable);
        self.note(format_args!(
            "copy {} of {} begins",
            self.nth(copy),
            table.name
        ));
        Ok(())
    }

    fn copying<T>(&self, copy: CopyId, with: impl FnOnce(&mut Copying) -> T) -> Result<T> {
        let mut durable = self.durable();
        if let Some(copying) = durable.copies.get_mut(&copy) {
            return Ok(with(copying));
        }
        // Whoever still writes a copy that nobody wants any more is told so.
        let gone = Error::data("the copy was discarded");
        if let Some(table) = durable.discarded.get(&copy) {
            return Err(gone.for_table(*table));
        }
        drop(durable);
        self.violation(format_args!(
            "copy {} is used, but it never was",
            self.nth(copy)
        ));
        Err(gone)
    }

    pub(super) fn progress(&self, copy: CopyId) -> Result<CopyProgress> {
        self.copying(copy, |copying| CopyProgress {
            chunks: copying.chunks.iter().map(|(i, c)| (*i, c.seq)).collect(),
            caught_up: copying.caught_up,
        })
    }

    pub(super) fn copy_points(&self, copy: CopyId) -> Result<Option<(u64, u64)>> {
        self.copying(copy, |copying| copying.points())
    }

    pub(super) fn copy_content(&self, copy: CopyId) -> Result<Content> {
        let flavour = self.flavour;
        let table = self.copying(copy, |copying| copying.table.id)?;
        self.copying(copy, |copying| copying.assembled(flavour))?
            .map_err(|refusal| super::refused(refusal, table))
    }

    pub(super) fn open_chunk(&self, copy: CopyId, index: u32) -> Result<Arc<TableSchema>> {
        let (breach, table) = self.copying(copy, |copying| {
            let breach = if copying.chunks.contains_key(&index) {
                Some("was finished already")
            } else if copying.caught_up.is_some() {
                Some("is written after the catch-up began")
            } else if !copying.writing.insert(index) {
                Some("has another writer")
            } else {
                None
            };
            (breach, Arc::clone(&copying.table))
        })?;
        if let Some(breach) = breach {
            self.violation(format_args!("chunk {index} of {} {breach}", table.name));
        }
        Ok(table)
    }

    pub(super) fn close_chunk(&self, copy: CopyId, index: u32) {
        if let Some(copying) = self.durable().copies.get_mut(&copy) {
            copying.writing.remove(&index);
        }
    }

    pub(super) fn finish_chunk(
        &self,
        copy: CopyId,
        index: u32,
        seq: u64,
        batches: Vec<ChangeBatch>,
    ) -> Result<()> {
        let twice = self.copying(copy, |copying| {
            copying.writing.remove(&index);
            let twice = copying.chunks.contains_key(&index);
            if !twice {
                copying.chunks.insert(index, FinishedChunk { seq, batches });
            }
            twice
        })?;
        if twice {
            self.violation(format_args!(
                "chunk {index} of copy {} finished twice",
                self.nth(copy)
            ));
        }
        self.note(format_args!(
            "chunk {index} of copy {} finished at {seq}",
            self.nth(copy)
        ));
        Ok(())
    }

    pub(super) fn commit_copy(&self, copy: CopyId, seq: u64, content: Content) -> Result<()> {
        let back = self.copying(copy, |copying| {
            let back = copying.caught_up.is_some_and(|before| before > seq);
            copying.caught_up = Some(seq);
            copying.content = Some(content);
            back
        })?;
        if back {
            self.violation(format_args!(
                "copy {} goes back to seq {seq}",
                self.nth(copy)
            ));
        }
        self.note(format_args!("copy {} caught up to {seq}", self.nth(copy)));
        Ok(())
    }

    pub(super) fn can_join(&self, table: TableId, copy: CopyId) -> bool {
        let durable = self.durable();
        let Some(copying) = durable.copies.get(&copy) else {
            drop(durable);
            self.violation(format_args!(
                "join of copy {}, which is not there",
                self.nth(copy)
            ));
            return false;
        };
        let wrong = if copying.table.id != table {
            Some("is of another table")
        } else if !copying.writing.is_empty() {
            Some("has open chunks")
        } else {
            None
        };
        drop(durable);
        if let Some(wrong) = wrong {
            self.violation(format_args!(
                "join of copy {}, which {wrong}",
                self.nth(copy)
            ));
        }
        wrong.is_none()
    }

    pub(super) fn discard_copies(&self, keep: &[CopyId]) {
        let mut durable = self.durable();
        let gone: Vec<(CopyId, TableId)> = durable
            .copies
            .iter()
            .filter(|(copy, _)| !keep.contains(copy))
            .map(|(copy, copying)| (*copy, copying.table.id))
            .collect();
        for (copy, table) in &gone {
            durable.copies.remove(copy);
            durable.discarded.insert(*copy, *table);
        }
        let gone = gone.len();
        drop(durable);
        let mut kept = keep.to_vec();
        kept.sort_unstable();
        let kept: Vec<usize> = kept.iter().map(|copy| self.nth(*copy)).collect();
        self.note(format_args!("discarded {gone} copies but {kept:?}"));
    }

    pub(super) fn forget_checkpoint(&self) {
        self.durable().checkpoint = None;
    }

    pub(super) fn compare(&self, table: TableId, copy: CopyId) -> Result<Difference> {
        let count = |rows: Vec<Row>| {
            rows.into_iter().fold(BTreeMap::new(), |mut counts, row| {
                *counts.entry(row).or_insert(0u64) += 1;
                counts
            })
        };
        let source = self.copy_content(copy)?;
        let Some(sink) = self.joined_content(table) else {
            return Err(Error::internal("the table is not there").for_table(table));
        };
        // A shape is told lazily: the copy may know a later one.
        let (source, sink) = in_common(
            (source.rows(), &source.table().columns),
            (sink.rows(), &sink.table().columns),
        );
        let (source, sink) = (count(source), count(sink));
        let only = |a: &BTreeMap<Row, u64>, b: &BTreeMap<Row, u64>| {
            a.iter()
                .map(|(row, n)| n.saturating_sub(b.get(row).copied().unwrap_or(0)))
                .sum()
        };
        Ok(Difference {
            rows: source.values().sum(),
            missing: only(&source, &sink),
            extra: only(&sink, &source),
            examples: Vec::new(),
        })
    }
}

/// Whether a content is the source's, in the columns that both know: a shape is told lazily.
fn same(content: &Content, table: &Table) -> Result<(), String> {
    let mut log_seq = 0;
    for entry in content.log() {
        if entry.op != "read" {
            if entry.seq <= log_seq {
                return Err(format!("the log has seq {} after {log_seq}", entry.seq));
            }
            log_seq = entry.seq;
        }
    }
    let (ours, theirs) = in_common(
        (content.rows(), &content.table().columns),
        (table.cells(), &table.schema.columns),
    );
    if ours == theirs {
        return Ok(());
    }
    let missing = theirs.iter().find(|row| !ours.contains(row));
    let extra = ours.iter().find(|row| !theirs.contains(row));
    Err(format!(
        "{} rows, should be {}; missing {missing:?}, too many {extra:?}",
        ours.len(),
        theirs.len()
    ))
}

/// Rows of both sides in the columns that both have, sorted.
fn in_common(ours: (Vec<Row>, &[Column]), theirs: (Vec<Row>, &[Column])) -> (Vec<Row>, Vec<Row>) {
    let ((our_rows, have), (their_rows, want)) = (ours, theirs);
    if have.len() == want.len() && have.iter().zip(want).all(|(a, b)| a.id == b.id) {
        return (our_rows, their_rows);
    }
    let shared: Vec<(usize, usize)> = have
        .iter()
        .enumerate()
        .filter_map(|(index, column)| Some((index, want.iter().position(|w| w.id == column.id)?)))
        .collect();
    let cut = |rows: Vec<Row>, pick: &dyn Fn(&(usize, usize)) -> usize| -> Vec<Row> {
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|row| shared.iter().map(|pair| row[pick(pair)].clone()).collect())
            .collect();
        rows.sort();
        rows
    };
    (
        cut(our_rows, &|pair| pair.0),
        cut(their_rows, &|pair| pair.1),
    )
}

/// Whether a batch is what [`ChangeBatch`] promises.
pub(crate) fn well_formed(batch: &ChangeBatch) -> Result<(), String> {
    let rows = batch.len();
    let name = &batch.table.name;
    if batch.rows.num_rows() != rows || batch.seq.len() != rows || batch.offset.len() != rows {
        return Err(format!("a batch of {name} has parts of different length"));
    }
    if batch.rows.schema() != *batch.table.arrow() {
        return Err(format!(
            "a batch of {name} has another Arrow schema than its table"
        ));
    }
    let reads = (0..rows).all(|row| batch.op(row) == Op::Read);
    if !reads && batch.seq.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(format!("the seq of a batch of {name} does not rise"));
    }
    for row in 0..rows {
        let follows = row > 0 && batch.op(row - 1) == Op::MoveOut;
        if (batch.op(row) == Op::MoveIn) != follows
            || (batch.op(row) == Op::MoveOut && row + 1 == rows)
        {
            return Err(format!("a key change of {name} was torn apart"));
        }
    }
    if !reads && batch.transactions.last().map(|run| run.end as usize) != Some(rows) {
        return Err(format!(
            "the transactions of a batch of {name} do not cover it"
        ));
    }
    Ok(())
}
