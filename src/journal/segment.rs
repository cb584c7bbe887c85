//! A segment file: a header that makes the segment self-contained, then frames.
//!
//! The header holds the last commit before the segment and all tables' shapes as of its first
//! frame, so that older segments can be removed and a reader can begin at any segment.
//!
//! Invariant: a reader gives only frames that are exactly what was written, with the indexes in
//! unbroken sequence; everything else is a [`Step::Bad`] or an error, never skipped.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use cdc_api::{ChangeEvent, Checkpoint, Error, Result, TableSchema};
use serde::{Deserialize, Serialize};

use super::directory::{self, damaged};
use super::event::{self, Schemas};
use super::frame::{self, Header, Kind};

const MAGIC: &[u8; 8] = b"cdcjrnl1";
/// Magic, length packed, length unpacked, CRC32C of these and the packed text.
const PREFIX: usize = 20;
/// Bytes read from disk at a time.
const READ: usize = 256 << 10;

/// What a segment begins with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SegmentHeader {
    /// Rises with each reset of the journal; segments of older ones are left-overs.
    pub(super) generation: u64,
    /// Index of the first event.
    pub(super) first_index: u64,
    /// `first_index` of the segment before, unless this is the generation's first.
    pub(super) previous: Option<u64>,
    /// The last commit before the segment.
    pub(super) base: Checkpoint,
    /// Index of the event after the first commit with that `seq`; smaller than `first_index` where
    /// a transaction goes on from the segment before.
    pub(super) base_index: u64,
    /// The tables' shapes as of the first event.
    pub(super) schemas: Vec<Arc<TableSchema>>,
}

impl SegmentHeader {
    /// The header as it stands in the file.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::internal("cannot encode a segment header").caused_by(error))?;
        let packed = lz4_flex::block::compress(&text);
        let length = |bytes: &[u8]| {
            u32::try_from(bytes.len())
                .map_err(|_| Error::internal("the tables' shapes take more than 4 GiB"))
        };
        let mut bytes = Vec::with_capacity(PREFIX + packed.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&length(&packed)?.to_le_bytes());
        bytes.extend_from_slice(&length(&text)?.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &packed);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&packed);
        Ok(bytes)
    }

    /// The header of an open file and where the frames begin; `None` when there is no sound one.
    fn read(file: &File) -> std::io::Result<Option<(Self, u64)>> {
        let length = file.metadata()?.len();
        if length < PREFIX as u64 {
            return Ok(None);
        }
        let mut prefix = [0; PREFIX];
        file.read_exact_at(&mut prefix, 0)?;
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&prefix[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let start = PREFIX as u64 + u64::from(word(8));
        if &prefix[..8] != MAGIC || start > length {
            return Ok(None);
        }
        let mut packed = vec![0; word(8) as usize];
        file.read_exact_at(&mut packed, PREFIX as u64)?;
        if crc32c::crc32c_append(crc32c::crc32c(&prefix[..16]), &packed) != word(16) {
            return Ok(None);
        }
        Ok(lz4_flex::block::decompress(&packed, word(12) as usize)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .map(|header| (header, start)))
    }
}

/// What comes next in a segment.
pub(super) enum Step<'a> {
    Frame(Header, &'a [u8]),
    /// Nothing more, up to the end that was given.
    End,
    /// What stands here is no frame; why.
    Bad(&'static str),
}

/// Reads a segment's frames one after another, up to a given end.
pub(super) struct SegmentReader {
    path: Arc<Path>,
    file: File,
    /// Where the next frame begins.
    pub(super) offset: u64,
    end: u64,
    /// Index of the next frame.
    pub(super) next_index: u64,
    /// The tables' shapes as of the next frame.
    pub(super) schemas: Schemas,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl SegmentReader {
    /// Opens a segment; `None` when its header is not sound. Reads up to byte `end`, or to the end
    /// of the file.
    pub(super) fn open(
        path: &Arc<Path>,
        end: Option<u64>,
    ) -> Result<Option<(SegmentHeader, Self)>> {
        let opened = || -> std::io::Result<_> {
            let file = File::open(path)?;
            let header = SegmentHeader::read(&file)?;
            let length = file.metadata()?.len();
            Ok((file, header, length))
        };
        let (file, header, length) =
            opened().map_err(|error| directory::unreadable(path, error))?;
        let Some((header, offset)) = header else {
            return Ok(None);
        };
        let schemas = header
            .schemas
            .iter()
            .map(|schema| (schema.id, Arc::clone(schema)))
            .collect();
        let reader = Self {
            path: Arc::clone(path),
            file,
            offset,
            end: end.unwrap_or(length),
            next_index: header.first_index,
            schemas,
            buffer: Vec::new(),
            buffer_at: 0,
        };
        Ok(Some((header, reader)))
    }

    /// Opens a segment that is known to be whole.
    pub(super) fn open_sound(path: &Arc<Path>, end: Option<u64>) -> Result<(SegmentHeader, Self)> {
        Self::open(path, end)?.ok_or_else(|| damaged(path, 0, "the segment's header is not sound"))
    }

    /// Lets the reader go on to a later end.
    pub(super) fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// The next frame. After `Bad` and `End` the reader stands where it stood.
    pub(super) fn step(&mut self) -> Result<Step<'_>> {
        if self.offset >= self.end {
            return Ok(Step::End);
        }
        if self.end - self.offset < frame::HEADER as u64 {
            return Ok(Step::Bad("a frame breaks off"));
        }
        let start = self.load(frame::HEADER)?;
        let mut head = [0; frame::HEADER];
        head.copy_from_slice(&self.buffer[start..start + frame::HEADER]);
        let Some(header) = Header::parse(&head) else {
            return Ok(Step::Bad("no frame begins here"));
        };
        let length = frame::HEADER + header.stored as usize;
        if self.end - self.offset < length as u64 {
            return Ok(Step::Bad("a frame breaks off"));
        }
        let start = self.load(length)?;
        let body = &self.buffer[start + frame::HEADER..start + length];
        if !header.is_sound(&head, body) {
            return Ok(Step::Bad("the checksum is wrong"));
        }
        if header.index != self.next_index {
            return Ok(Step::Bad("a frame is out of sequence"));
        }
        self.offset += length as u64;
        self.next_index += 1;
        Ok(Step::Frame(header, body))
    }

    /// Sees to it that `length` bytes from the next frame's start are in the buffer, and gives
    /// their place there.
    fn load(&mut self, length: usize) -> Result<usize> {
        let have = self
            .offset
            .checked_sub(self.buffer_at)
            .map(|at| at as usize);
        if let Some(at) = have
            && at + length <= self.buffer.len()
        {
            return Ok(at);
        }
        let take = (self.end - self.offset).min(length.max(READ) as u64) as usize;
        self.buffer.resize(take, 0);
        self.buffer_at = self.offset;
        self.file
            .read_exact_at(&mut self.buffer, self.offset)
            .map_err(|error| {
                self.buffer.clear();
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    damaged(&self.path, self.offset, "the file ends too early")
                } else {
                    directory::unreadable(&self.path, error)
                }
            })?;
        Ok(0)
    }

    /// The next event of a part that is known to be whole: `None` at its end. Rows whose `seq` is
    /// not above `after` are passed over (`Some` without an event).
    pub(super) fn next_event(&mut self, after: u64) -> Result<Option<Option<ChangeEvent>>> {
        let (path, offset) = (Arc::clone(&self.path), self.offset);
        let mut schemas = std::mem::take(&mut self.schemas);
        let event = match self.step() {
            Ok(Step::End) => Ok(None),
            Ok(Step::Bad(what)) => Err(damaged(&path, offset, what)),
            Ok(Step::Frame(header, _)) if header.kind == Kind::Rows && header.seq <= after => {
                Ok(Some(None))
            }
            Ok(Step::Frame(header, body)) => event::decode(&header, body, &mut schemas)
                .map(|event| Some(Some(event)))
                .map_err(|error| {
                    error.context(format!("reading {} at byte {offset}", path.display()))
                }),
            Err(error) => Err(error),
        };
        self.schemas = schemas;
        event
    }
}

/// What a segment holds up to some byte.
pub(super) struct Scan {
    pub(super) header: SegmentHeader,
    /// Where the frames begin.
    pub(super) start: u64,
    /// After the last sound frame.
    pub(super) end: u64,
    /// Index after the last sound frame.
    pub(super) next_index: u64,
    /// The last commit and the byte after it.
    pub(super) last_commit: Option<(Checkpoint, u64)>,
    /// Index of the event after the first commit with the `seq` of the last one.
    pub(super) tail_index: u64,
    /// The tables' shapes at `end`.
    pub(super) schemas: Schemas,
    /// Why the scan ended before the end of the file.
    pub(super) bad: Option<&'static str>,
}

impl Scan {
    /// The last commit up to the end of the scan, from the segment or from before it.
    pub(super) fn tail(&self) -> &Checkpoint {
        self.last_commit
            .as_ref()
            .map_or(&self.header.base, |(checkpoint, _)| checkpoint)
    }
}

/// Reads a segment, up to byte `end` or as far as it is sound; `None` without a sound header.
pub(super) fn scan(path: &Arc<Path>, end: Option<u64>) -> Result<Option<Scan>> {
    let Some((header, mut reader)) = SegmentReader::open(path, end)? else {
        return Ok(None);
    };
    let start = reader.offset;
    let mut last_commit = None;
    let (mut tail_seq, mut tail_index) = (header.base.seq, header.base_index);
    let mut schemas = std::mem::take(&mut reader.schemas);
    let bad = loop {
        let event = match reader.step()? {
            Step::End => break None,
            Step::Bad(what) => break Some(what),
            Step::Frame(header, body) if matches!(header.kind, Kind::Schema | Kind::Commit) => {
                event::decode(&header, body, &mut schemas)?
            }
            Step::Frame(..) => continue,
        };
        if let ChangeEvent::Commit(checkpoint) = event {
            if checkpoint.seq != tail_seq {
                (tail_seq, tail_index) = (checkpoint.seq, reader.next_index);
            }
            last_commit = Some((checkpoint, reader.offset));
        }
    };
    Ok(Some(Scan {
        header,
        start,
        end: reader.offset,
        next_index: reader.next_index,
        last_commit,
        tail_index,
        schemas,
        bad,
    }))
}
