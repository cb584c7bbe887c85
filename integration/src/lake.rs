//! Source against lake: the change log is materialised by key and highest `_cdc_seq`, and compared.
//!
//! Read by DuckDB's Parquet reader through a plain glob, as any user would.

use std::path::Path;

use tokio_postgres::Client;

use crate::compare::{self, Content, Table, duckdb_rows, literal};

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
    let glob = folder
        .join(&table.schema)
        .join(&table.name)
        .join("**/*.parquet");
    let from = format!(
        "read_parquet({}, union_by_name = true)",
        literal(&glob.display().to_string())
    );
    Ok(table.content(duckdb_rows(&connection, &table.duckdb_query(&from))?))
}
