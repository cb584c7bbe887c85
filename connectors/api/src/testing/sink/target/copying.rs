//! The copies under way in a [`MemoryTarget`]: chunks, their replay, and what becomes of them.
//!
//! Invariant: a chunk is finished once, by its only writer, and before the catch-up begins; every
//! breach is noted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Joined, MemoryTarget};
use crate::testing::content::{Content, Flavour, Refusal};
use crate::testing::database::{Database, batch_of};
use crate::testing::sink::refused;
use crate::{ChangeBatch, Checkpoint, CopyId, CopyProgress, Error, Result, TableId, TableSchema};

#[derive(Debug)]
pub(super) struct Copying {
    table: Arc<TableSchema>,
    chunks: BTreeMap<u32, FinishedChunk>,
    pub(super) writing: BTreeSet<u32>,
    pub(super) caught_up: Option<u64>,
    content: Option<Content>,
}

#[derive(Debug)]
struct FinishedChunk {
    seq: u64,
    batches: Vec<ChangeBatch>,
}

impl Copying {
    /// The chunks put together, older points first.
    pub(super) fn assembled(&self, flavour: Flavour) -> Result<Content, Refusal> {
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

    pub(super) fn points(&self) -> Option<(u64, u64)> {
        let points = || self.chunks.values().map(|chunk| chunk.seq);
        Some((points().min()?, points().max()?))
    }
}

impl MemoryTarget {
    pub(crate) fn begin_copy(&self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
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

    /// Takes a table whose readers have its rows from elsewhere: those of the source at the commit,
    /// or of when the table was captured, where that was later.
    ///
    /// Without a database at hand there is nothing elsewhere, and the table has no rows.
    pub(crate) fn adopt(
        &self,
        table: &Arc<TableSchema>,
        copy: CopyId,
        at: &Checkpoint,
    ) -> Result<()> {
        let mut content = Content::new(Arc::clone(table), self.flavour);
        if let Some(truth) = &self.truth {
            let from = Database::commit_of(&at.position).unwrap_or_default();
            let mut states = (from..=truth.head()).map(|commit| truth.state(commit));
            let captured = states.find(|state| state.captured.contains(&table.id));
            if let Some(table) = captured.and_then(|state| state.tables.get(&table.id).cloned()) {
                let rows: Vec<_> = table
                    .rows
                    .values()
                    .map(|row| Some(row.as_slice()))
                    .collect();
                content = Content::new(Arc::clone(&table.schema), self.flavour);
                let rows = batch_of(&table.schema, &rows);
                let read =
                    ChangeBatch::of_snapshot(Arc::clone(&table.schema), rows, at.seq, at.offset);
                content
                    .apply(&read, false)
                    .map_err(|refusal| refused(refusal, table.schema.id))?;
            }
        }
        let joined = Joined {
            content,
            copy,
            left: false,
        };
        self.durable().tables.insert(table.id, joined);
        self.note(format_args!("{} is adopted", table.name));
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

    pub(crate) fn progress(&self, copy: CopyId) -> Result<CopyProgress> {
        self.copying(copy, |copying| CopyProgress {
            chunks: copying.chunks.iter().map(|(i, c)| (*i, c.seq)).collect(),
            caught_up: copying.caught_up,
        })
    }

    pub(crate) fn copy_points(&self, copy: CopyId) -> Result<Option<(u64, u64)>> {
        self.copying(copy, |copying| copying.points())
    }

    pub(crate) fn copy_content(&self, copy: CopyId) -> Result<Content> {
        let flavour = self.flavour;
        let table = self.copying(copy, |copying| copying.table.id)?;
        self.copying(copy, |copying| copying.assembled(flavour))?
            .map_err(|refusal| refused(refusal, table))
    }

    pub(crate) fn open_chunk(&self, copy: CopyId, index: u32) -> Result<Arc<TableSchema>> {
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

    pub(crate) fn close_chunk(&self, copy: CopyId, index: u32) {
        if let Some(copying) = self.durable().copies.get_mut(&copy) {
            copying.writing.remove(&index);
        }
    }

    pub(crate) fn finish_chunk(
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

    pub(crate) fn commit_copy(&self, copy: CopyId, seq: u64, content: Content) -> Result<()> {
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

    pub(crate) fn can_join(&self, table: TableId, copy: CopyId) -> bool {
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

    pub(crate) fn discard_copies(&self, keep: &[CopyId]) {
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
}
