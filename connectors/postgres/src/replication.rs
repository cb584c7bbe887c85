//! The replication session: from START_REPLICATION on, log in and feedback out.
//!
//! Owns the streaming-replication protocol (PostgreSQL documentation, chapter "Streaming
//! Replication Protocol") and its pace. Invariants: feedback goes out every few seconds from a
//! task of its own, however slowly the stream is read; it names no position that was not
//! acknowledged. Leaves what is inside the data to `decode`.

pub(crate) mod command;
mod feedback;
mod pace;

use std::time::{Duration, Instant};

use cdc_api::{Error, Result};
use cdc_database::Socket;
use tokio::io::ReadHalf;
use tokio::runtime::Handle;

use crate::connect::Settings;
use crate::position::Lsn;
use crate::refusal::Refusal;
use crate::session::inbox::Inbox;
use crate::session::{Session, lost};
pub(crate) use feedback::{Acknowledger, Feedback};
use pace::Pace;

/// How long the server may take to end a session that was closed.
const GOODBYE: Duration = Duration::from_secs(3);

/// One frame of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// XLogData: one message of the output plugin.
    Data {
        /// Where in the log it comes from.
        lsn: Lsn,
        /// The message.
        payload: &'a [u8],
    },
    /// The server is alive.
    Keepalive {
        /// Everything that commits before this has been sent.
        end: Lsn,
    },
    /// The server has ended the stream (it shuts down, or was asked to).
    End,
}

/// The reading half of a replication session.
pub(crate) struct LogReader {
    reader: ReadHalf<Socket>,
    inbox: Inbox,
    settings: Settings,
    feedback: Feedback,
    pace: Pace,
    server_end: Lsn,
}

impl LogReader {
    /// Begins to stream; the feedback's task is spawned on `runtime`.
    ///
    /// # Errors
    /// What the server refuses, explained.
    pub(crate) async fn begin(
        session: Session,
        command: &str,
        from: Lsn,
        runtime: &Handle,
    ) -> Result<Self> {
        let unix = matches!(session.settings().host, cdc_database::Host::Unix(_));
        let parts = session.into_copy_both(command).await?;
        Ok(Self {
            reader: parts.reader,
            inbox: parts.inbox,
            settings: parts.settings,
            feedback: Feedback::spawn(parts.writer, from, runtime),
            pace: Pace::new(parts.kernel_buffer, unix),
            server_end: from,
        })
    }

    /// Tells the server the last acknowledged position and ends the session.
    ///
    /// # Errors
    /// `Transient` when the server did not hear of it.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.feedback.close().await?;
        // The server's side ends with the stream, and only then is the slot free for the next.
        let ended = async {
            while matches!(self.inbox.fill(&mut self.reader).await, Ok(1..)) {
                while matches!(self.inbox.take(), Ok(Some(_))) {}
            }
        };
        // Where it takes longer, the next session waits for the slot.
        let _ = tokio::time::timeout(GOODBYE, ended).await;
        Ok(())
    }

    /// The handle for acknowledging.
    pub(crate) fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// The end of the server's log, as far as it has told.
    pub(crate) fn server_end(&self) -> Lsn {
        self.server_end
    }

    /// Waits until something has arrived and takes all of it. Under load it waits a little longer
    /// first, since the server's cost is a wake-up of ours for each of its sends. To be called
    /// when [`Self::next`] has no more.
    ///
    /// # Errors
    /// `Transient` when the connection is lost.
    pub(crate) async fn gulp(&mut self) -> Result<()> {
        self.pace.rest();
        let began = Instant::now();
        let mut read = self.fill().await?;
        let waited = began.elapsed();
        // What the kernel still holds is taken too, as far as there is space, without waiting.
        while !self.inbox.is_full() {
            let more = tokio::select! {
                biased;
                more = self.inbox.fill(&mut self.reader) => more.map_err(lost)?,
                () = std::future::ready(()) => break,
            };
            if more == 0 {
                break;
            }
            read += more;
        }
        self.pace
            .gulped(read, self.inbox.is_full(), waited, Instant::now());
        Ok(())
    }

    async fn fill(&mut self) -> Result<usize> {
        match self.inbox.fill(&mut self.reader).await.map_err(lost)? {
            0 => Err(Error::transient(
                "the server closed the replication connection",
            )),
            read => Ok(read),
        }
    }

    /// The next frame that has arrived whole, or `None`: then [`Self::gulp`].
    ///
    /// # Errors
    /// What the server reports, explained; `Transient` where the stream makes no sense.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>> {
        loop {
            let Some((kind, range)) = self.inbox.take()? else {
                return Ok(None);
            };
            match kind {
                b'd' => {
                    // The body is looked at twice only for keepalives, to please the borrow.
                    if self.inbox.body(range).first() == Some(&b'k') {
                        let (end, reply) = keepalive(self.inbox.body(range))?;
                        self.server_end = self.server_end.max(end);
                        if reply {
                            self.feedback.hurry();
                        }
                        return Ok(Some(Frame::Keepalive { end }));
                    }
                    let (lsn, server_end, payload) = data(self.inbox.body(range))?;
                    self.server_end = self.server_end.max(server_end);
                    return Ok(Some(Frame::Data { lsn, payload }));
                }
                b'c' | b'C' | b'Z' => return Ok(Some(Frame::End)),
                b'E' => {
                    let refusal = Refusal::parse(self.inbox.body(range));
                    return Err(refusal.explain(&self.settings));
                }
                // Notices and parameters.
                _ => {}
            }
        }
    }
}

/// Microseconds between the Unix epoch and PostgreSQL's, 2000-01-01.
pub(crate) const EPOCH: i64 = 946_684_800_000_000;

fn data(body: &[u8]) -> Result<(Lsn, Lsn, &[u8])> {
    let (head, payload) = body.split_first_chunk::<25>().ok_or_else(broken)?;
    if head[0] != b'w' {
        return Err(broken());
    }
    Ok((Lsn(word(&head[1..])), Lsn(word(&head[9..])), payload))
}

/// The end of what was sent, and whether an answer is wanted. The server's clock lies between.
fn keepalive(body: &[u8]) -> Result<(Lsn, bool)> {
    let head = body.first_chunk::<18>().ok_or_else(broken)?;
    Ok((Lsn(word(&head[1..])), head[17] != 0))
}

/// Eight bytes, big-endian; the callers have made sure that they are there.
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn broken() -> Error {
    Error::transient("the server sent a replication frame that cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_and_short_ones_refused() {
        let mut frame = vec![b'w'];
        frame.extend(0x16_B374_D848u64.to_be_bytes());
        frame.extend(0x17_0000_0000u64.to_be_bytes());
        frame.extend(5i64.to_be_bytes());
        frame.extend(b"payload");
        let (lsn, end, payload) = data(&frame).expect("whole");
        assert_eq!((lsn.0, end.0), (0x16_B374_D848, 0x17_0000_0000));
        assert_eq!(payload, b"payload");
        assert!(data(&frame[..24]).is_err());

        let mut frame = vec![b'k'];
        frame.extend(7u64.to_be_bytes());
        frame.extend((-1i64).to_be_bytes());
        frame.push(1);
        assert_eq!(keepalive(&frame).expect("whole"), (Lsn(7), true));
        assert!(keepalive(&frame[..17]).is_err());
    }
}
