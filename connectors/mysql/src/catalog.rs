//! What the catalog says about tables and columns, now.
//!
//! Owns the queries on `information_schema` and the plain structures they fill. The log is older
//! than the catalog, so what a table map says goes before what is read here. Leaves to `types` what
//! a type means.

mod shape;

use std::collections::{BTreeSet, HashMap, HashSet};

use cdc_api::{Result, TableName};

use crate::connect::{Flavour, Session};
use crate::decode::definition::charset_of;
use crate::refusal::refused_with;

pub(crate) use shape::{column_types, definition, refusal, shape};

/// A table as the catalog has it now. A partitioned table is one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogTable {
    /// Its name; the database is its schema.
    pub(crate) name: TableName,
    /// Its columns in order: invisible and generated ones too, which the log carries.
    pub(crate) columns: Vec<CatalogColumn>,
    /// Indices into `columns` of the primary key, in key order; empty where there is none.
    pub(crate) key: Vec<usize>,
    /// The character set of columns that are made without one, where its name is known.
    pub(crate) charset: Option<String>,
    /// `InnoDB`.
    pub(crate) engine: String,
    /// Whether the server keeps old versions of its rows by itself (MariaDB).
    pub(crate) versioned: bool,
    /// When it was created or made anew, in the server's words; not the same after a TRUNCATE.
    pub(crate) created: String,
    /// A foreign key whose CASCADE or SET NULL changes rows of this table, if there is one.
    pub(crate) cascade: Option<String>,
    /// Rows, by the statistics.
    pub(crate) rows: u64,
    /// Bytes of rows on disk, by the statistics.
    pub(crate) bytes: u64,
}

/// A column as the catalog has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogColumn {
    /// Its name.
    pub(crate) name: String,
    /// Its type with modifiers: `int unsigned`, `enum('a','b')`.
    pub(crate) column_type: String,
    /// Its character set; `None` where it has none.
    pub(crate) charset: Option<String>,
    /// Its collation; `None` where it has none.
    pub(crate) collation: Option<String>,
    /// Whether NULL is admitted.
    pub(crate) nullable: bool,
    /// Whether the server computes it.
    pub(crate) generated: bool,
    /// Whether the server numbers its rows.
    pub(crate) auto_increment: bool,
    /// The text of its constant default; `None` for NULL, none, and expressions.
    pub(crate) default: Option<String>,
    /// Whether it has no default at all, not even one that the server makes: older rows hold NULL in
    /// it, or the type's own zero.
    pub(crate) plain: bool,
}

/// Which tables to look up.
#[derive(Clone, Copy)]
pub(crate) enum Which<'a> {
    /// Those of other databases than the system's that are wanted.
    Wanted(&'a (dyn Fn(&TableName) -> bool + Sync)),
    /// Those with these names, as far as they exist.
    Named(&'a [TableName]),
}

/// Databases that are the server's own.
const SYSTEM: &str = "'mysql', 'information_schema', 'performance_schema', 'sys'";

/// The tables, in name order; no views, no sequences.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn tables(session: &mut Session, which: Which<'_>) -> Result<Vec<CatalogTable>> {
    let mut tables = listed(session, which).await?;
    if !logs_cascades(session).await? {
        for table in &mut tables {
            table.cascade = cascade(session, &table.name).await?;
        }
    }
    Ok(tables)
}

/// The same in three statements, however many tables there are, without the foreign keys that change
/// their rows: [`logs_cascades`] says whether these matter, [`cascade`] which one a table has.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn listed(session: &mut Session, which: Which<'_>) -> Result<Vec<CatalogTable>> {
    let of_table = match which {
        Which::Wanted(_) => format!("TABLE_SCHEMA NOT IN ({SYSTEM})"),
        Which::Named([]) => return Ok(Vec::new()),
        Which::Named(names) => named(names),
    };
    let found = session
        .query(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, TABLE_TYPE, CREATE_TIME, \
                    COALESCE(TABLE_ROWS, 0), COALESCE(DATA_LENGTH, 0), TABLE_COLLATION \
             FROM information_schema.TABLES \
             WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {of_table}"
        ))
        .await?;
    let mut columns = columns(session, &of_table).await?;
    let mut keys = keys(session, &of_table).await?;
    let mut tables = Vec::with_capacity(found.len());
    for row in &found {
        let name = TableName::new(row.text(0), row.text(1));
        let columns: Vec<CatalogColumn> = columns.remove(&name).unwrap_or_default();
        let key = keys
            .remove(&name)
            .unwrap_or_default()
            .iter()
            .filter_map(|wanted| columns.iter().position(|column| column.name == *wanted))
            .collect();
        tables.push(CatalogTable {
            key,
            columns,
            engine: row.text(2).to_owned(),
            versioned: row.text(3) == "SYSTEM VERSIONED",
            created: row.text(4).to_owned(),
            cascade: None,
            rows: row.number(5)?,
            bytes: row.number(6)?,
            charset: row.get(7).and_then(charset_of).map(str::to_owned),
            name,
        });
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    match which {
        Which::Wanted(wanted) => tables.retain(|table| wanted(&table.name)),
        Which::Named(names) => {
            let names: HashSet<&TableName> = names.iter().collect();
            tables.retain(|table| names.contains(&table.name));
        }
    }
    Ok(tables)
}

/// A condition that holds for tables of these names, and perhaps for others: for those that the server
/// takes for the same though their case differs, and for those of another database of the list. Pairs
/// of database and table would say it exactly, which MySQL takes seconds to compare with 5,000 tables.
fn named(names: &[TableName]) -> String {
    let list = |part: fn(&TableName) -> &str| {
        let different: BTreeSet<&str> = names.iter().map(part).collect();
        let texts: Vec<String> = different.into_iter().map(text).collect();
        match &texts[..] {
            // MariaDB goes to the one database, or table, only where it is equal.
            [one] => format!("= {one}"),
            texts => format!("IN ({})", texts.join(", ")),
        }
    };
    format!(
        "TABLE_SCHEMA {} AND TABLE_NAME {}",
        list(|it| &it.schema),
        list(|it| &it.table)
    )
}

async fn columns(
    session: &mut Session,
    of_table: &str,
) -> Result<HashMap<TableName, Vec<CatalogColumn>>> {
    let rows = session
        .query(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, \
                    COLLATION_NAME, IS_NULLABLE, COALESCE(GENERATION_EXPRESSION, '') <> '', \
                    COLUMN_DEFAULT, EXTRA, COALESCE(COLUMN_DEFAULT, 'NULL') = 'NULL' AND EXTRA = '' \
             FROM information_schema.COLUMNS WHERE {of_table} \
             ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
        ))
        .await?;
    let quotes = session.flavour() == Flavour::MariaDb;
    let mut columns: HashMap<TableName, Vec<CatalogColumn>> = HashMap::new();
    for row in &rows {
        let expression = row.text(9).contains("DEFAULT_GENERATED");
        columns
            .entry(TableName::new(row.text(0), row.text(1)))
            .or_default()
            .push(CatalogColumn {
                name: row.text(2).to_owned(),
                column_type: row.text(3).to_owned(),
                charset: row.get(4).map(str::to_owned),
                collation: row.get(5).map(str::to_owned),
                nullable: row.text(6) == "YES",
                generated: row.is_true(7),
                auto_increment: row.text(9).contains("auto_increment"),
                default: row
                    .get(8)
                    .filter(|_| !expression)
                    .and_then(|default| constant(default, quotes)),
                plain: row.is_true(10),
            });
    }
    Ok(columns)
}

/// The text of a constant default. `quotes`: the server writes defaults as SQL (MariaDB).
fn constant(default: &str, quotes: bool) -> Option<String> {
    if !quotes {
        return Some(default.to_owned());
    }
    if let Some(inside) = default
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        return Some(inside.replace("''", "'"));
    }
    let number = !default.is_empty()
        && default
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    number.then(|| default.to_owned())
}

async fn keys(session: &mut Session, of_table: &str) -> Result<HashMap<TableName, Vec<String>>> {
    let rows = session
        .query(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
             WHERE INDEX_NAME = 'PRIMARY' AND {of_table} \
             ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX"
        ))
        .await?;
    let mut keys: HashMap<TableName, Vec<String>> = HashMap::new();
    for row in &rows {
        keys.entry(TableName::new(row.text(0), row.text(1)))
            .or_default()
            .push(row.text(2).to_owned());
    }
    Ok(keys)
}

/// Whether what foreign keys change is in the log: MySQL from 9.6 on, unless the engine does it.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn logs_cascades(session: &mut Session) -> Result<bool> {
    if session.flavour() == Flavour::MariaDb || session.version() < (9, 6, 0) {
        return Ok(false);
    }
    let native = session.variable("innodb_native_foreign_keys").await?;
    Ok(native.is_none_or(|value| value == "OFF"))
}

/// A foreign key of the table that changes its rows, by its definition: the tables of constraints
/// hide them from who may only read.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn cascade(session: &mut Session, table: &TableName) -> Result<Option<String>> {
    let show = format!("SHOW CREATE TABLE {}", quoted(table));
    match session.query(&show).await {
        Ok(rows) => Ok(rows.first().and_then(|row| cascading(row.text(1)))),
        // Gone in between, or not to be read, which is said elsewhere.
        Err(error) if refused_with(&error, &[1142, 1146, 1356]) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first constraint with a rule other than RESTRICT in a table's definition.
fn cascading(definition: &str) -> Option<String> {
    definition.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("CONSTRAINT `")?;
        let (name, rest) = rest.split_once("` FOREIGN KEY ")?;
        // What stands behind the last column.
        let (_, rules) = rest.rsplit_once(')')?;
        ["CASCADE", "SET NULL", "SET DEFAULT"]
            .iter()
            .any(|rule| rules.contains(rule))
            .then(|| name.replace("``", "`"))
    })
}

/// A text as an SQL literal, under NO_BACKSLASH_ESCAPES.
pub(crate) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An identifier in backticks.
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table's name in backticks.
pub(crate) fn quoted(name: &TableName) -> String {
    format!("{}.{}", identifier(&name.schema), identifier(&name.table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_told_from_expressions() {
        assert_eq!(constant("it's", false), Some("it's".to_owned()));
        assert_eq!(constant("'it''s'", true), Some("it's".to_owned()));
        assert_eq!(constant("-1.5", true), Some("-1.5".to_owned()));
        for expression in ["NULL", "current_timestamp()", "uuid()", ""] {
            assert_eq!(constant(expression, true), None, "{expression}");
        }
    }

    #[test]
    fn foreign_keys_that_change_rows_are_found() {
        let table = |rules: &str| {
            format!(
                "CREATE TABLE `c` (\n  `on delete cascade` int,\n  PRIMARY KEY (`id`),\n  CONSTRAINT \
                 `f``k` FOREIGN KEY (`on delete cascade`) REFERENCES `p` (`CASCADE`){rules}\n) \
                 ENGINE=InnoDB"
            )
        };
        assert_eq!(cascading(&table("")), None);
        assert_eq!(cascading(&table(" ON DELETE RESTRICT,")), None);
        for rules in [
            " ON DELETE CASCADE",
            " ON DELETE SET NULL,",
            " ON UPDATE CASCADE",
        ] {
            assert_eq!(cascading(&table(rules)).as_deref(), Some("f`k"), "{rules}");
        }
    }

    #[test]
    fn tables_are_asked_for_by_all_of_their_names() {
        let name = |schema: &str, table: &str| TableName::new(schema, table);
        assert_eq!(
            named(&[name("shop", "it's")]),
            "TABLE_SCHEMA = 'shop' AND TABLE_NAME = 'it''s'"
        );
        assert_eq!(
            named(&[name("shop", "b"), name("shop", "a"), name("old", "a")]),
            "TABLE_SCHEMA IN ('old', 'shop') AND TABLE_NAME IN ('a', 'b')"
        );
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted(&TableName::new("a`b", "c")), "`a``b`.`c`");
        assert_eq!(text("o'clock\\"), "'o''clock\\'");
    }
}
