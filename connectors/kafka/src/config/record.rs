//! What a user can set of records: how they look.
//!
//! Invariant: every default is Debezium's.

use std::collections::BTreeMap;

use cdc_api::{Result, TableSelection};
use serde::{Deserialize, Serialize};

/// What a record's value looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON, as by Connect's `JsonConverter` with `schemas.enable=false`.
    #[default]
    Json,
    /// JSON with its schema, as with `schemas.enable=true`.
    JsonWithSchema,
    /// Avro, as by Confluent's `AvroConverter`: the schema is in a registry.
    Avro,
}

/// How names become such as Avro takes, of schemas and of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// As they are.
    AsIs,
    /// What Avro does not take becomes `_`.
    Avro,
    /// What Avro does not take becomes `_uXXXX`, and so does `_`: no two names become one.
    AvroUnicode,
}

/// What a row that stands alone says beside its columns, as Debezium's `ExtractNewRecordState`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlatConfig {
    /// What becomes of a delete.
    pub deletes: Flattened,
    /// Members of the envelope that stand behind the columns: `op`, `source.lsn`,
    /// `transaction.id:tx`.
    pub add_fields: Vec<String>,
    /// Members of the envelope that stand in headers, as text.
    pub add_headers: Vec<String>,
    /// What the names of both begin with.
    pub prefix: String,
}

impl Default for FlatConfig {
    fn default() -> Self {
        Self {
            deletes: Flattened::default(),
            add_fields: Vec::new(),
            add_headers: Vec::new(),
            prefix: "__".to_owned(),
        }
    }
}

/// What becomes of a delete where the row stands alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flattened {
    /// Nothing is written.
    Drop,
    /// A tombstone.
    #[default]
    Tombstone,
    /// The old row with a column `__deleted`, which is `true` there and `false` elsewhere.
    Rewrite,
    /// The same, followed by a tombstone.
    RewriteWithTombstone,
}

impl Flattened {
    pub(crate) fn rewrites(self) -> bool {
        matches!(self, Self::Rewrite | Self::RewriteWithTombstone)
    }

    pub(crate) fn has_tombstone(self) -> bool {
        matches!(self, Self::Tombstone | Self::RewriteWithTombstone)
    }
}

/// Whether a value says what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// `before`, `after`, `source`, `op` and times.
    #[default]
    Debezium,
    /// The row as it is now; a delete is a tombstone alone.
    Flat,
}

/// A change, by Debezium's letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Existing rows, read by a copy.
    #[serde(rename = "r")]
    Read,
    /// Inserts.
    #[serde(rename = "c")]
    Create,
    /// Updates.
    #[serde(rename = "u")]
    Update,
    /// Deletes, and their tombstones.
    #[serde(rename = "d")]
    Delete,
    /// Truncates.
    #[serde(rename = "t")]
    Truncate,
}

/// How exact decimals are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decimals {
    /// The unscaled number's bytes; without a declared scale a structure with the scale.
    #[default]
    Precise,
    /// The nearest double.
    Double,
    /// Text.
    String,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// Bytes, which are base64 in JSON.
    #[default]
    Bytes,
    /// Text in base64.
    Base64,
    /// Text in base64 with `-` and `_`.
    Base64UrlSafe,
    /// Text in hexadecimal digits.
    Hex,
}

/// How dates and times are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// As exactly as the column is: milliseconds up to 3 digits, else microseconds.
    #[default]
    Adaptive,
    /// The same, but times of day are always microseconds.
    AdaptiveTimeMicroseconds,
    /// Connect's own types: milliseconds, always.
    Connect,
    /// Text as in ISO 8601, in UTC.
    #[serde(rename = "isostring")]
    IsoString,
    /// Microseconds, always.
    Microseconds,
}

/// How intervals are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intervals {
    /// Microseconds, nearly: a month has 365.25 / 12 days.
    #[default]
    Numeric,
    /// Exactly: `P1Y2M3DT4H5M6.7S`.
    String,
}

/// How unsigned 64-bit numbers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnsignedBigint {
    /// A signed number: what is above its largest becomes negative.
    #[default]
    Long,
    /// A decimal of scale 0.
    Precise,
}

/// How hstore is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hstore {
    /// JSON in text.
    #[default]
    Json,
    /// A map.
    Map,
}

/// Tables whose rows are events, as Debezium's `EventRouter` takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// Which they are, by patterns; none: there are none.
    pub tables: Vec<String>,
    /// What the topics' names begin with.
    pub topic_prefix: String,
    /// The column whose value follows.
    pub route_by: String,
    /// The column that is the record's key.
    pub key: String,
    /// The column that is the record's value.
    pub payload: String,
    /// The column that is the header `id`.
    pub id: String,
    /// Columns that are headers, by the headers' names.
    pub headers: BTreeMap<String, String>,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            topic_prefix: "outbox.event.".to_owned(),
            route_by: "aggregatetype".to_owned(),
            key: "aggregateid".to_owned(),
            payload: "payload".to_owned(),
            id: "id".to_owned(),
            headers: BTreeMap::new(),
        }
    }
}

impl OutboxConfig {
    /// The tables; `None`: there are none.
    pub(crate) fn selection(&self) -> Result<Option<TableSelection>> {
        let named = !self.tables.is_empty();
        named
            .then(|| TableSelection::parse(&self.tables))
            .transpose()
    }
}
