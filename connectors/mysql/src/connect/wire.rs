//! Packets in and out (page_protocol_basic_packets): frames of up to 16 MiB, joined where a
//! packet is larger.
//!
//! Invariant: a packet that has arrived is handed out as a slice of the one buffer; nothing is
//! allocated or copied for it, unless it is larger than a frame. After an error the wire is over.

use cdc_api::{Error, Result};
use cdc_database::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The largest payload of one frame; a frame of this length is followed by another.
const FRAME: usize = 0xff_ffff;

/// The largest packet that a server may send (`max_allowed_packet`), with some room.
const LARGEST: usize = (1 << 30) + (1 << 20);

/// What the buffer holds when nothing larger has come by.
const BUFFER: usize = 256 << 10;

/// A connected socket with the packets that have arrived on it.
pub(super) struct Wire {
    pub(super) socket: Socket,
    buffer: Vec<u8>,
    /// The next byte to hand out.
    at: usize,
    /// One past the last byte that has arrived.
    end: usize,
    sequence: u8,
}

impl Wire {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            buffer: vec![0; BUFFER],
            at: 0,
            end: 0,
            sequence: 0,
        }
    }

    /// The same conversation over another socket: TLS over the plain one.
    ///
    /// # Errors
    /// `Data` where bytes had arrived that would now count as protected.
    pub(super) async fn secured(
        self,
        secure: impl AsyncFnOnce(Socket) -> Result<Socket>,
    ) -> Result<Self> {
        if self.at < self.end {
            return Err(Error::data("the server sent bytes ahead of TLS"));
        }
        Ok(Self {
            socket: secure(self.socket).await?,
            ..self
        })
    }

    /// The next packet. Cancel-safe.
    ///
    /// # Errors
    /// `Transient` where the connection is gone.
    pub(super) async fn next(&mut self) -> Result<&[u8]> {
        loop {
            if let Some((start, end)) = self.take()? {
                return Ok(&self.buffer[start..end]);
            }
            self.fill().await?;
        }
    }

    /// The next packet if it has arrived.
    ///
    /// # Errors
    /// `Data` where it is larger than a packet can be.
    pub(super) fn arrived(&mut self) -> Result<Option<&[u8]>> {
        Ok(self.take()?.map(|(start, end)| &self.buffer[start..end]))
    }

    /// Takes the next packet out of the buffer, if it is there whole.
    fn take(&mut self) -> Result<Option<(usize, usize)>> {
        let (mut head, mut size) = (self.at, 0);
        let (mut frames, mut more) = (0, true);
        while more {
            let Some(&[a, b, c, sequence]) = self.buffer[..self.end].get(head..head + 4) else {
                return Ok(None);
            };
            let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            size += length;
            if size > LARGEST {
                return Err(Error::data("a packet is larger than 1 GiB"));
            }
            if head + 4 + length > self.end {
                return Ok(None);
            }
            self.sequence = sequence.wrapping_add(1);
            head += 4 + length;
            frames += 1;
            more = length == FRAME;
        }
        let start = self.at + 4;
        if frames > 1 {
            // Frames are brought together by closing the gaps of their headers.
            let (mut to, mut from) = (start + FRAME, start + FRAME + 4);
            while to < start + size {
                let length = (start + size - to).min(FRAME);
                self.buffer.copy_within(from..from + length, to);
                to += length;
                from += length + 4;
            }
        }
        self.at = head;
        Ok(Some((start, start + size)))
    }

    /// Waits for bytes and puts them into the buffer.
    async fn fill(&mut self) -> Result<()> {
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
            if self.buffer.len() > 64 * BUFFER {
                self.buffer.truncate(BUFFER);
                self.buffer.shrink_to_fit();
            }
        } else if self.buffer.len() - self.end < BUFFER / 4 {
            self.buffer.copy_within(self.at..self.end, 0);
            (self.at, self.end) = (0, self.end - self.at);
            if self.buffer.len() - self.end < BUFFER / 4 {
                self.buffer.resize(2 * self.buffer.len(), 0);
            }
        }
        let room = &mut self.buffer[self.end..];
        let read = self.socket.read(room).await.map_err(|error| {
            Error::transient("the connection to the server broke off").caused_by(error)
        })?;
        if read == 0 {
            return Err(Error::transient("the server has closed the connection"));
        }
        self.end += read;
        Ok(())
    }

    /// Begins a new command: its first packet has number 0.
    pub(super) fn begin(&mut self) {
        self.sequence = 0;
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// `Transient` where the connection is gone.
    pub(super) async fn send(&mut self, body: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(body.len() + 8);
        let mut rest = body;
        loop {
            let (frame, after) = rest.split_at(rest.len().min(FRAME));
            let length = u32::try_from(frame.len()).unwrap_or(0);
            bytes.extend_from_slice(&length.to_le_bytes()[..3]);
            bytes.push(self.sequence);
            bytes.extend_from_slice(frame);
            self.sequence = self.sequence.wrapping_add(1);
            rest = after;
            if frame.len() < FRAME {
                break;
            }
        }
        let sent = async {
            self.socket.write_all(&bytes).await?;
            self.socket.flush().await
        };
        sent.await.map_err(|error| {
            Error::transient("the connection to the server broke off").caused_by(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    fn frame(sequence: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).expect("small").to_le_bytes()[..3].to_vec();
        bytes.push(sequence);
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn packets_are_handed_out_one_by_one_however_they_arrive() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut wire = Wire::new(Socket::Unix(ours));
        let bytes = [frame(0, b"one"), frame(1, b""), frame(2, b"three")].concat();
        for byte in bytes {
            theirs.write_all(&[byte]).await.expect("sent");
        }
        assert_eq!(wire.next().await.expect("first"), b"one");
        assert_eq!(wire.next().await.expect("second"), b"");
        assert_eq!(wire.next().await.expect("third"), b"three");
        assert_eq!(wire.arrived().expect("nothing wrong"), None);
        drop(theirs);
        assert!(wire.next().await.expect_err("closed").is_transient());
    }

    #[tokio::test]
    async fn a_packet_of_several_frames_is_joined_and_memory_given_back() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut wire = Wire::new(Socket::Unix(ours));
        let body: Vec<u8> = (0..FRAME + FRAME + 1000).map(|i| (i % 251) as u8).collect();
        let expected = body.clone();
        let writer = tokio::spawn(async move {
            for (index, part) in body.chunks(FRAME).enumerate() {
                let bytes = frame(u8::try_from(index).expect("three"), part);
                theirs.write_all(&bytes).await.expect("sent");
            }
            // A packet that ends with a full frame is followed by an empty one.
            let full = [frame(0, &vec![7; FRAME]), frame(1, b""), frame(2, b"end")].concat();
            theirs.write_all(&full).await.expect("sent");
            theirs
        });
        assert!(wire.next().await.expect("joined") == expected);
        assert_eq!(wire.next().await.expect("full").len(), FRAME);
        assert_eq!(wire.next().await.expect("last"), b"end");
        let mut theirs = writer.await.expect("written");
        theirs.write_all(&frame(0, b"x")).await.expect("sent");
        wire.next().await.expect("small");
        assert!(wire.buffer.len() <= 64 * BUFFER);
    }
}
