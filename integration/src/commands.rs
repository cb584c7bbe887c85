//! The command line of `cdc`, used from outside as a user would, and what its `--json` says.
//!
//! Leaves the daemon itself to [`crate::daemon`]: these commands only talk to it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use serde_json::Value;

use crate::compare::Row;

/// What `cdc status --json` says.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// The source.
    pub source: SourceStatus,
    /// One entry per sink.
    pub sinks: Vec<SinkStatus>,
}

/// The source's part of the status.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceStatus {
    /// What it does.
    pub state: String,
    /// Why it does not go on.
    #[serde(default)]
    pub error: Value,
}

/// One sink's part of the status.
#[derive(Debug, Clone, Deserialize)]
pub struct SinkStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What it does.
    pub state: String,
    /// Message and hint of what it stumbled over last.
    #[serde(default)]
    pub error: Value,
    /// Its tables.
    pub tables: Vec<TableStatus>,
}

/// One table of a sink.
#[derive(Debug, Clone, Deserialize)]
pub struct TableStatus {
    /// Schema in the source.
    pub schema: String,
    /// Name in the source.
    pub table: String,
    /// `pending`, `copying`, `catching_up`, `streaming` or `failed`.
    pub state: String,
    /// Why it failed.
    #[serde(default)]
    pub error: Value,
}

/// Commands with the configuration and the environment of one daemon; a copy may be used from another thread.
#[derive(Debug, Clone)]
pub struct Commands {
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) file_size: Option<u64>,
}

impl Commands {
    /// A path in the daemon's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a command of the command line to its end.
    #[must_use]
    pub fn cdc(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("cdc runs")
    }

    /// Runs a command that has to succeed and returns its standard output.
    pub fn succeed(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.cdc(arguments);
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "cdc {}: {}, {said}",
            arguments.join(" "),
            output.status
        ))
    }

    /// Runs a command that has to fail and returns all that it says.
    ///
    /// # Panics
    ///
    /// When it succeeds, or panics.
    #[must_use]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.cdc(arguments);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            !output.status.success(),
            "{arguments:?} has to fail: {said}"
        );
        assert!(!said.contains("panicked"), "{said}");
        said
    }

    /// `cdc status --json`.
    pub fn status(&self) -> Result<Status, String> {
        let text = self.succeed(&["status", "--json"])?;
        serde_json::from_str(&text)
            .map_err(|error| format!("status is not as documented: {error}\n{text}"))
    }

    /// `cdc query --format json`, all values as text.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>, String> {
        let text = self.succeed(&["query", "--sink", "warehouse", "--format", "json", sql])?;
        let rows: Vec<Value> = if text.trim_start().starts_with('[') {
            serde_json::from_str(&text).map_err(|e| format!("query gave no JSON: {e}"))?
        } else {
            let stream = serde_json::Deserializer::from_str(&text).into_iter();
            stream
                .collect::<Result<_, _>>()
                .map_err(|e| format!("query gave no JSON: {e}"))?
        };
        rows.into_iter()
            .map(|row| match row {
                // serde_json keeps keys sorted: c0, c1, c10, … are put into their order again.
                Value::Object(fields) => {
                    let mut fields: Vec<_> = fields.into_iter().collect();
                    fields.sort_by_key(|(name, _)| (name.len(), name.clone()));
                    Ok(fields.into_iter().map(|(_, value)| scalar(value)).collect())
                }
                other => Err(format!("a row is not an object: {other}")),
            })
            .collect()
    }

    /// The first value of the first row of a query, as text.
    pub fn value(&self, sql: &str) -> Result<Option<String>, String> {
        let rows = self.query(sql)?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten()))
    }

    /// A command of the binary with this daemon's configuration.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(bytes) = self.file_size {
            command.args([
                "prlimit",
                &format!("--fsize={bytes}"),
                "env",
                "--ignore-signal=XFSZ",
            ]);
        }
        command.arg(binary());
        if let Some((name, rest)) = arguments.split_first() {
            command
                .arg(name)
                .arg("-c")
                .arg(self.path("cdc.yaml"))
                .args(rest);
        }
        command.current_dir(&self.folder).env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }
}

/// The binary under test: `$CDC_BIN`, else the one that cargo built beside this test.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CDC_BIN") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("this program has a path");
    let beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("cdc"))
        .find(|path| path.is_file());
    beside.expect("the binary `cdc` is not built: cargo build --bin cdc")
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}
