//! What the daemon remembers besides the data: `state.db` (SQLite) in the data directory, and the
//! lock that makes the data directory one daemon's own.
//!
//! Invariant: nothing here is needed for exactness. Sinks are read back for what they hold, the
//! journal for where it ends; this is the plan of unfinished work (copies), what failed and why,
//! and what the operator asked for. Every change is durable when its call returns.
//!
//! All calls block, for a millisecond or an fsync: call them rarely, or off the async threads.

mod database;
mod lock;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cdc_api::{Chunk, CopyId, Result, SourceIdentity, TableId, TableName, TableSchema};
use rusqlite::{Connection, OptionalExtension, params};

use database::{decode, encode, failed};
use lock::DirectoryLock;

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
    /// The generation of the source's rows that the copy was begun with.
    #[serde(default)]
    pub generation: Option<u64>,
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
            generation: None,
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
    shared: Arc<Shared>,
}

struct Shared {
    database: Mutex<Connection>,
    _lock: DirectoryLock,
}

impl State {
    /// Locks the data directory (created when missing) and opens or creates its `state.db`.
    ///
    /// # Errors
    /// `Config` when another daemon runs on the directory (with its pid), when the directory
    /// cannot be used, or when the database was written by a newer version; `Data` when it is
    /// damaged, with the remedy.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let lock = DirectoryLock::take(data_dir)?;
        let database = database::open(&data_dir.join("state.db"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                database: Mutex::new(database),
                _lock: lock,
            }),
        })
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic broke off was rolled back: the connection is as good as new.
        self.shared
            .database
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Which pipeline the directory belongs to; `None` when it is new.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pipeline(&self) -> Result<Option<PipelineRecord>> {
        self.setting("pipeline")?
            .map(|text| decode(&text))
            .transpose()
    }

    /// Sets which pipeline the directory belongs to.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_pipeline(&self, pipeline: &PipelineRecord) -> Result<()> {
        self.set_setting("pipeline", Some(&encode(pipeline)?))
    }

    /// Whether the operator has paused the pipeline.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn paused(&self) -> Result<bool> {
        Ok(self.setting("paused")?.is_some())
    }

    /// Pauses or resumes.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_paused(&self, paused: bool) -> Result<()> {
        self.set_setting("paused", paused.then_some("yes"))
    }

    /// The tables of a sink, in table id order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn tables(&self, sink: &str) -> Result<Vec<TableState>> {
        let database = self.database();
        let mut statement = database
            .prepare_cached("SELECT state FROM sink_table WHERE sink = ?1 ORDER BY table_id")
            .map_err(failed)?;
        let rows = statement
            .query_map([sink], |row| row.get::<_, String>(0))
            .map_err(failed)?;
        let mut tables = Vec::new();
        for row in rows {
            tables.push(decode(&row.map_err(failed)?)?);
        }
        // SQLite's integers are signed: large ids sort before small ones there.
        tables.sort_by_key(|table: &TableState| table.table);
        Ok(tables)
    }

    /// One table of a sink.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn table(&self, sink: &str, table: TableId) -> Result<Option<TableState>> {
        let text: Option<String> = self
            .database()
            .prepare_cached("SELECT state FROM sink_table WHERE sink = ?1 AND table_id = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row(params![sink, key(table)], |row| row.get(0))
                    .optional()
            })
            .map_err(failed)?;
        text.map(|text| decode(&text)).transpose()
    }

    /// Saves tables of a sink, all or none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save_tables(&self, sink: &str, tables: &[TableState]) -> Result<()> {
        let mut database = self.database();
        let transaction = database.transaction().map_err(failed)?;
        for table in tables {
            transaction
                .prepare_cached(
                    "INSERT INTO sink_table (sink, table_id, state) VALUES (?1, ?2, ?3)
                     ON CONFLICT (sink, table_id) DO UPDATE SET state = excluded.state",
                )
                .and_then(|mut statement| {
                    statement.execute(params![sink, key(table.table), encode_sql(table)?])
                })
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Forgets a table of a sink; no error when it is not there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_table(&self, sink: &str, table: TableId) -> Result<()> {
        self.database()
            .execute(
                "DELETE FROM sink_table WHERE sink = ?1 AND table_id = ?2",
                params![sink, key(table)],
            )
            .map_err(failed)?;
        Ok(())
    }

    /// The sinks that have tables here, in name order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sinks(&self) -> Result<Vec<String>> {
        let database = self.database();
        let mut statement = database
            .prepare_cached("SELECT DISTINCT sink FROM sink_table ORDER BY sink")
            .map_err(failed)?;
        let names = statement
            .query_map([], |row| row.get(0))
            .map_err(failed)?
            .collect::<rusqlite::Result<_>>();
        names.map_err(failed)
    }

    /// Forgets a sink with all its tables.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_sink(&self, sink: &str) -> Result<()> {
        self.database()
            .execute("DELETE FROM sink_table WHERE sink = ?1", [sink])
            .map_err(failed)?;
        Ok(())
    }

    /// A copy id that was never given out before, not even by a database that was lost since:
    /// rises with the clock, and beyond the last one whatever the clock does.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn next_copy(&self) -> Result<CopyId> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros());
        let next: i64 = self
            .database()
            .query_row(
                "INSERT INTO setting (key, value) VALUES ('last_copy', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = MAX(value + 1, excluded.value)
                 RETURNING value",
                [i64::try_from(now).unwrap_or(0)],
                |row| row.get(0),
            )
            .map_err(failed)?;
        Ok(CopyId(next.cast_unsigned()))
    }

    /// The tables' shapes as last saved, in table id order, with the `seq` of the commit that
    /// they belong to; 0 and none when never saved.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn schemas(&self) -> Result<(u64, Vec<Arc<TableSchema>>)> {
        // One text for all keeps the seq and the shapes of one moment together.
        match self.setting("schemas")? {
            None => Ok((0, Vec::new())),
            Some(text) => decode(&text),
        }
    }

    /// Replaces the saved shapes by those as of the commit with `seq`.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save_schemas(&self, seq: u64, schemas: &[Arc<TableSchema>]) -> Result<()> {
        let mut schemas = schemas.to_vec();
        schemas.sort_by_key(|schema| schema.id);
        self.set_setting("schemas", Some(&encode(&(seq, schemas))?))
    }

    /// A value saved under a key of the caller's.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn value(&self, key: &str) -> Result<Option<String>> {
        self.setting(&format!("value.{key}"))
    }

    /// Saves a value under a key; `None` removes it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_value(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.set_setting(&format!("value.{key}"), value)
    }

    fn setting(&self, key: &str) -> Result<Option<String>> {
        self.database()
            .prepare_cached("SELECT value FROM setting WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
            .map_err(failed)
    }

    fn set_setting(&self, key: &str, value: Option<&str>) -> Result<()> {
        let database = self.database();
        let done = match value {
            Some(value) => database.execute(
                "INSERT INTO setting (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key, value],
            ),
            None => database.execute("DELETE FROM setting WHERE key = ?1", [key]),
        };
        done.map_err(failed)?;
        Ok(())
    }
}

/// A table id as SQLite's signed integer, bit by bit.
fn key(table: TableId) -> i64 {
    table.0.cast_signed()
}

fn encode_sql(table: &TableState) -> rusqlite::Result<String> {
    serde_json::to_string(table)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests;
