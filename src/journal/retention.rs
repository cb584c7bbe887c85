//! Which segments hold what a reader at some `seq` needs, and which nobody needs.
//!
//! Invariant: where [`Retained::start`] finds a place for a `seq`, every row above it lies in the
//! segments from there on. Only whole segments from the front are ever removed, and never the one
//! that the last durable commit is in.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A segment file, as far as retention and readers need to know it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: Arc<Path>,
    pub(super) first_index: u64,
    /// `seq` of the last commit before it.
    pub(super) base_seq: u64,
    /// Index after the first commit with that `seq`.
    pub(super) base_index: u64,
    /// Bytes that are durable: readers go no further.
    pub(super) durable: u64,
    /// Bytes written.
    pub(super) written: u64,
    /// When it was closed; `None`: it is being appended to.
    pub(super) closed: Option<SystemTime>,
}

impl Segment {
    fn bytes(&self) -> u64 {
        self.durable.max(self.written)
    }
}

/// Where a reader after some `seq` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// The segment's place in the list.
    pub(super) segment: usize,
    /// Whether events up to `seq` come first there, to be passed over.
    pub(super) seeking: bool,
}

/// The segments that are there, the last one being appended to.
#[derive(Debug, Default)]
pub(super) struct Retained {
    segments: Vec<Segment>,
    /// `seq` of the last durable commit, and the index after the first commit with it.
    tail: (u64, u64),
}

impl Retained {
    pub(super) fn new(segments: Vec<Segment>, tail_seq: u64, tail_index: u64) -> Self {
        Self {
            segments,
            tail: (tail_seq, tail_index),
        }
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// Where a reader after `seq` begins; `None` when what it needs is not there any more.
    ///
    /// That is where the last known commit up to `seq` is, not where the segment that says so
    /// begins: a transaction may have begun between the two.
    pub(super) fn start(&self, seq: u64) -> Option<Start> {
        let known = if seq >= self.tail.0 {
            self.tail
        } else {
            let after = self
                .segments
                .partition_point(|segment| segment.base_seq <= seq);
            let segment = &self.segments[after.checked_sub(1)?];
            (segment.base_seq, segment.base_index)
        };
        let segment = self.containing(known.1)?;
        Some(Start {
            segment,
            seeking: known != (seq, self.segments[segment].first_index),
        })
    }

    /// The segment with the event `index`.
    pub(super) fn containing(&self, index: u64) -> Option<usize> {
        self.segments
            .partition_point(|segment| segment.first_index <= index)
            .checked_sub(1)
    }

    /// The smallest `seq` that has a place.
    pub(super) fn oldest_seq(&self) -> u64 {
        let Some(first) = self.segments.first() else {
            return 0;
        };
        self.segments
            .iter()
            .find(|segment| segment.base_index >= first.first_index)
            .map_or(self.tail.0, |segment| segment.base_seq)
    }

    /// How many segments at the front nobody needs: neither the pins (each a `seq`) nor the cursors
    /// (each an index) nor the next opening of the journal.
    pub(super) fn unneeded(
        &self,
        pins: impl Iterator<Item = u64>,
        cursors: impl Iterator<Item = u64>,
    ) -> usize {
        let pinned = pins.chain([self.tail.0]).map(|seq| {
            self.start(seq)
                .map_or(0, |start| self.needed_for(start.segment))
        });
        let unread = cursors.map(|index| self.containing(index).unwrap_or(0));
        pinned.chain(unread).min().unwrap_or(0)
    }

    /// The oldest segment that a cursor in `segment` may start from: where the last commit before
    /// it is.
    fn needed_for(&self, segment: usize) -> usize {
        self.containing(self.segments[segment].base_index)
            .unwrap_or(0)
            .min(segment)
    }

    /// Takes out those of the first `unneeded` segments that are older than `keep`, and more where
    /// all together reach `max_bytes`.
    pub(super) fn remove(
        &mut self,
        unneeded: usize,
        keep: Duration,
        max_bytes: Option<u64>,
    ) -> Vec<Segment> {
        let mut excess = max_bytes.map_or(0, |max| (self.bytes() + 1).saturating_sub(max));
        let count = self
            .segments
            .iter()
            .take(unneeded)
            .take_while(|segment| {
                let age = segment.closed.and_then(|closed| closed.elapsed().ok());
                let remove = excess > 0 || age.is_none_or(|age| age >= keep);
                excess = excess.saturating_sub(segment.bytes());
                remove
            })
            .count();
        self.segments.drain(..count).collect()
    }

    /// Puts back segments, in order, that could not be removed.
    pub(super) fn put_back(&mut self, segments: Vec<Segment>) {
        self.segments.splice(0..0, segments);
    }

    /// Closes the last segment and goes on with the next.
    pub(super) fn roll(&mut self, next: Segment, now: SystemTime) {
        if let Some(last) = self.segments.last_mut() {
            last.closed = Some(now);
        }
        self.segments.push(next);
    }

    /// Begins anew with one segment, and gives back the ones that were there.
    pub(super) fn restart(&mut self, first: Segment) -> Vec<Segment> {
        self.tail = (first.base_seq, first.base_index);
        std::mem::replace(&mut self.segments, vec![first])
    }

    /// The last segment is written up to this byte.
    pub(super) fn set_written(&mut self, bytes: u64) {
        if let Some(last) = self.segments.last_mut() {
            last.written = bytes;
        }
    }

    /// Everything written is durable: up to this byte of the last segment, with this last commit's
    /// `seq` and the index after the first commit with it.
    pub(super) fn set_durable(&mut self, bytes: u64, tail_seq: u64, tail_index: u64) {
        if let Some(last) = self.segments.last_mut() {
            last.durable = bytes;
            last.written = bytes;
        }
        self.tail = (tail_seq, tail_index);
    }
}
