//! The thread that a running stream reads and decodes on, seen from the engine: its start, its end
//! and how far it is.
//!
//! Invariant: a stream has started when it is connected and verified, or has failed. What goes
//! through it is the source's; its events leave by [`outlet`](crate::outlet).

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use cdc_api::{Error, Result, StreamProgress};
use tokio::sync::oneshot;

/// How far a stream is, shared between its thread and the engine; on the scale of the log's bytes.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    server: AtomicU64,
}

impl Progress {
    /// Everything before `place` is read, so the server's log is at least as long.
    pub fn reads(&self, place: u64) {
        self.read.fetch_max(place, Ordering::Relaxed);
        self.server.fetch_max(place, Ordering::Relaxed);
    }

    /// The server's log ends at `end`, or later.
    pub fn hears(&self, end: u64) {
        self.server.fetch_max(end, Ordering::Relaxed);
    }

    /// How far it is now.
    pub fn now(&self) -> StreamProgress {
        StreamProgress {
            read: self.read.load(Ordering::Relaxed),
            server: self.server.load(Ordering::Relaxed),
        }
    }
}

/// A stream's thread. Where this is dropped, the stream learns it from its outlet.
#[derive(Debug)]
pub struct Thread<R> {
    stop: oneshot::Sender<()>,
    ending: oneshot::Receiver<R>,
}

impl<R: Send + 'static> Thread<R> {
    /// Runs `open`, and then `run` on what it opens and the wish to stop, on a thread of its own with
    /// a runtime of its own. Returns when `open` is done, with what it has for the caller.
    ///
    /// # Errors
    /// What `open` fails with; `Transient` where there is no thread to be had.
    pub async fn start<P, A, F>(
        name: &str,
        open: impl Future<Output = Result<(P, A)>> + Send + 'static,
        run: impl FnOnce(P, oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Result<(A, Self)>
    where
        P: Send + 'static,
        A: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let (started, starting) = oneshot::channel();
        let (ended, ending) = oneshot::channel();
        let body = async move {
            match open.await {
                Ok((opened, answer)) => {
                    if started.send(Ok(answer)).is_ok() {
                        // Nobody waits for the end of a stream that was dropped.
                        let _ = ended.send(run(opened, stopped).await);
                    }
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Without a runtime `body` is dropped, which the waiting side reports.
                if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    runtime.block_on(body);
                }
            })
            .map_err(|error| Error::transient("cannot start a thread").caused_by(error))?;
        let answer = starting
            .await
            .map_err(|_| Error::internal("the stream's thread ended while it started"))??;
        Ok((answer, Self { stop, ending }))
    }

    /// Asks the stream to stop and waits for what it ends with; `None` where it ended without.
    pub async fn stop(self) -> Option<R> {
        // Where the thread has ended already, so has the session.
        let _ = self.stop.send(());
        self.ending.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_runs_until_it_is_asked_to_stop() {
        let open = async { Ok((1, "open")) };
        let run = |opened: u8, stopped: oneshot::Receiver<()>| async move {
            stopped.await.expect("the wish to stop");
            opened + 1
        };
        let (answer, thread) = Thread::start("test", open, run).await.expect("it starts");
        assert_eq!(answer, "open");
        assert_eq!(thread.stop().await, Some(2));
    }

    #[tokio::test]
    async fn what_cannot_be_opened_has_not_started() {
        let open = async { Err::<((), ()), _>(Error::transient("gone")) };
        let failed = Thread::start("test", open, |(), _| async {}).await;
        assert_eq!(failed.expect_err("the error").message(), "gone");
    }

    #[test]
    fn a_log_is_never_shorter_than_what_was_read() {
        let progress = Progress::default();
        progress.hears(7);
        progress.reads(9);
        progress.reads(8);
        let now = progress.now();
        assert_eq!((now.read, now.server), (9, 9));
    }
}
