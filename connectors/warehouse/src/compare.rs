//! A copy against the joined table, by content, in one snapshot of both.

use cdc_api::schema::quote_identifier;
use cdc_api::{CopyId, Difference, Error, Result, TableSchema};
use duckdb::Connection;

use crate::bookkeeping::{Table, joined};
use crate::config::Mode;
use crate::database::{failed, run};
use crate::session::Shared;
use crate::shape::{DELETED, snapshot_hint, stored_key, target_columns};

/// How many keys that differ are named.
const EXAMPLES: usize = 10;

/// Compares on a connection of its own.
pub(crate) fn compare(shared: &Shared, shape: &TableSchema, copy: CopyId) -> Result<Difference> {
    let connection = shared.database.connect()?;
    run(&connection, "comparing", "BEGIN TRANSACTION READ ONLY")?;
    let tables = shared.notes.tables(&connection)?;
    let missing = |what: &str| {
        Error::unsupported(format!("{what} of {} is not there to compare", shape.name))
            .hint(snapshot_hint(shape))
            .for_table(shape.id)
    };
    let ours = joined(&tables, shape.id).ok_or_else(|| missing("the table"))?;
    let source = tables
        .iter()
        .find(|table| table.copy == copy)
        .ok_or_else(|| missing("the copy"))?;
    difference(shared, &connection, source, ours)
}

fn difference(
    shared: &Shared,
    connection: &Connection,
    source: &Table,
    ours: &Table,
) -> Result<Difference> {
    let theirs = rows(shared, source)?;
    let ours = rows(shared, ours)?;
    let count = |sql: &str| -> Result<u64> {
        connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(|error| failed("comparing", error))
    };
    let missing = format!("({theirs} EXCEPT ALL {ours})");
    let extra = format!("({ours} EXCEPT ALL {theirs})");
    let mut found = Difference {
        rows: count(&format!("SELECT count(*)::UBIGINT FROM ({theirs})"))?,
        missing: count(&format!("SELECT count(*)::UBIGINT FROM {missing}"))?,
        extra: count(&format!("SELECT count(*)::UBIGINT FROM {extra}"))?,
        examples: Vec::new(),
    };
    if !found.is_equal() {
        let names = source
            .shape
            .key_columns()
            .map(|column| column.name.as_str());
        let mut shown: Vec<String> = (0..)
            .zip(names)
            .map(|(place, name)| {
                let column = stored_key(source)
                    .get::<usize>(place)
                    .copied()
                    .unwrap_or_default();
                format!("{} := c{column}_0", quote_identifier(name))
            })
            .collect();
        if shown.is_empty() {
            shown = (0..target_columns(shared.dialect(), source)?.len())
                .map(|column| format!("c{column} := c{column}_0"))
                .collect();
        }
        let mut statement = connection
            .prepare(&format!(
                "SELECT DISTINCT CAST(struct_pack({}) AS VARCHAR) FROM (FROM {missing} UNION ALL FROM {extra}) LIMIT {EXAMPLES}",
                shown.join(", ")
            ))
            .map_err(|error| failed("comparing", error))?;
        found.examples = statement
            .query_map([], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(|error| failed("comparing", error))?;
    }
    Ok(found)
}

/// Selects a table's living rows, each column in expressions that tell its values apart.
fn rows(shared: &Shared, table: &Table) -> Result<String> {
    let dialect = shared.dialect();
    let columns = target_columns(dialect, table)?;
    let name = shared.name_of(table);
    let values = columns
        .iter()
        .enumerate()
        .flat_map(|(index, column)| {
            dialect
                .identity(&quote_identifier(&column.name), &column.sql_type)
                .into_iter()
                .enumerate()
                .map(move |(part, value)| format!("{value} AS c{index}_{part}"))
        })
        .collect::<Vec<_>>()
        .join(", ");
    Ok(match table.target.mode {
        Mode::Upsert => format!("SELECT {values} FROM {name}"),
        Mode::SoftDelete => format!(
            "SELECT {values} FROM {name} WHERE NOT {}",
            quote_identifier(DELETED)
        ),
        Mode::Append => {
            return Err(
                Error::unsupported("a change log cannot be compared".to_owned())
                    .for_table(table.shape.id),
            );
        }
    })
}
