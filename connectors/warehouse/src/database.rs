//! One open database file and the connections to it; DuckDB's errors in the contract's kinds.
//!
//! Invariant: within a process a file is open at most once. DuckDB's lock on the file belongs to
//! the process: it keeps other processes out, and would not keep out a second sink of ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cdc_api::schema::quote_identifier;
use cdc_api::{Error, ErrorKind, Result};
use duckdb::{Config, Connection};

use crate::config::WarehouseConfig;

static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Told when a path leaves [`OPEN`].
static CLOSED: Condvar = Condvar::new();
/// How long a file may take to be closed by what was dropped.
const CLOSING: Duration = Duration::from_secs(5);

/// Keeps a path in [`OPEN`].
struct Claim(PathBuf);

impl Claim {
    fn of(path: &Path) -> Result<Self> {
        let path = full_path(path)?;
        // What read from the file may still be closing it.
        let (mut open, _) = CLOSED
            .wait_timeout_while(lock(&OPEN), CLOSING, |open| open.contains(&path))
            .unwrap_or_else(PoisonError::into_inner);
        if !open.insert(path.clone()) {
            return Err(Error::transient(format!(
                "{} is open already in this process",
                path.display()
            ))
            .hint("give every sink a file of its own"));
        }
        Ok(Self(path))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&OPEN).remove(&self.0);
        CLOSED.notify_all();
    }
}

/// Whether this process has the file open.
pub(crate) fn is_open_here(path: &Path) -> bool {
    full_path(path).is_ok_and(|path| lock(&OPEN).contains(&path))
}

/// The path without links and dots; the file itself need not be there.
fn full_path(path: &Path) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::config(format!("{} names no file", path.display())))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder).map_err(|error| {
        Error::config(format!("the folder {} cannot be reached", folder.display()))
            .hint(format!("mkdir -p {}", folder.display()))
            .caused_by(error)
    })?;
    Ok(fs::canonicalize(folder.join(name)).unwrap_or_else(|_| folder.join(name)))
}

/// An open file. Closed when this and every connection are gone.
pub(crate) struct Database {
    root: Mutex<Connection>,
    // After the connection, so that the path is free only when the file is closed.
    _claim: Claim,
}

impl Database {
    /// Opens the file, creates it where it is not there, and recovers it from a crash.
    pub(crate) fn open(config: &WarehouseConfig) -> Result<Arc<Self>> {
        let claim = Claim::of(&config.path)?;
        let wrong =
            |error: duckdb::Error| Error::config("a DuckDB setting was refused").caused_by(error);
        let mut settings = Config::default()
            .with("memory_limit", &config.memory_limit)
            .map_err(|error| {
                Error::config(format!(
                    "warehouse setting `memory_limit` is not a size: `{}`",
                    config.memory_limit
                ))
                .hint("set `memory_limit` to a size such as `512MB`")
                .caused_by(error)
            })?;
        if let Some(threads) = config.threads {
            settings = settings.threads(i64::from(threads)).map_err(wrong)?;
        }
        let connection = Connection::open_in_memory_with_flags(settings).map_err(wrong)?;
        let is_new = fs::metadata(&config.path).map_or(true, |file| file.len() == 0);
        let storage = if is_new {
            format!(" (STORAGE_VERSION '{STORAGE_VERSION}')")
        } else {
            String::new()
        };
        connection
            .execute_batch(&format!(
                "ATTACH {} AS {}{storage}",
                quote_text(&config.path.display().to_string()),
                quote_identifier(CATALOG)
            ))
            .map_err(|error| not_opened(&config.path, error))?;
        // `cdc query` must not reach files or the network; nothing else here has to.
        run(
            &connection,
            "setting up the database",
            &format!(
                "SET GLOBAL temp_directory = {}; SET GLOBAL TimeZone = 'UTC'; \
                 SET GLOBAL enable_external_access = false; SET GLOBAL lock_configuration = true",
                quote_text(&format!("{}.tmp", config.path.display()))
            ),
        )?;
        Ok(Arc::new(Self {
            root: Mutex::new(connection),
            _claim: claim,
        }))
    }

    /// Another connection, with a transaction of its own.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let connection = lock(&self.root)
            .try_clone()
            .map_err(|error| failed("connecting to the database", error))?;
        run(
            &connection,
            "connecting to the database",
            &format!("USE {}", quote_identifier(CATALOG)),
        )?;
        Ok(connection)
    }
}

/// A complete, quoted name.
pub(crate) fn qualified(schema: &str, table: &str) -> String {
    [CATALOG, schema, table].map(quote_identifier).join(".")
}

/// A text in SQL's single quotes.
pub(crate) fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The name of the file's catalog. DuckDB would name it after the file, and then a schema of the
/// same name (`shop.duckdb`, schema `shop`) could not be told from it.
pub(crate) const CATALOG: &str = "_warehouse";

/// The storage format of new files: the oldest that has all we need, so that older readers can
/// open them.
pub(crate) const STORAGE_VERSION: &str = "v1.2.0";

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_opened(path: &Path, error: duckdb::Error) -> Error {
    let text = error.to_string();
    let shown = path.display();
    if text.contains("Could not set lock") || text.contains("Conflicting lock") {
        let holder = text
            .split("Conflicting lock is held in ")
            .nth(1)
            .and_then(|rest| rest.split(". ").next())
            .map_or_else(String::new, |holder| {
                format!(" by {}", holder.lines().next().unwrap_or(holder))
            });
        return Error::transient(format!("{shown} is locked{holder}"))
            .hint("close the other program that has the file open; to look into it while cdc runs, use `cdc query`")
            .caused_by(error);
    }
    if text.contains("not a valid DuckDB database file") {
        return Error::config(format!("{shown} is not a DuckDB database"))
            .hint("set `path` to a DuckDB file, or to one that does not exist yet")
            .caused_by(error);
    }
    if text.contains("storage version")
        || text.contains("newer version of DuckDB")
        || text.contains("older version")
    {
        return Error::config(format!("{shown} was written in a storage version that this DuckDB cannot read"))
            .hint("EXPORT DATABASE with the DuckDB that wrote it and IMPORT DATABASE with this one, or set `path` to a new file")
            .caused_by(error);
    }
    if text.contains("Permission denied") {
        return Error::auth(format!("{shown} cannot be opened for writing"))
            .hint(format!(
                "chown or chmod {shown} and its folder for the user that runs cdc"
            ))
            .caused_by(error);
    }
    failed("opening the database", error).context(shown.to_string())
}

/// An error of DuckDB in the contract's kinds. Only classes whose text cannot hold user data keep
/// their text.
pub(crate) fn failed(doing: &str, error: duckdb::Error) -> Error {
    let text = match &error {
        duckdb::Error::DuckDBFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    };
    let first = text.lines().next().unwrap_or_default();
    let class = first.split(':').next().unwrap_or_default().trim();
    let (kind, hint) = match class {
        "IO Error" if first.contains("No space left") => (
            ErrorKind::Transient,
            Some("make room on the disk that holds the warehouse's file"),
        ),
        "Out of Memory Error" | "OutOfMemory Error" => (
            ErrorKind::Transient,
            Some("raise the warehouse's `memory_limit`, or lower its `threads`"),
        ),
        "IO Error"
        | "TransactionContext Error"
        | "Transaction Error"
        | "FATAL Error"
        | "INTERRUPT Error"
        | "Interrupt Error"
        | "Connection Error" => (ErrorKind::Transient, None),
        _ if class.starts_with("type mismatch in AppendDataChunk") => (ErrorKind::Data, None),
        "Conversion Error" | "Constraint Error" | "Out of Range Error" | "Invalid Input Error" => {
            (ErrorKind::Data, None)
        }
        _ => (ErrorKind::Internal, None),
    };
    let harmless = matches!(
        class,
        "IO Error"
            | "Out of Memory Error"
            | "OutOfMemory Error"
            | "TransactionContext Error"
            | "Catalog Error"
            | "Dependency Error"
            | "Permission Error"
            | "Not implemented Error"
            | "FATAL Error"
            | "Connection Error"
    );
    let message = if harmless { first } else { class };
    let error = Error::new(kind, format!("DuckDB: {message}")).context(doing.to_owned());
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Runs statements without results.
pub(crate) fn run(connection: &Connection, doing: &str, sql: &str) -> Result<()> {
    connection
        .execute_batch(sql)
        .map_err(|error| failed(doing, error))
}

/// Runs one statement and gives the number of rows it changed.
pub(crate) fn change(connection: &Connection, doing: &str, sql: &str) -> Result<usize> {
    connection
        .execute(sql, [])
        .map_err(|error| failed(doing, error))
}
