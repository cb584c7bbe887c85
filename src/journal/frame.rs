//! A frame: one event in a segment file.
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | length of the body as stored |
//! | 4 | kind |
//! | 5 | 1: the body is one LZ4 block; 0: it is plain |
//! | 6..8 | zero |
//! | 8..12 | length of the body when unpacked |
//! | 12..16 | rows: version of the table |
//! | 16..24 | index of the event in the journal |
//! | 24..32 | rows: highest `seq`; others: their `seq`; schemas: 0 |
//! | 32..40 | rows: table id |
//! | 40..44 | rows: number of rows |
//! | 44..48 | CRC32C of all of the above and the body |
//!
//! All numbers are little-endian. Invariant: a frame with a right CRC is exactly what was written;
//! a run of zeros is no frame. The header tells enough to pass over rows without decoding them.

use cdc_api::{Error, Result};
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::Compression;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 48;

/// A body shorter than this is not worth packing.
const PACK_FROM: usize = 256;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Schema = 1,
    Rows = 2,
    Truncate = 3,
    Failed = 4,
    Commit = 5,
    Notice = 6,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the body as stored.
    pub(super) stored: u32,
    pub(super) kind: Kind,
    packed: bool,
    unpacked: u32,
    pub(super) version: u32,
    pub(super) index: u64,
    pub(super) seq: u64,
    pub(super) table: u64,
    pub(super) rows: u32,
    crc: u32,
}

/// What a frame says of its event beside the body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    pub(super) kind: Kind,
    pub(super) seq: u64,
    pub(super) table: u64,
    pub(super) version: u32,
    pub(super) rows: u32,
}

impl Header {
    /// The header in the first [`HEADER`] bytes, or `None` when they cannot be one.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let u32_at = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
        Some(Self {
            stored: u32_at(0),
            kind: match bytes[4] {
                1 => Kind::Schema,
                2 => Kind::Rows,
                3 => Kind::Truncate,
                4 => Kind::Failed,
                5 => Kind::Commit,
                6 => Kind::Notice,
                _ => return None,
            },
            packed: match bytes[5] {
                0 => false,
                1 => true,
                _ => return None,
            },
            unpacked: u32_at(8),
            version: u32_at(12),
            index: u64_at(16),
            seq: u64_at(24),
            table: u64_at(32),
            rows: u32_at(40),
            crc: u32_at(44),
        })
    }

    /// Whether header and body are what was written.
    pub(super) fn is_sound(&self, header: &[u8; HEADER], body: &[u8]) -> bool {
        crc32c::crc32c_append(crc32c::crc32c(&header[..44]), body) == self.crc
    }

    /// The body as it was before packing, in memory aligned for Arrow.
    pub(super) fn unpack(&self, body: &[u8]) -> Result<arrow::buffer::Buffer> {
        if !self.packed {
            return Ok(arrow::buffer::Buffer::from_slice_ref(body));
        }
        let mut unpacked = arrow::buffer::MutableBuffer::from_len_zeroed(self.unpacked as usize);
        let length = decompress_into(body, unpacked.as_slice_mut()).map_err(|error| {
            Error::internal("a sound frame does not unpack").caused_by(error.to_string())
        })?;
        if length != unpacked.len() {
            return Err(Error::internal("a sound frame unpacks to another length"));
        }
        Ok(unpacked.into())
    }
}

/// Packs bodies and puts headers before them; keeps its working memory.
pub(super) struct FrameWriter {
    compression: Compression,
    table: CompressTable,
}

impl FrameWriter {
    pub(super) fn new(compression: Compression) -> Self {
        Self {
            compression,
            table: CompressTable::default(),
        }
    }

    /// Appends one frame to `out`.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        index: u64,
        label: Label,
        body: &[u8],
    ) -> Result<()> {
        let unpacked = u32::try_from(body.len())
            .map_err(|_| Error::data("a batch of more than 4 GiB does not fit into a frame"))?;
        let start = out.len();
        out.resize(start + HEADER, 0);
        let packed = self.pack(out, body);
        if !packed {
            out.extend_from_slice(body);
        }
        let stored = u32::try_from(out.len() - start - HEADER)
            .map_err(|_| Error::internal("a packed body is longer than the plain one"))?;
        let (header, body) = out[start..].split_at_mut(HEADER);
        header[0..4].copy_from_slice(&stored.to_le_bytes());
        header[4] = label.kind as u8;
        header[5] = u8::from(packed);
        header[8..12].copy_from_slice(&unpacked.to_le_bytes());
        header[12..16].copy_from_slice(&label.version.to_le_bytes());
        header[16..24].copy_from_slice(&index.to_le_bytes());
        header[24..32].copy_from_slice(&label.seq.to_le_bytes());
        header[32..40].copy_from_slice(&label.table.to_le_bytes());
        header[40..44].copy_from_slice(&label.rows.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..44]), body);
        header[44..48].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    /// Appends the packed body; `false` and nothing appended where that does not pay.
    fn pack(&mut self, out: &mut Vec<u8>, body: &[u8]) -> bool {
        if self.compression == Compression::None || body.len() < PACK_FROM {
            return false;
        }
        let start = out.len();
        out.resize(start + get_maximum_output_size(body.len()), 0);
        let packed = compress_into_with_table(body, &mut out[start..], &mut self.table)
            .ok()
            .filter(|&length| length < body.len());
        out.truncate(start + packed.unwrap_or(0));
        packed.is_some()
    }
}
