//! The source's side of the contract: a database whose log is tailed and whose tables are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;

use crate::{
    ChangeEvent, Checkpoint, Error, Position, Result, TableId, TableSchema, TableSelection,
};

/// A database, seen by one pipeline. Cheap to share: every method takes `&self`, so that
/// snapshots and look-ups go on while a [`ChangeStream`] runs.
///
/// Life of a pipeline: [`discover`](Source::discover) and [`capture`](Source::capture) the
/// tables, take the [`origin`](Source::origin) where nothing is stored yet, and
/// [`start`](Source::start) the stream there or at the last checkpoint. While it runs, take a
/// [`snapshot`](Source::snapshot) whenever a sink needs a table's existing rows.
#[async_trait]
pub trait Source: Send + Sync {
    /// Read-only preflight: everything that would go wrong later, each with the exact statement
    /// or setting that mends it. Ends with findings, not with an error, wherever a connection can
    /// be had at all.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn check(&self) -> Result<Vec<Finding>>;

    /// Who the server is.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn identify(&self) -> Result<SourceIdentity>;

    /// The tables that the selection matches now, in name order; of those that cannot be
    /// captured, why. A partitioned table is one table.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    async fn discover(&self) -> Result<Vec<FoundTable>>;

    /// Changes which tables the next [`discover`](Source::discover) finds.
    fn select(&self, tables: TableSelection);

    /// Sees to it that the log carries these tables' changes from now on, and those of no other
    /// where we decide over it (PostgreSQL: creates or alters the publication). Safe to repeat.
    /// One that is gone since it was found is passed over: it is an error where it is read.
    ///
    /// # Errors
    /// With the statement to run by hand, where the rights are missing.
    async fn capture(&self, tables: &[Arc<TableSchema>]) -> Result<()>;

    /// Which generation the rows of each table are of, as far as that is known: asked after each
    /// [`discover`](Source::discover), of all captured tables and no others. A number rises when
    /// rows have changed in a way that the log does not carry (PostgreSQL: a rewrite, a partition
    /// attached), and never falls, also over restarts. What was copied from an older generation
    /// ([`Snapshot::generation`]) is not to be trusted. Tables that are not named have one for
    /// ever.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn generations(
        &self,
        tables: &[Arc<TableSchema>],
    ) -> Result<BTreeMap<TableId, Generation>> {
        let _ = tables;
        Ok(BTreeMap::new())
    }

    /// Makes the log be kept for this pipeline (PostgreSQL: creates the slot, or takes the one
    /// that is there) and gives the earliest checkpoint to start from, with `seq` 0. Only for a
    /// pipeline that has no checkpoint anywhere yet. Safe to repeat after a crash.
    ///
    /// # Errors
    /// With the remedy, where the server refuses.
    async fn origin(&self) -> Result<Checkpoint>;

    /// Starts the stream after `from`: row changes have a `seq` above `from.seq`. Numbers rise
    /// strictly and may have gaps: that the same rows have the same numbers, whatever is captured,
    /// goes before that there are none left out (MySQL numbers every row of its log).
    ///
    /// `known` are the tables' shapes as of `from`, so that version numbers go on from there.
    /// One stream at a time; the earlier one is to be dropped first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LogLost`] when the log no longer reaches back to `from`, or the server
    /// is not the one that `from` was taken on.
    async fn start(
        &self,
        from: &Checkpoint,
        known: &[Arc<TableSchema>],
        limits: BatchLimits,
    ) -> Result<Box<dyn ChangeStream>>;

    /// Opens a consistent view of the tables for reading their existing rows. The running stream
    /// gives [`ChangeEvent::Mark`] with the snapshot's id when it passes the view's point; a
    /// stream must be running, and be polled, for that. Blocks no writer; holds schema changes of
    /// these tables off while it lives. Dropping it releases everything.
    ///
    /// # Errors
    /// Of one table ([`Error::table`]) where the cause is one table's; transient where the server
    /// is busy.
    async fn snapshot(&self, tables: &[Arc<TableSchema>]) -> Result<Arc<dyn Snapshot>>;

    /// Asks the running stream for a [`ChangeEvent::Mark`] with the id that is returned, once it
    /// has given all that the source had committed when this was called. Comes soon on an idle
    /// source too. Ids are shared with snapshots: unique within the process. A mark outlives a
    /// stream: the next one gives it.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn mark(&self) -> Result<u64>;

    /// Removes what we made on the server (slot, publication) and reports each thing removed.
    ///
    /// # Errors
    /// When the server refuses; what is gone already is no error.
    async fn teardown(&self) -> Result<Vec<String>>;
}

/// A running stream of changes.
#[async_trait]
pub trait ChangeStream: Send {
    /// The next event, in log order. Waits for ever on an idle source, but for idle commits.
    ///
    /// Cancel-safe: a dropped call loses nothing. However slowly it is polled the session stays
    /// alive, and memory stays within the limits: the source's socket feels the backpressure.
    ///
    /// # Errors
    /// After an error the stream is over: start another from the last checkpoint.
    async fn next(&mut self) -> Result<ChangeEvent>;

    /// Lets the source drop its log up to `upto`, the position of a `Commit` that this or an
    /// earlier stream gave. Returns at once; the source hears of it within seconds, or when the
    /// stream is dropped through [`close`](ChangeStream::close).
    ///
    /// # Errors
    /// When the position is not this source's.
    fn acknowledge(&self, upto: &Position) -> Result<()>;

    /// How far the stream has read, and how far the server has got.
    fn progress(&self) -> StreamProgress;

    /// Tells the server the last acknowledged position and ends the session.
    ///
    /// # Errors
    /// When the server did not hear of it; nothing is lost by that.
    async fn close(self: Box<Self>) -> Result<()>;
}

/// A consistent view of some tables, for reading their existing rows in chunks, in parallel.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// Names this snapshot in [`ChangeEvent::Mark`]; unique within the process.
    fn id(&self) -> u64;

    /// The generation ([`Source::generations`]) of the table's rows in this view, or a later
    /// number below that of the next.
    fn generation(&self, table: TableId) -> u64 {
        let _ = table;
        0
    }

    /// The tables as they are in this view, in the order given to [`Source::snapshot`]. Shapes
    /// may differ from what was asked for if the table changed in between.
    fn tables(&self) -> &[Arc<TableSchema>];

    /// How large the table is, by the server's own statistics.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn size(&self, table: TableId) -> Result<TableSize>;

    /// Cuts the table into chunks of about `bytes` each that together hold every row exactly
    /// once in this view. A later snapshot of the table can read the same chunks, as long as
    /// [`Chunk::epoch`] is the same: rows that moved between chunks meanwhile were changed
    /// meanwhile, so that the stream has them.
    ///
    /// # Errors
    /// When the server cannot be asked.
    async fn chunks(&self, table: TableId, bytes: u64) -> Result<Vec<Chunk>>;

    /// Reads one chunk. Any number of readers run side by side, each on a connection of its own.
    ///
    /// # Errors
    /// [`crate::ErrorKind::LogLost`] with the table when the chunk is of another epoch: the copy
    /// must begin again.
    async fn read(
        &self,
        table: TableId,
        chunk: &Chunk,
        limits: BatchLimits,
    ) -> Result<Box<dyn BatchReader>>;
}

/// Batches of rows, one after another.
#[async_trait]
pub trait BatchReader: Send {
    /// The next rows, or `None` at the end. Not cancel-safe: drop the reader instead.
    ///
    /// # Errors
    /// After an error the reader is over.
    async fn next(&mut self) -> Result<Option<RecordBatch>>;
}

/// Part of a table that is read as one unit of progress.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chunk {
    /// Its number within the table's plan, from 0.
    pub index: u32,
    /// What to read, in the source crate's own words.
    pub range: String,
    /// Changes whenever ranges cut before no longer mean the same rows (PostgreSQL: a rewrite
    /// gave the table another file).
    pub epoch: String,
    /// Rows in it, by the server's statistics.
    pub rows: u64,
    /// Bytes in it, by the server's statistics.
    pub bytes: u64,
}

/// A table's size by the server's own statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableSize {
    /// Rows, an estimate.
    pub rows: u64,
    /// Bytes on the server's disk, TOAST included.
    pub bytes: u64,
}

/// How large batches may grow, and how long a row may wait for company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows in a batch, at most.
    pub rows: usize,
    /// Bytes that the open batches of all tables keep in memory together, about at most; one
    /// huge row may exceed it alone.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            rows: 65_536,
            bytes: 4 << 20,
        }
    }
}

/// How far a stream has read, and how far the server has got; in bytes of log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamProgress {
    /// Everything up to here has been read (on the scale of [`Checkpoint::offset`]).
    pub read: u64,
    /// The end of the server's log, as far as it has told.
    pub server: u64,
}

/// Who a server is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceIdentity {
    /// The lasting identity: system id, server uuid.
    pub id: String,
    /// Product and version, for people: `PostgreSQL 15.18`.
    pub version: String,
    /// The database that is read.
    pub database: String,
}

/// A table that the selection matches.
#[derive(Debug)]
pub struct FoundTable {
    /// Its shape.
    pub table: Arc<TableSchema>,
    /// Why it cannot be captured, with the statement that mends it.
    pub refused: Option<Error>,
    /// Its size by the server's statistics.
    pub size: TableSize,
}

/// Which generation a table's rows are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Rises with each change that the log does not carry.
    pub number: u64,
    /// What the last of these changes was, without user data: `public.p1 was truncated`.
    pub cause: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, and may bite later.
    Warning,
    /// Does not work.
    Error,
}

/// One thing that a preflight looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at: `wal_level`, `privileges on public.orders`.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// The exact SQL or setting that mends it.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding that all is well.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Ok,
            subject: subject.into(),
            message: message.into(),
            remedy: None,
        }
    }

    /// A warning with its remedy.
    pub fn warning(
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(subject, message)
        }
    }

    /// An error with its remedy.
    pub fn error(
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            remedy: Some(remedy.into()),
            ..Self::ok(subject, message)
        }
    }

    /// An error as a finding.
    pub fn from_error(subject: impl Into<String>, error: &Error) -> Self {
        Self {
            severity: Severity::Error,
            remedy: error.hint_text().map(ToOwned::to_owned),
            ..Self::ok(subject, error.to_string())
        }
    }
}
