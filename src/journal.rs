//! The journal: a durable, append-only log of the source's events on local disk.
//!
//! It is the staging area between the source and the sinks: each sink goes at its own pace, can
//! be started again and replayed, while the source's own log is let go.
//!
//! **Invariants**
//! 1. What [`Journal::flush`] or [`Journal::durable`] has reported survives a crash of the process
//!    and of the machine. A damaged byte of it is an error of kind `LogLost`, never a skip.
//! 2. Every event that is not durable yet is in memory; only durable bytes are read from disk. So
//!    a failed write or fsync is repeated from memory, and nothing is lost by a full disk.
//! 3. A stream that is started again from the last commit gives rows that were appended before;
//!    [`Journal::append`] drops these, table by table, by their `seq`. So an event stream that
//!    breaks off in the middle of a transaction goes on as if it had not.
//! 4. A cursor yields every event after its start once and in order, whether from memory or disk.
//!
//! The engine decides what is acknowledged to the source. It never acknowledges beyond
//! [`Journal::durable`], whatever the mode: then the source can always be started from the
//! journal's own tail, and sinks may be ahead of it without harm.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cdc_api::{ChangeEvent, Checkpoint, Error, Result, TableSchema};
use tokio::sync::watch;

/// Where the journal lives and how large it may grow.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// Its directory, created when missing; holds nothing else.
    pub dir: PathBuf,
    /// A segment file is closed when it has grown to this many bytes (default 64 MiB). With
    /// `max_bytes`, at most a quarter of it.
    pub segment_bytes: u64,
    /// Events kept in memory, in bytes (default 32 MiB): cursors within them never read the disk.
    /// Also bounds what is appended and not yet durable.
    pub memory_bytes: usize,
    /// The most that the journal may take on disk, nearly; `None`: no bound. Segments that nobody
    /// needs go first. When everything is needed, `append` waits, so that the source feels it and
    /// nothing is lost; only the open transaction may exceed the bound once every pin has reached
    /// the last commit, since no pin can move before that transaction is complete.
    pub max_bytes: Option<u64>,
    /// How long segments that nobody needs are kept all the same, so that a target restored from
    /// a backup can be brought up to date again (default zero: removed at once). Never beyond
    /// `max_bytes`.
    pub keep: Duration,
    /// How frames are compressed.
    pub compression: Compression,
}

impl JournalConfig {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            memory_bytes: 32 << 20,
            max_bytes: None,
            keep: Duration::ZERO,
            compression: Compression::Lz4,
        }
    }
}

/// How the bodies of frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// One LZ4 block a frame.
    #[default]
    Lz4,
    /// Not at all.
    None,
}

/// Whose events a journal holds; a journal of another pipeline is refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JournalIdentity {
    /// The pipeline's name.
    pub pipeline: String,
    /// The source's lasting identity ([`cdc_api::SourceIdentity::id`]).
    pub source: String,
}

/// What an opened journal holds.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The last commit: the source is to be started here. `None`: the journal is new or was
    /// emptied by hand; [`Journal::reset`] it to where the source starts, before the first append.
    pub tail: Option<Checkpoint>,
    /// The tables' shapes as of `tail`, in table id order, for [`cdc_api::Source::start`].
    pub schemas: Vec<Arc<TableSchema>>,
    /// The smallest `seq` that a cursor can be opened after.
    pub oldest_seq: u64,
    /// Bytes cut off the end: a frame half written at a crash, and rows without their commit, which
    /// come again from the source.
    pub cut_bytes: u64,
}

/// Figures for status and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct JournalStats {
    /// Bytes on disk.
    pub bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// Bytes of events in memory.
    pub memory_bytes: usize,
    /// Bytes of these that are not durable yet.
    pub pending_bytes: usize,
    /// The smallest `seq` that a cursor can be opened after.
    pub oldest_seq: u64,
    /// Events appended since the journal was opened.
    pub events: u64,
    /// Rows appended since the journal was opened.
    pub rows: u64,
    /// The pin that holds the most: its name and `seq`.
    pub oldest_pin: Option<(String, u64)>,
    /// Whether `append` waits because `max_bytes` is reached.
    pub full: bool,
    /// Why nothing can be written at the moment (a full disk), with its remedy; tried again every
    /// second.
    pub problem: Option<String>,
}

/// The journal of one pipeline. Cheap to clone; the last clone that is dropped writes out what is
/// pending. All clones and cursors work on one file writer thread.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<()>,
}

impl Journal {
    /// Opens the journal, or creates an empty one. Cuts the tail after the last whole frame and
    /// then after the last commit (rows after it come again from the source). Takes no lock: the
    /// data directory's lock ([`crate::state::State::open`]) covers it.
    ///
    /// # Errors
    /// `Config` when the journal is another pipeline's or the directory cannot be used; `LogLost`
    /// when something that was durable is damaged or missing, with file, byte and remedy.
    pub async fn open(
        config: JournalConfig,
        identity: &JournalIdentity,
    ) -> Result<(Self, Recovered)> {
        let _ = (config, identity);
        Err(Error::internal("journal is not built yet"))
    }

    /// Appends an event: any but `Mark`. In memory and visible to cursors when it returns, not
    /// durable. Events that came before (see the module's third invariant), empty batches, schemas
    /// already in force and commits within what is already appended are dropped silently. A batch
    /// whose table shape is not in force brings its schema along.
    ///
    /// Waits while too much is not durable yet, or `max_bytes` is reached; cancel-safe: then
    /// nothing was appended. One caller at a time.
    ///
    /// # Errors
    /// `Transient` while the disk cannot be written (full, failing), with the remedy: nothing was
    /// appended and nothing is lost. Append the same event again after a pause, or start the
    /// stream again from the last commit. `Internal` for a malformed batch.
    pub async fn append(&self, event: ChangeEvent) -> Result<()> {
        let _ = event;
        Err(Error::internal("journal is not built yet"))
    }

    /// Makes everything appended before durable and gives the last durable commit. Many callers
    /// share one fsync; pending events become durable within 200 ms without it, too.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn flush(&self) -> Result<Checkpoint> {
        Err(Error::internal("journal is not built yet"))
    }

    /// The last commit that is durable; `None` before the first [`reset`](Self::reset) of a new
    /// journal.
    pub fn durable(&self) -> watch::Receiver<Option<Checkpoint>> {
        watch::channel(None).1
    }

    /// The last commit that is appended.
    pub fn tail(&self) -> watch::Receiver<Option<Checkpoint>> {
        watch::channel(None).1
    }

    /// A cursor over every event after `after_seq`: the `seq` of a commit, or of the start. Rows up
    /// to `after_seq` are left out even where it lies within a batch. Before the first rows or
    /// truncate of a table the cursor yields the table's schema as of there. Commits with
    /// `after_seq` itself (idle advances) may come again. `after_seq` may lie beyond the tail.
    ///
    /// While it lives, a cursor keeps from retention what it has not yielded yet, and no more:
    /// what a sink has yielded and not yet committed is for a [`pin`](Self::pin) to keep.
    ///
    /// # Errors
    /// `LogLost` when retention has removed what follows `after_seq`.
    pub fn cursor(&self, after_seq: u64) -> Result<Cursor> {
        let _ = after_seq;
        Err(Error::internal("journal is not built yet"))
    }

    /// Keeps everything after `seq` until the pin is dropped or moved forward. A pin cannot bring
    /// back what is gone already. While there is neither pin nor cursor, everything is kept.
    pub fn pin(&self, name: impl Into<String>, seq: u64) -> Pin {
        let _ = (name.into(), seq);
        Pin {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Empties the journal: the next append follows `start`, and no schema is in force. Durable
    /// when it returns. Cursors opened before end with an error; pins stay.
    ///
    /// # Errors
    /// When the disk cannot be written; the journal is as before then, or empty.
    pub async fn reset(&self, start: &Checkpoint) -> Result<()> {
        let _ = start;
        Err(Error::internal("journal is not built yet"))
    }

    /// The tables' shapes as of the last appended commit, in table id order: for starting the
    /// stream again within the process.
    pub fn schemas(&self) -> Vec<Arc<TableSchema>> {
        Vec::new()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        0
    }

    /// The smallest `seq` that a cursor can be opened after.
    pub fn oldest_seq(&self) -> u64 {
        0
    }

    /// Figures for status and metrics.
    pub fn stats(&self) -> JournalStats {
        JournalStats::default()
    }

    /// Writes out what is pending, makes it durable, and ends the writer. Cursors end after their
    /// last event with an error.
    ///
    /// # Errors
    /// When the disk cannot be written: what is not durable comes again from the source.
    pub async fn close(&self) -> Result<()> {
        Err(Error::internal("journal is not built yet"))
    }
}

/// Keeps events from retention; dropped, it lets them go.
pub struct Pin {
    shared: Arc<()>,
}

impl Pin {
    /// Moves forward to `seq`; a smaller one changes nothing.
    pub fn advance(&self, seq: u64) {
        let _ = (&self.shared, seq);
    }
}

/// Yields the events after its start, once each and in order.
pub struct Cursor {
    position: u64,
}

impl Cursor {
    /// The next event; waits for one to be appended. Cancel-safe.
    ///
    /// # Errors
    /// `LogLost` when the disk holds something else than was written; `Transient` when it cannot
    /// be read or the journal was closed or reset.
    pub async fn next(&mut self) -> Result<Arc<ChangeEvent>> {
        Err(Error::internal("journal is not built yet"))
    }

    /// The next event, or `None` when all that is appended has been yielded. May read the disk,
    /// never waits for the source. Cancel-safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn try_next(&mut self) -> Result<Option<Arc<ChangeEvent>>> {
        Err(Error::internal("journal is not built yet"))
    }

    /// How many events the journal has had up to the next one that this cursor yields: cursors of
    /// one journal can be compared by it. Not lasting over a restart.
    pub fn position(&self) -> u64 {
        self.position
    }
}
