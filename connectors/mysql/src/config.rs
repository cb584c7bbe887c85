//! The source's part of the configuration file.
//!
//! Owns the keys under `source:` with `type: mysql`, their defaults and their meaning for one table.
//! Leaves to the daemon how a file becomes these structures.

use std::fmt;

use cdc_api::{Error, Result, TableName, TableSelection};
use serde::Deserialize;

use crate::takeover::DebeziumOffset;
use crate::types::TypeOptions;

/// A MySQL or MariaDB source.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlConfig {
    /// Where the server is: `mysql://user:password@host:3306/database` (`mariadb://` is the same);
    /// a direct endpoint, not a proxy. The database may be left out. Parameters: `sslmode`
    /// (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`), `sslrootcert`, `sslcert`,
    /// `sslkey`, `socket=/file` for a Unix socket, `connect_timeout`. Without `sslmode`: plain on
    /// this machine, `verify-full` elsewhere.
    pub url: String,
    /// Which tables: patterns of `database.table` with `*` and `?`, double quotes where a name
    /// needs them, `!` in front to exclude.
    pub tables: Vec<String>,
    /// The number by which the server knows this reader of its log; unlike that of every server and
    /// every other reader. Made of the pipeline's name by default.
    #[serde(default)]
    pub server_id: Option<u32>,
    /// Tables that may be captured although foreign keys with CASCADE or SET NULL change rows of
    /// theirs that are not in the log (MySQL before 9.6, MariaDB). Patterns as in `tables`.
    #[serde(default)]
    pub allow_cascades: Vec<String>,
    /// How a copy finds its place in the log.
    #[serde(default)]
    pub snapshot_lock: SnapshotLock,
    /// Sessions that share a copy's view, and so the most chunks that are read at once.
    #[serde(default = "four")]
    pub snapshot_sessions: usize,
    /// What types become that Arrow has no exact equal of.
    #[serde(default)]
    pub types: TypeOptions,
    /// Which statements that change schemas (DDL) Kafka gets. Numbers do not depend on it: it holds
    /// from the next start on, for what the log says from there.
    #[serde(default)]
    pub schema_changes: SchemaChanges,
    /// Where Debezium's connector has stopped, as its own stored offset says: what it has sent is
    /// not sent again. Looked at where the pipeline has no checkpoint yet. MySQL alone.
    #[serde(default)]
    pub debezium_offset: Option<DebeziumOffset>,
}

/// Which statements that change schemas (DDL) are given to sinks that take them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChanges {
    /// None.
    #[default]
    None,
    /// Those of captured tables and their databases, but for what makes and drops indices alone.
    Captured,
    /// Those of all tables and databases of the server.
    All,
}

/// How a copy finds its place in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotLock {
    /// The first of `tables`, `global` and `none` that privileges and load allow.
    #[default]
    Auto,
    /// `LOCK TABLES … READ` on the captured tables, for milliseconds; needs LOCK TABLES.
    Tables,
    /// `FLUSH TABLES WITH READ LOCK`, for milliseconds; needs RELOAD.
    Global,
    /// No lock. MariaDB tells the place of a view, so one session reads. MySQL needs GTIDs and
    /// tables with keys: what is committed while the views open is replayed over the copy.
    None,
}

fn four() -> usize {
    4
}

impl fmt::Debug for MysqlConfig {
    /// Without the URL, which holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlConfig")
            .field("tables", &self.tables)
            .field("server_id", &self.server_id)
            .finish_non_exhaustive()
    }
}

/// The configuration with its patterns parsed and its numbers given.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    /// The number of this reader of the log.
    pub(crate) server_id: u32,
    /// Sessions of a copy.
    pub(crate) sessions: usize,
    allow_cascades: Option<TableSelection>,
}

impl Choices {
    /// Parses the patterns and numbers what is not numbered, after the pipeline.
    pub(crate) fn new(config: &MysqlConfig, pipeline: &str) -> Result<Self> {
        if config.server_id == Some(0) {
            return Err(Error::config("source.server_id: 0 is no server's number")
                .hint("any other number up to 4294967295 that no server here has"));
        }
        if !(1..=64).contains(&config.snapshot_sessions) {
            return Err(
                Error::config("source.snapshot_sessions is between 1 and 64").hint("4 is ample"),
            );
        }
        Ok(Self {
            server_id: config.server_id.unwrap_or_else(|| number(pipeline)),
            sessions: config.snapshot_sessions,
            allow_cascades: match config.allow_cascades.as_slice() {
                [] => None,
                patterns => Some(TableSelection::parse(patterns)?),
            },
        })
    }

    /// Whether the table may be captured although cascades change it beside the log.
    pub(crate) fn allows_cascades(&self, table: &TableName) -> bool {
        self.allow_cascades
            .as_ref()
            .is_some_and(|selection| selection.matches(table))
    }
}

/// A reader's number, made of a pipeline's name (FNV-1a): in the upper half, where servers that
/// people number by hand are not.
fn number(pipeline: &str) -> u32 {
    let hash = pipeline.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash | 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> MysqlConfig {
        serde_json::from_str(json).expect("a configuration")
    }

    #[test]
    fn each_pipeline_has_a_number_of_its_own() {
        let config = config(r#"{"url": "mysql://u:hunter2@h/d", "tables": ["shop.*"]}"#);
        let id = |name| Choices::new(&config, name).expect("valid").server_id;
        assert_eq!(id("shop"), id("shop"));
        assert_ne!(id("shop"), id("shop2"));
        assert!(id("shop") > u32::MAX / 2);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn cascades_are_allowed_by_pattern() {
        let config = config(
            r#"{"url": "", "tables": ["*.*"], "server_id": 7, "allow_cascades": ["shop.log_*"]}"#,
        );
        let choices = Choices::new(&config, "shop").expect("valid");
        assert_eq!(choices.server_id, 7);
        assert!(choices.allows_cascades(&TableName::new("shop", "log_1")));
        assert!(!choices.allows_cascades(&TableName::new("shop", "orders")));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for json in [
            r#"{"url": "", "tables": ["a.b"], "server_id": 0}"#,
            r#"{"url": "", "tables": ["a.b"], "snapshot_sessions": 0}"#,
            r#"{"url": "", "tables": ["a.b"], "allow_cascades": ["b"]}"#,
        ] {
            let error = Choices::new(&config(json), "shop").expect_err("refused");
            assert!(error.hint_text().is_some(), "{json}");
        }
        let unknown = r#"{"url": "", "tables": [], "serverid": 1}"#;
        assert!(serde_json::from_str::<MysqlConfig>(unknown).is_err());
    }
}
