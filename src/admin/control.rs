//! Between the outside and the pipeline: commands in, status out.
//!
//! Invariant: every command is answered exactly once; a pipeline that ends drops its
//! [`ControlEnd`], and whoever still waits learns that the daemon is stopping.
//!
//! The pipeline keeps the [`ControlEnd`]; signals, the admin server and tests each hold a
//! [`Control`], which is cheap to clone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cdc_api::{BatchReader, Difference, Error, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::status::Status;
use crate::config::{self, Config};

/// Where the answer to a command goes; nobody may be listening any more.
pub type Reply<T> = oneshot::Sender<Result<T>>;

/// What a pipeline is asked to do.
///
/// `sink: None` means every sink for which the command makes sense. An unknown sink or table is
/// an error of kind `Config` that names those there are.
pub enum Command {
    /// Copy tables anew while everything goes on; answered when the copies are registered
    /// durably, long before they are done. This also revives tables that have failed.
    Snapshot {
        /// Table patterns as in the configuration; empty: every table.
        tables: Vec<String>,
        /// Into this sink.
        sink: Option<String>,
        /// What is going to be copied.
        reply: Reply<Vec<Copying>>,
    },
    /// Commit without lingering, and answer when the sinks hold all that the source had committed
    /// when the command arrived, each table whole. The asker gives up by dropping the reply.
    Wait {
        /// For this sink.
        sink: Option<String>,
        /// How far the sinks are then.
        reply: Reply<Vec<Reached>>,
    },
    /// Run one read-only statement on a sink, at one committed state.
    Query {
        /// On this sink; `None`: the only one that can be queried.
        sink: Option<String>,
        /// The statement.
        sql: String,
        /// The rows; at least one batch, which may be empty, so that columns are known.
        reply: Reply<Box<dyn BatchReader>>,
    },
    /// Compare source and sinks by content, at one commit each; answered when all are compared.
    Verify {
        /// Table patterns as in the configuration; empty: every table.
        tables: Vec<String>,
        /// This sink.
        sink: Option<String>,
        /// What was found.
        reply: Reply<Vec<Verdict>>,
    },
    /// Stop reading and applying until resumed; the source keeps its log. Survives restarts.
    Pause {
        /// When everything rests.
        reply: Reply<()>,
    },
    /// Go on after a pause; retry at once what waits for its next attempt.
    Resume {
        /// When work has begun again.
        reply: Reply<()>,
    },
    /// Take over a new configuration of the same pipeline, as far as that works in mid-run.
    Reload {
        /// The new configuration, valid in itself.
        config: Box<Config>,
        /// What has changed, in words; an error where a restart is needed.
        reply: Reply<Vec<String>>,
    },
    /// Finish what is under way, commit, and end.
    Stop {
        /// When the stop has begun; the pipeline's own end says when it is done.
        reply: Reply<()>,
    },
}

/// A copy that has been registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copying {
    /// Into this sink.
    pub sink: String,
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub table: String,
}

/// How far a sink is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The sink.
    pub sink: String,
    /// Its checkpoint.
    pub seq: u64,
}

/// The outcome of comparing one table of one sink with the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The sink.
    pub sink: String,
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// Rows compared on the source's side.
    pub rows: u64,
    /// Rows that the source has and the sink has not.
    pub missing: u64,
    /// Rows that the sink has and the source has not.
    pub extra: u64,
    /// Some keys that differ; for the one who asked, never logged.
    pub examples: Vec<String>,
    /// Why it could not be compared.
    pub error: Option<super::status::Problem>,
}

impl Verdict {
    /// Of a comparison that took place.
    pub fn compared(sink: &str, schema: &str, table: &str, difference: Difference) -> Self {
        Self {
            sink: sink.to_owned(),
            schema: schema.to_owned(),
            table: table.to_owned(),
            rows: difference.rows,
            missing: difference.missing,
            extra: difference.extra,
            examples: difference.examples,
            error: None,
        }
    }

    /// Of a comparison that failed.
    pub fn failed(sink: &str, schema: &str, table: &str, error: &Error) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::compared(sink, schema, table, Difference::default())
        }
    }

    /// Whether source and sink were found equal.
    pub fn is_equal(&self) -> bool {
        self.error.is_none() && self.missing == 0 && self.extra == 0
    }
}

/// The outside's end: asks the pipeline and reads its status.
#[derive(Debug, Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    started: Instant,
    file: PathBuf,
}

/// The pipeline's end. Dropping it says that the pipeline has ended.
#[derive(Debug)]
pub struct ControlEnd {
    /// What is asked, in order.
    pub commands: mpsc::Receiver<Command>,
    /// What is told; replace it whole with `send_replace`, or edit it with `send_modify`.
    pub status: watch::Sender<Status>,
}

/// A pair of ends, with the status of a pipeline that is starting.
pub fn channel(config: &Config) -> (Control, ControlEnd) {
    let (commands, asked) = mpsc::channel(16);
    let (told, status) = watch::channel(Status::starting(config));
    let control = Control {
        commands,
        status,
        started: Instant::now(),
        file: config.file.clone(),
    };
    let end = ControlEnd {
        commands: asked,
        status: told,
    };
    (control, end)
}

impl Control {
    /// Sends a command and waits for its answer. Dropping the future gives up on the answer, not
    /// on what the command has begun.
    ///
    /// # Errors
    /// The pipeline's own; `Transient` when it is starting or stopping.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let stopping = || Error::transient("the daemon is stopping");
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| stopping())?;
        answer.await.map_err(|_| {
            Error::transient("the daemon is starting or stopping")
                .hint("`cdc status` says what it does")
        })?
    }

    /// As [`ask`](Control::ask), for at most `limit`; `None` when that has passed.
    ///
    /// # Errors
    /// As for [`ask`](Control::ask).
    pub async fn ask_within<T>(
        &self,
        limit: Duration,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<Option<T>> {
        tokio::time::timeout(limit, self.ask(command))
            .await
            .ok()
            .transpose()
    }

    /// Reads the configuration file again and has the pipeline take it over; what has changed, in
    /// words.
    ///
    /// # Errors
    /// `Config` when the file is wrong or a change needs a restart: the old one stays in force.
    pub async fn reload(&self) -> Result<Vec<String>> {
        let config = Box::new(config::load(&self.file)?);
        self.ask(|reply| Command::Reload { config, reply }).await
    }

    /// The status as last told, with the time that has passed since the start.
    pub fn status(&self) -> Status {
        let mut status = self.status.borrow().clone();
        status.uptime_seconds = self.started.elapsed().as_secs();
        status
    }

    /// Waits until the status has been told anew, after everything that was answered before this
    /// call; for two seconds at most.
    pub async fn told(&self) {
        let mut status = self.status.clone();
        status.mark_unchanged();
        // What comes first may have been put together before the call.
        let twice = async {
            for _ in 0..2 {
                if status.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), twice).await;
    }

    /// Waits until the pipeline has ended, that is, has dropped its end.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }
}
