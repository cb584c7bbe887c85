//! What a user can set of a warehouse, each key with its default. Checks values when the sink is
//! made, so that a wrong one stops the start and not the first commit.

use std::path::PathBuf;

use cdc_api::{Error, Identity, Result, TableName, TableSchema};
use serde::{Deserialize, Serialize};

/// Settings of an embedded warehouse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarehouseConfig {
    /// The database file. Created when it is not there; its folder has to be.
    pub path: PathBuf,
    /// What the tables are: `upsert` (the source's tables), `soft_delete` or `append`.
    #[serde(default)]
    pub mode: Mode,
    /// What the database keeps in memory at most, as `512MB` or `2GB`; beyond that it spills to
    /// `<path>.tmp`.
    #[serde(default = "default_memory_limit")]
    pub memory_limit: String,
    /// Threads that the database uses; by default as many as there are cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u16>,
    /// What happens when a table's shape changes at the source: `evolve`, `ignore` or `fail`.
    #[serde(default)]
    pub schema_changes: SchemaPolicy,
    /// Whether a column dropped at the source is dropped here too. By default it is kept, and
    /// NULL in rows written from then on.
    #[serde(default)]
    pub drop: bool,
    /// What tables are called here.
    #[serde(default)]
    pub names: Names,
    /// What happens to a table without a key whose source does not send whole old rows: `error`,
    /// or `append` to take it as a change log.
    #[serde(default)]
    pub keyless: Keyless,
}

/// What the tables are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The source's tables: same columns, same rows.
    #[default]
    Upsert,
    /// As `upsert`, but a deleted row stays, with `_cdc_deleted` true.
    SoftDelete,
    /// Every change is a row, with `_cdc_op`, `_cdc_seq`, `_cdc_commit_time`, `_cdc_transaction`
    /// and `_cdc_absent`.
    Append,
}

/// What happens when a table's shape changes at the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaPolicy {
    /// The table follows; a change that it cannot follow truly stops it.
    #[default]
    Evolve,
    /// The table keeps its shape: new columns are left out, dropped ones are NULL, renamed ones
    /// keep their name.
    Ignore,
    /// Any change of columns stops the table.
    Fail,
}

/// What happens to a table whose rows nothing tells apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keyless {
    /// The table is refused, with the statement that gives it an identity.
    #[default]
    Error,
    /// The table is taken as a change log, as in mode `append`.
    Append,
}

/// Templates of names; `{schema}` and `{table}` stand for the source's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            schema: "{schema}".to_owned(),
            table: "{table}".to_owned(),
        }
    }
}

fn default_memory_limit() -> String {
    "512MB".to_owned()
}

impl WarehouseConfig {
    /// A warehouse in this file, all else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            mode: Mode::default(),
            memory_limit: default_memory_limit(),
            threads: None,
            schema_changes: SchemaPolicy::default(),
            drop: false,
            names: Names::default(),
            keyless: Keyless::default(),
        }
    }

    /// The values make sense.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.path.as_os_str().is_empty() || self.path.as_os_str() == ":memory:" {
            return Err(Error::config("warehouse setting `path` names no file")
                .hint("set `path` to a file, such as `shop.duckdb`"));
        }
        if self.threads == Some(0) {
            return Err(Error::config("warehouse setting `threads` is 0")
                .hint("leave `threads` out, or set it to a number above 0"));
        }
        for (key, template) in [
            ("names.schema", &self.names.schema),
            ("names.table", &self.names.table),
        ] {
            let rest = template.replace("{schema}", "").replace("{table}", "");
            if template.is_empty() || rest.contains(['{', '}']) {
                return Err(Error::config(format!(
                    "warehouse setting `{key}` is not a template: `{template}`"
                ))
                .hint(format!("use `{{schema}}` and `{{table}}` in `{key}`")));
            }
        }
        Ok(())
    }

    /// The table's schema and name here.
    pub(crate) fn target_name(&self, name: &TableName) -> (String, String) {
        let fill = |template: &str| {
            // One pass, so that a source's name that looks like a placeholder is taken literally.
            template
                .split("{schema}")
                .map(|part| part.replace("{table}", &name.table))
                .collect::<Vec<_>>()
                .join(&name.schema)
        };
        (fill(&self.names.schema), fill(&self.names.table))
    }

    /// How this table is kept.
    ///
    /// # Errors
    /// When nothing tells its rows apart.
    pub(crate) fn mode_of(&self, table: &TableSchema) -> Result<Mode> {
        if self.mode == Mode::Append || !table.key.is_empty() || table.identity == Identity::Full {
            return Ok(self.mode);
        }
        match self.keyless {
            Keyless::Append => Ok(Mode::Append),
            Keyless::Error => Err(Error::unsupported(format!(
                "table {} has no key, and its old rows are not sent whole",
                table.name
            ))
            .hint(format!(
                "ALTER TABLE {} REPLICA IDENTITY FULL (or add a primary key), then cdc snapshot {}; \
                 or set `keyless: append` to take it as a change log",
                table.name.quoted(),
                table.name
            ))
            .for_table(table.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_alone_gives_the_defaults() {
        let config: WarehouseConfig =
            serde_json::from_str(r#"{"path":"shop.duckdb"}"#).expect("parses");
        assert_eq!(config, WarehouseConfig::new("shop.duckdb"));
        config.validate().expect("the defaults are valid");
    }

    #[test]
    fn unknown_keys_and_modes_are_refused() {
        for wrong in [
            r#"{"path":"a","memory":1}"#,
            r#"{"path":"a","mode":"history"}"#,
            r#"{"path":"a","names":{"tables":"x"}}"#,
        ] {
            assert!(serde_json::from_str::<WarehouseConfig>(wrong).is_err());
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_the_key() {
        let mut config = WarehouseConfig::new("a");
        config.names.table = "{tabel}".to_owned();
        let error = config.validate().expect_err("is refused");
        assert!(error.message().contains("names.table"));
        config.names.table = "{table}".to_owned();
        config.threads = Some(0);
        assert!(config.validate().is_err());
        assert!(WarehouseConfig::new(":memory:").validate().is_err());
    }

    #[test]
    fn templates_are_filled_once() {
        let mut config = WarehouseConfig::new("a");
        config.names.schema = "raw_{schema}".to_owned();
        config.names.table = "{schema}__{table}".to_owned();
        assert_eq!(
            config.target_name(&TableName::new("{table}", "t")),
            ("raw_{table}".to_owned(), "{table}__t".to_owned())
        );
    }
}
