//! A sink that takes everything and keeps nothing but where it is: to measure what source and journal do by
//! themselves, and to try a source's configuration out.
//!
//! # What it guarantees
//!
//! The checkpoint, the joined tables and the finished chunks are one small file, to which each commit adds a line: after
//! a crash the pipeline goes on where it was, like with any other sink. Rows are looked at by nobody.
//!
//! Leaves everything else to the engine: it is driven as every sink is, so that what it shows of speed is what any sink
//! is given.

mod notes;

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    Capabilities, ChangeBatch, Checkpoint, ChunkWriter, CopyId, CopyProgress, Error, Finding,
    JoinedTable, Result, Sink, TableCopy, TableId, TableSchema,
};
use serde::{Deserialize, Serialize};

use notes::{Change, Copied, Joined, Notes};

/// Settings of a sink that keeps nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlackholeConfig {
    /// The file of its checkpoint; its folder has to exist.
    pub path: String,
}

/// See the crate.
#[derive(Debug)]
pub struct Blackhole {
    notes: Notes,
    joins: Vec<Joined>,
    leaving: Vec<TableId>,
}

impl Blackhole {
    /// A sink over its file, which is not touched yet.
    #[must_use]
    pub fn new(config: BlackholeConfig) -> Self {
        Self {
            notes: Notes::new(config.path.into()),
            joins: Vec::new(),
            leaving: Vec::new(),
        }
    }
}

#[async_trait]
impl Sink for Blackhole {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            upsert: false,
            keyless_append: true,
            query: false,
            compare: false,
        }
    }

    async fn check(&mut self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn open(&mut self) -> Result<()> {
        self.notes.read().await
    }

    async fn committed(&mut self) -> Result<Option<Checkpoint>> {
        self.notes.with(|kept| Ok(kept.checkpoint.clone()))
    }

    async fn joined(&mut self) -> Result<Vec<JoinedTable>> {
        self.notes.with(|kept| {
            let joined = kept.joined.values().map(|joined| JoinedTable {
                table: Arc::clone(&joined.table),
                copy: joined.copy,
            });
            Ok(joined.collect())
        })
    }

    async fn apply_schema(&mut self, _: &Arc<TableSchema>) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, _: &ChangeBatch) -> Result<()> {
        Ok(())
    }

    async fn truncate(&mut self, _: &Arc<TableSchema>, _: u64, _: i64) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let change = Change {
            checkpoint: Some(checkpoint.clone()),
            joined: std::mem::take(&mut self.joins),
            left: std::mem::take(&mut self.leaving),
            ..Change::default()
        };
        self.notes.change(|_| Ok(change)).await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.joins.clear();
        self.leaving.clear();
        Ok(())
    }

    async fn copy(&mut self, _: &Arc<TableSchema>, copy: CopyId) -> Result<Box<dyn TableCopy>> {
        self.notes
            .change(|kept| {
                let copied = kept.copies.get(&copy).cloned();
                Ok(of_copies([(copy, Some(copied.unwrap_or_default()))]))
            })
            .await?;
        let notes = self.notes.clone();
        Ok(Box::new(Copying { notes, copy }))
    }

    async fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.notes.with(|kept| {
            kept.copies
                .get(&copy)
                .map(drop)
                .ok_or_else(|| Error::internal("a copy that is not there is to be joined"))
        })?;
        self.joins.push(Joined {
            table: Arc::clone(table),
            copy,
        });
        Ok(())
    }

    async fn leave(&mut self, table: TableId) -> Result<()> {
        self.leaving.push(table);
        Ok(())
    }

    async fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()> {
        self.notes
            .change(|kept| {
                let over = kept.copies.keys().filter(|copy| !keep.contains(copy));
                Ok(of_copies(over.map(|copy| (*copy, None))))
            })
            .await
    }

    fn exists(&self) -> bool {
        self.notes.exist()
    }

    async fn teardown(&mut self) -> Result<Vec<String>> {
        self.notes.remove()
    }
}

fn of_copies(copies: impl IntoIterator<Item = (CopyId, Option<Copied>)>) -> Change {
    Change {
        copies: copies.into_iter().collect(),
        ..Change::default()
    }
}

/// A copy of which only the finished chunks are known.
#[derive(Debug)]
struct Copying {
    notes: Notes,
    copy: CopyId,
}

impl Copying {
    async fn progressed(&self, change: impl FnOnce(&mut Copied)) -> Result<()> {
        let copy = self.copy;
        self.notes
            .change(|kept| {
                let copied = kept.copies.get(&copy).cloned();
                let mut copied = copied.ok_or_else(|| Error::transient("the copy was given up"))?;
                change(&mut copied);
                Ok(of_copies([(copy, Some(copied))]))
            })
            .await
    }
}

#[async_trait]
impl TableCopy for Copying {
    async fn progress(&mut self) -> Result<CopyProgress> {
        self.notes.with(|kept| {
            let copied = kept.copies.get(&self.copy).cloned().unwrap_or_default();
            Ok(CopyProgress {
                chunks: copied.chunks.into_iter().collect(),
                caught_up: copied.caught_up,
            })
        })
    }

    async fn chunk(&mut self, index: u32) -> Result<Box<dyn ChunkWriter>> {
        let (notes, copy) = (self.notes.clone(), self.copy);
        Ok(Box::new(Writing {
            copying: Self { notes, copy },
            index,
        }))
    }

    async fn apply_schema(&mut self, _: &Arc<TableSchema>) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, _: &ChangeBatch) -> Result<()> {
        Ok(())
    }

    async fn truncate(&mut self, _: u64, _: i64) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self, seq: u64) -> Result<()> {
        self.progressed(|copied| copied.caught_up = Some(seq)).await
    }
}

/// A chunk whose rows are thrown away.
#[derive(Debug)]
struct Writing {
    copying: Copying,
    index: u32,
}

#[async_trait]
impl ChunkWriter for Writing {
    async fn write(&mut self, _: &ChangeBatch) -> Result<()> {
        Ok(())
    }

    async fn finish(self: Box<Self>, seq: u64) -> Result<()> {
        let index = self.index;
        self.copying
            .progressed(|copied| {
                copied.chunks.insert(index, seq);
            })
            .await
    }
}

#[cfg(test)]
mod tests;
