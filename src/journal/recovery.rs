//! Opening a journal that is there: what is whole, what is cut off, what is damage.
//!
//! Invariant: after recovery the last segment ends with the last commit, everything in it is
//! durable, and the mark says so. Nothing that was durable and committed is ever cut off: what is
//! not sound below the mark is an error. A crash in the middle of a recovery leaves a journal that
//! recovers to the same.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cdc_api::Result;

use super::directory::{self, Found, Mark, MarkFile, damaged, missing, unreadable, unwritable};
use super::retention::Segment;
use super::segment::{Scan, SegmentReader, scan};

/// A journal as it stands on disk.
pub(super) struct Recovery {
    /// The segments, in order; the last one is to be appended to.
    pub(super) segments: Vec<Segment>,
    /// The last segment, up to its end.
    pub(super) last: Scan,
    pub(super) mark: MarkFile,
    /// Bytes cut off.
    pub(super) cut_bytes: u64,
}

/// Recovers the journal in `dir`; `None` when there is none yet.
///
/// # Errors
/// `LogLost` when something durable is damaged or missing.
pub(super) fn recover(dir: &Path) -> Result<Option<Recovery>> {
    let mut found = directory::segments(dir)?;
    let Some(mut mark) = MarkFile::read(dir)? else {
        return unmarked(dir, &found).map(|()| None);
    };
    let file = MarkFile::open(dir)?;
    finish_reset(&mut found, &mut mark, &file)?;
    if let Some(last) = found.last()
        && last.first_index > mark.segment
        && SegmentReader::open(&last.path, None)?.is_none()
    {
        // The crash came while the segment was being created; the ones before are whole.
        remove(last)?;
        found.pop();
    }
    match found.last() {
        None => return Err(missing(dir, "its segments are not there")),
        Some(last) if last.first_index < mark.segment => {
            return Err(missing(dir, "its last segment is not there"));
        }
        Some(_) => {}
    }
    let mut segments = chain(dir, &found)?;
    let cut = find_tail(dir, &segments, mark)?;
    let cut_bytes = apply(dir, &mut segments, &cut, mark, &file)?;
    let path = &cut.path;
    let last = scan(path, Some(cut.offset))?
        .filter(|scan| scan.bad.is_none())
        .ok_or_else(|| damaged(path, cut.offset, "it changes while it is read"))?;
    Ok(Some(Recovery {
        segments,
        last,
        mark: file,
        cut_bytes,
    }))
}

/// Without a mark nothing was ever durable: only an empty segment can be there, of a reset that
/// broke off.
fn unmarked(dir: &Path, found: &[Found]) -> Result<()> {
    for segment in found {
        let held = match SegmentReader::open(&segment.path, None)? {
            None => false,
            Some((_, reader)) => {
                let length = length(&segment.path)?;
                length > reader.offset
            }
        };
        if held {
            return Err(missing(dir, "the file `durable` is not there"));
        }
    }
    found.iter().try_for_each(remove)
}

/// A reset creates the new generation's first segment, then moves the mark into it, then removes
/// the old generation: goes on from wherever that broke off.
fn finish_reset(found: &mut Vec<Found>, mark: &mut Mark, file: &MarkFile) -> Result<()> {
    if let Some(last) = found.last()
        && last.generation > mark.generation
    {
        match SegmentReader::open(&last.path, None)? {
            Some((header, reader)) => {
                *mark = Mark {
                    generation: header.generation,
                    segment: header.first_index,
                    offset: reader.offset,
                };
                file.set_durably(*mark)?;
            }
            None => {
                remove(last)?;
                found.pop();
            }
        }
    }
    let (current, old): (Vec<_>, Vec<_>) = found
        .drain(..)
        .partition(|segment| segment.generation == mark.generation);
    *found = current;
    old.iter().try_for_each(remove)
}

/// The segments, each of which must follow the one before.
fn chain(dir: &Path, found: &[Found]) -> Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::with_capacity(found.len());
    for file in found {
        let (header, _) = SegmentReader::open_sound(&file.path, None)?;
        if (header.generation, header.first_index) != (file.generation, file.first_index) {
            return Err(damaged(&file.path, 0, "the header is another segment's"));
        }
        if let Some(before) = segments.last()
            && header.previous != Some(before.first_index)
        {
            return Err(missing(
                dir,
                &format!("the segment before {} is not there", file.path.display()),
            ));
        }
        let closed = fs::metadata(&file.path).and_then(|metadata| metadata.modified());
        segments.push(Segment {
            path: file.path.clone(),
            first_index: header.first_index,
            base_seq: header.base.seq,
            base_index: header.base_index,
            durable: length(&file.path)?,
            written: 0,
            closed: closed.ok(),
        });
    }
    Ok(segments)
}

/// Where the journal is to end: after its last commit.
struct Cut {
    path: std::sync::Arc<Path>,
    /// How many segments stay.
    segments: usize,
    /// Where the last one of them ends.
    offset: u64,
    /// From where on that one is not known to be durable.
    proven: u64,
}

fn find_tail(dir: &Path, segments: &[Segment], mark: Mark) -> Result<Cut> {
    for (index, segment) in segments.iter().enumerate().rev() {
        let path = &segment.path;
        let scan = scan(path, None)?
            .ok_or_else(|| damaged(path, 0, "the segment's header is not sound"))?;
        // A segment is followed by another one only once it is durable as a whole.
        let proven = match segments.get(index + 1) {
            Some(next) if scan.bad.is_none() && scan.next_index == next.first_index => scan.end,
            Some(_) => segment.durable.max(scan.end + 1),
            None if mark.segment == segment.first_index => mark.offset,
            None => scan.start,
        };
        if scan.end < proven {
            let what = scan.bad.unwrap_or("the file ends too early");
            return Err(damaged(path, scan.end, what));
        }
        let offset = match scan.last_commit {
            Some((_, offset)) => offset,
            None if scan.header.base_index >= scan.header.first_index => scan.start,
            None => continue,
        };
        return Ok(Cut {
            path: path.clone(),
            segments: index + 1,
            offset,
            proven,
        });
    }
    Err(missing(dir, "no commit is left in it"))
}

/// Cuts, and makes what is left durable.
fn apply(
    dir: &Path,
    segments: &mut Vec<Segment>,
    cut: &Cut,
    mark: Mark,
    file: &MarkFile,
) -> Result<u64> {
    let last = &segments[cut.segments - 1];
    let end = Mark {
        generation: mark.generation,
        segment: last.first_index,
        offset: cut.offset,
    };
    if (mark.segment, mark.offset) > (end.segment, end.offset) {
        file.set_durably(end)?;
    }
    let mut cut_bytes = 0;
    for doomed in segments.drain(cut.segments..).rev() {
        cut_bytes += doomed.durable;
        fs::remove_file(&doomed.path).map_err(|error| unwritable(&doomed.path, error))?;
    }
    let last = &mut segments[cut.segments - 1];
    cut_bytes += last.durable - cut.offset;
    last.durable = cut.offset;
    last.written = cut.offset;
    last.closed = None;
    settle(&last.path, cut.proven.min(cut.offset), cut.offset)
        .and_then(|()| directory::sync(dir))
        .map_err(|error| unwritable(&cut.path, error))?;
    file.set_durably(end)?;
    Ok(cut_bytes)
}

/// Truncates a segment to `end`, and writes what is not known to be durable once more: after an
/// fsync that had failed, the pages could be read and yet never reach the disk.
fn settle(path: &Path, proven: u64, end: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.set_len(end)?;
    let mut bytes = vec![0; 1 << 20];
    let mut at = proven;
    while at < end {
        let part = &mut bytes[..(end - at).min(1 << 20) as usize];
        file.read_exact_at(part, at)?;
        file.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    file.sync_all()
}

fn length(path: &Path) -> Result<u64> {
    fs::metadata(path)
        .map(|metadata| metadata.len())
        .map_err(|error| unreadable(path, error))
}

fn remove(segment: &Found) -> Result<()> {
    fs::remove_file(&segment.path).map_err(|error| unwritable(&segment.path, error))
}
