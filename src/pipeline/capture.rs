//! The source's task: from its stream into the journal.
//!
//! Invariant (3): after an error the stream is started again from the journal's last commit; the
//! journal drops what it has already. Invariant (5): a full journal makes `append` wait, and with
//! it the stream; the session stays alive meanwhile, by the contract of `ChangeStream`.

use std::sync::Arc;

use cdc_api::{ChangeEvent, ChangeStream, Error, ErrorKind, Position, Result};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::shared::Shared;
use crate::admin::status::SourceState;
use crate::watch;

/// Reads the source until stopped.
pub(super) struct Capture {
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
}

impl Capture {
    /// Runs until stopped, or until an error that no retry mends.
    ///
    /// Before the stream has run once, errors of configuration and credentials end it too: who
    /// starts a daemon wants to see them at once.
    pub(super) async fn run(self) -> Result<()> {
        let mut backoff = Backoff::default();
        let mut ran = false;
        loop {
            let error = match self.session(&mut backoff, &mut ran).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let again = match error.kind() {
                ErrorKind::Transient => true,
                ErrorKind::Auth | ErrorKind::Config => ran,
                _ => false,
            };
            if !again {
                self.shared.board.state(SourceState::Failed, Some(&error));
                return Err(error);
            }
            let pause = backoff.next();
            tracing::warn!(error = %error, retry_in = ?pause, "source is interrupted");
            self.shared.board.state(SourceState::Retrying, Some(&error));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.shared.pause_before_retry(pause) => {}
            }
        }
    }

    async fn session(&self, backoff: &mut Backoff, ran: &mut bool) -> Result<()> {
        let journal = &self.shared.journal;
        let from = journal
            .tail()
            .borrow()
            .clone()
            .ok_or_else(|| Error::internal("the journal has no start"))?;
        let known = journal.schemas();
        let starting = self
            .shared
            .source
            .start(&from, &known, self.shared.settings.limits);
        let mut stream = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(()),
            stream = starting => stream?,
        };
        *ran = true;
        tracing::info!(position = %from.position, seq = from.seq, "source is streaming");
        self.shared.board.state(SourceState::Streaming, None);
        let outcome = self.stream(stream.as_mut(), from.seq, backoff).await;
        if outcome.is_ok() {
            self.acknowledge(stream.as_ref(), &self.shared.acknowledger.upto());
            if let Err(error) = stream.close().await {
                tracing::warn!(error = %error, "the source did not hear the last acknowledgement");
            }
        }
        outcome
    }

    async fn stream(
        &self,
        stream: &mut dyn ChangeStream,
        mut seq: u64,
        backoff: &mut Backoff,
    ) -> Result<()> {
        let mut upto = self.shared.acknowledger.upto();
        let mut paused = self.shared.paused.subscribe();
        self.acknowledge(stream, &upto);
        let mut reports = tokio::time::interval(std::time::Duration::from_millis(500));
        loop {
            let resting = *paused.borrow_and_update();
            tokio::select! {
               biased;
                () = self.stop.cancelled() => return Ok(()),
                Ok(()) = upto.changed() => self.acknowledge(stream, &upto),
                Ok(()) = paused.changed() => self.rest(*paused.borrow()),
                _ = reports.tick() => self.report(stream),
                event = stream.next(), if !resting => {
                    match event? {
                        ChangeEvent::Mark { id } => self.shared.marks.pass(id, seq),
                        event => {
                            if let ChangeEvent::Commit(checkpoint) = &event {
                                seq = checkpoint.seq;
                                backoff.reset();
                                self.shared.board.view().commit = Some(checkpoint.clone());
                            }
                            if self.append(stream, event).await? {
                                return Ok(());
                            }
                        }
                    }
                }
            }
        }
    }

    /// Appends one event, however long that takes; `true` when stopped meanwhile.
    async fn append(&self, stream: &mut dyn ChangeStream, event: ChangeEvent) -> Result<bool> {
        let mut upto = self.shared.acknowledger.upto();
        let mut backoff = Backoff::default();
        loop {
            let waiting = self.shared.journal.append(event.clone());
            tokio::pin!(waiting);
            let mut blocked = false;
            let outcome = loop {
                tokio::select! {
                   biased;
                    outcome = &mut waiting => break outcome,
                    () = self.stop.cancelled() => return Ok(true),
                    Ok(()) = upto.changed() => self.acknowledge(stream, &upto),
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)), if !blocked => {
                        blocked = true;
                        self.shared.board.state(SourceState::Blocked, None);
                    }
                }
            };
            match outcome {
                Ok(()) => {
                    if blocked || backoff.failed() {
                        self.shared.board.state(SourceState::Streaming, None);
                    }
                    return Ok(false);
                }
                Err(error) if error.is_transient() => {
                    let pause = backoff.next();
                    tracing::error!(error = %error, hint = error.hint_text(), retry_in = ?pause,
                        "the journal cannot be written");
                    self.shared.board.state(SourceState::Blocked, Some(&error));
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return Ok(true),
                        () = self.shared.pause_before_retry(pause) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn acknowledge(&self, stream: &dyn ChangeStream, upto: &watch::Receiver<Option<Position>>) {
        let Some(position) = upto.borrow().clone() else {
            return;
        };
        match stream.acknowledge(&position) {
            Ok(()) => self.shared.board.view().acknowledged = Some(position.to_string()),
            Err(error) => tracing::error!(error = %error, "a position cannot be acknowledged"),
        }
    }

    fn report(&self, stream: &dyn ChangeStream) {
        let progress = stream.progress();
        let mut view = self.shared.board.view();
        view.read = progress.read;
        view.server = progress.server;
    }

    fn rest(&self, paused: bool) {
        let state = if paused {
            SourceState::Paused
        } else {
            SourceState::Streaming
        };
        self.shared.board.state(state, None);
    }
}
