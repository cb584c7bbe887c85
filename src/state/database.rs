//! The file `state.db`: how it is opened, its tables, and what its errors mean.
//!
//! Invariant: `user_version` is the number of the layout. An older layout is brought up step by
//! step in one transaction, a newer one is refused untouched.

use std::path::Path;

use cdc_api::{Error, Result};
use rusqlite::{Connection, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The statements that lead from each layout to the next one.
const LAYOUTS: [&str; 1] = ["
    CREATE TABLE setting (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE sink_table (
        sink TEXT NOT NULL,
        table_id INTEGER NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (sink, table_id)
    ) WITHOUT ROWID;
"];

/// Opens or creates the database.
///
/// # Errors
/// `Config` for a newer layout, `Data` for a damaged file.
pub(super) fn open(path: &Path) -> Result<Connection> {
    open_file(path).map_err(|error| error.context(format!("opening {}", path.display())))
}

fn open_file(path: &Path) -> Result<Connection> {
    let mut database = Connection::open(path).map_err(failed)?;
    database
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .map_err(failed)?;
    let layout: usize = database
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(failed)?;
    if layout > LAYOUTS.len() {
        return Err(Error::config(format!(
            "the state was written by a newer version (layout {layout}, known are up to {})",
            LAYOUTS.len()
        ))
        .hint("run the version that wrote it, or a later one"));
    }
    let findings: String = database
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(failed)?;
    if findings != "ok" {
        return Err(damaged());
    }
    let transaction = database.transaction().map_err(failed)?;
    for (index, statements) in LAYOUTS.iter().enumerate().skip(layout) {
        transaction.execute_batch(statements).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", index + 1)
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(database)
}

fn damaged() -> Error {
    Error::data("the state database is damaged").hint(
        "stop the daemon, move `state.db`, `state.db-wal` and `state.db-shm` out of the data \
         directory and start it again: what the sinks hold is read back from them, unfinished \
         copies begin again",
    )
}

/// What an error of SQLite asks for.
pub(super) fn failed(error: rusqlite::Error) -> Error {
    let mapped = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(),
        Some(ErrorCode::DiskFull) => Error::transient("the disk of the data directory is full")
            .hint("free space on the file system of `data_dir`"),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            Error::config(format!("the state database cannot be used: {error}"))
                .hint("give the daemon's user the right to write to `data_dir` and its files")
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::transient(format!("the state database cannot be reached: {error}"))
        }
        _ => Error::internal(format!("the state database refused a statement: {error}")),
    };
    mapped.caused_by(error)
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("cannot encode state").caused_by(error))
}

pub(super) fn decode<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged().caused_by(error))
}
