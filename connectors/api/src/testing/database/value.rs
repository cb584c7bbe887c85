//! The model's values and columns, and how they become Arrow.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::DataType;

use crate::testing::canonical::Cell;
use crate::{Column, ExistingValue, TableSchema};

/// A value of the model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// NULL.
    Null,
    /// A number; travels as Int32 or Int64, as the column says.
    Int(i64),
    /// A text.
    Text(Arc<str>),
}

impl Value {
    /// The value as a sink's content has it.
    pub fn cell(&self) -> Cell {
        match self {
            Self::Null => None,
            Self::Int(value) => Some(value.to_string().into()),
            Self::Text(text) => Some(Arc::clone(text)),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// What a column is to the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Part of the key: never dropped.
    Key,
    /// Adds up to 0 over all tables.
    Money,
    /// A large text, which the log leaves out while it is unchanged.
    Large,
    /// Anything else: may be renamed, widened, dropped.
    Plain,
}

/// A column of the model: `int4`, `int8` or `text` by its type.
pub fn column(id: u64, name: &str, data_type: DataType) -> Column {
    let source_type = match data_type {
        DataType::Int32 => "int4",
        DataType::Int64 => "int8",
        _ => "text",
    };
    Column {
        id: Some(id),
        ..Column::new(name, data_type, source_type)
    }
}

/// The value of existing rows for a column of this type.
pub fn existing(data_type: &DataType, value: &Value) -> ExistingValue {
    ExistingValue(array_of(data_type, std::iter::once(Some(value))))
}

fn array_of<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a Value>>) -> ArrayRef {
    match data_type {
        DataType::Int32 => {
            let mut builder = Int32Builder::new();
            values.for_each(|value| {
                builder.append_option(match value {
                    Some(Value::Int(value)) => i32::try_from(*value).ok(),
                    _ => None,
                });
            });
            Arc::new(builder.finish())
        }
        DataType::Int64 => {
            let mut builder = Int64Builder::new();
            values.for_each(|value| {
                builder.append_option(match value {
                    Some(Value::Int(value)) => Some(*value),
                    _ => None,
                });
            });
            Arc::new(builder.finish())
        }
        _ => {
            let mut builder = StringBuilder::new();
            values.for_each(|value| {
                builder.append_option(match value {
                    Some(Value::Text(text)) => Some(text),
                    _ => None,
                });
            });
            Arc::new(builder.finish())
        }
    }
}

/// Rows as Arrow, in the shape of the table. A row of `None` is all null.
///
/// # Panics
/// If a row is shorter than the table is wide.
pub fn batch_of(table: &TableSchema, rows: &[Option<&[Value]>]) -> RecordBatch {
    let columns = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            array_of(
                &column.data_type,
                rows.iter().map(|row| row.map(|row| &row[index])),
            )
        })
        .collect();
    RecordBatch::try_new(Arc::clone(table.arrow()), columns)
        .expect("the arrays were built from the schema, all of one length")
}
