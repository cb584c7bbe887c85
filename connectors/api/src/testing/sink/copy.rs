//! A copy into a [`super::MemoryTarget`], beside what readers see.
//!
//! Invariant: what a dropped handle or chunk writer had accepted is gone; what it made durable is
//! read back by [`TableCopy::progress`].

use std::sync::Arc;

use async_trait::async_trait;

use crate::testing::content::Content;
use crate::{
    ChangeBatch, ChunkWriter, CopyId, CopyProgress, Error, Op, Result, TableCopy, TableSchema,
};

use super::refused;
use super::target::{Fault, MemoryTarget, well_formed};

pub(super) struct MemoryCopy {
    target: MemoryTarget,
    owner: u64,
    copy: CopyId,
    pending: Option<Content>,
    given: Option<u64>,
    failed: bool,
}

impl MemoryCopy {
    pub(super) fn new(target: MemoryTarget, owner: u64, copy: CopyId) -> Self {
        Self {
            target,
            owner,
            copy,
            pending: None,
            given: None,
            failed: false,
        }
    }

    async fn before(&mut self, what: &str) -> Result<()> {
        if self.failed {
            self.target.violation(format_args!(
                "{what} of copy {} after an error: it is to be opened again",
                self.target.nth(self.copy)
            ));
        }
        self.target.pause().await;
        still_owned(&self.target, self.owner)?;
        if self.target.fault(what) == Some(Fault::Rejected) {
            self.failed = true;
            return Err(Error::transient(format!("{what} was rejected")));
        }
        Ok(())
    }

    fn content(&mut self) -> Result<&mut Content> {
        if self.pending.is_none() {
            self.pending = Some(self.target.copy_content(self.copy)?);
        }
        self.pending
            .as_mut()
            .ok_or_else(|| Error::internal("just set"))
    }

    /// Checks the place of a change in the order; whether it must fit what is there exactly.
    fn ordered(&mut self, first: u64, last: u64) -> Result<bool> {
        let progress = self.target.progress(self.copy)?;
        let points = self.target.copy_points(self.copy)?;
        let start = points.map_or(0, |(oldest, _)| oldest);
        let before = self
            .given
            .or(progress.caught_up)
            .unwrap_or(start)
            .max(start);
        if first <= before {
            self.target.violation(format_args!(
                "catch-up of copy {} with seq {first}, not above {before}",
                self.target.nth(self.copy)
            ));
        }
        self.given = Some(last);
        Ok(points.is_none_or(|(_, newest)| first > newest))
    }
}

fn still_owned(target: &MemoryTarget, owner: u64) -> Result<()> {
    if target.owner() == owner {
        return Ok(());
    }
    target.violation("a copy was used after another instance was opened");
    Err(Error::fenced("another instance has taken over"))
}

#[async_trait]
impl TableCopy for MemoryCopy {
    async fn progress(&mut self) -> Result<CopyProgress> {
        self.target.pause().await;
        still_owned(&self.target, self.owner)?;
        if self.target.fault("progress").is_some() {
            return Err(Error::transient("progress was rejected"));
        }
        self.target.progress(self.copy)
    }

    async fn chunk(&mut self, index: u32) -> Result<Box<dyn ChunkWriter>> {
        self.before("chunk").await?;
        let table = self.target.open_chunk(self.copy, index)?;
        Ok(Box::new(MemoryChunk {
            target: self.target.clone(),
            owner: self.owner,
            copy: self.copy,
            index,
            table,
            batches: Vec::new(),
        }))
    }

    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.before("copy apply_schema").await?;
        let applied = self.content()?.apply_schema(table);
        applied.map_err(|refusal| {
            self.failed = true;
            refused(refusal, table.id)
        })
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.before("copy write").await?;
        if let Err(what) = well_formed(batch) {
            self.target.violation(what);
        }
        let Some((first, last)) = batch.seq_range() else {
            return Ok(());
        };
        self.target.note(format_args!(
            "copy {} write {first}..={last}",
            self.target.nth(self.copy)
        ));
        if self.target.refuses_rows_of(batch.table.id) {
            self.failed = true;
            return Err(Error::data("a value cannot be represented")
                .hint("exclude the table")
                .for_table(batch.table.id));
        }
        let exact = self.ordered(first, last)?;
        let applied = self.content()?.apply(batch, exact);
        applied.map_err(|refusal| {
            self.failed = true;
            let error = refused(refusal.clone(), batch.table.id);
            if error.kind() != crate::ErrorKind::LogLost {
                self.target
                    .violation(format_args!("copy of {}: {refusal:?}", batch.table.name));
            }
            error
        })
    }

    async fn truncate(&mut self, seq: u64, _commit_time: i64) -> Result<()> {
        self.before("copy truncate").await?;
        self.ordered(seq, seq)?;
        self.content()?.truncate(seq);
        Ok(())
    }

    async fn commit(&mut self, seq: u64) -> Result<()> {
        self.before("copy commit").await?;
        if self.given.is_some_and(|last| last > seq) {
            self.target.violation(format_args!(
                "copy {} commits at seq {seq} after a row with {:?}",
                self.target.nth(self.copy),
                self.given
            ));
        }
        let content = self.content()?.clone();
        self.target.commit_copy(self.copy, seq, content)?;
        self.pending = None;
        self.given = None;
        if self.target.fault("copy commit answered") == Some(Fault::AnswerLost) {
            self.failed = true;
            return Err(Error::transient("the answer to the copy's commit was lost"));
        }
        self.target.pause().await;
        Ok(())
    }
}

struct MemoryChunk {
    target: MemoryTarget,
    owner: u64,
    copy: CopyId,
    index: u32,
    table: Arc<TableSchema>,
    batches: Vec<ChangeBatch>,
}

impl Drop for MemoryChunk {
    fn drop(&mut self) {
        if self.target.owner() == self.owner {
            self.target.close_chunk(self.copy, self.index);
        }
    }
}

#[async_trait]
impl ChunkWriter for MemoryChunk {
    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.target.pause().await;
        still_owned(&self.target, self.owner)?;
        if self.target.fault("chunk write").is_some() {
            return Err(Error::transient("chunk write was rejected"));
        }
        if let Err(what) = well_formed(batch) {
            self.target.violation(what);
        }
        if (0..batch.len()).any(|row| batch.op(row) != Op::Read) {
            self.target
                .violation(format_args!("a chunk of {} with changes", self.table.name));
        }
        if !batch.table.same_shape(&self.table) {
            self.target.violation(format_args!(
                "a chunk of {} with shape version {} in a copy of shape version {}",
                self.table.name, batch.table.version, self.table.version
            ));
            return Err(Error::internal("another shape").for_table(self.table.id));
        }
        if self.target.refuses_rows_of(batch.table.id) {
            return Err(Error::data("a value cannot be represented")
                .hint("exclude the table")
                .for_table(batch.table.id));
        }
        self.batches.push(batch.clone());
        Ok(())
    }

    async fn finish(mut self: Box<Self>, seq: u64) -> Result<()> {
        self.target.pause().await;
        still_owned(&self.target, self.owner)?;
        if self.target.fault("chunk finish") == Some(Fault::Rejected) {
            return Err(Error::transient("chunk finish was rejected"));
        }
        if self
            .batches
            .iter()
            .any(|batch| batch.seq.iter().any(|row| *row != seq))
        {
            self.target.violation(format_args!(
                "chunk {} of {} has rows of another point than {seq}",
                self.index, self.table.name
            ));
        }
        let batches = std::mem::take(&mut self.batches);
        self.target
            .finish_chunk(self.copy, self.index, seq, batches)?;
        if self.target.fault("chunk finish answered") == Some(Fault::AnswerLost) {
            return Err(Error::transient("the answer to chunk finish was lost"));
        }
        Ok(())
    }
}
