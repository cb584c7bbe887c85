//! A large transaction that arrives before it commits: its messages, kept until it does.
//!
//! Messages are kept as they came, each with its place in the log and the (sub-)transaction that
//! made it; up to a bound in memory, beyond it in a file without a name. Invariant: memory is
//! bounded by [`PIECE`] and the largest message, whatever the transaction's size. Nothing here is
//! durable, nor need be: after a reconnect the server sends the transaction again from its
//! beginning.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use cdc_api::{Error, Result};

/// Bytes that a spool keeps in memory, and reads back at a time.
const PIECE: usize = 1 << 20;

const HEADER: usize = 4 + 8 + 4;

/// Makes the files that spools overflow into. A file has no name any more when it is returned.
pub(crate) type SpoolFiles = Box<dyn Fn() -> io::Result<File> + Send>;

/// One transaction's messages so far.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    aborted: HashSet<u32>,
}

/// A message that was kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept<'a> {
    /// Its place in the log.
    pub(crate) lsn: u64,
    /// Whether the sub-transaction that made it was rolled back.
    pub(crate) aborted: bool,
    /// The message, without the transaction's number.
    pub(crate) body: &'a [u8],
}

impl Spool {
    /// Keeps a message: its kind and what follows the transaction's number.
    ///
    /// # Errors
    /// `Transient`, when the overflow file cannot be written.
    pub(crate) fn push(
        &mut self,
        lsn: u64,
        xid: u32,
        tag: u8,
        rest: &[u8],
        files: &SpoolFiles,
    ) -> Result<()> {
        let length = u32::try_from(rest.len() + 1)
            .map_err(|_| Error::data("a replication message is too long"))?;
        self.memory.extend_from_slice(&length.to_be_bytes());
        self.memory.extend_from_slice(&lsn.to_be_bytes());
        self.memory.extend_from_slice(&xid.to_be_bytes());
        self.memory.push(tag);
        self.memory.extend_from_slice(rest);
        if self.memory.len() >= PIECE {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(files().map_err(unwritten)?),
            };
            file.write_all(&self.memory).map_err(unwritten)?;
            self.memory.clear();
            self.memory.shrink_to(PIECE + PIECE / 4);
        }
        Ok(())
    }

    /// Takes note that a sub-transaction was rolled back.
    pub(crate) fn abort(&mut self, xid: u32) {
        self.aborted.insert(xid);
    }

    /// Reads the messages back from the first on.
    ///
    /// # Errors
    /// `Transient`, when the overflow file cannot be read.
    pub(crate) fn replay(mut self) -> Result<Replay> {
        if let Some(file) = &mut self.file {
            if !self.memory.is_empty() {
                file.write_all(&self.memory).map_err(unwritten)?;
                self.memory.clear();
            }
            file.seek(SeekFrom::Start(0)).map_err(unread)?;
        }
        Ok(Replay {
            file: self.file,
            buffer: self.memory,
            start: 0,
            aborted: self.aborted,
        })
    }
}

/// A spool that is read back.
#[derive(Debug)]
pub(crate) struct Replay {
    file: Option<File>,
    buffer: Vec<u8>,
    /// The first byte of the buffer that was not given yet.
    start: usize,
    aborted: HashSet<u32>,
}

impl Replay {
    /// The next message, or `None` after the last.
    ///
    /// # Errors
    /// `Transient`, when the overflow file cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<Kept<'_>>> {
        if !self.fill(HEADER)? {
            return Ok(None);
        }
        let header = &self.buffer[self.start..];
        let [
            l0,
            l1,
            l2,
            l3,
            p0,
            p1,
            p2,
            p3,
            p4,
            p5,
            p6,
            p7,
            x0,
            x1,
            x2,
            x3,
        ] = *header.first_chunk::<HEADER>().expect("filled just now");
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if !self.fill(HEADER + length)? {
            return Err(unread(io::ErrorKind::UnexpectedEof.into()));
        }
        let body = self.start + HEADER;
        self.start = body + length;
        Ok(Some(Kept {
            lsn: u64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            aborted: self.aborted.contains(&u32::from_be_bytes([x0, x1, x2, x3])),
            body: &self.buffer[body..self.start],
        }))
    }

    /// Sees to it that `wanted` bytes are in the buffer; false at the end of everything.
    fn fill(&mut self, wanted: usize) -> Result<bool> {
        let here = self.buffer.len() - self.start;
        if here >= wanted {
            return Ok(true);
        }
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        self.buffer.drain(..self.start);
        self.start = 0;
        let more = (wanted - here).max(PIECE);
        let read = file
            .take(more as u64)
            .read_to_end(&mut self.buffer)
            .map_err(unread)?;
        if self.buffer.capacity() > 4 * PIECE && wanted < PIECE {
            self.buffer.shrink_to(2 * PIECE);
        }
        match here + read {
            0 => Ok(false),
            enough if enough >= wanted => Ok(true),
            _ => Err(unread(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn unwritten(error: io::Error) -> Error {
    // With its cause: a full disk is to be told as one.
    Error::transient(format!(
        "cannot write a large transaction's overflow file: {error}"
    ))
    .hint("free space in the data directory, or set streaming: false in the source")
    .caused_by(error)
}

fn unread(error: io::Error) -> Error {
    Error::transient(format!(
        "cannot read a large transaction's overflow file back: {error}"
    ))
    .hint("check the disk of the data directory")
    .caused_by(error)
}

#[cfg(test)]
mod tests;
