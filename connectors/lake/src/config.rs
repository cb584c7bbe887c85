//! What a user can set of a lake, each key with its default. Checks values when the sink is
//! made, so that a wrong one stops the start and not the first commit.

use cdc_api::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of a Parquet lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeConfig {
    /// The folder: a path, or a `file://` URL. Created when it is not there.
    pub url: String,
    /// The folder of a table below `url`. `{schema}` and `{table}` stand for the source's names;
    /// what a path or a reader's glob would take amiss is percent-encoded.
    #[serde(default = "default_layout")]
    pub layout: String,
    /// How data pages are compressed: `zstd`, `snappy`, `lz4` or `none`.
    #[serde(default)]
    pub compression: Compression,
    /// A file is closed once it has about this size, in bytes; compaction merges up to it.
    #[serde(default = "default_target_file_bytes")]
    pub target_file_bytes: u64,
    /// A row group is closed once it has about this size, in encoded bytes.
    #[serde(default = "default_row_group_bytes")]
    pub row_group_bytes: u64,
    /// A row group holds at most this many rows.
    #[serde(default = "default_row_group_rows")]
    pub row_group_rows: u64,
    /// Bytes that the unfinished row groups of all tables of one commit may keep in memory.
    #[serde(default = "default_buffer_bytes")]
    pub buffer_bytes: u64,
    /// Whether key columns get bloom filters: for readers that look up single keys.
    #[serde(default)]
    pub bloom_filters: bool,
    /// What happens when a table's shape changes at the source: `evolve`, `ignore` or `fail`.
    #[serde(default)]
    pub schema_changes: SchemaPolicy,
    /// How many earlier generations of a table are kept, readable, under
    /// `_cdc/earlier/<schema>/<table>/` when a snapshot replaces it.
    #[serde(default = "default_keep_snapshots")]
    pub keep_snapshots: u32,
    /// How small files are merged into larger ones.
    #[serde(default)]
    pub compaction: CompactionConfig,
}

/// How small files are merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompactionConfig {
    /// Whether files are merged at all.
    pub enabled: bool,
    /// How many neighbouring files of one table must have gathered before they are merged.
    pub min_files: u32,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            min_files: 8,
        }
    }
}

/// How data pages are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Zstandard, level 1.
    #[default]
    Zstd,
    /// Snappy: larger and quicker.
    Snappy,
    /// LZ4 (`LZ4_RAW`).
    Lz4,
    /// As it is.
    None,
}

/// What happens when a table's shape changes at the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaPolicy {
    /// New files have the new shape; a change that no reader could follow stops the table.
    #[default]
    Evolve,
    /// The table keeps its shape: new columns are left out, dropped ones are NULL.
    Ignore,
    /// Any change of columns stops the table.
    Fail,
}

fn default_layout() -> String {
    "{schema}/{table}".to_owned()
}

fn default_target_file_bytes() -> u64 {
    128 << 20
}

fn default_row_group_bytes() -> u64 {
    16 << 20
}

fn default_row_group_rows() -> u64 {
    122_880
}

fn default_buffer_bytes() -> u64 {
    32 << 20
}

fn default_keep_snapshots() -> u32 {
    1
}

impl LakeConfig {
    /// A lake in this folder (a path, or a `file://` URL), all else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            layout: default_layout(),
            compression: Compression::default(),
            target_file_bytes: default_target_file_bytes(),
            row_group_bytes: default_row_group_bytes(),
            row_group_rows: default_row_group_rows(),
            buffer_bytes: default_buffer_bytes(),
            bloom_filters: false,
            schema_changes: SchemaPolicy::default(),
            keep_snapshots: default_keep_snapshots(),
            compaction: CompactionConfig::default(),
        }
    }

    /// The sizes make sense. The URL and the layout are checked where they are parsed.
    pub(crate) fn validate(&self) -> Result<()> {
        for (key, value) in [
            ("target_file_bytes", self.target_file_bytes),
            ("row_group_bytes", self.row_group_bytes),
            ("row_group_rows", self.row_group_rows),
            ("buffer_bytes", self.buffer_bytes),
        ] {
            if value == 0 || usize::try_from(value).is_err() {
                return Err(Error::config(format!("lake setting `{key}` is {value}"))
                    .hint(format!("leave `{key}` out, or set it to a number above 0")));
            }
        }
        if self.compaction.min_files < 2 {
            return Err(
                Error::config("lake setting `compaction.min_files` is below 2").hint(
                    "set `compaction.min_files` to 2 or more, or `compaction.enabled: false`",
                ),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_alone_gives_the_defaults() {
        let config: LakeConfig = serde_json::from_str(r#"{"url":"./lake"}"#).expect("parses");
        assert_eq!(config, LakeConfig::new("./lake"));
        config.validate().expect("the defaults are valid");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let wrong = r#"{"url":"./lake","target_file_size":1}"#;
        assert!(serde_json::from_str::<LakeConfig>(wrong).is_err());
        let wrong = r#"{"url":"./lake","compaction":{"min":1}}"#;
        assert!(serde_json::from_str::<LakeConfig>(wrong).is_err());
    }

    #[test]
    fn a_size_of_nothing_is_refused_with_the_key() {
        let config: LakeConfig =
            serde_json::from_str(r#"{"url":"./lake","row_group_rows":0}"#).expect("parses");
        let error = config.validate().expect_err("is refused");
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("row_group_rows"))
        );
    }
}
