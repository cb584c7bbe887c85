//! What the journal's callers, cursors and writer thread share.
//!
//! Invariant: `ring` holds every event from `ring_start` to `next_index`, and `ring_start` is
//! never above `synced`: what is not in memory is durable, and read from disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cdc_api::{ChangeEvent, Checkpoint, Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::intake::Intake;
use super::retention::Retained;
use super::{JournalConfig, event};
use crate::watch;

pub(super) struct Shared {
    pub(super) config: JournalConfig,
    /// How long a dropped pin goes on holding.
    pub(super) pin_grace: Duration,
    inner: Mutex<Inner>,
    /// Wakes the writer.
    pub(super) work: Bell,
    /// Wakes whoever waits for room, for durability or for the end.
    pub(super) changed: Notify,
    /// The index after the last appended event; wakes cursors.
    pub(super) appended: watch::Sender<u64>,
    pub(super) tail: watch::Sender<Option<Checkpoint>>,
    pub(super) durable: watch::Sender<Option<Checkpoint>>,
}

/// Wakes the writer, a thread or a task; see [`super::Work`].
#[derive(Default)]
pub(super) struct Bell {
    thread: Condvar,
    task: Notify,
}

impl Bell {
    pub(super) fn notify_one(&self) {
        self.thread.notify_one();
        self.task.notify_one();
    }

    /// Blocks until rung, `limit` at most.
    pub(super) fn wait<'a>(
        &self,
        inner: MutexGuard<'a, Inner>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Inner> {
        match limit {
            None => self
                .thread
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.thread
                    .wait_timeout(inner, limit)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }

    /// Waits until rung; a ring that nobody waited for counts.
    pub(super) async fn rung(&self) {
        self.task.notified().await;
    }
}

/// One event in memory.
pub(super) struct Held {
    pub(super) event: Arc<ChangeEvent>,
    pub(super) bytes: usize,
}

pub(super) struct Inner {
    /// Whether there is a start to append after.
    pub(super) started: bool,
    pub(super) generation: u64,
    pub(super) intake: Intake,
    pub(super) ring: VecDeque<Held>,
    pub(super) ring_start: u64,
    pub(super) ring_bytes: usize,
    /// Events before this index are in the segment files, perhaps not durable.
    pub(super) written: u64,
    /// Events before this index are durable.
    pub(super) synced: u64,
    /// Bytes in memory of the events that are not durable.
    pub(super) pending_bytes: usize,
    pub(super) retained: Retained,
    pub(super) pins: HashMap<u64, (String, u64)>,
    /// What dropped pins go on holding: until when, and the `seq`.
    pub(super) dropped: Vec<(Instant, u64)>,
    /// The index that each cursor reads next.
    pub(super) cursors: HashMap<u64, u64>,
    next_handle: u64,
    /// Somebody waits until the events before this index are durable.
    pub(super) flush_wanted: u64,
    pub(super) retention_due: bool,
    pub(super) reset: Option<Reset>,
    pub(super) problem: Option<Problem>,
    pub(super) full: bool,
    pub(super) closing: bool,
    /// The writer has ended.
    pub(super) closed: bool,
    pub(super) events: u64,
    pub(super) rows: u64,
}

/// A request to empty the journal.
pub(super) struct Reset {
    pub(super) start: Checkpoint,
    pub(super) done: oneshot::Sender<Result<()>>,
}

/// Why nothing can be written, to be told to every caller.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl Problem {
    pub(super) fn new(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
            hint: error.hint_text().map(ToOwned::to_owned),
        }
    }

    pub(super) fn error(&self) -> Error {
        let error = Error::new(self.kind, self.message.clone());
        match &self.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

pub(super) fn closed() -> Error {
    Error::transient("the journal is closed")
}

pub(super) fn not_started() -> Error {
    Error::internal("the journal has no start yet")
}

impl Shared {
    pub(super) fn new(
        config: JournalConfig,
        pin_grace: Duration,
        tail: Option<Checkpoint>,
        inner: Inner,
    ) -> Self {
        Self {
            config,
            pin_grace,
            work: Bell::default(),
            changed: Notify::new(),
            appended: watch::Sender::new(inner.next_index()),
            tail: watch::Sender::new(tail.clone()),
            durable: watch::Sender::new(tail),
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete in itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` gives something.
    pub(super) async fn until<T>(&self, mut ready: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = ready(&mut self.lock()) {
                return value;
            }
            changed.await;
        }
    }

    /// Lets retention look again, and whoever waits for room.
    pub(super) fn release(&self, inner: &mut Inner) {
        if inner.unneeded() > 0 {
            inner.retention_due = true;
            self.work.notify_one();
        }
        self.changed.notify_waiters();
    }
}

impl Inner {
    pub(super) fn new(retained: Retained, generation: u64, next_index: u64) -> Self {
        Self {
            started: !retained.segments().is_empty(),
            generation,
            intake: Intake::default(),
            ring: VecDeque::new(),
            ring_start: next_index,
            ring_bytes: 0,
            written: next_index,
            synced: next_index,
            pending_bytes: 0,
            retained,
            pins: HashMap::new(),
            dropped: Vec::new(),
            cursors: HashMap::new(),
            next_handle: 0,
            flush_wanted: 0,
            retention_due: false,
            reset: None,
            problem: None,
            full: false,
            closing: false,
            closed: false,
            events: 0,
            rows: 0,
        }
    }

    /// The index after the last appended event.
    pub(super) fn next_index(&self) -> u64 {
        self.ring_start + self.ring.len() as u64
    }

    /// Puts an admitted event at the end.
    pub(super) fn push(&mut self, event: ChangeEvent) {
        self.events += 1;
        if let ChangeEvent::Rows(batch) = &event {
            self.rows += batch.len() as u64;
        }
        let bytes = event::memory(&event);
        self.ring.push_back(Held {
            event: Arc::new(event),
            bytes,
        });
        self.ring_bytes += bytes;
        self.pending_bytes += bytes;
    }

    /// The events from `from`, which must not be before the ring, up to about `bytes`.
    pub(super) fn held(&self, from: u64, bytes: usize) -> Vec<Arc<ChangeEvent>> {
        let mut taken = 0;
        self.ring
            .iter()
            .skip((from - self.ring_start) as usize)
            .take_while(|held| {
                let take = taken < bytes;
                taken += held.bytes;
                take
            })
            .map(|held| Arc::clone(&held.event))
            .collect()
    }

    /// Notes that the events before `index` are durable, and lets go of memory beyond `keep`.
    pub(super) fn set_synced(&mut self, index: u64, keep: usize) {
        let from = (self.synced - self.ring_start) as usize;
        let count = (index - self.synced) as usize;
        let bytes: usize = self
            .ring
            .iter()
            .skip(from)
            .take(count)
            .map(|held| held.bytes)
            .sum();
        self.pending_bytes -= bytes;
        self.synced = index;
        self.trim(keep);
    }

    /// Lets go of durable events: of those that every cursor has taken, and of the others beyond
    /// `keep` bytes.
    pub(super) fn trim(&mut self, keep: usize) {
        let taken = self.cursors.values().copied().min().unwrap_or(0);
        while self.ring_start < self.synced && (self.ring_start < taken || self.ring_bytes > keep) {
            let Some(held) = self.ring.pop_front() else {
                break;
            };
            self.ring_bytes -= held.bytes;
            self.ring_start += 1;
        }
    }

    /// How many segments at the front nobody needs.
    pub(super) fn unneeded(&self) -> usize {
        if self.pins.is_empty() && self.cursors.is_empty() {
            return 0;
        }
        let pins = self.pins.values().map(|&(_, seq)| seq);
        let dropped = self.dropped.iter().map(|&(_, seq)| seq);
        let cursors = self.cursors.values().copied();
        self.retained.unneeded(pins.chain(dropped), cursors)
    }

    /// Whether an append has to wait for a pin to move: the bound is reached, and a sink is still
    /// behind the last commit.
    pub(super) fn is_full(&self, max_bytes: Option<u64>) -> bool {
        let tail = self.intake.tail_seq();
        max_bytes.is_some_and(|max| self.retained.bytes() >= max)
            && (self.unneeded() > 0 || self.pins.values().any(|&(_, seq)| seq < tail))
    }

    /// The pin that holds the most; of several the first by name.
    pub(super) fn oldest_pin(&self) -> Option<(String, u64)> {
        self.pins.get(&self.oldest()?).cloned()
    }

    /// The handle of that pin.
    pub(super) fn oldest(&self) -> Option<u64> {
        let pins = self.pins.iter();
        let by_age = pins.map(|(handle, (name, seq))| (*seq, name, *handle));
        by_age.min().map(|(_, _, handle)| handle)
    }

    pub(super) fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }
}
