//! A daemon under way, from outside: commands, and how it ends.

use std::time::Duration;

use cdc::admin::control::Command;
use cdc::admin::status::Status;
use cdc_api::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Virtual time that a quiet daemon is given for anything: far more than any backoff.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);

/// A daemon under way.
pub(crate) struct Life {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) running: JoinHandle<cdc_api::Result<()>>,
}

impl Life {
    /// Asks and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<cdc_api::Result<T>>) -> Command,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| "the daemon has ended".to_owned())?;
        match timeout(PATIENCE, answer).await {
            Err(_) => Err("there was no answer".to_owned()),
            Ok(Err(_)) => Err("the command was dropped".to_owned()),
            Ok(Ok(answer)) => answer.map_err(|error| told(&error)),
        }
    }

    /// Asks without waiting for the answer.
    pub(crate) fn tell<T: Send + 'static>(
        &self,
        command: impl FnOnce(oneshot::Sender<cdc_api::Result<T>>) -> Command,
    ) {
        let (reply, answer) = oneshot::channel();
        // A full queue, or a daemon that has ended, loses it: an operator's command may be lost.
        let _ = self.commands.try_send(command(reply));
        // Somebody has to listen, or the command is given up.
        tokio::spawn(answer);
    }

    /// Stops the daemon; it must end, and `well` when nothing is in its way.
    pub(crate) async fn stop(&mut self, well: bool) -> Result<(), String> {
        self.tell(|reply| Command::Stop { reply });
        match timeout(PATIENCE, self.ended()).await {
            Err(_) => Err("the daemon does not stop".to_owned()),
            Ok(Err(what)) if well => Err(format!("the daemon does not stop well: {what}")),
            Ok(_) => Ok(()),
        }
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> Result<(), String> {
        match (&mut self.running).await {
            Ok(ended) => ended.map_err(|error| told(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What it does, or how it ended, for a failure.
    pub(crate) async fn how(&mut self) -> String {
        if self.running.is_finished() {
            format!("it ended: {:?}", self.ended().await)
        } else {
            format!("it runs: {:#?}", *self.status.borrow())
        }
    }
}

fn told(error: &Error) -> String {
    format!("{:?}: {error} ({:?})", error.kind(), error.hint_text())
}
