//! A [`Source`] over a model database, exactly as the contract says and as unhelpful as it allows.
//!
//! Invariant: what it gives depends on the database, the seed and the number of streams started,
//! on nothing else. Batches and commits are cut at random places; what was acknowledged is gone.
//!
//! Faults are the caller's to switch on: see [`SourceFaults`].

mod snapshot;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use crate::{
    BatchLimits, ChangeStream, Checkpoint, Error, Finding, FoundTable, Identity, Result, Snapshot,
    Source, SourceIdentity, TableId, TableSchema, TableSelection, TableSize,
};

use super::database::{CommitNumber, Database, LOG_BYTES};
use super::lock;
use super::trace::Trace;

/// What goes wrong, in chances of a thousand per call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceFaults {
    /// `next` fails as if the connection had dropped.
    pub dropped: u32,
    /// Any other call fails as if the server were busy.
    pub busy: u32,
    /// A snapshot's connection drops: the snapshot is of no use any more.
    pub snapshot: u32,
    /// The longest that a call takes.
    pub slow: Duration,
}

/// A source that is a script: seeded cuts, seeded faults.
#[derive(Debug, Clone)]
pub struct ScriptedSource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    trace: Trace,
    seed: u64,
    state: Mutex<SourceState>,
    /// Told when a mark is wanted.
    marked: Notify,
}

#[derive(Debug)]
struct SourceState {
    rng: StdRng,
    faults: SourceFaults,
    selection: TableSelection,
    streams: u64,
    /// The live snapshots' points.
    snapshots: BTreeMap<u64, CommitNumber>,
    /// The points of marks asked for and not given yet.
    marks: BTreeMap<u64, CommitNumber>,
    /// The furthest position that any stream gave in a commit.
    given: CommitNumber,
}

impl ScriptedSource {
    /// A source of every table of the database.
    pub fn new(database: &Database, seed: u64, trace: &Trace) -> Self {
        Self {
            shared: Arc::new(Shared {
                database: database.clone(),
                trace: trace.clone(),
                seed,
                state: Mutex::new(SourceState {
                    rng: StdRng::seed_from_u64(seed ^ 0x736f_7572_6365),
                    faults: SourceFaults::default(),
                    selection: TableSelection::parse(["*.*"]).expect("a valid pattern"),
                    streams: 0,
                    snapshots: BTreeMap::new(),
                    marks: BTreeMap::new(),
                    given: 0,
                }),
                marked: Notify::new(),
            }),
        }
    }

    /// The database behind it.
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: SourceFaults) {
        lock(&self.shared.state).faults = faults;
    }

    /// Changes which tables are found.
    ///
    /// # Errors
    /// When a pattern cannot be read.
    pub fn set_tables(&self, patterns: &[&str]) -> Result<()> {
        self.select(TableSelection::parse(patterns)?);
        Ok(())
    }
}

impl Shared {
    /// A seeded pause, then perhaps a failure.
    async fn busy(&self, what: &str) -> Result<()> {
        let (pause, fails) = {
            let mut state = lock(&self.state);
            let faults = state.faults;
            let fails = state.rng.random_range(0..1000) < faults.busy;
            (pause(&mut state.rng, faults.slow), fails)
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        if fails {
            self.trace.note(format_args!("source busy: {what}"));
            return Err(Error::transient(format!("the server is busy: {what}")));
        }
        Ok(())
    }

    fn checkpoint(&self, commit: CommitNumber, seq: u64, commit_time: i64) -> Checkpoint {
        Checkpoint {
            position: Database::position(commit),
            seq,
            offset: commit as u64 * LOG_BYTES,
            commit_time,
        }
    }
}

/// A random pause up to `most`; often none.
pub(super) fn pause(rng: &mut StdRng, most: Duration) -> Option<Duration> {
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    (most > 0 && rng.random_range(0..3) == 0)
        .then(|| Duration::from_micros(rng.random_range(1..=most)))
}

#[async_trait]
impl Source for ScriptedSource {
    async fn check(&self) -> Result<Vec<Finding>> {
        self.shared.busy("check").await?;
        Ok(vec![Finding::ok("database", "a model in memory")])
    }

    async fn identify(&self) -> Result<SourceIdentity> {
        self.shared.busy("identify").await?;
        Ok(SourceIdentity {
            id: "model".to_owned(),
            version: "Model 1".to_owned(),
            database: "shop".to_owned(),
        })
    }

    async fn discover(&self) -> Result<Vec<FoundTable>> {
        self.shared.busy("discover").await?;
        let database = &self.shared.database;
        let now = database.state(database.head());
        let selection = lock(&self.shared.state).selection.clone();
        let mut found: Vec<FoundTable> = now
            .tables
            .values()
            .filter(|table| selection.matches(&table.schema.name))
            .map(|table| FoundTable {
                table: Arc::clone(&table.schema),
                refused: None,
                size: TableSize {
                    rows: table.rows.len() as u64,
                    bytes: table.rows.len() as u64 * snapshot::ROW_BYTES,
                },
            })
            .collect();
        found.sort_by(|a, b| a.table.name.cmp(&b.table.name));
        Ok(found)
    }

    fn select(&self, tables: TableSelection) {
        lock(&self.shared.state).selection = tables;
    }

    async fn capture(&self, tables: &[Arc<TableSchema>]) -> Result<()> {
        self.shared.busy("capture").await?;
        let tables = tables.iter().map(|table| table.id).collect();
        self.shared.trace.note(format_args!("capture {tables:?}"));
        self.shared.database.capture(tables);
        Ok(())
    }

    async fn origin(&self) -> Result<Checkpoint> {
        self.shared.busy("origin").await?;
        let origin = self.shared.database.origin();
        let forgotten = self.shared.database.forgotten();
        if forgotten > origin {
            self.shared.trace.violation(format!(
                "origin asked for although the log up to commit {forgotten} was acknowledged"
            ));
        }
        self.shared.busy("origin answered").await?;
        Ok(self.shared.checkpoint(origin, 0, 0))
    }

    async fn start(
        &self,
        from: &Checkpoint,
        known: &[Arc<TableSchema>],
        limits: BatchLimits,
    ) -> Result<Box<dyn ChangeStream>> {
        self.shared.busy("start").await?;
        let stream = stream::ScriptedStream::start(&self.shared, from, known, limits)?;
        Ok(Box::new(stream))
    }

    async fn snapshot(&self, tables: &[Arc<TableSchema>]) -> Result<Arc<dyn Snapshot>> {
        self.shared.busy("snapshot").await?;
        let ids: Vec<TableId> = tables.iter().map(|table| table.id).collect();
        let snapshot = snapshot::ScriptedSnapshot::open(&self.shared, &ids)?;
        self.shared.busy("snapshot opened").await?;
        Ok(Arc::new(snapshot))
    }

    async fn mark(&self) -> Result<u64> {
        self.shared.busy("mark").await?;
        let (id, point) = self.shared.database.hold(&[]);
        lock(&self.shared.state).marks.insert(id, point);
        self.shared.marked.notify_waiters();
        Ok(id)
    }

    async fn teardown(&self) -> Result<Vec<String>> {
        self.shared.busy("teardown").await?;
        Ok(Vec::new())
    }
}

/// Whether a table's key can cut it into ranges.
fn has_key(table: &TableSchema) -> bool {
    !table.key.is_empty() && table.identity != Identity::None
}

#[cfg(test)]
mod tests;
