//! From a source table's shape to the columns of its target: names, types, our own columns, and
//! the rows of a batch laid out for them.
//!
//! Invariant: a shape that cannot be held exactly is refused with its table and a remedy, before
//! anything is created for it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use cdc_api::{ChangeBatch, Error, Result, TableSchema};

use crate::bookkeeping::{SCHEMA, Table, Target};
use crate::config::{Mode, WarehouseConfig};
use crate::dialect::{Dialect, TargetColumn};
use crate::fold::Staged;
use crate::log;
use crate::values::stored;

/// Marks a row that the source has deleted, in mode `soft_delete`.
pub(crate) const DELETED: &str = "_cdc_deleted";

/// The statement that brings a table back that cannot go on.
pub(crate) fn snapshot_hint(table: &TableSchema) -> String {
    format!("cdc snapshot {}", table.name)
}

/// The target of a table that is copied anew, all columns under the source's names.
pub(crate) fn new_target(
    dialect: &dyn Dialect,
    config: &WarehouseConfig,
    table: &TableSchema,
) -> Result<Target> {
    let mode = config.mode_of(table)?;
    let (schema, name) = config.target_name(&table.name);
    let refuse = |message: String, hint: String| {
        Err(Error::unsupported(message).hint(hint).for_table(table.id))
    };
    if [SCHEMA, "information_schema", "pg_catalog"]
        .iter()
        .any(|reserved| schema.eq_ignore_ascii_case(reserved))
    {
        return refuse(
            format!("schema {schema} is reserved in the warehouse"),
            "set `names.schema` of the sink, to `raw_{schema}` for example".to_owned(),
        );
    }
    let mut seen: HashMap<String, &str> = HashMap::new();
    for column in &table.columns {
        if dialect.column_type(column).is_none()
            || crate::values::stored_type(&column.data_type).is_none()
        {
            return refuse(
                format!(
                    "column {} of {} has the type {}, for which the warehouse has none",
                    column.name, table.name, column.source_type
                ),
                format!("exclude column {} of {}", column.name, table.name),
            );
        }
        if let Some(other) = seen.insert(column.name.to_ascii_lowercase(), &column.name) {
            return refuse(
                format!(
                    "columns {other} and {} of {} are one name in the warehouse",
                    column.name, table.name
                ),
                format!(
                    "exclude one of the columns, or rename it: ALTER TABLE {} RENAME COLUMN …",
                    table.name.quoted()
                ),
            );
        }
        let ours = own_columns(mode)
            .iter()
            .any(|(own, _)| own.eq_ignore_ascii_case(&column.name));
        // A column of this name hides DuckDB's own, by which one of several equal rows is named.
        let hides = table.key.is_empty()
            && mode != Mode::Append
            && column.name.eq_ignore_ascii_case("rowid");
        if ours || hides {
            return refuse(
                format!(
                    "column {} of {} has a name that the warehouse needs itself",
                    column.name, table.name
                ),
                format!(
                    "exclude the column, or rename it: ALTER TABLE {} RENAME COLUMN …",
                    table.name.quoted()
                ),
            );
        }
    }
    Ok(Target {
        schema,
        table: name,
        mode,
        columns: table
            .columns
            .iter()
            .map(|column| Some(column.name.clone()))
            .collect(),
    })
}

/// Our own columns of a mode: names and types.
pub(crate) fn own_columns(mode: Mode) -> Vec<(String, String)> {
    match mode {
        Mode::Upsert => Vec::new(),
        Mode::SoftDelete => vec![(DELETED.to_owned(), "BOOLEAN".to_owned())],
        Mode::Append => log::columns(),
    }
}

/// The columns that hold the source's columns, in the order in which rows are stored.
pub(crate) fn target_columns(dialect: &dyn Dialect, table: &Table) -> Result<Vec<TargetColumn>> {
    table
        .shape
        .columns
        .iter()
        .zip(&table.target.columns)
        .filter_map(|(column, name)| name.as_ref().map(|name| (column, name)))
        .map(|(column, name)| {
            Ok(TargetColumn {
                name: name.clone(),
                sql_type: dialect.column_type(column).ok_or_else(|| {
                    Error::internal("a column lost its type").for_table(table.shape.id)
                })?,
                nullable: column.nullable,
            })
        })
        .collect()
}

/// The key's places among the stored columns.
pub(crate) fn stored_key(table: &Table) -> Vec<usize> {
    table
        .shape
        .key
        .iter()
        .map(|&column| {
            table.target.columns[..column]
                .iter()
                .filter(|name| name.is_some())
                .count()
        })
        .collect()
}

/// A batch's rows as they are stored.
pub(crate) fn staged(table: &Table, batch: &ChangeBatch) -> Result<Staged> {
    if batch.rows.num_columns() != table.target.columns.len() {
        return Err(Error::internal(format!(
            "rows of {} have another shape than the one applied",
            table.shape.name
        ))
        .for_table(table.shape.id));
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    let mut absent = Vec::new();
    for (index, name) in table.target.columns.iter().enumerate() {
        let Some(name) = name else { continue };
        let values = stored(batch.rows.column(index)).map_err(|refused| {
            Error::data(format!(
                "column {name} of {} holds {}, which the warehouse cannot store exactly",
                table.shape.name, refused.0
            ))
            .hint(format!(
                "exclude the column or mend the value at the source, then {}",
                snapshot_hint(&table.shape)
            ))
            .for_table(table.shape.id)
        })?;
        fields.push(
            Field::new(name, values.data_type().clone(), true)
                .with_metadata(batch.rows.schema_ref().field(index).metadata().clone()),
        );
        columns.push(values);
        absent.push(batch.absent.get(index).cloned().flatten());
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| {
        Error::internal("rows do not fit their columns")
            .for_table(table.shape.id)
            .caused_by(error)
    })?;
    if absent.iter().all(Option::is_none) {
        absent.clear();
    }
    if table.target.mode == Mode::Append {
        return Ok(Staged {
            rows: log::rows(batch, rows, &absent)?,
            ops: Vec::new(),
            absent: Vec::new(),
        });
    }
    Ok(Staged {
        rows,
        ops: batch.ops.to_vec(),
        absent,
    })
}
