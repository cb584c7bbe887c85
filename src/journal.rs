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

mod appender;
mod cursor;
mod directory;
mod disk;
mod event;
mod filter;
mod frame;
mod intake;
mod recovery;
mod retention;
mod rows;
mod segment;
mod shared;
mod varint;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cdc_api::{ChangeEvent, Checkpoint, Error, Result, TableSchema};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::watch;

pub use cursor::Cursor;

use appender::Appender;
use disk::{Disk, LocalDisk};
use intake::Intake;
use retention::Retained;
use shared::{Inner, Reset, Shared, closed, not_started};
use writer::Writer;

/// How long a dropped pin goes on holding.
const PIN_GRACE: Duration = Duration::from_secs(60);

/// Where the journal lives and how large it may grow.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// Its directory, created when missing; holds nothing else.
    pub dir: PathBuf,
    /// A segment file is closed when it has grown to this many bytes (default 64 MiB). With
    /// `max_bytes`, at most a quarter of it.
    pub segment_bytes: u64,
    /// Events kept in memory, in bytes (default 8 MiB): cursors within them never read the disk.
    /// What is durable and taken by every cursor is let go at once. Also bounds what is appended
    /// and not yet durable.
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
    /// Where files are read and written.
    pub work: Work,
}

impl JournalConfig {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            memory_bytes: 8 << 20,
            max_bytes: None,
            keep: Duration::ZERO,
            compression: Compression::Lz4,
            work: Work::Threads,
        }
    }

    fn segment_limit(&self) -> u64 {
        let quarter = self.max_bytes.map_or(u64::MAX, |max| max / 4);
        self.segment_bytes.min(quarter)
    }
}

/// Where the journal reads and writes its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Work {
    /// On threads of its own: the runtime's workers never wait for the disk.
    #[default]
    Threads,
    /// On the tasks that use it, in an order and at times that Tokio's clock alone decides, for
    /// simulations. A runtime that is dropped loses what was not written, as a kill does.
    InPlace,
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
    shared: Arc<Shared>,
    thread: Arc<WriterThread>,
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
        Self::open_on(Arc::new(LocalDisk), PIN_GRACE, config, identity).await
    }

    async fn open_on(
        disk: Arc<dyn Disk>,
        pin_grace: Duration,
        config: JournalConfig,
        identity: &JournalIdentity,
    ) -> Result<(Self, Recovered)> {
        let identity = identity.clone();
        if config.work == Work::InPlace {
            return Self::open_blocking(disk, pin_grace, config, &identity);
        }
        tokio::task::spawn_blocking(move || Self::open_blocking(disk, pin_grace, config, &identity))
            .await
            .map_err(|error| Error::internal("opening the journal broke off").caused_by(error))?
    }

    fn open_blocking(
        disk: Arc<dyn Disk>,
        pin_grace: Duration,
        config: JournalConfig,
        identity: &JournalIdentity,
    ) -> Result<(Self, Recovered)> {
        directory::claim(&config.dir, identity)?;
        let mut recovered = Recovered {
            tail: None,
            schemas: Vec::new(),
            oldest_seq: 0,
            cut_bytes: 0,
        };
        let mut appender = None;
        let mut inner = Inner::new(Retained::default(), 0, 0);
        if let Some(recovery) = recovery::recover(&config.dir)? {
            let last = &recovery.last;
            let retained =
                Retained::new(recovery.segments.clone(), last.tail().seq, last.tail_index);
            recovered.tail = Some(last.tail().clone());
            recovered.schemas = last.schemas.values().cloned().collect();
            recovered.oldest_seq = retained.oldest_seq();
            recovered.cut_bytes = recovery.cut_bytes;
            inner = Inner::new(retained, last.header.generation, last.next_index);
            inner.intake = Intake::new(last.tail().seq, last.schemas.clone());
            let disk = Arc::clone(&disk);
            let resumed = Appender::resume(&config.dir, disk, config.compression, recovery)?;
            appender = Some(resumed);
        }
        if recovered.cut_bytes > 0 {
            tracing::info!(
                bytes = recovered.cut_bytes,
                "journal ended without a commit, the rest comes again from the source"
            );
        }
        let shared = Arc::new(Shared::new(
            config,
            pin_grace,
            recovered.tail.clone(),
            inner,
        ));
        let writer = Writer::new(Arc::clone(&shared), disk, appender);
        let thread = match shared.config.work {
            Work::Threads => std::thread::Builder::new()
                .name("journal".to_owned())
                .spawn(move || writer.run())
                .map(Some)
                .map_err(|error| Error::transient("cannot start a thread").caused_by(error))?,
            Work::InPlace => {
                tokio::spawn(writer.run_in_place());
                None
            }
        };
        let journal = Self {
            thread: Arc::new(WriterThread {
                shared: Arc::clone(&shared),
                thread: Mutex::new(thread),
            }),
            shared,
        };
        Ok((journal, recovered))
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
        let mut event = Some(event);
        let appended = self
            .shared
            .until(|inner| match self.room(inner) {
                Ok(true) => event.take().map(|event| self.admit(inner, event)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            })
            .await?;
        // Told without holding the lock: a receiver may hold on to the value while it asks us.
        self.shared.work.notify_one();
        self.shared.appended.send_replace(appended.next_index);
        if let Some(tail) = appended.tail {
            self.shared.tail.send_replace(Some(tail));
        }
        Ok(())
    }

    /// Whether there is room for an event.
    fn room(&self, inner: &mut Inner) -> Result<bool> {
        if inner.closing || inner.closed {
            return Err(closed());
        }
        if !inner.started {
            return Err(not_started());
        }
        if let Some(problem) = &inner.problem {
            return Err(problem.error());
        }
        let config = &self.shared.config;
        let full = inner.is_full(config.max_bytes);
        if full && !inner.full {
            let oldest = inner.oldest_pin().map(|(name, _)| name);
            tracing::warn!(
                pin = oldest,
                max_bytes = config.max_bytes,
                "journal is full, source is not read on until the sinks have caught up"
            );
        }
        inner.full = full;
        if full && inner.unneeded() > 0 {
            inner.retention_due = true;
            self.shared.work.notify_one();
        }
        Ok(!full && inner.pending_bytes < config.memory_bytes)
    }

    fn admit(&self, inner: &mut Inner, event: ChangeEvent) -> Result<Appended> {
        let (schema, event) = inner.intake.admit(event)?;
        let tail = match &event {
            Some(ChangeEvent::Commit(checkpoint)) => Some(checkpoint.clone()),
            _ => None,
        };
        let new = schema.map(ChangeEvent::Schema).into_iter().chain(event);
        new.for_each(|event| inner.push(event));
        inner.trim(self.shared.config.memory_bytes);
        Ok(Appended {
            next_index: inner.next_index(),
            tail,
        })
    }

    /// Makes everything appended before durable and gives the last durable commit. Many callers
    /// share one fsync; pending events become durable within 200 ms without it, too.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn flush(&self) -> Result<Checkpoint> {
        let mut wanted = None;
        self.shared
            .until(|inner| {
                let wanted = *wanted.get_or_insert(inner.next_index());
                if inner.synced >= wanted {
                    return Some(Ok(()));
                }
                if let Some(problem) = &inner.problem {
                    return Some(Err(problem.error()));
                }
                if inner.closed {
                    return Some(Err(closed()));
                }
                if inner.flush_wanted < wanted {
                    inner.flush_wanted = wanted;
                    self.shared.work.notify_one();
                }
                None
            })
            .await?;
        self.shared.durable.borrow().clone().ok_or_else(not_started)
    }

    /// The last commit that is durable; `None` before the first [`reset`](Self::reset) of a new
    /// journal.
    pub fn durable(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.shared.durable.subscribe()
    }

    /// The last commit that is appended.
    pub fn tail(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.shared.tail.subscribe()
    }

    /// A cursor over every event after `after_seq`: the `seq` of a commit, or of the start. Rows up
    /// to `after_seq` are left out even where it lies within a batch. Before the first rows or
    /// truncate of a table the cursor yields the table's schema as of there. Commits with
    /// `after_seq` itself (idle advances) may come again. `after_seq` may lie beyond the tail.
    ///
    /// While it lives, a cursor keeps from retention what it has not read yet, and no more:
    /// what a sink has been given and not yet committed is for a [`pin`](Self::pin) to keep.
    ///
    /// # Errors
    /// `LogLost` when retention has removed what follows `after_seq`.
    pub fn cursor(&self, after_seq: u64) -> Result<Cursor> {
        Cursor::open(&self.shared, after_seq)
    }

    /// Keeps everything after `seq` until the pin is moved forward, or for a minute after it was
    /// dropped: so sinks that end one after another, as they do at a stop, lose nothing to each
    /// other. A pin cannot bring back what is gone already. While there is neither pin nor cursor,
    /// everything is kept.
    pub fn pin(&self, name: impl Into<String>, seq: u64) -> Pin {
        let mut inner = self.shared.lock();
        let handle = inner.handle();
        inner.pins.insert(handle, (name.into(), seq));
        drop(inner);
        Pin {
            shared: Arc::clone(&self.shared),
            handle,
        }
    }

    /// Empties the journal: the next append follows `start`, and no schema is in force. Durable
    /// when it returns. Cursors opened before end with an error; pins stay. Nothing may be
    /// appended meanwhile.
    ///
    /// # Errors
    /// When the disk cannot be written; the journal is as before then, or empty.
    pub async fn reset(&self, start: &Checkpoint) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        {
            let mut inner = self.shared.lock();
            if inner.closing || inner.closed {
                return Err(closed());
            }
            inner.reset = Some(Reset {
                start: start.clone(),
                done,
            });
            self.shared.work.notify_one();
        }
        outcome.await.map_err(|_| closed())?
    }

    /// The tables' shapes as of the last appended commit, in table id order: for starting the
    /// stream again within the process.
    pub fn schemas(&self) -> Vec<Arc<TableSchema>> {
        self.shared.lock().intake.committed_schemas()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().retained.bytes()
    }

    /// The smallest `seq` that a cursor can be opened after.
    pub fn oldest_seq(&self) -> u64 {
        self.shared.lock().retained.oldest_seq()
    }

    /// Figures for status and metrics.
    pub fn stats(&self) -> JournalStats {
        let inner = self.shared.lock();
        JournalStats {
            bytes: inner.retained.bytes(),
            segments: inner.retained.segments().len(),
            memory_bytes: inner.ring_bytes,
            pending_bytes: inner.pending_bytes,
            oldest_seq: inner.retained.oldest_seq(),
            events: inner.events,
            rows: inner.rows,
            oldest_pin: inner.oldest_pin(),
            full: inner.full,
            problem: inner.problem.as_ref().map(ToString::to_string),
        }
    }

    /// Writes out what is pending, makes it durable, and ends the writer. Cursors end after their
    /// last event with an error.
    ///
    /// # Errors
    /// When the disk cannot be written: what is not durable comes again from the source.
    pub async fn close(&self) -> Result<()> {
        self.thread.stop();
        self.shared
            .until(|inner| {
                let done = inner.closed;
                let problem = inner.problem.as_ref().map(|problem| Err(problem.error()));
                done.then(|| problem.unwrap_or(Ok(())))
            })
            .await
    }
}

/// What an append has come to.
struct Appended {
    next_index: u64,
    tail: Option<Checkpoint>,
}

/// The writer thread, for as long as there is a [`Journal`].
struct WriterThread {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WriterThread {
    fn stop(&self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.stop();
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A writer that has panicked has told everyone by then.
            let _ = thread.join();
        }
    }
}

/// Keeps events from retention; dropped, it lets them go a minute later.
pub struct Pin {
    shared: Arc<Shared>,
    handle: u64,
}

impl Pin {
    /// Moves forward to `seq`; a smaller one changes nothing.
    pub fn advance(&self, seq: u64) {
        Self::advance_all([self], seq);
    }

    /// The same of many pins of one journal, which is looked through once.
    pub fn advance_all<'a>(pins: impl IntoIterator<Item = &'a Self>, seq: u64) {
        let mut pins = pins.into_iter().peekable();
        let Some(shared) = pins.peek().map(|pin| &pin.shared) else {
            return;
        };
        let mut inner = shared.lock();
        let mut moved = false;
        for pin in pins {
            if let Some((_, pinned)) = inner.pins.get_mut(&pin.handle)
                && seq > *pinned
            {
                *pinned = seq;
                moved = true;
            }
        }
        if moved {
            shared.release(&mut inner);
        }
    }

    /// Whether it is the one that holds the most.
    #[must_use]
    pub fn is_oldest(&self) -> bool {
        self.shared.lock().oldest() == Some(self.handle)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let until = Instant::now() + self.shared.pin_grace;
        let mut inner = self.shared.lock();
        if let Some((_, seq)) = inner.pins.remove(&self.handle) {
            inner.dropped.push((until, seq));
        }
        drop(inner);
        self.shared.work.notify_one();
        self.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
