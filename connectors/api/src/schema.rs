//! What a table looks like: identity, columns, key.
//!
//! Invariant: `TableSchema::id` is the source's own lasting identity of the table (PostgreSQL:
//! its oid), so a table dropped and created again is another table. Names may change.

pub mod diff;

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The source's lasting identity of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub u64);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A table's name in the source: schema (MySQL: database) and table, unquoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The schema, exactly as the catalog has it.
    pub schema: String,
    /// The table, exactly as the catalog has it.
    pub table: String,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            table: table.into(),
        }
    }

    /// Both parts in SQL double quotes: `"public"."orders"`.
    pub fn quoted(&self) -> String {
        format!(
            "{}.{}",
            quote_identifier(&self.schema),
            quote_identifier(&self.table)
        )
    }
}

impl fmt::Display for TableName {
    /// `schema.table`; parts that need it are in SQL double quotes, so that the text is a valid
    /// table pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn plain(part: &str) -> bool {
            !part.is_empty() && !part.contains(['.', '*', '?', '!', '"', ' ', ',', '\''])
        }
        for (index, part) in [&self.schema, &self.table].into_iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if plain(part) {
                f.write_str(part)?;
            } else {
                f.write_str(&quote_identifier(part))?;
            }
        }
        Ok(())
    }
}

/// An identifier in SQL double quotes, quotes inside it doubled.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// How the source tells which row a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// By the key columns; old rows carry only these.
    Key,
    /// By the whole old row; with or without a key. Old rows carry every column.
    Full,
    /// Not at all: the table can only grow (no update or delete is ever captured).
    None,
}

/// A value that existing rows have in a column added later (`ADD COLUMN … DEFAULT constant`
/// sends no rows): a one-element array of the column's type.
#[derive(Debug, Clone)]
pub struct ExistingValue(pub ArrayRef);

impl PartialEq for ExistingValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl Serialize for ExistingValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let schema = Arc::new(Schema::new(vec![Field::new(
            "value",
            self.0.data_type().clone(),
            true,
        )]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(&self.0)])
            .map_err(S::Error::custom)?;
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &schema).map_err(S::Error::custom)?;
        writer.write(&batch).map_err(S::Error::custom)?;
        writer.finish().map_err(S::Error::custom)?;
        serializer.collect_str(&Hex(&bytes))
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'de> Deserialize<'de> for ExistingValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let bytes = text
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                std::str::from_utf8(pair)
                    .ok()
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| D::Error::custom("not a hexadecimal Arrow stream"))?;
        let batch = StreamReader::try_new(bytes.as_slice(), None)
            .and_then(|mut reader| reader.next().transpose())
            .map_err(D::Error::custom)?
            .filter(|batch| batch.num_columns() == 1 && batch.num_rows() == 1)
            .ok_or_else(|| D::Error::custom("not an Arrow stream of one value"))?;
        Ok(Self(Arc::clone(batch.column(0))))
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name, exactly as the catalog has it.
    pub name: String,
    /// The identity of the column where it has one (PostgreSQL: attnum; MySQL: the number of the
    /// statement that made it), unique in its table for all time: tells a rename from a drop and an
    /// add.
    pub id: Option<u64>,
    /// The type that values travel in.
    pub data_type: DataType,
    /// The source's name of the type, with its modifiers: `numeric(10,2)`, `citext`.
    pub source_type: String,
    /// Arrow extension type, where Arrow has one: `arrow.uuid`, `arrow.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// Whether the source admits NULL. Batches are nullable all the same.
    pub nullable: bool,
    /// Whether the source computes it (`GENERATED … STORED`).
    #[serde(default)]
    pub generated: bool,
    /// What rows that existed before the column was added hold in it; `None`: NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingValue>,
}

impl Column {
    /// A nullable column without extras.
    pub fn new(
        name: impl Into<String>,
        data_type: DataType,
        source_type: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            id: None,
            data_type,
            source_type: source_type.into(),
            extension: None,
            nullable: true,
            generated: false,
            existing: None,
        }
    }

    /// The Arrow field: nullable, the source's type in metadata `cdc.source_type`, the extension
    /// type in `ARROW:extension:name`.
    pub fn field(&self) -> Field {
        let mut metadata = std::collections::HashMap::from([(
            "cdc.source_type".to_owned(),
            self.source_type.clone(),
        )]);
        if let Some(extension) = &self.extension {
            metadata.insert("ARROW:extension:name".to_owned(), extension.clone());
        }
        Field::new(&self.name, self.data_type.clone(), true).with_metadata(metadata)
    }
}

/// A table at one version of its shape.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct TableSchema {
    /// The source's lasting identity.
    pub id: TableId,
    /// The name at this version.
    pub name: TableName,
    /// Rises by one at each change that the source sees; unique within `id`.
    pub version: u32,
    /// The columns, in the source's order.
    pub columns: Vec<Column>,
    /// Indices into `columns` of the columns that tell rows apart, in key order: the primary
    /// key, or the index that is the replica identity. Empty: none, whole rows are compared.
    pub key: Vec<usize>,
    /// What old rows carry.
    pub identity: Identity,
    /// Made when it is first asked for: of thousands of tables few have rows at a time, and it is larger than the rest.
    arrow: OnceLock<SchemaRef>,
}

impl PartialEq for TableSchema {
    fn eq(&self, other: &Self) -> bool {
        // The Arrow schema follows from the columns.
        self.id == other.id
            && self.name == other.name
            && self.version == other.version
            && self.columns == other.columns
            && self.key == other.key
            && self.identity == other.identity
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    id: TableId,
    name: TableName,
    version: u32,
    columns: Vec<Column>,
    key: Vec<usize>,
    identity: Identity,
}

impl From<Stored> for TableSchema {
    fn from(stored: Stored) -> Self {
        Self::new(
            stored.id,
            stored.name,
            stored.version,
            stored.columns,
            stored.key,
            stored.identity,
        )
    }
}

impl From<TableSchema> for Stored {
    fn from(table: TableSchema) -> Self {
        Self {
            id: table.id,
            name: table.name,
            version: table.version,
            columns: table.columns,
            key: table.key,
            identity: table.identity,
        }
    }
}

impl TableSchema {
    /// A schema; indices of `key` that are out of range are dropped.
    pub fn new(
        id: TableId,
        name: TableName,
        version: u32,
        columns: Vec<Column>,
        mut key: Vec<usize>,
        identity: Identity,
    ) -> Self {
        key.retain(|&index| index < columns.len());
        Self {
            id,
            name,
            version,
            columns,
            key,
            identity,
            arrow: OnceLock::new(),
        }
    }

    /// The Arrow schema of [`crate::ChangeBatch::rows`].
    pub fn arrow(&self) -> &SchemaRef {
        self.arrow.get_or_init(|| {
            let fields: Vec<_> = self.columns.iter().map(Column::field).collect();
            Arc::new(Schema::new(fields))
        })
    }

    /// The key columns, in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|&index| &self.columns[index])
    }

    /// The same shape under another version number.
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Whether both describe the same shape, whatever their versions and the values of existing
    /// rows.
    pub fn same_shape(&self, other: &Self) -> bool {
        self.id == other.id
            && self.name == other.name
            && self.key == other.key
            && self.identity == other.identity
            && self.columns.len() == other.columns.len()
            && self.columns.iter().zip(&other.columns).all(|(a, b)| {
                a.name == b.name
                    && a.data_type == b.data_type
                    && a.source_type == b.source_type
                    && a.nullable == b.nullable
                    && a.generated == b.generated
                    && (a.id == b.id || a.id.is_none() || b.id.is_none())
            })
    }
}

#[cfg(test)]
mod tests;
