//! Which segments hold what a reader at some `seq` needs, and which nobody needs.
//!
//! Invariant: where [`start`] finds a place for a `seq`, every row above it lies in the segments
//! from there on. Only whole segments from the front are ever removed.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// A segment file, as far as retention and readers need to know it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: Arc<Path>,
    pub(super) first_index: u64,
    /// `seq` of the last commit before it.
    pub(super) base_seq: u64,
    /// Index after that commit.
    pub(super) base_index: u64,
    /// Bytes that are durable: readers go no further.
    pub(super) durable: u64,
    /// Bytes written.
    pub(super) written: u64,
    /// When it was closed; `None`: it is being appended to.
    pub(super) closed: Option<SystemTime>,
}

impl Segment {
    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
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

/// Where a reader after `seq` begins; `None` when what it needs is not there any more.
///
/// That is the last segment before which the last commit has a smaller `seq`, or rather the
/// segment with that commit: a transaction that it begins in counts from there.
pub(super) fn start(segments: &[Segment], seq: u64) -> Option<Start> {
    let first = segments.first()?;
    let after = segments.partition_point(|segment| segment.base_seq < seq);
    let Some(last) = after.checked_sub(1) else {
        let at_start = first.base_seq == seq && first.base_index >= first.first_index;
        return at_start.then_some(Start {
            segment: 0,
            seeking: false,
        });
    };
    containing(segments, segments[last].base_index).map(|segment| Start {
        segment,
        seeking: true,
    })
}

/// The segment with the event `index`.
pub(super) fn containing(segments: &[Segment], index: u64) -> Option<usize> {
    segments
        .partition_point(|segment| segment.first_index <= index)
        .checked_sub(1)
}

/// The smallest `seq` for which [`start`] finds a place.
pub(super) fn oldest_seq(segments: &[Segment]) -> u64 {
    let Some(first) = segments.first() else {
        return 0;
    };
    let whole = segments
        .iter()
        .position(|segment| segment.base_index >= first.first_index);
    match whole {
        Some(0) => first.base_seq,
        Some(index) => segments[index].base_seq + 1,
        // Rows of an open transaction alone: not even its start is there.
        None => u64::MAX,
    }
}

/// How many segments at the front nobody needs: neither the pins and the tail (each a `seq`) nor
/// the cursors (each an index).
pub(super) fn unneeded(
    segments: &[Segment],
    seqs: impl Iterator<Item = u64>,
    indexes: impl Iterator<Item = u64>,
) -> usize {
    let by_seq = seqs.map(|seq| start(segments, seq).map_or(0, |start| start.segment));
    let by_index = indexes.map(|index| containing(segments, index).unwrap_or(0));
    by_seq
        .chain(by_index)
        .min()
        .unwrap_or(0)
        .min(segments.len().saturating_sub(1))
}
