//! What the daemon remembers besides the data: `state.db` (SQLite) in the data directory, and the
//! lock that makes the data directory one daemon's own.
//!
//! Invariant: nothing here is needed for exactness. Sinks are read back for what they hold, the
//! journal for where it ends; this is the plan of unfinished work (copies), what failed and why,
//! and what the operator asked for. Every change is durable when its call returns.
//!
//! All calls block, for a millisecond or an fsync: call them rarely, or off the async threads.

use std::path::Path;
use std::sync::Arc;

use cdc_api::{Chunk, CopyId, Error, Result, SourceIdentity, TableId, TableName, TableSchema};

/// How far a table is on its way into a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Known, nothing done yet.
    Pending,
    /// Existing rows are being copied.
    Copying,
    /// The copy is complete; its changes since are being replayed.
    CatchingUp,
    /// Joined: follows the main stream.
    Streaming,
    /// Stopped, for the reason in [`TableState::error`].
    Failed,
}

/// Why a table stopped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableError {
    /// What happened.
    pub message: String,
    /// The statement or setting that mends it.
    pub hint: Option<String>,
}

/// One table of one sink.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TableState {
    /// The source's identity of the table.
    pub table: TableId,
    /// Its name when last seen.
    pub name: TableName,
    /// How far it is.
    pub phase: Phase,
    /// The copy that is running or was joined.
    pub copy: Option<CopyId>,
    /// The copy's plan; empty before it is made.
    pub chunks: Vec<Chunk>,
    /// The shape that the copy was begun with.
    pub schema: Option<Arc<TableSchema>>,
    /// The consistent point of the oldest finished chunk: the catch-up starts after it.
    pub from_seq: Option<u64>,
    /// The consistent point of the newest finished chunk: the copy is whole from there on.
    pub whole_at: Option<u64>,
    /// Why it stopped.
    pub error: Option<TableError>,
    /// The place in the order at which it stopped.
    pub failed_seq: Option<u64>,
    /// Whether a new copy was asked for.
    pub requested: bool,
}

impl TableState {
    /// A table of which nothing is done yet.
    pub fn pending(table: TableId, name: TableName) -> Self {
        Self {
            table,
            name,
            phase: Phase::Pending,
            copy: None,
            chunks: Vec::new(),
            schema: None,
            from_seq: None,
            whole_at: None,
            error: None,
            failed_seq: None,
            requested: false,
        }
    }
}

/// Which pipeline a data directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PipelineRecord {
    /// The pipeline's name.
    pub name: String,
    /// The server that it reads.
    pub source: SourceIdentity,
    /// Rises whenever the pipeline begins anew (a reset journal, another server).
    pub epoch: u64,
}

/// The state database, and the lock of the data directory for as long as it is open. Cheap to
/// clone.
#[derive(Clone)]
pub struct State {
    shared: Arc<()>,
}

impl State {
    /// Locks the data directory (created when missing) and opens or creates its `state.db`.
    ///
    /// # Errors
    /// `Config` when another daemon runs on the directory (with its pid), when the directory
    /// cannot be used, or when the database was written by a newer version; `Data` when it is
    /// damaged, with the remedy.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let _ = data_dir;
        Err(Error::internal("state is not built yet"))
    }

    /// Which pipeline the directory belongs to; `None` when it is new.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pipeline(&self) -> Result<Option<PipelineRecord>> {
        Err(Error::internal("state is not built yet"))
    }

    /// Sets which pipeline the directory belongs to.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_pipeline(&self, pipeline: &PipelineRecord) -> Result<()> {
        let _ = (&self.shared, pipeline);
        Err(Error::internal("state is not built yet"))
    }

    /// Whether the operator has paused the pipeline.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn paused(&self) -> Result<bool> {
        Err(Error::internal("state is not built yet"))
    }

    /// Pauses or resumes.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_paused(&self, paused: bool) -> Result<()> {
        let _ = paused;
        Err(Error::internal("state is not built yet"))
    }

    /// The tables of a sink, in table id order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn tables(&self, sink: &str) -> Result<Vec<TableState>> {
        let _ = sink;
        Err(Error::internal("state is not built yet"))
    }

    /// One table of a sink.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn table(&self, sink: &str, table: TableId) -> Result<Option<TableState>> {
        let _ = (sink, table);
        Err(Error::internal("state is not built yet"))
    }

    /// Saves tables of a sink, all or none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save_tables(&self, sink: &str, tables: &[TableState]) -> Result<()> {
        let _ = (sink, tables);
        Err(Error::internal("state is not built yet"))
    }

    /// Forgets a table of a sink; no error when it is not there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_table(&self, sink: &str, table: TableId) -> Result<()> {
        let _ = (sink, table);
        Err(Error::internal("state is not built yet"))
    }

    /// The sinks that have tables here, in name order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sinks(&self) -> Result<Vec<String>> {
        Err(Error::internal("state is not built yet"))
    }

    /// Forgets a sink with all its tables.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_sink(&self, sink: &str) -> Result<()> {
        let _ = sink;
        Err(Error::internal("state is not built yet"))
    }

    /// A copy id that was never given out before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn next_copy(&self) -> Result<CopyId> {
        Err(Error::internal("state is not built yet"))
    }

    /// The tables' shapes as last saved, with the `seq` of the commit that they belong to.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn schemas(&self) -> Result<(u64, Vec<Arc<TableSchema>>)> {
        Err(Error::internal("state is not built yet"))
    }

    /// Replaces the saved shapes by those as of the commit with `seq`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save_schemas(&self, seq: u64, schemas: &[Arc<TableSchema>]) -> Result<()> {
        let _ = (seq, schemas);
        Err(Error::internal("state is not built yet"))
    }

    /// A value saved under a key of the caller's.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn value(&self, key: &str) -> Result<Option<String>> {
        let _ = key;
        Err(Error::internal("state is not built yet"))
    }

    /// Saves a value under a key; `None` removes it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_value(&self, key: &str, value: Option<&str>) -> Result<()> {
        let _ = (key, value);
        Err(Error::internal("state is not built yet"))
    }
}
