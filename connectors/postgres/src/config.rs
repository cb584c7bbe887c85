//! The source's part of the configuration file.
//!
//! Owns the keys under `source:` with `type: postgres`, their defaults and their meaning for one
//! table. Leaves to the daemon how a file becomes these structures.

use std::collections::BTreeMap;
use std::fmt;

use cdc_api::{Error, Result, TableName, TableSelection};
use serde::Deserialize;

use crate::takeover::DebeziumOffset;
use crate::types::TypeOptions;

/// A PostgreSQL source.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Where the database is: `postgres://user:password@host:5432/database`; a direct endpoint,
    /// not a pooler. Parameters as in libpq, among them `sslmode` (`disable`, `prefer`, `require`,
    /// `verify-ca`, `verify-full`), `sslrootcert`, `sslcert`, `sslkey`, and `host=/folder` for a
    /// Unix socket. Without `sslmode`: plain on this machine, `verify-full` elsewhere.
    pub url: String,
    /// Which tables: patterns of `schema.table` with `*` and `?`, double quotes where a name
    /// needs them, `!` in front to exclude.
    pub tables: Vec<String>,
    /// Which columns, by table pattern; all of them where nothing is said. Needs PostgreSQL 15.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnChoice>,
    /// Which rows, by table pattern: an SQL condition over columns of the replica identity, as in
    /// `CREATE PUBLICATION … WHERE`. Needs PostgreSQL 15.
    #[serde(default)]
    pub rows: BTreeMap<String, String>,
    /// Tables that may be captured although updates and deletes cannot be told: only their
    /// inserts (and truncates) are. Patterns as in `tables`.
    #[serde(default)]
    pub append_only: Vec<String>,
    /// The replication slot; `cdc_` and the pipeline's name by default.
    #[serde(default)]
    pub slot: Option<String>,
    /// The publication; the slot's name by default. Tables of `append_only` are published by a
    /// second one, whose name ends in `_append`.
    #[serde(default)]
    pub publication: Option<String>,
    /// Whether the slot is created and dropped by cdc (`own`) or was made by someone else and is
    /// used as it is (`given`).
    #[serde(default)]
    pub manage_slot: Manage,
    /// Whether the publication is created, altered and dropped by cdc (`own`) or was made by
    /// someone else and is used as it is (`given`).
    #[serde(default)]
    pub manage_publication: Manage,
    /// Large transactions are sent while they run, so that the server need not keep them on its
    /// disk first (PostgreSQL 14 and later). Not by default: where the stream begins again inside
    /// such a transaction, servers (15.18 and 17.10 were seen to) can send the changes of a
    /// savepoint that was rolled back, and never tell that it was.
    #[serde(default)]
    pub streaming: bool,
    /// Values travel in binary where every type of the captured tables can (PostgreSQL 14 and
    /// later).
    #[serde(default = "yes")]
    pub binary: bool,
    /// The slot is kept on standbys too (PostgreSQL 17 and later; the standby needs
    /// `sync_replication_slots`, the primary `synchronized_standby_slots`).
    #[serde(default)]
    pub failover: bool,
    /// What types become that Arrow has no exact equal of.
    #[serde(default)]
    pub types: TypeOptions,
    /// Where Debezium's connector has stopped, as its own stored offset says: what it has sent is
    /// not sent again. Looked at where the pipeline has no checkpoint yet; `slot` and
    /// `publication` are then the connector's, and given.
    #[serde(default)]
    pub debezium_offset: Option<DebeziumOffset>,
    /// Which logical messages (`pg_logical_emit_message`) are captured, by their prefix: the whole of
    /// it, or its beginning before `*`. PostgreSQL 14 and later.
    #[serde(default)]
    pub messages: Vec<String>,
    /// Every so many seconds an empty logical message is written to the log, so that the slot of
    /// a database without traffic moves on beside busy ones; 0 writes none. Seldom needed: idle
    /// slots are moved on by the server's keepalives.
    #[serde(default)]
    pub heartbeat_seconds: u64,
}

/// Who makes and removes a thing on the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manage {
    /// It is created, checked, altered and dropped by cdc.
    #[default]
    Own,
    /// It is used as it is.
    Given,
}

/// Which columns of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnChoice {
    /// These alone.
    Include(Vec<String>),
    /// All but these. Columns added later come in at the next reload.
    Exclude(Vec<String>),
}

fn yes() -> bool {
    true
}

impl fmt::Debug for PostgresConfig {
    /// Without the URL, which holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("tables", &self.tables)
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .finish_non_exhaustive()
    }
}

/// The configuration with its patterns parsed and its names given.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    pub(crate) slot: String,
    pub(crate) publication: String,
    columns: Vec<(TableSelection, ColumnChoice)>,
    rows: Vec<(TableSelection, String)>,
    append_only: Option<TableSelection>,
}

impl Choices {
    /// Parses the patterns and names what is not named, after the pipeline.
    pub(crate) fn new(config: &PostgresConfig, pipeline: &str) -> Result<Self> {
        let slot = match &config.slot {
            Some(slot) if slot_name(slot) == *slot => slot.clone(),
            Some(slot) => {
                return Err(
                    Error::config(format!("source.slot: {slot:?} cannot name a slot")).hint(
                        format!(
                            "a slot's name has lower-case letters, digits and underscores, for \
                         example {}",
                            slot_name(slot)
                        ),
                    ),
                );
            }
            None => slot_name(&format!("cdc_{pipeline}")),
        };
        if config.debezium_offset.is_some() && config.manage_publication == Manage::Own {
            return Err(Error::config(
                "source.debezium_offset: a publication of cdc's own has nothing from before it was made",
            )
            .hint(
                "set source.publication to the connector's publication.name, and \
                 source.manage_publication: given",
            ));
        }
        Ok(Self {
            publication: config.publication.clone().unwrap_or_else(|| slot.clone()),
            slot,
            columns: by_pattern(&config.columns)?,
            rows: by_pattern(&config.rows)?,
            append_only: if config.append_only.is_empty() {
                None
            } else {
                Some(TableSelection::parse(&config.append_only)?)
            },
        })
    }

    /// The publication of tables whose updates and deletes cannot be told.
    pub(crate) fn append_publication(&self) -> String {
        format!("{}_append", self.publication)
    }

    /// Whether the table may be captured without a replica identity.
    pub(crate) fn is_append_only(&self, table: &TableName) -> bool {
        self.append_only
            .as_ref()
            .is_some_and(|selection| selection.matches(table))
    }

    /// What is said about the table's columns.
    pub(crate) fn columns(&self, table: &TableName) -> Option<&ColumnChoice> {
        find(&self.columns, table)
    }

    /// Which rows of the table, as an SQL condition.
    pub(crate) fn rows(&self, table: &TableName) -> Option<&str> {
        find(&self.rows, table).map(String::as_str)
    }
}

fn find<'a, T>(choices: &'a [(TableSelection, T)], table: &TableName) -> Option<&'a T> {
    choices
        .iter()
        .find(|(selection, _)| selection.matches(table))
        .map(|(_, choice)| choice)
}

fn by_pattern<T: Clone>(choices: &BTreeMap<String, T>) -> Result<Vec<(TableSelection, T)>> {
    choices
        .iter()
        .map(|(pattern, choice)| Ok((TableSelection::parse([pattern])?, choice.clone())))
        .collect()
}

/// The nearest name that a slot may have: lower-case letters, digits, underscores, 63 at most.
fn slot_name(name: &str) -> String {
    name.chars()
        .map(|char| match char.to_ascii_lowercase() {
            char @ ('a'..='z' | '0'..='9' | '_') => char,
            _ => '_',
        })
        .take(63)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> PostgresConfig {
        serde_json::from_str(json).expect("a configuration")
    }

    #[test]
    fn names_come_from_the_pipeline() {
        let config = config(r#"{"url": "postgres://u:hunter2@h/d", "tables": ["public.*"]}"#);
        let choices = Choices::new(&config, "My-Shop 2").expect("valid");
        assert_eq!(choices.slot, "cdc_my_shop_2");
        assert_eq!(choices.publication, "cdc_my_shop_2");
        assert!(!config.streaming && config.binary && !config.failover);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_slot_that_cannot_be_is_refused_with_one_that_can() {
        let config = config(r#"{"url": "", "tables": ["public.*"], "slot": "Shop"}"#);
        let error = Choices::new(&config, "shop").expect_err("upper case");
        assert!(error.hint_text().unwrap_or_default().contains("shop"));
    }

    #[test]
    fn choices_are_found_by_pattern() {
        let config = config(
            r#"{"url": "", "tables": ["public.*"],
                "columns": {"public.users": {"exclude": ["password"]}},
                "rows": {"public.*": "id > 0"}, "append_only": ["public.log_*"]}"#,
        );
        let choices = Choices::new(&config, "shop").expect("valid");
        let users = TableName::new("public", "users");
        assert_eq!(
            choices.columns(&users),
            Some(&ColumnChoice::Exclude(vec!["password".to_owned()]))
        );
        assert_eq!(choices.rows(&users), Some("id > 0"));
        assert!(!choices.is_append_only(&users));
        assert!(choices.is_append_only(&TableName::new("public", "log_1")));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let refused: Result<PostgresConfig, _> =
            serde_json::from_str(r#"{"url": "", "tables": [], "slott": "x"}"#);
        assert!(refused.is_err());
    }
}
