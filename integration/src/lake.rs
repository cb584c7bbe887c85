//! Source against lake: the change log is replayed in the order of `_cdc_seq`, and what it amounts to is compared.
//!
//! Read by DuckDB's Parquet reader through a plain glob over a table's folder, as any user would. The rules are the
//! ones that the lake documents: a row replaces the earlier one of its key; columns named in `_cdc_absent` keep
//! their value (after a change of key that of the row deleted just before); `_cdc_special` holds the text of values
//! that the column's type has no place for; rows of files older than a column have what the source says that its
//! older rows have; a truncate takes everything before it away.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::compare::{self, Content, Row, Table, duckdb_rows, literal, quoted};
use crate::server::Session;

/// [`compare::equal`], source against the lake in a folder.
pub async fn equal(session: &impl Session, folder: &Path, schemas: &[&str]) -> Result<(), String> {
    compare::equal(session, schemas, |table| content(folder, table)).await
}

/// [`compare::equal`], source against what the lake's own statements make of its log: they follow columns through
/// renames, which a glob over the files cannot.
pub async fn current_equal(
    session: &impl Session,
    folder: &Path,
    schemas: &[&str],
) -> Result<(), String> {
    let queries = folder.join("_cdc").join("current");
    compare::equal(session, schemas, |table| {
        let connection = duckdb::Connection::open_in_memory().map_err(|e| e.to_string())?;
        let Some(folder) = part(&queries, &table.schema)? else {
            return Ok(Content::new());
        };
        let Some(path) = part(&folder, &format!("{}.sql", table.name))? else {
            return Ok(Content::new());
        };
        let statement = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let from = format!("(\n{}\n)", statement.trim_end().trim_end_matches(';'));
        let columns = table.columns.iter();
        let columns = columns.map(|it| it.canon.duckdb_from_file(&quoted(&it.name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let query = format!("SELECT {columns} FROM {from}");
        Ok(table.content(duckdb_rows(&connection, &query)?))
    })
    .await
}

/// Columns of ours before those of the table: op, seq, absent, file.
const HEAD: usize = 4;

/// What the change log of a table amounts to. The daemon may replace files that were listed by a larger one before
/// they are read: then they are listed again.
pub fn content(folder: &Path, table: &Table) -> Result<Content, String> {
    let mut again = 0;
    loop {
        match listed(folder, table) {
            Err(error) if again < 20 && error.contains("No such file") => again += 1,
            outcome => return outcome,
        }
    }
}

fn listed(folder: &Path, table: &Table) -> Result<Content, String> {
    let connection = duckdb::Connection::open_in_memory().map_err(|e| e.to_string())?;
    // A table without a change has no folder yet.
    let Some(folder) = part(folder, &table.schema)? else {
        return Ok(Content::new());
    };
    let Some(folder) = part(&folder, &table.name)? else {
        return Ok(Content::new());
    };
    let glob = format!("{}/**/*.parquet", folder.display());
    let log = format!(
        "read_parquet({}, union_by_name = true, filename = true)",
        literal(&glob)
    );
    let fields = duckdb_rows(
        &connection,
        &format!(
            "SELECT DISTINCT file_name, name FROM parquet_schema({})",
            literal(&glob)
        ),
    )?;
    let has = |file: Option<&str>, name: &str| {
        fields.iter().any(|row| {
            row[1].as_deref() == Some(name) && (file.is_none() || row[0].as_deref() == file)
        })
    };
    let mut columns = vec![
        "_cdc_op".to_owned(),
        "CAST(_cdc_seq AS VARCHAR)".to_owned(),
        "CAST(to_json(_cdc_absent) AS VARCHAR)".to_owned(),
        "filename".to_owned(),
    ];
    for column in &table.columns {
        let name = quoted(&column.name);
        columns.push(if has(None, &column.name) {
            let special = format!("map_extract(_cdc_special, {})[1]", literal(&column.name));
            format!(
                "coalesce({special}, {})",
                column.canon.duckdb_from_file(&name)
            )
        } else {
            "CAST(NULL AS VARCHAR)".to_owned()
        });
    }
    // A snapshot's row is the state after the change with the same number.
    let order = "ORDER BY _cdc_seq, CASE _cdc_op WHEN 'read' THEN 1 ELSE 0 END";
    let mut rows = duckdb_rows(
        &connection,
        &format!("SELECT {} FROM {log} {order}", columns.join(", ")),
    )?;
    for (i, column) in table
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.missing.is_some())
    {
        let mut lacking = HashMap::new();
        for row in &mut rows {
            let file = row[3].clone();
            let lacks = lacking
                .entry(file)
                .or_insert_with_key(|file| !has(file.as_deref(), &column.name));
            if *lacks {
                row[HEAD + i].clone_from(&column.missing);
            }
        }
    }
    let rows = if table.key.is_empty() {
        tally(&rows)?
    } else {
        replay(table, rows)?
    };
    Ok(table.content(rows))
}

/// A table with a key: the last row of each.
fn replay(table: &Table, log: Vec<Row>) -> Result<Vec<Row>, String> {
    let mut current: HashMap<Vec<Option<String>>, Vec<Value>> = HashMap::new();
    let mut gone: Option<(u64, Vec<Value>)> = None;
    for mut row in log {
        let values: Vec<Value> = row.split_off(HEAD).into_iter().map(Value::Known).collect();
        let seq: u64 = row[1]
            .as_deref()
            .and_then(|n| n.parse().ok())
            .ok_or("a row without _cdc_seq")?;
        let key: Vec<Option<String>> = table
            .key
            .iter()
            .map(|i| values[*i].clone().text())
            .collect();
        match row[0].as_deref() {
            Some("truncate") => current.clear(),
            Some("delete") => gone = current.remove(&key).map(|base| (seq, base)),
            Some(op @ ("read" | "insert" | "update")) => {
                let absent: Vec<String> = match &row[2] {
                    Some(json) => serde_json::from_str(json).map_err(|e| e.to_string())?,
                    None => vec![],
                };
                let before = gone
                    .take()
                    .filter(|(at, _)| op == "insert" && at + 1 == seq)
                    .map(|(_, base)| base);
                let base = before.or_else(|| current.get(&key).cloned());
                let merged =
                    table
                        .columns
                        .iter()
                        .zip(values)
                        .enumerate()
                        .map(|(i, (column, value))| {
                            match (&base, absent.contains(&column.name)) {
                                (_, false) => value,
                                (Some(base), true) => base[i].clone(),
                                // Known as soon as the row that the copy read comes, which has a higher number.
                                (None, true) => Value::Unknown,
                            }
                        });
                let merged = merged.collect();
                current.insert(key, merged);
            }
            other => return Err(format!("_cdc_op is {other:?}")),
        }
    }
    let rows = current
        .into_values()
        .map(|row| row.into_iter().map(Value::text).collect());
    Ok(rows.collect())
}

#[derive(Debug, Clone)]
enum Value {
    Known(Option<String>),
    Unknown,
}

impl Value {
    fn text(self) -> Option<String> {
        match self {
            Self::Known(text) => text,
            Self::Unknown => Some("(absent, and never sent)".into()),
        }
    }
}

/// A table without a key: whole rows come and go.
fn tally(log: &[Row]) -> Result<Vec<Row>, String> {
    let mut counts: HashMap<&[Option<String>], i64> = HashMap::new();
    let point = log
        .iter()
        .filter(|row| row[0].as_deref() == Some("read"))
        .map(|row| row[1].as_deref())
        .next_back();
    for row in log {
        let (head, values) = row.split_at(HEAD);
        match head[0].as_deref() {
            Some("truncate") => counts.clear(),
            Some("delete") => *counts.entry(values).or_default() -= 1,
            Some("insert" | "update") => *counts.entry(values).or_default() += 1,
            Some("read") if point == Some(head[1].as_deref()) => {
                *counts.entry(values).or_default() += 1
            }
            other => return Err(format!("_cdc_op is {other:?}, _cdc_seq {:?}", head[1])),
        }
    }
    let mut rows = Vec::new();
    for (row, count) in counts {
        let count = usize::try_from(count).map_err(|_| "a row went more often than it came")?;
        rows.extend(std::iter::repeat_n(row.to_vec(), count));
    }
    Ok(rows)
}

/// The folder in `of` whose percent-decoded name is `name`.
fn part(of: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    let said = |error: std::io::Error| format!("{}: {error}", of.display());
    for entry in std::fs::read_dir(of).map_err(said)? {
        let path = entry.map_err(said)?.path();
        if path
            .file_name()
            .is_some_and(|n| decoded(&n.to_string_lossy()) == name)
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Canon;
    use crate::compare::Column;

    fn table(key: &[usize]) -> Table {
        let column = |name: &str, typname: &str| Column {
            name: name.into(),
            canon: Canon::of(typname),
            missing: None,
        };
        Table {
            schema: "a/b".into(),
            name: "t".into(),
            columns: vec![
                column("id", "int4"),
                column("v", "text"),
                column("day", "date"),
            ],
            key: key.to_vec(),
            query: String::new(),
        }
    }

    /// Rows as `(op, seq, absent, special, id, v, day)`.
    fn log(rows: &str, key: &[usize]) -> Result<Content, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let within = folder.path().join("a%2Fb/t");
        std::fs::create_dir_all(&within).expect("a folder");
        let connection = duckdb::Connection::open_in_memory().expect("a database");
        connection
            .execute_batch(&format!(
                "COPY (SELECT * FROM (VALUES {rows}) AS r(_cdc_op, _cdc_seq, _cdc_absent, _cdc_special, id, v, day)) TO {}",
                literal(&within.join("f.parquet").display().to_string())
            ))
            .expect("a file");
        content(folder.path(), &table(key))
    }

    const NONE: &str = "CAST(NULL AS VARCHAR[]), CAST(NULL AS MAP(VARCHAR, VARCHAR))";

    #[test]
    fn absent_values_are_found_through_changes_of_key() {
        let absent = "['v'], CAST(NULL AS MAP(VARCHAR, VARCHAR))";
        let rows = format!(
            "('read', 5, {NONE}, 1, 'long', DATE '2024-01-01'), ('update', 6, {absent}, 1, NULL, DATE '2024-01-02'), \
             ('delete', 7, {NONE}, 1, NULL, NULL), ('insert', 8, {absent}, 2, NULL, DATE '2024-01-03')"
        );
        let content = log(&rows, &[0]).expect("a log");
        let row = ["2", "long", "2024-01-03"]
            .map(|v| Some(v.to_owned()))
            .to_vec();
        assert_eq!(content, Content::from([(row, 1)]));
    }

    #[test]
    fn an_absent_value_without_a_base_is_no_null() {
        let rows = format!(
            "('update', 6, ['v'], CAST(NULL AS MAP(VARCHAR, VARCHAR)), 1, NULL, NULL), ('insert', 7, {NONE}, 2, NULL, NULL)"
        );
        let content = log(&rows, &[0]).expect("a log");
        assert!(
            content
                .keys()
                .any(|row| row[1].as_deref().is_some_and(|v| v.contains("never sent")))
        );
    }

    #[test]
    fn a_truncate_clears_and_special_values_count() {
        let rows = format!(
            "('insert', 1, {NONE}, 1, 'x', NULL), ('truncate', 2, {NONE}, NULL, NULL, NULL), \
             ('insert', 3, CAST(NULL AS VARCHAR[]), MAP {{'day': 'infinity'}}, 2, 'y', NULL)"
        );
        let content = log(&rows, &[0]).expect("a log");
        let row = ["2", "y", "infinity"].map(|v| Some(v.to_owned())).to_vec();
        assert_eq!(content, Content::from([(row, 1)]));
    }

    #[test]
    fn rows_without_a_key_keep_their_number() {
        let rows = format!(
            "('read', 5, {NONE}, 1, 'x', NULL), ('read', 5, {NONE}, 1, 'x', NULL), ('delete', 6, {NONE}, 1, 'x', NULL)"
        );
        let content = log(&rows, &[]).expect("a log");
        assert_eq!(content.values().copied().collect::<Vec<_>>(), [1]);
        let rows = format!("('delete', 6, {NONE}, 1, 'x', NULL)");
        assert!(log(&rows, &[]).is_err());
    }
}
