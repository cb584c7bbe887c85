//! What all parts of a running pipeline share, and the settings that they go by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cdc_api::{BatchLimits, Error, Generation, Source, TableId, TableName, TableSchema};
use tokio::sync::Notify;

use super::acknowledge::Acknowledger;
use super::board::SourceBoard;
use super::marks::Marks;
use crate::config::{Acknowledge, Config};
use crate::journal::Journal;
use crate::registry;
use crate::state::State;
use crate::watch;

/// How the engine works, apart from what each sink has of its own.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The pipeline's name.
    pub name: String,
    /// When the source may drop its log.
    pub acknowledge: Acknowledge,
    /// Chunks that one sink's copies read at a time.
    pub snapshot_workers: usize,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// How large batches may grow.
    pub limits: BatchLimits,
    /// How often the source is asked for new tables.
    pub discover_interval: Duration,
    /// How often a sink stores a later position although nothing has changed.
    pub idle_interval: Duration,
    /// How long a stop may take.
    pub shutdown_timeout: Duration,
    /// Whether the source's origin is where another has stopped.
    pub takes_over: bool,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            name: config.name.clone(),
            acknowledge: config.acknowledge,
            snapshot_workers: usize::try_from(config.snapshot.workers).unwrap_or(usize::MAX),
            chunk_bytes: config.snapshot.chunk_bytes.0,
            limits: BatchLimits::default(),
            discover_interval: config.discover_interval,
            idle_interval: Duration::from_secs(10),
            shutdown_timeout: config.shutdown_timeout,
            takes_over: registry::takes_over(&config.source),
        }
    }
}

/// What all parts of a running pipeline share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) source: Arc<dyn Source>,
    pub(super) journal: Journal,
    pub(super) state: State,
    pub(super) marks: Marks,
    pub(super) acknowledger: Acknowledger,
    pub(super) board: SourceBoard,
    pub(super) captured: watch::Sender<Arc<Captured>>,
    pub(super) paused: watch::Sender<bool>,
    /// Ends waits for the next attempt at once.
    pub(super) retry: Notify,
}

/// The tables that the pipeline captures, as last discovered.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// Whether there was a discovery at all.
    pub(super) known: bool,
    /// How many discoveries there have been.
    pub(super) round: u64,
    /// Of each captured table, a number that changes whenever it was not captured in between.
    pub(super) since: BTreeMap<TableId, u64>,
    /// Which generation each table's rows are of.
    pub(super) generations: BTreeMap<TableId, Generation>,
    /// Tables whose changes are in the log.
    pub(super) tables: Vec<Arc<TableSchema>>,
    /// Tables that match and cannot be captured, and why.
    pub(super) refused: Vec<Refused>,
}

/// A table that matches and cannot be captured.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) id: TableId,
    pub(super) name: TableName,
    pub(super) error: Error,
}

impl Shared {
    /// Waits `pause`, or until someone asks to try again at once.
    pub(super) async fn pause_before_retry(&self, pause: Duration) {
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = self.retry.notified() => {}
        }
    }
}
