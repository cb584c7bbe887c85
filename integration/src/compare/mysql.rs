//! The tables of a MySQL or MariaDB server, by its catalog.

use super::{Column, Row, Table, literal};
use crate::canonical::Canon;
use crate::mysql::Client;
use crate::server::Session as _;

/// A name in backticks.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub(crate) async fn tables(client: &Client, schemas: &[&str]) -> Result<Vec<Table>, String> {
    let schemas: Vec<_> = schemas.iter().map(|s| literal(s)).collect();
    let query = format!(
        "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_TYPE, c.IS_NULLABLE, c.COLUMN_DEFAULT, \
           (SELECT count(*) FROM information_schema.STATISTICS s WHERE s.TABLE_SCHEMA = c.TABLE_SCHEMA \
             AND s.TABLE_NAME = c.TABLE_NAME AND s.INDEX_NAME = 'PRIMARY' AND s.COLUMN_NAME = c.COLUMN_NAME) \
         FROM information_schema.COLUMNS c JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME) \
         WHERE t.TABLE_TYPE = 'BASE TABLE' AND c.TABLE_SCHEMA IN ({}) ORDER BY 1, 2, c.ORDINAL_POSITION",
        schemas.join(", ")
    );
    let mut tables: Vec<Table> = Vec::new();
    for row in client.rows(&query).await? {
        let Found {
            schema,
            name,
            column,
            canon,
            key,
            missing,
        } = Found::of(&row).ok_or("the catalog gave a NULL")?;
        if tables
            .last()
            .is_none_or(|t| t.schema != schema || t.name != name)
        {
            tables.push(Table {
                schema,
                name,
                columns: vec![],
                key: vec![],
                query: String::new(),
            });
        }
        if let Some(table) = tables.last_mut() {
            if key {
                table.key.push(table.columns.len());
            }
            table.columns.push(Column {
                name: column,
                canon,
                missing,
            });
        }
    }
    for table in &mut tables {
        let columns = table.columns.iter();
        let columns: Vec<_> = columns.map(|c| c.canon.mysql(&quoted(&c.name))).collect();
        table.query = format!(
            "SELECT {} FROM {}.{}",
            columns.join(", "),
            quoted(&table.schema),
            quoted(&table.name)
        );
    }
    Ok(tables)
}

struct Found {
    schema: String,
    name: String,
    column: String,
    canon: Canon,
    key: bool,
    missing: Option<String>,
}

impl Found {
    fn of(row: &Row) -> Option<Self> {
        let text = |n: usize| row.get(n)?.clone();
        let (data_type, column_type) = (text(3)?.to_lowercase(), text(4)?.to_lowercase());
        Some(Self {
            schema: text(0)?,
            name: text(1)?,
            column: text(2)?,
            canon: Canon::of_mysql(&data_type, &column_type),
            key: text(7)? != "0",
            missing: older(text(6), &data_type, text(5)? == "NO"),
        })
    }
}

/// What rows have that are older than a column: its default, or its type's where it may not be NULL.
fn older(default: Option<String>, data_type: &str, not_null: bool) -> Option<String> {
    match default {
        // MariaDB gives an expression.
        Some(text) if text == "NULL" => None,
        Some(text) => Some(
            match text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
                Some(inner) => inner.replace("''", "'"),
                None => text,
            },
        ),
        None if !not_null => None,
        None if data_type.contains("int") => Some("0".into()),
        None => Some(String::new()),
    }
}
