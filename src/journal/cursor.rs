//! A reader of the journal's events, from memory or from disk.
//!
//! Invariant: `next_index` is the event that is read next, wherever it is; it moves by one for each
//! event that was read and put through the filter, and by nothing else. So changing from memory to
//! disk and back neither skips nor repeats.

use std::collections::VecDeque;
use std::sync::Arc;

use cdc_api::{ChangeEvent, Error, Result, TableSchema};
use tokio::task::JoinHandle;

use super::directory::{damaged, missing};
use super::filter::Filter;
use super::segment::SegmentReader;
use super::shared::{Inner, Shared, closed, not_started};
use super::{Work, event};
use crate::watch;

/// Bytes of events that are taken at a time, as they are in memory. Of long values that say the same again and again
/// hundreds of times as much fits into as many bytes of a segment: a transaction of ten gigabytes took 350 MB so.
const AHEAD: usize = 4 << 20;
/// Bytes as stored that are read from disk at a time.
const AHEAD_STORED: u64 = 1 << 20;

/// Yields the events after its start, once each and in order.
pub struct Cursor {
    shared: Arc<Shared>,
    /// Its key in `Inner::cursors`.
    handle: u64,
    generation: u64,
    appended: watch::Receiver<u64>,
    filter: Filter,
    /// Whether the shapes in force at its beginning are still to be read.
    fresh: bool,
    /// The event that is read next.
    next_index: u64,
    /// What is read and passed, and not yet yielded.
    ready: VecDeque<Arc<ChangeEvent>>,
    reader: Option<Box<Reader>>,
    /// A read from disk that is under way.
    reading: Option<JoinHandle<Result<Read>>>,
}

struct Reader {
    segment: Arc<std::path::Path>,
    reader: SegmentReader,
}

/// What a read from disk has brought.
struct Read {
    reader: Box<Reader>,
    /// The shapes in force where the segment begins.
    shapes: Vec<Arc<TableSchema>>,
    events: Vec<Arc<ChangeEvent>>,
    next_index: u64,
}

/// What to read from disk.
struct Part {
    segment: Arc<std::path::Path>,
    /// The byte and the index at which the durable part ends.
    end: u64,
    end_index: u64,
    from: u64,
    after: u64,
}

impl Cursor {
    pub(super) fn open(shared: &Arc<Shared>, after: u64) -> Result<Self> {
        let mut inner = shared.lock();
        if !inner.started {
            return Err(not_started());
        }
        let Some(start) = inner.retained.start(after) else {
            let oldest = inner.retained.oldest_seq();
            return Err(missing(
                &shared.config.dir,
                &format!("it goes back to seq {oldest}, and seq {after} was asked for"),
            ));
        };
        let next_index = inner.retained.segments()[start.segment].first_index;
        let handle = inner.handle();
        inner.cursors.insert(handle, next_index);
        let generation = inner.generation;
        drop(inner);
        Ok(Self {
            shared: Arc::clone(shared),
            handle,
            generation,
            appended: shared.appended.subscribe(),
            filter: Filter::new(after, start.seeking),
            fresh: true,
            next_index,
            ready: VecDeque::new(),
            reader: None,
            reading: None,
        })
    }

    /// The next event; waits for one to be appended. Cancel-safe.
    ///
    /// # Errors
    /// `LogLost` when the disk holds something else than was written; `Transient` when it cannot
    /// be read or the journal was closed or reset.
    pub async fn next(&mut self) -> Result<Arc<ChangeEvent>> {
        loop {
            self.appended.mark_unchanged();
            if let Some(event) = self.try_next().await? {
                return Ok(event);
            }
            if self.shared.lock().closed {
                return Err(closed());
            }
            // The sender lives in `shared`, as long as this cursor.
            let _ = self.appended.changed().await;
        }
    }

    /// The next event, or `None` when all that is appended has been yielded. May read the disk,
    /// never waits for the source. Cancel-safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn try_next(&mut self) -> Result<Option<Arc<ChangeEvent>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// How many events the journal has had up to the next one that this cursor reads: cursors of
    /// one journal can be compared by it. Not lasting over a restart.
    pub fn position(&self) -> u64 {
        self.next_index
    }

    /// Reads on; `false` at the end of what is appended.
    async fn read(&mut self) -> Result<bool> {
        if self.reading.is_none() {
            let part = {
                let shared = Arc::clone(&self.shared);
                let mut inner = shared.lock();
                if inner.generation != self.generation {
                    return Err(Error::transient("the journal was reset"));
                }
                if !self.fresh && self.next_index >= inner.ring_start {
                    return Ok(self.take(&mut inner));
                }
                self.part(&inner)?
            };
            let reader = self.reader.take();
            if self.shared.config.work == Work::InPlace {
                let read = part.read(reader)?;
                return Ok(self.keep(read));
            }
            self.reading = Some(tokio::task::spawn_blocking(move || part.read(reader)));
        }
        let Some(reading) = &mut self.reading else {
            return Ok(true);
        };
        let outcome = reading.await;
        self.reading = None;
        let read = outcome
            .map_err(|error| Error::internal("reading the journal broke off").caused_by(error))??;
        Ok(self.keep(read))
    }

    /// Takes what a read from disk has brought; `true`.
    fn keep(&mut self, read: Read) -> bool {
        self.reader = Some(read.reader);
        if std::mem::take(&mut self.fresh) {
            for schema in read.shapes {
                self.filter.learn(schema);
            }
        }
        for event in read.events {
            self.filter.pass(event, &mut self.ready);
        }
        self.next_index = read.next_index;
        let mut inner = self.shared.lock();
        inner.cursors.insert(self.handle, self.next_index);
        inner.trim(self.shared.config.memory_bytes);
        if inner.unneeded() > 0 {
            self.shared.release(&mut inner);
        }
        true
    }

    /// Takes what is in memory; `false` at the end.
    fn take(&mut self, inner: &mut Inner) -> bool {
        self.reader = None;
        let events = inner.held(self.next_index, AHEAD);
        if events.is_empty() {
            return false;
        }
        self.next_index += events.len() as u64;
        for event in events {
            self.filter.pass(event, &mut self.ready);
        }
        inner.cursors.insert(self.handle, self.next_index);
        inner.trim(self.shared.config.memory_bytes);
        if inner.unneeded() > 0 {
            self.shared.release(inner);
        }
        true
    }

    /// The durable part of the segment with the next event.
    fn part(&self, inner: &Inner) -> Result<Part> {
        let gone = || {
            missing(
                &self.shared.config.dir,
                &format!("event {} is not there", self.next_index),
            )
        };
        let retained = &inner.retained;
        let at = retained.containing(self.next_index).ok_or_else(gone)?;
        let segment = &retained.segments()[at];
        Ok(Part {
            segment: segment.path.clone(),
            end: segment.durable,
            end_index: retained
                .segments()
                .get(at + 1)
                .map_or(inner.synced, |next| next.first_index),
            from: self.next_index,
            after: self.filter.after(),
        })
    }
}

impl Part {
    /// Reads some events, from where `reader` stands if it is of this segment.
    fn read(self, reader: Option<Box<Reader>>) -> Result<Read> {
        let standing =
            reader.filter(|old| old.segment == self.segment && old.reader.next_index == self.from);
        let mut shapes = Vec::new();
        let mut reader = match standing {
            Some(mut reader) => {
                reader.reader.extend(self.end);
                reader
            }
            None => {
                let (header, mut reader) =
                    SegmentReader::open_sound(&self.segment, Some(self.end))?;
                shapes = header.schemas;
                while reader.next_index < self.from {
                    // Only the schemas count, up to where reading begins.
                    if reader.next_event(u64::MAX)?.is_none() {
                        return Err(self.too_short(&reader));
                    }
                }
                Box::new(Reader {
                    segment: self.segment.clone(),
                    reader,
                })
            }
        };
        let begin = reader.reader.offset;
        let mut events = Vec::new();
        let mut bytes = 0;
        while reader.reader.next_index < self.end_index
            && reader.reader.offset - begin < AHEAD_STORED
            && bytes < AHEAD
        {
            match reader.reader.next_event(self.after)? {
                Some(Some(event)) => {
                    bytes += event::memory(&event);
                    events.push(Arc::new(event));
                }
                Some(None) => {}
                None => return Err(self.too_short(&reader.reader)),
            }
        }
        Ok(Read {
            next_index: reader.reader.next_index,
            reader,
            shapes,
            events,
        })
    }

    fn too_short(&self, reader: &SegmentReader) -> Error {
        damaged(&self.segment, reader.offset, "the file ends too early")
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.cursors.remove(&self.handle);
        self.shared.release(&mut inner);
    }
}
