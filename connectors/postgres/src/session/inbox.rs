//! What has arrived and is not read yet: one buffer, reused, from which messages are lent.
//!
//! Invariant: no message is copied out of the buffer; a message is valid until the next `fill`.
//! The buffer grows to the largest message and shrinks again, so that one large row does not
//! cost its size for ever.

use std::io;

use cdc_api::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What the buffer holds in ordinary times, in bytes: more than a gulp under load.
const CAPACITY: usize = 2 << 20;

/// What is kept free at least, so that a read is worth its call.
const SPACE: usize = 256 << 10;

/// Where a message's body lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    start: usize,
    end: usize,
}

/// The buffer.
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An empty buffer, which takes its memory at the first fill.
    pub(crate) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// The kind of the next message, if it is there whole.
    ///
    /// # Errors
    /// `Transient` where the stream is not made of messages.
    pub(crate) fn peek(&self) -> Result<Option<u8>> {
        let waiting = &self.buffer[self.start..self.end];
        Ok(match length(waiting)? {
            Some(length) if waiting.len() > length => Some(waiting[0]),
            _ => None,
        })
    }

    /// Takes the next message, if it is there whole: its kind and where its body is.
    ///
    /// # Errors
    /// As [`Self::peek`].
    pub(crate) fn take(&mut self) -> Result<Option<(u8, Body)>> {
        let waiting = &self.buffer[self.start..self.end];
        match length(waiting)? {
            Some(length) if waiting.len() > length => {
                let kind = waiting[0];
                let body = Body {
                    start: self.start + 5,
                    end: self.start + 1 + length,
                };
                self.start = body.end;
                Ok(Some((kind, body)))
            }
            _ => Ok(None),
        }
    }

    /// The body of a message that was taken since the last fill.
    pub(crate) fn body(&self, body: Body) -> &[u8] {
        &self.buffer[body.start..body.end]
    }

    /// Reads what has arrived, waiting until there is something; 0 at the end of the stream.
    /// Messages that were not taken stay. Cancel-safe.
    pub(crate) async fn fill(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<usize> {
        self.make_space();
        let read = reader.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read)
    }

    /// Whether the next fill has to grow the buffer for more than what is waiting in it: there is
    /// probably more to read at once, and messages are to be taken first.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start > CAPACITY - SPACE
    }

    fn make_space(&mut self) {
        let waiting = self.end - self.start;
        let needed = match length(&self.buffer[self.start..self.end]) {
            Ok(Some(length)) => (length + 1).max(waiting),
            _ => waiting,
        };
        let wanted = CAPACITY.max(needed + SPACE);
        if self.buffer.len() < wanted || self.buffer.len() > 4 * wanted {
            let mut buffer = vec![0; wanted];
            buffer[..waiting].copy_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = buffer;
        } else if self.buffer.len() - self.end < SPACE.max(needed - waiting) {
            self.buffer.copy_within(self.start..self.end, 0);
        } else {
            return;
        }
        self.start = 0;
        self.end = waiting;
    }
}

/// The length field of a message, which counts itself but not the kind.
fn length(waiting: &[u8]) -> Result<Option<usize>> {
    let Some(field) = waiting.get(1..5).and_then(|bytes| bytes.try_into().ok()) else {
        return Ok(None);
    };
    match usize::try_from(i32::from_be_bytes(field)) {
        Ok(length) if length >= 4 => Ok(Some(length)),
        _ => Err(
            Error::transient("the server sent what is no message of its protocol").hint(
                "check that source.url names a PostgreSQL server, and no proxy of another kind",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend((body.len() as u32 + 4).to_be_bytes());
        out.extend(body);
        out
    }

    #[tokio::test]
    async fn messages_come_whole_whatever_the_pieces() {
        let bodies: Vec<Vec<u8>> = [0, 1, 700_000, 3, 3_000_000, 5]
            .iter()
            .map(|&size: &usize| vec![size as u8; size])
            .collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| message(b'd', body)).collect();
        for piece in [7_777, 65_536, stream.len()] {
            let mut inbox = Inbox::new();
            let mut got = Vec::new();
            for mut bytes in stream.chunks(piece) {
                while !bytes.is_empty() {
                    assert!(inbox.fill(&mut bytes).await.expect("memory") > 0);
                    while let Some((kind, body)) = inbox.take().expect("well-formed") {
                        assert_eq!(kind, b'd');
                        got.push(inbox.body(body).to_vec());
                    }
                }
            }
            assert!(got == bodies, "pieces of {piece}");
            assert!(
                inbox.buffer.len() <= 4 * (CAPACITY + SPACE),
                "memory is given back"
            );
        }
    }

    #[tokio::test]
    async fn a_gulp_of_small_messages_does_not_grow_the_buffer() {
        let stream = message(b'd', &[7; 1000]).repeat(10_000);
        let (mut rest, mut taken) = (&stream[..], 0);
        let mut inbox = Inbox::new();
        while !rest.is_empty() {
            while !inbox.is_full() && !rest.is_empty() {
                inbox.fill(&mut rest).await.expect("memory");
            }
            while inbox.take().expect("well-formed").is_some() {
                taken += 1;
            }
            assert_eq!(inbox.buffer.len(), CAPACITY);
        }
        assert_eq!(taken, 10_000);
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        let mut inbox = Inbox::new();
        inbox.fill(&mut &b"HTTP/1.1"[..]).await.expect("memory");
        assert!(inbox.peek().expect("long").is_none());
        let mut inbox = Inbox::new();
        inbox.fill(&mut &b"d\0\0\0\x03"[..]).await.expect("memory");
        assert!(inbox.take().is_err());
        let mut inbox = Inbox::new();
        inbox
            .fill(&mut &b"d\xff\xff\xff\xff"[..])
            .await
            .expect("memory");
        assert!(inbox.peek().is_err());
    }
}
