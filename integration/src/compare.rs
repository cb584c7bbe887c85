//! Source against sink, by key and content.
//!
//! Counts hide a loss behind a duplicate, so the whole rows are compared as a multiset. Source and sink are
//! read by programs that know nothing of the daemon: the source's own text, DuckDB's own SQL.

pub(crate) mod mysql;
pub(crate) mod postgres;

use std::collections::BTreeMap;
use std::path::Path;

use crate::canonical::Canon;
use crate::commands::Commands;
use crate::server::Session;

/// One row as canonical text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// The rows of a table and how often each is there.
pub type Content = BTreeMap<Row, usize>;

/// A column of the source.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How its values become text.
    pub canon: Canon,
    /// What rows have that are older than the column (`ADD COLUMN … DEFAULT`), as canonical text.
    pub missing: Option<String>,
}

/// A table of the source, as its catalog has it now.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What is replicated.
    pub columns: Vec<Column>,
    /// Places in `columns` of the key that changes of a row name it by; empty without one.
    pub key: Vec<usize>,
    /// Reads its columns from the source, as text that [`Canon`] understands.
    pub query: String,
}

impl Table {
    /// `"schema"."table"`, as both sides quote it.
    #[must_use]
    pub fn qualified(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The query that reads it from anything that DuckDB can read.
    #[must_use]
    pub fn duckdb_query(&self, from: &str) -> String {
        let columns = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{} AS c{i}", c.canon.duckdb(&quoted(&c.name))));
        format!(
            "SELECT {} FROM {from}",
            columns.collect::<Vec<_>>().join(", ")
        )
    }

    /// Gathers rows that either query gave.
    #[must_use]
    pub fn content(&self, rows: Vec<Row>) -> Content {
        let mut content = Content::new();
        for row in rows {
            let row = row
                .iter()
                .zip(&self.columns)
                .map(|(v, c)| v.as_ref().map(|v| c.canon.normal(v)))
                .collect();
            *content.entry(row).or_default() += 1;
        }
        content
    }

    /// What differs, row by row under its key, or nothing.
    #[must_use]
    pub fn difference(&self, source: &Content, sink: &Content) -> Option<String> {
        if source == sink {
            return None;
        }
        let missing = surplus(source, sink);
        let extra = surplus(sink, source);
        let mut text = format!(
            "{}: {} rows of the source are not in the sink, {} rows of the sink are not in the source\n",
            self.qualified(),
            missing.iter().map(|(_, n)| n).sum::<usize>(),
            extra.iter().map(|(_, n)| n).sum::<usize>()
        );
        for (row, n) in missing.iter().take(8) {
            let twin = extra
                .iter()
                .find(|(other, _)| !self.key.is_empty() && self.key_of(other) == self.key_of(row));
            match twin {
                Some((other, _)) => {
                    text.push_str(&format!("  {} differs:", self.key_text(row)));
                    for (i, column) in self
                        .columns
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| row[*i] != other[*i])
                    {
                        let (ours, theirs) = (shown(row[i].as_deref()), shown(other[i].as_deref()));
                        text.push_str(&format!(" {} is {ours}, sink has {theirs};", column.name));
                    }
                    text.push('\n');
                }
                None => text.push_str(&format!("  {} ×{n} missing\n", self.key_text(row))),
            }
        }
        let alone = |row: &Row| {
            self.key.is_empty()
                || !missing
                    .iter()
                    .any(|(m, _)| self.key_of(m) == self.key_of(row))
        };
        for (row, n) in extra.iter().filter(|(row, _)| alone(row)).take(8) {
            text.push_str(&format!("  {} ×{n} only in the sink\n", self.key_text(row)));
        }
        Some(text)
    }

    fn key_of<'r>(&self, row: &'r Row) -> Vec<&'r Option<String>> {
        self.key.iter().map(|i| &row[*i]).collect()
    }

    fn key_text(&self, row: &Row) -> String {
        let places: Vec<usize> = if self.key.is_empty() {
            (0..row.len()).collect()
        } else {
            self.key.clone()
        };
        let parts = places
            .iter()
            .map(|i| format!("{}={}", self.columns[*i].name, shown(row[*i].as_deref())));
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// Rows that one side has more often than the other, and how much more often.
fn surplus<'c>(of: &'c Content, over: &Content) -> Vec<(&'c Row, usize)> {
    of.iter()
        .filter_map(|(row, n)| {
            let n = n.saturating_sub(over.get(row).copied().unwrap_or(0));
            (n > 0).then_some((row, n))
        })
        .collect()
}

fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".into(),
        Some(text) if text.chars().count() > 40 => {
            format!(
                "'{}…' ({} bytes)",
                text.chars().take(40).collect::<String>(),
                text.len()
            )
        }
        Some(text) => format!("'{text}'"),
    }
}

/// The tables of some schemas, as the source has them now.
pub async fn tables(session: &impl Session, schemas: &[&str]) -> Result<Vec<Table>, String> {
    session.tables(schemas).await
}

/// Reads a table of the source.
pub async fn source(session: &impl Session, table: &Table) -> Result<Content, String> {
    Ok(table.content(session.rows(&table.query).await?))
}

/// Reads a table of the warehouse through the running daemon.
pub fn warehouse(commands: &Commands, table: &Table) -> Result<Content, String> {
    Ok(table.content(commands.query(&table.duckdb_query(&table.qualified()))?))
}

/// Reads a table of the warehouse from its file, which no daemon may have open.
pub fn warehouse_file(path: &Path, table: &Table) -> Result<Content, String> {
    let config = duckdb::Config::default()
        .access_mode(duckdb::AccessMode::ReadOnly)
        .map_err(|e| e.to_string())?;
    let connection =
        duckdb::Connection::open_with_flags(path, config).map_err(|e| e.to_string())?;
    Ok(table.content(duckdb_rows(
        &connection,
        &table.duckdb_query(&table.qualified()),
    )?))
}

/// Compares every table of some schemas with what `sink` reads of it.
///
/// # Errors
///
/// The differences of all tables, or what kept a table from being read.
pub async fn equal(
    session: &impl Session,
    schemas: &[&str],
    sink: impl Fn(&Table) -> Result<Content, String>,
) -> Result<(), String> {
    let mut differences = String::new();
    for table in session.tables(schemas).await? {
        let ours = source(session, &table).await?;
        match sink(&table) {
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

/// [`equal`], source against warehouse through the running daemon.
pub async fn warehouse_equal(
    session: &impl Session,
    commands: &Commands,
    schemas: &[&str],
) -> Result<(), String> {
    equal(session, schemas, |table| warehouse(commands, table)).await
}

/// [`equal`], source against the warehouse's file after a stop.
pub async fn warehouse_file_equal(
    session: &impl Session,
    path: &Path,
    schemas: &[&str],
) -> Result<(), String> {
    equal(session, schemas, |table| warehouse_file(path, table)).await
}

/// The rows of a query that gives text only.
pub fn duckdb_rows(connection: &duckdb::Connection, query: &str) -> Result<Vec<Row>, String> {
    let said = |error: duckdb::Error| format!("{error}\n{query}");
    let mut statement = connection.prepare(query).map_err(said)?;
    let mut rows = statement.query([]).map_err(said)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(said)? {
        let width = row.as_ref().column_count();
        all.push(
            (0..width)
                .map(|i| row.get(i))
                .collect::<Result<Row, _>>()
                .map_err(said)?,
        );
    }
    Ok(all)
}

/// A name in double quotes, as PostgreSQL and DuckDB both write it.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
