//! Source against lake: the change log is materialised by key and highest `_cdc_seq`, and compared.
//!
//! Read by DuckDB's Parquet reader through a plain glob over a table's folder, as any user would.

use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use crate::compare::{self, Content, Table, duckdb_rows, literal, quoted};

/// Compares every table of some schemas, source against the lake in a folder.
///
/// # Errors
///
/// The differences of all tables, or what kept a table from being read.
pub async fn equal(client: &Client, folder: &Path, schemas: &[&str]) -> Result<(), String> {
    let mut differences = String::new();
    for table in compare::tables(client, schemas).await? {
        let ours = compare::source(client, &table).await?;
        match content(folder, &table) {
            Ok(theirs) => differences.extend(table.difference(&ours, &theirs)),
            Err(error) => differences.push_str(&format!("{}: {error}\n", table.qualified())),
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences)
    }
}

/// What the change log of a table amounts to.
pub fn content(folder: &Path, table: &Table) -> Result<Content, String> {
    let connection = duckdb::Connection::open_in_memory().map_err(|e| e.to_string())?;
    let folder = part(&part(folder, &table.schema)?, &table.name)?;
    let glob = format!("{}/**/*.parquet", folder.display());
    let log = format!("read_parquet({}, union_by_name = true)", literal(&glob));
    let from = materialised(table, &log);
    Ok(table.content(duckdb_rows(&connection, &table.duckdb_query(&from))?))
}

/// The folder in `of` whose percent-decoded name is `name`.
fn part(of: &Path, name: &str) -> Result<PathBuf, String> {
    let said = |error: std::io::Error| format!("{}: {error}", of.display());
    for entry in std::fs::read_dir(of).map_err(said)? {
        let path = entry.map_err(said)?.path();
        if path
            .file_name()
            .is_some_and(|n| decoded(&n.to_string_lossy()) == name)
        {
            return Ok(path);
        }
    }
    Err(format!("{}: no folder for {name}", of.display()))
}

fn decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The current rows of a change log, as a subquery.
fn materialised(table: &Table, log: &str) -> String {
    let names: Vec<_> = table.columns.iter().map(|c| quoted(&c.name)).collect();
    let since =
        format!("(SELECT coalesce(max(_cdc_seq), 0) FROM {log} WHERE _cdc_op = 'truncate')");
    if table.key.is_empty() {
        // Whole rows: those that came more often than they went.
        let all = names.join(", ");
        return format!(
            "(SELECT {all} FROM (SELECT {all}, unnest(range(n)) FROM (SELECT {all}, CAST(sum(CASE _cdc_op WHEN 'delete' THEN -1 ELSE 1 END) AS BIGINT) AS n \
             FROM {log} WHERE _cdc_op <> 'truncate' AND _cdc_seq > {since} GROUP BY ALL)))"
        );
    }
    let key = table
        .key
        .iter()
        .map(|i| names[*i].clone())
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "(SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY _cdc_seq DESC) AS _n FROM {log} \
         WHERE _cdc_op <> 'truncate' AND _cdc_seq > {since}) WHERE _n = 1 AND _cdc_op <> 'delete')"
    )
}
