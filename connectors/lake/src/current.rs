//! The statement (DuckDB's SQL) that makes the log into the table as it is now, exactly.
//!
//! Of each key the last row by `seq` counts, unless it is a delete; rows before the last truncate
//! do not. A column that the source did not send (`_cdc_absent`) keeps the value that it had,
//! across a change of key too. Columns are followed through renames, and rows of files from before
//! a column was added have the value that the source says they have. In a table without a key
//! each delete takes one equal row away.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use cdc_api::schema::quote_identifier;
use cdc_api::{Column, Error, Result, TableId, TableSchema};

use crate::layout;
use crate::manifest::{State, Table};
use crate::rows::{store_one, stored_type};
use crate::site::Site;
use crate::storage::failed;

/// Writes the statements of some tables where others are there, and removes those of folders that a table had before
/// the last entry. Safe to repeat after a crash at any step.
pub(crate) fn show(site: &Site, state: &State, touched: impl Fn(TableId) -> bool) -> Result<()> {
    let storage = site.storage.as_ref();
    let doing = |error| failed("writing a table's query", error);
    for (_, folder) in &state.moved {
        if !state.tables.values().any(|table| table.folder == *folder) {
            storage.remove(&layout::query(folder)).map_err(doing)?;
        }
    }
    for (_, table) in state.tables.iter().filter(|(id, _)| touched(**id)) {
        let path = layout::query(&table.folder);
        match query(site, table)? {
            None => storage.remove(&path).map_err(doing)?,
            Some(query) => {
                let there = storage.read(&path);
                if !there.is_ok_and(|there| there == query.as_bytes()) {
                    storage.put(&path, query.as_bytes()).map_err(doing)?;
                }
            }
        }
    }
    Ok(())
}

/// The statement for a table of a lake; `None` for a table without files.
pub(crate) fn query(site: &Site, table: &Table) -> Result<Option<String>> {
    let root = layout::local_path(&site.config.url)?;
    let root = std::path::absolute(root).map_err(|error| failed("finding the lake", error))?;
    let used: BTreeSet<u32> = table.files.iter().map(|file| file.shape).collect();
    if used.is_empty() {
        return Ok(None);
    }
    let files = format!("{}/{}/*.parquet", root.display(), table.folder);
    statement(&table.shapes, &used, &files)
}

/// The statement for a table of these shapes, oldest first, whose files have the versions `used`
/// and match the glob `files`.
fn statement(
    shapes: &[Arc<TableSchema>],
    used: &BTreeSet<u32>,
    files: &str,
) -> Result<Option<String>> {
    let Some(shape) = shapes.last() else {
        return Ok(None);
    };
    let keyed = !shape.key.is_empty();
    let mut sql = format!(
        "-- {} as it is now, from its change log.\n\
         WITH RECURSIVE log AS (\n  SELECT * FROM read_parquet({}, union_by_name = true)\n),\n\
         emptied AS (SELECT max(_cdc_seq) AS seq FROM log WHERE _cdc_op = 'truncate'),\n\
         changes AS (\n  SELECT\n",
        shape.name,
        literal(files)
    );
    for (index, column) in shape.columns.iter().enumerate() {
        let wrapped = keyed && !shape.key.contains(&index);
        let value = value(column, shapes, used, wrapped)?;
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "    {value} AS {},", quote_identifier(&column.name));
    }
    sql.push_str(
        "    _cdc_op, _cdc_absent,\n    \
         row_number() OVER (ORDER BY _cdc_seq, _cdc_op = 'read') AS _cdc_n\n  \
         FROM log, emptied\n  WHERE _cdc_op <> 'truncate' AND (emptied.seq IS NULL\n    \
         OR _cdc_seq > emptied.seq OR (_cdc_seq = emptied.seq AND _cdc_op = 'read'))\n)",
    );
    if keyed {
        keyed_tail(&mut sql, shape);
    } else {
        keyless_tail(&mut sql, shape);
    }
    Ok(Some(sql))
}

fn keyed_tail(sql: &mut String, shape: &TableSchema) {
    let key = list(
        shape.key.iter().map(|&index| &shape.columns[index]),
        |name| name.to_owned(),
    );
    let filled = list(
        shape
            .columns
            .iter()
            .enumerate()
            .filter(|(index, _)| !shape.key.contains(index))
            .map(|(_, column)| column),
        |name| format!("last_value({name} IGNORE NULLS) OVER life AS {name}"),
    );
    let columns = shape
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let name = quote_identifier(&column.name);
            if shape.key.contains(&index) {
                name
            } else {
                format!("struct_extract({name}, 'v') AS {name}")
            }
        })
        .collect::<Vec<_>>()
        .join(", ");
    let filled = if filled.is_empty() {
        filled
    } else {
        format!("{filled}, ")
    };
    let _ = write!(
        sql,
        ",\n\
         -- A row's life begins where the log has all of it, and ends with its delete.\n\
         begun AS (\n  SELECT *, count(*) FILTER (WHERE _cdc_op IN ('read', 'insert'))\n    \
         OVER (PARTITION BY {key} ORDER BY _cdc_n) AS _cdc_begun FROM changes\n),\n\
         lives AS (\n  SELECT *, min(_cdc_n) OVER (PARTITION BY {key}, _cdc_begun) AS _cdc_life FROM begun\n),\n\
         -- A changed key: the new life goes on from that of the row just before.\n\
         moved AS (\n  SELECT there._cdc_life AS life, here._cdc_life AS parent\n  \
         FROM lives there JOIN lives here ON here._cdc_n = there._cdc_n - 1\n  \
         WHERE there._cdc_op = 'insert' AND there._cdc_absent IS NOT NULL\n),\n\
         roots AS (\n  SELECT life, parent AS root FROM moved WHERE parent NOT IN (SELECT life FROM moved)\n  \
         UNION ALL\n  SELECT moved.life, roots.root FROM moved JOIN roots ON moved.parent = roots.life\n),\n\
         filled AS (\n  SELECT {key}, {filled}_cdc_op, _cdc_n\n  \
         FROM lives LEFT JOIN roots ON roots.life = lives._cdc_life\n  \
         WINDOW life AS (PARTITION BY coalesce(roots.root, lives._cdc_life) ORDER BY _cdc_n)\n)\n\
         SELECT {columns} FROM filled\n\
         QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _cdc_n DESC) = 1 AND _cdc_op <> 'delete'\n"
    );
}

fn keyless_tail(sql: &mut String, shape: &TableSchema) {
    let columns = list(shape.columns.iter(), |name| name.to_owned());
    let columns = if columns.is_empty() {
        "NULL".to_owned()
    } else {
        columns
    };
    let _ = write!(
        sql,
        ",\n\
         -- Of equal rows each delete takes one away.\n\
         counted AS (\n  SELECT *, count(*) FILTER (WHERE _cdc_op = 'delete') OVER (PARTITION BY {columns}) AS _cdc_gone,\n    \
         row_number() OVER (PARTITION BY {columns}, _cdc_op = 'delete') AS _cdc_nth FROM changes\n)\n\
         SELECT {columns} FROM counted WHERE _cdc_op <> 'delete' AND _cdc_nth > _cdc_gone\n"
    );
}

fn list<'a>(columns: impl Iterator<Item = &'a Column>, form: impl Fn(&str) -> String) -> String {
    columns
        .map(|column| form(&quote_identifier(&column.name)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A column's value in a row of the log, whatever the shape of the row's file. Wrapped, it is null
/// where the row says nothing about it, else a struct around the value, which may be NULL.
fn value(
    column: &Column,
    shapes: &[Arc<TableSchema>],
    used: &BTreeSet<u32>,
    wrapped: bool,
) -> Result<String> {
    let target = sql_type(column);
    let mut cases: Vec<(String, Vec<u32>)> = Vec::new();
    let mut first = column;
    let mut added = false;
    for shape in shapes.iter().rev() {
        // Back from today: before it was added there may have been another of its name.
        let was = shape.columns.iter().find(|was| match (was.id, column.id) {
            (Some(a), Some(b)) => a == b,
            _ => was.name == column.name,
        });
        added |= was.is_none();
        if let (Some(was), false) = (was, added) {
            first = was;
        }
        if !used.contains(&shape.version) {
            continue;
        }
        let value = match was {
            Some(was) if !added => present(was, &target, wrapped),
            _ => before_it_was_added(first, &target, wrapped)?,
        };
        match cases.iter_mut().find(|(case, _)| *case == value) {
            Some((_, versions)) => versions.push(shape.version),
            None => cases.push((value, vec![shape.version])),
        }
    }
    if let [(only, _)] = cases.as_slice() {
        return Ok(only.clone());
    }
    let mut sql = "CASE".to_owned();
    for (value, versions) in cases {
        let versions = versions
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let _ = write!(
            sql,
            " WHEN _cdc_schema_version IN ({versions}) THEN {value}"
        );
    }
    sql.push_str(" END");
    Ok(sql)
}

fn present(was: &Column, target: &str, wrapped: bool) -> String {
    let name = quote_identifier(&was.name);
    let mut value = format!("CAST({name} AS {target})");
    let may_be_special = matches!(
        stored_type(&was.data_type, was.extension.as_deref()),
        DataType::Date32 | DataType::Timestamp(_, _)
    );
    if may_be_special {
        value = format!(
            "coalesce({value}, CAST(_cdc_special[{}] AS {target}))",
            literal(&was.name)
        );
    }
    if !wrapped {
        return value;
    }
    format!(
        "CASE WHEN _cdc_op <> 'delete' AND NOT coalesce(list_contains(_cdc_absent, {}), false) \
         THEN {{'v': {value}}} END",
        literal(&was.name)
    )
}

/// `column` as it was in its first shape, which says what older rows hold.
fn before_it_was_added(column: &Column, target: &str, wrapped: bool) -> Result<String> {
    let value = match &column.existing {
        None => format!("CAST(NULL AS {target})"),
        Some(existing) => match store_one(&existing.0, column.extension.as_deref())? {
            (_, Some(text)) => format!("CAST({} AS {target})", literal(&text)),
            (stored, None) => constant(&stored, 0, target)?,
        },
    };
    Ok(if wrapped {
        format!("CASE WHEN _cdc_op <> 'delete' THEN {{'v': {value}}} END")
    } else {
        value
    })
}

/// A stored value as SQL.
fn constant(values: &ArrayRef, row: usize, target: &str) -> Result<String> {
    let unprintable = |error| {
        let message = format!("a {} cannot be written as SQL", values.data_type());
        Error::internal(message).caused_by(error)
    };
    if values.is_null(row) {
        return Ok(format!("CAST(NULL AS {target})"));
    }
    if let Some(bytes) = values.as_binary_opt::<i32>() {
        let digits = bytes.value(row).iter().map(|byte| format!("{byte:02x}"));
        return Ok(format!("from_hex('{}')", digits.collect::<String>()));
    }
    if let Some(lists) = values.as_list_opt::<i32>() {
        let items = lists.value(row);
        let element = type_name(items.data_type());
        let items: Result<Vec<_>> = (0..items.len())
            .map(|item| constant(&items, item, &element))
            .collect();
        return Ok(format!("CAST([{}] AS {target})", items?.join(", ")));
    }
    // Arrow prints no time zone that has a name; ours are UTC.
    let (plain, zone) = match values.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let data = values.to_data().into_builder();
            let data = data.data_type(DataType::Timestamp(*unit, None)).build();
            (make_array(data.map_err(unprintable)?), "+00")
        }
        _ => (Arc::clone(values), ""),
    };
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(&plain, &options).map_err(unprintable)?;
    let text = text.value(row).try_to_string().map_err(unprintable)?;
    Ok(format!("CAST({} AS {target})", literal(&(text + zone))))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// DuckDB's type for a column.
fn sql_type(column: &Column) -> String {
    if column.extension.as_deref() == Some("arrow.uuid") {
        return "UUID".to_owned();
    }
    if matches!(column.data_type, DataType::Time32(_) | DataType::Time64(_)) {
        return "TIME".to_owned();
    }
    type_name(&stored_type(&column.data_type, column.extension.as_deref()))
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "UTINYINT".to_owned(),
        DataType::UInt16 => "USMALLINT".to_owned(),
        DataType::UInt32 => "UINTEGER".to_owned(),
        DataType::UInt64 => "UBIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".to_owned(),
        DataType::Binary | DataType::FixedSizeBinary(_) => "BLOB".to_owned(),
        DataType::List(element) => format!("{}[]", type_name(element.data_type())),
        _ => "VARCHAR".to_owned(),
    }
}

#[cfg(test)]
mod tests;
