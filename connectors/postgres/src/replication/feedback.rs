//! Telling the server what may be forgotten, from a task of its own.
//!
//! Invariant: the server hears from us at least every few seconds while the session lives, and
//! only positions that were acknowledged. The task ends with the session, or says good-bye when
//! the last handle is closed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use cdc_api::{Error, Result};
use cdc_database::Socket;
use postgres_protocol::message::frontend::{self, CopyData};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::EPOCH;
use crate::position::Lsn;

/// How often the server hears from us at least. Its `wal_sender_timeout` is a minute by default,
/// and managed services go down to ten seconds.
const INTERVAL: Duration = Duration::from_secs(4);

/// How soon an acknowledgement is told: often enough to keep the log short, seldom enough to
/// cost nothing.
const SOON: Duration = Duration::from_millis(250);

/// What the task is to say next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    acknowledged: Lsn,
    /// Rises whenever the server wants an answer at once.
    hurry: u64,
    /// Rises whenever we want an answer (a keepalive) from the server at once.
    ask: u64,
    close: bool,
}

/// The handle to the task that writes standby status updates.
pub(crate) struct Feedback {
    word: watch::Sender<Word>,
    task: Option<JoinHandle<std::io::Result<()>>>,
}

/// A handle for acknowledging from elsewhere, which does not keep the session open.
#[derive(Clone)]
pub(crate) struct Acknowledger(watch::Sender<Word>);

impl Acknowledger {
    /// Lets the server forget everything before `lsn`. Never goes back.
    pub(crate) fn acknowledge(&self, lsn: Lsn) {
        self.0.send_if_modified(|word| {
            let further = lsn > word.acknowledged;
            word.acknowledged = word.acknowledged.max(lsn);
            further
        });
    }
}

impl Feedback {
    /// Starts the task over the writing half of a session, on `runtime`: not the reader's, which
    /// may decode for seconds without a pause.
    pub(super) fn spawn(writer: WriteHalf<Socket>, acknowledged: Lsn, runtime: &Handle) -> Self {
        let (word, said) = watch::channel(Word {
            acknowledged,
            hurry: 0,
            ask: 0,
            close: false,
        });
        Self {
            word,
            task: Some(runtime.spawn(write(writer, said))),
        }
    }

    /// A handle for acknowledging from elsewhere.
    pub(crate) fn acknowledger(&self) -> Acknowledger {
        Acknowledger(self.word.clone())
    }

    /// Answers the server at once.
    pub(super) fn hurry(&self) {
        self.word.send_modify(|word| word.hurry += 1);
    }

    /// Asks the server for a keepalive at once.
    pub(crate) fn ask(&self) {
        self.word.send_modify(|word| word.ask += 1);
    }

    /// Tells the server the last acknowledged position, ends the stream and says good-bye.
    ///
    /// # Errors
    /// `Transient` when it could not be said.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.word.send_modify(|word| word.close = true);
        let Some(task) = self.task.take() else {
            return Ok(());
        };
        match tokio::time::timeout(INTERVAL, task).await {
            Ok(Ok(Ok(()))) => Ok(()),
            _ => Err(Error::transient(
                "the server did not hear the last acknowledgement",
            )),
        }
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            // A dropped session is a dropped connection: the server may keep what it has.
            task.abort();
        }
    }
}

async fn write(
    mut writer: WriteHalf<Socket>,
    mut said: watch::Receiver<Word>,
) -> std::io::Result<()> {
    let mut last = *said.borrow_and_update();
    let mut out = BytesMut::new();
    loop {
        // The first word is written before anything is waited for.
        put_status(&mut out, last.acknowledged, false)?;
        writer.write_all(&out).await?;
        writer.flush().await?;
        out.clear();
        let deadline = tokio::time::Instant::now() + INTERVAL;
        let word = tokio::select! {
            word = next_word(&mut said, last) => word,
            () = tokio::time::sleep_until(deadline) => *said.borrow_and_update(),
        };
        if word.close {
            put_status(&mut out, word.acknowledged, false)?;
            frontend::copy_done(&mut out);
            frontend::terminate(&mut out);
            writer.write_all(&out).await?;
            return writer.shutdown().await;
        }
        if word.ask != last.ask {
            put_status(&mut out, word.acknowledged, true)?;
            writer.write_all(&out).await?;
            out.clear();
        }
        last = word;
    }
}

/// The next word that differs: at once if it is urgent, else a moment later with what has
/// gathered meanwhile.
async fn next_word(said: &mut watch::Receiver<Word>, last: Word) -> Word {
    let soon = tokio::time::sleep(SOON);
    tokio::pin!(soon);
    let mut waited = false;
    loop {
        let word = *said.borrow_and_update();
        let urgent = word.hurry != last.hurry || word.ask != last.ask || word.close;
        if urgent || (waited && word != last) {
            return word;
        }
        tokio::select! {
            changed = said.changed() => {
                if changed.is_err() {
                    // Every handle is gone without a good-bye: the session is being dropped.
                    std::future::pending::<()>().await;
                }
            }
            () = &mut soon, if !waited => waited = true,
        }
    }
}

/// A standby status update. Nothing is reported as written or applied that is not acknowledged,
/// so that synchronous replication on our name means what it says.
fn put_status(out: &mut BytesMut, acknowledged: Lsn, reply: bool) -> std::io::Result<()> {
    let mut status = BytesMut::with_capacity(34);
    status.put_u8(b'r');
    for _ in ["write", "flush", "apply"] {
        status.put_u64(acknowledged.0);
    }
    status.put_i64(now() - EPOCH);
    status.put_u8(u8::from(reply));
    CopyData::new(status)?.write(out);
    Ok(())
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
