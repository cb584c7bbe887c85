//! TRANSACTION_PAYLOAD: a transaction's events, compressed as one (`binlog_transaction_compression`).
//!
//! Invariants: events are inflated one at a time, so that memory is bounded by the compressed bytes
//! and the largest event; whatever cannot be inflated is an error, never an empty transaction.

use std::io::{Cursor, Read};

use cdc_api::{Error, Result};

use super::event;
use crate::wire::{Short, Wire};

/// The largest event, as packets are.
const LARGEST: u32 = 1 << 30;

/// The events of a compressed transaction.
pub(crate) struct Payload {
    stream: Stream,
    /// Bytes that are still to come, as the head says.
    left: u64,
    event: Vec<u8>,
}

enum Stream {
    Zstd(Box<zstd::stream::read::Decoder<'static, std::io::BufReader<Cursor<Vec<u8>>>>>),
    Plain(Cursor<Vec<u8>>),
}

impl Payload {
    /// Reads the head of an event's body.
    ///
    /// # Errors
    /// `Data`; `Unsupported` where the method of compression is not known.
    pub(crate) fn new(body: &[u8]) -> Result<Self> {
        let mut wire = Wire(body);
        let (mut method, mut size, mut whole) = (None, None, None);
        loop {
            let field = wire.count()?;
            if field == 0 {
                break;
            }
            let mut value = Wire(wire.counted()?);
            match field {
                1 => size = value.length()?,
                2 => method = value.length()?,
                3 => whole = value.length()?,
                _ => {}
            }
        }
        let bytes = wire.rest();
        if size != Some(bytes.len() as u64) {
            return Err(Short.into());
        }
        let bytes = Cursor::new(bytes.to_vec());
        let stream = match method {
            Some(0) => Stream::Zstd(Box::new(
                zstd::stream::read::Decoder::new(bytes).map_err(broken)?,
            )),
            Some(255) => Stream::Plain(bytes),
            _ => {
                return Err(Error::unsupported(
                    "a transaction is compressed by a method that is not known",
                )
                .hint("SET PERSIST binlog_transaction_compression = OFF"));
            }
        };
        Ok(Self {
            stream,
            left: whole.ok_or(Short)?,
            event: Vec::new(),
        })
    }

    /// The next event, header included, without checksum; `None` after the last.
    ///
    /// # Errors
    /// `Data` where the bytes cannot be inflated, or end too early.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.event.clear();
        self.fill(event::HEADER as u64)?;
        let size = event::peek(&self.event)?.size;
        if size > LARGEST || (size as usize) < event::HEADER {
            return Err(Error::data(
                "a compressed transaction holds an impossible event",
            ));
        }
        self.fill(u64::from(size) - event::HEADER as u64)?;
        Ok(Some(&self.event))
    }

    fn fill(&mut self, wanted: u64) -> Result<()> {
        let read = match &mut self.stream {
            Stream::Zstd(stream) => stream.take(wanted).read_to_end(&mut self.event),
            Stream::Plain(stream) => stream.take(wanted).read_to_end(&mut self.event),
        };
        let read = read.map_err(broken)? as u64;
        if read != wanted {
            return Err(Error::data("a compressed transaction ends within an event"));
        }
        self.left = self
            .left
            .checked_sub(read)
            .ok_or_else(|| Error::data("a compressed transaction is longer than it says"))?;
        Ok(())
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::data("a compressed transaction cannot be inflated")
        .hint(
            "compare with mysqlbinlog --verify-binlog-checksum; where the log itself is damaged, \
             cdc snapshot loads the tables anew",
        )
        .caused_by(error)
}
