//! The judgement of what a [`MemoryTarget`] holds, against the source's truth and a copy.
//!
//! Leaves it to `target` when to judge.

use std::collections::BTreeMap;

use super::MemoryTarget;
use crate::testing::canonical::Row;
use crate::testing::content::{Content, Flavour};
use crate::testing::database::{CommitNumber, Database, Kind, Table};
use crate::{
    ChangeBatch, Checkpoint, Column, CopyId, Difference, Error, Identity, Op, Result, TableId,
};

impl MemoryTarget {
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
                || table.schema.identity == Identity::Full;
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

    /// Compares what readers see from now on with the truth.
    pub(super) fn judge(&self, checkpoint: &Checkpoint) {
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
        let durable = self.durable();
        let from = durable.from.unwrap_or(0);
        let notices = durable.notices.clone();
        drop(durable);
        let mut wanted = truth.notices(commit);
        wanted.retain(|seq| *seq > from);
        if notices != wanted {
            self.violation(format_args!(
                "at commit {commit} the notices are {notices:?}, should be {wanted:?}"
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
            if table.money() != 0 || table.kinds.contains(&Kind::Money) {
                purses += 1;
                money += table.money();
            }
        }
        if purses == 2 && money != 0 {
            self.violation(format_args!("at commit {commit} the money sums to {money}"));
        }
    }

    pub(crate) fn compare(&self, table: TableId, copy: CopyId) -> Result<Difference> {
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
