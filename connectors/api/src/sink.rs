//! The sink's side of the contract: a target that is kept equal to the source.
//!
//! ## What the engine promises
//!
//! - One task at a time drives a sink. Events come in `seq` order and whole transactions: all
//!   rows up to the checkpoint of a [`Sink::commit`] are written before it, no row after it.
//! - After an error, or to give up on what was written, the engine calls [`Sink::rollback`], reads
//!   [`Sink::committed`] back and gives everything after it again, with the same `seq`.
//! - Of a table that is not joined (see [`Sink::joined`]) the main stream gives nothing. Its rows
//!   come through a [`TableCopy`]: existing rows in chunks, then its own changes from the
//!   snapshot's point on (catch-up); then [`Sink::join`] followed by a [`Sink::commit`] makes it
//!   visible, whole, in the very transaction in which it joins the stream.
//!
//! ## What a sink promises
//!
//! - After `commit` returns, all earlier writes are durable *with* the checkpoint, in one atomic
//!   act where the target can do that. A crash before leaves the earlier checkpoint and content.
//! - A commit whose answer is lost is found by `committed`: nothing is applied twice.
//! - Copies, chunks and the catch-up's progress are durable in the target, and read back from it:
//!   the engine's own notes may be older.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    BatchReader, ChangeBatch, Checkpoint, Error, Finding, Notice, Result, TableId, TableSchema,
};

/// What a target can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether rows replace earlier rows of the same key (a mirror), or are only added (a log).
    pub upsert: bool,
    /// Whether tables without a key and without full old rows are taken: true for logs.
    pub keyless_append: bool,
    /// Whether [`Sink::reader`] gives a reader.
    pub query: bool,
    /// Whether [`Sink::compare`] works.
    pub compare: bool,
}

/// Names one copy of one table into one sink, over restarts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct CopyId(pub u64);

/// A table that a sink holds whole and keeps up to date, as read back from the target.
#[derive(Debug, Clone)]
pub struct JoinedTable {
    /// The table's shape as last applied.
    pub table: Arc<TableSchema>,
    /// The copy that it came from.
    pub copy: CopyId,
}

/// A target.
#[async_trait]
pub trait Sink: Send {
    /// What the target can do; constant.
    fn capabilities(&self) -> Capabilities;

    /// Read-only preflight, each finding with its remedy. Works on a sink that was never opened.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn check(&mut self) -> Result<Vec<Finding>>;

    /// Connects, recovers from a crash (removes what no checkpoint covers), creates bookkeeping.
    /// Safe to repeat; called before everything below.
    ///
    /// # Errors
    /// Transient when the target cannot be reached; with the remedy when it is locked by another.
    async fn open(&mut self) -> Result<()>;

    /// The last durable checkpoint, read back from the target; `None` if there never was one.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn committed(&mut self) -> Result<Option<Checkpoint>>;

    /// The tables that the target holds whole at [`committed`](Sink::committed), read back.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn joined(&mut self) -> Result<Vec<JoinedTable>>;

    /// Makes the target's table fit this shape, before the rows that need it; part of the next
    /// commit where the target has transactional DDL. A shape that is already there is no change.
    ///
    /// # Errors
    /// With the table and the remedy, when the target cannot follow: that table stops.
    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()>;

    /// Takes rows of a joined table: accepted, not durable. Batches follow each other in `seq`
    /// order per table.
    ///
    /// # Errors
    /// With the table, when its rows cannot be represented: that table stops.
    async fn write(&mut self, batch: &ChangeBatch) -> Result<()>;

    /// Takes a notice: accepted, not durable, part of the next commit. Only for targets of events;
    /// others have no place for what is of no table, and pass it over.
    ///
    /// # Errors
    /// When it cannot be represented: the sink stops.
    async fn notice(&mut self, notice: &Notice) -> Result<()> {
        let _ = notice;
        Ok(())
    }

    /// Empties a joined table at this point of the order.
    ///
    /// # Errors
    /// As for [`write`](Sink::write).
    async fn truncate(
        &mut self,
        table: &Arc<TableSchema>,
        seq: u64,
        commit_time: i64,
    ) -> Result<()>;

    /// Makes everything since the last commit durable and visible, with the checkpoint. May come
    /// with nothing written (an idle advance), and with the last checkpoint again (to join a
    /// table).
    ///
    /// # Errors
    /// After an error the outcome is unknown until [`committed`](Sink::committed) is read back.
    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()>;

    /// Gives up everything since the last commit.
    ///
    /// # Errors
    /// When the target cannot be told; open it again then.
    async fn rollback(&mut self) -> Result<()>;

    /// Begins or resumes a copy of a table, beside the table that readers see. Runs alongside the
    /// main stream, and other copies, on resources of its own.
    ///
    /// # Errors
    /// As for [`open`](Sink::open); with the table when its shape cannot be represented.
    async fn copy(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Box<dyn TableCopy>>;

    /// Swaps a finished copy in for the table (if there was one): part of the next commit, whose
    /// `seq` is the copy's own.
    ///
    /// # Errors
    /// When the copy is not there.
    async fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()>;

    /// Takes a table as it is: its readers have the existing rows already, from elsewhere, and the
    /// target gets its changes from the next commit on, of which this is part.
    ///
    /// # Errors
    /// `Config` in sinks that are equal to the source only by a copy.
    async fn adopt(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        let _ = copy;
        Err(Error::config(format!(
            "{} can be read in this sink only after a copy of its rows",
            table.name
        ))
        .hint("leave `snapshot.initial: false` out of the sink"))
    }

    /// Takes a table out of the stream: part of the next commit, after which
    /// [`joined`](Sink::joined) lists it no more. What readers see of it stays as it is. Used
    /// for a table that stopped, so that only a new copy can bring it back. A table that is not
    /// joined is no error.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn leave(&mut self, table: TableId) -> Result<()>;

    /// Removes copies other than these, with all they hold.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()>;

    /// Compares a copy that is caught up with the joined table, by content, at the current
    /// commit.
    ///
    /// # Errors
    /// Unsupported where [`Capabilities::compare`] is false.
    async fn compare(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Difference> {
        let _ = copy;
        Err(Error::unsupported("this sink cannot compare content".to_owned()).for_table(table.id))
    }

    /// A reader of what is committed, for `cdc query`; `None` where [`Capabilities::query`] is
    /// false. Valid as long as the sink is open.
    fn reader(&self) -> Option<Arc<dyn Reader>> {
        None
    }

    /// Work that may wait for a quiet moment (compacting files, statistics); called between
    /// commits, returns soon.
    ///
    /// # Errors
    /// Reported, and no reason to stop.
    async fn maintain(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether there is a target at all, without opening or making one. Only a target that is there
    /// is torn down.
    fn exists(&self) -> bool {
        true
    }

    /// Forgets this pipeline in the target: bookkeeping and unfinished copies. Tables stay.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn teardown(&mut self) -> Result<Vec<String>>;
}

/// A table on its way into a sink: existing rows in chunks, then catch-up. Nothing of it can be
/// seen by the sink's readers before [`Sink::join`].
///
/// Chunk writers may run side by side; the catch-up begins when all chunks are finished.
#[async_trait]
pub trait TableCopy: Send {
    /// What is durable of this copy, read back from the target.
    ///
    /// # Errors
    /// When the target cannot be asked.
    async fn progress(&mut self) -> Result<CopyProgress>;

    /// Opens a writer for one chunk that is not finished yet.
    ///
    /// # Errors
    /// As for [`Sink::write`].
    async fn chunk(&mut self, index: u32) -> Result<Box<dyn ChunkWriter>>;

    /// As [`Sink::apply_schema`], for the catch-up.
    ///
    /// # Errors
    /// As there.
    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()>;

    /// As [`Sink::write`], for the catch-up. Rows whose unchanged columns find no base row in the
    /// copy (they moved between chunks of different snapshots) are an error of kind `LogLost`:
    /// the copy begins again.
    ///
    /// # Errors
    /// As there.
    async fn write(&mut self, batch: &ChangeBatch) -> Result<()>;

    /// As [`Sink::truncate`], for the catch-up.
    ///
    /// # Errors
    /// As there.
    async fn truncate(&mut self, seq: u64, commit_time: i64) -> Result<()>;

    /// Makes the catch-up durable through `seq`.
    ///
    /// # Errors
    /// As for [`Sink::commit`].
    async fn commit(&mut self, seq: u64) -> Result<()>;
}

/// Writes the rows of one chunk. Dropped before `finish`, it leaves nothing behind.
#[async_trait]
pub trait ChunkWriter: Send {
    /// Takes rows: accepted, not durable.
    ///
    /// # Errors
    /// As for [`Sink::write`].
    async fn write(&mut self, batch: &ChangeBatch) -> Result<()>;

    /// Makes the chunk's rows durable together with the note that it is finished, and that it was
    /// read at the consistent point `seq`.
    ///
    /// # Errors
    /// As for [`Sink::commit`].
    async fn finish(self: Box<Self>, seq: u64) -> Result<()>;
}

/// What is durable of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// The finished chunks: index, and the consistent point at which it was read.
    pub chunks: Vec<(u32, u64)>,
    /// The catch-up's progress, once it has begun.
    pub caught_up: Option<u64>,
}

/// What a comparison by content found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Rows compared on the source's side.
    pub rows: u64,
    /// Rows that the source has and the sink has not (or not with this content).
    pub missing: u64,
    /// Rows that the sink has and the source has not (or not with this content).
    pub extra: u64,
    /// Some keys that differ, for the operator who asked: never logged.
    pub examples: Vec<String>,
}

impl Difference {
    /// Whether both sides hold the same rows.
    pub fn is_equal(&self) -> bool {
        self.missing == 0 && self.extra == 0
    }
}

/// Reads what a sink has committed, beside the sink's own work.
#[async_trait]
pub trait Reader: Send + Sync {
    /// Runs one read-only statement at one committed state.
    ///
    /// # Errors
    /// `Config` with the target's own words when the statement is wrong or would write.
    async fn query(&self, sql: &str) -> Result<Box<dyn BatchReader>>;
}
