//! What a pipeline tells of itself: `cdc status --json` and `/api/status`.
//!
//! Invariant: this JSON is stable. Keys are added, never renamed or removed; a value that is not
//! known is `null`. It holds no user data but the names of tables, and no secret.

use std::fmt;

use cdc_api::{Checkpoint, Error, ErrorKind, TableName};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: PipelineState,
    /// The daemon's version.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// The source.
    pub source: SourceStatus,
    /// The journal.
    pub journal: JournalStatus,
    /// The sinks, in the configuration's order.
    pub sinks: Vec<SinkStatus>,
}

/// What a pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineState {
    /// Connecting, recovering.
    Starting,
    /// Working.
    Running,
    /// Resting until `cdc resume`.
    Paused,
    /// Finishing what is under way.
    Stopping,
    /// Given up on the source: see its error.
    Failed,
}

/// The source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The connector.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it does.
    pub state: SourceState,
    /// Who the server is, for people: product, version, database, lasting identity.
    pub identity: Option<String>,
    /// Bytes of log between the server's end and what has been read.
    pub lag_bytes: Option<u64>,
    /// Seconds since the last transaction read committed, 0 when all has been read.
    pub lag_seconds: Option<f64>,
    /// What the source has been told that it may drop, in the connector's own words.
    pub position: Option<String>,
    /// Why it does not go on.
    pub error: Option<Problem>,
}

/// What a source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Connecting.
    Connecting,
    /// Reading the log.
    Streaming,
    /// Waiting for its next attempt after an error.
    Retrying,
    /// Waiting for sinks, the journal being full.
    Blocked,
    /// Resting until `cdc resume`.
    Paused,
    /// Given up: see the error.
    Failed,
}

/// The journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Bytes on disk.
    pub bytes: u64,
    /// The first `seq` that can still be replayed.
    pub oldest_seq: u64,
    /// The last `seq` on disk.
    pub last_seq: u64,
}

/// A sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The connector.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it does.
    pub state: SinkState,
    /// Bytes of source log between what has been read and the checkpoint.
    pub lag_bytes: Option<u64>,
    /// Seconds since the oldest transaction committed that the source has and the sink has not;
    /// 0 when there is none.
    pub lag_seconds: Option<f64>,
    /// What is durable in the target.
    pub checkpoint: Option<CheckpointStatus>,
    /// Row changes applied since the daemon started.
    pub rows_applied: u64,
    /// Commits since the daemon started.
    pub commits: u64,
    /// What it stumbled over last, until it has recovered.
    pub error: Option<Problem>,
    /// Its tables, by name.
    pub tables: Vec<TableStatus>,
}

/// What a sink does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// Opening, recovering.
    Starting,
    /// Applying.
    Running,
    /// Waiting for its next attempt after an error.
    Retrying,
    /// Resting until `cdc resume`.
    Paused,
    /// Given up: see the error.
    Failed,
}

/// A checkpoint, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// The last row change it covers.
    pub seq: u64,
    /// The place in the source's log, in the connector's own words.
    pub position: String,
    /// When the last transaction it covers committed, RFC 3339 in UTC.
    pub commit_time: Option<String>,
}

impl From<&Checkpoint> for CheckpointStatus {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            seq: checkpoint.seq,
            position: checkpoint.position.to_string(),
            commit_time: (checkpoint.commit_time != 0)
                .then(|| jiff::Timestamp::from_microsecond(checkpoint.commit_time).ok())
                .flatten()
                .map(|time| time.to_string()),
        }
    }
}

/// A table in a sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableStatus {
    /// The source's lasting identity of the table.
    pub id: u64,
    /// Its schema in the source.
    pub schema: String,
    /// Its name in the source.
    pub table: String,
    /// How far it is.
    pub state: TableState,
    /// Rows copied so far; of a table that streams, those of the last copy.
    pub rows_done: u64,
    /// Rows to copy, by the source's statistics.
    pub rows_total: Option<u64>,
    /// Bytes copied so far, by the source's statistics.
    pub bytes_done: u64,
    /// Bytes to copy, by the source's statistics.
    pub bytes_total: Option<u64>,
    /// How much of the copy is done, 0 to 100.
    pub percent: Option<f64>,
    /// Rows a second, of late.
    pub rate_rows_per_second: Option<f64>,
    /// Seconds until the copy is done, at this rate.
    pub seconds_left: Option<u64>,
    /// Why it stopped.
    pub error: Option<Problem>,
}

/// How far a table is in a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// Waiting for its copy to begin.
    Pending,
    /// Existing rows are being copied.
    Copying,
    /// Changes since the copy's point are being replayed.
    CatchingUp,
    /// Whole, and following the source.
    Streaming,
    /// Stopped: see the error.
    Failed,
}

/// An error, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What the daemon does about it.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: String,
    /// The statement or setting that mends it.
    pub hint: Option<String>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
            hint: error.hint_text().map(ToOwned::to_owned),
        }
    }
}

impl Status {
    /// Of a pipeline that is starting: nothing is known yet.
    pub fn starting(config: &Config) -> Self {
        Self {
            name: config.name.clone(),
            state: PipelineState::Starting,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: 0,
            source: SourceStatus {
                kind: config.source.kind.clone(),
                state: SourceState::Connecting,
                identity: None,
                lag_bytes: None,
                lag_seconds: None,
                position: None,
                error: None,
            },
            journal: JournalStatus::default(),
            sinks: config
                .sinks
                .iter()
                .map(|sink| SinkStatus {
                    name: sink.name.clone(),
                    kind: sink.kind.clone(),
                    state: SinkState::Starting,
                    lag_bytes: None,
                    lag_seconds: None,
                    checkpoint: None,
                    rows_applied: 0,
                    commits: 0,
                    error: None,
                    tables: Vec::new(),
                })
                .collect(),
        }
    }

    /// Whether the pipeline does what it is there for: the source streams, every sink applies,
    /// every table is whole. What `/readyz` says.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// What keeps the pipeline from being ready, one line each.
    pub fn missing(&self) -> Vec<String> {
        let because = |error: &Option<Problem>| match error {
            Some(problem) => format!(": {}", problem.message),
            None => String::new(),
        };
        let mut missing = Vec::new();
        if self.state != PipelineState::Running {
            missing.push(format!("the pipeline is {}", self.state));
        }
        let source = &self.source;
        if source.state != SourceState::Streaming {
            missing.push(format!(
                "the source is {}{}",
                source.state,
                because(&source.error)
            ));
        }
        for sink in &self.sinks {
            let name = &sink.name;
            if sink.state != SinkState::Running {
                missing.push(format!(
                    "sink {name} is {}{}",
                    sink.state,
                    because(&sink.error)
                ));
            }
            for table in &sink.tables {
                if table.state != TableState::Streaming {
                    missing.push(format!(
                        "table {} in sink {name} is {}{}",
                        table.name(),
                        table.state,
                        because(&table.error)
                    ));
                }
            }
        }
        missing
    }
}

impl TableStatus {
    /// Schema and name, quoted where needed.
    pub fn name(&self) -> TableName {
        TableName::new(&self.schema, &self.table)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let error = Self::new(problem.kind, problem.message);
        match problem.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// States in words, the same as in JSON but for underscores.
macro_rules! words {
    ($($state:ty { $($variant:ident $word:literal),* $(,)? })*) => {$(
        impl fmt::Display for $state {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),* })
            }
        }
    )*};
}

words! {
    PipelineState {
        Starting "starting", Running "running", Paused "paused", Stopping "stopping",
        Failed "failed",
    }
    SourceState {
        Connecting "connecting", Streaming "streaming", Retrying "retrying", Blocked "blocked",
        Paused "paused", Failed "failed",
    }
    SinkState {
        Starting "starting", Running "running", Retrying "retrying", Paused "paused",
        Failed "failed",
    }
    TableState {
        Pending "pending", Copying "copying", CatchingUp "catching up", Streaming "streaming",
        Failed "failed",
    }
}
