//! Whether source, warehouse and lake hold the same rows: every row as one line of text, compared as multisets.
//!
//! The server and DuckDB run a `SELECT` each that prints alike; the lake's Parquet files are read here, the last change
//! of each key counting.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use cdc_api::{Error, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::daemon::Daemon;
use super::server::{Session, failed};

/// A table, its key columns first.
struct Table {
    name: &'static str,
    key: usize,
    columns: &'static [(&'static str, Kind)],
}

/// How a column becomes the same text everywhere.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// As every side prints it.
    Plain,
    /// Microseconds since 1970.
    Instant,
}

use Kind::{Instant, Plain};

const TABLES: [Table; 4] = [
    Table {
        name: "customers",
        key: 1,
        columns: &[
            ("id", Plain),
            ("name", Plain),
            ("city", Plain),
            ("active", Plain),
            ("since", Instant),
            ("tier", Plain),
        ],
    },
    Table {
        name: "products",
        key: 1,
        columns: &[
            ("id", Plain),
            ("name", Plain),
            ("price", Plain),
            ("stock", Plain),
        ],
    },
    Table {
        name: "orders",
        key: 1,
        columns: &[
            ("id", Plain),
            ("customer", Plain),
            ("status", Plain),
            ("placed", Instant),
        ],
    },
    Table {
        name: "order_lines",
        key: 2,
        columns: &[
            ("order_id", Plain),
            ("line", Plain),
            ("product", Plain),
            ("quantity", Plain),
            ("price", Plain),
        ],
    },
];

/// What was found.
pub(super) struct Proof {
    pub(super) equal: bool,
    /// Rows of the source, over all tables.
    pub(super) rows: usize,
    /// A line for each table.
    pub(super) tables: Vec<String>,
}

/// Compares every table, source against warehouse and source against lake.
pub(super) async fn compare(
    session: &mut Session,
    daemon: &Daemon,
    folder: &Path,
) -> Result<Proof> {
    let mut proof = Proof {
        equal: true,
        rows: 0,
        tables: Vec::new(),
    };
    for table in &TABLES {
        let source = source(session, table).await?;
        let warehouse = warehouse(daemon, table)?;
        let lake = lake(&folder.join("lake/shop").join(table.name), table)?;
        let verdict = |sink: &[String]| {
            if sink == source {
                "equal".to_owned()
            } else {
                format!("DIFFERENT ({} rows)", sink.len())
            }
        };
        proof.tables.push(format!(
            "shop.{:<12} {:>7} rows   warehouse: {}   lake: {}",
            table.name,
            source.len(),
            verdict(&warehouse),
            verdict(&lake)
        ));
        proof.equal &= source == warehouse && source == lake;
        proof.rows += source.len();
    }
    Ok(proof)
}

/// One column of text; `|` between values, `NULL` for none.
fn select(table: &Table) -> String {
    let columns = table.columns.iter().map(|(name, kind)| match kind {
        Plain => format!("coalesce(CAST({name} AS varchar), 'NULL')"),
        Instant => format!("coalesce(CAST(CAST(extract(epoch FROM {name}) * 1000000 AS bigint) AS varchar), 'NULL')"),
    });
    let line = columns.collect::<Vec<_>>().join(" || '|' || ");
    format!("SELECT {line} AS line FROM shop.{}", table.name)
}

/// The same in MySQL's words.
fn select_mysql(table: &Table) -> String {
    let columns = table.columns.iter().map(|(name, kind)| match kind {
        Plain => format!("coalesce(CAST({name} AS char), 'NULL')"),
        Instant => format!(
            "coalesce(CAST(CAST(unix_timestamp({name}) * 1000000 AS signed) AS char), 'NULL')"
        ),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    format!(
        "SELECT concat_ws('|', {columns}) AS line FROM shop.{}",
        table.name
    )
}

async fn source(session: &mut Session, table: &Table) -> Result<Vec<String>> {
    let query = match session {
        Session::Postgres(_) => select(table),
        Session::Mysql(_) => select_mysql(table),
    };
    let mut lines = session.lines(&query).await?;
    lines.sort();
    Ok(lines)
}

fn warehouse(daemon: &Daemon, table: &Table) -> Result<Vec<String>> {
    let answer = daemon.ask(&["query", "--format", "csv", &select(table)])?;
    let mut lines: Vec<String> = answer.lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

/// By key: number of the last change, and the row unless that was a delete.
type Latest = BTreeMap<Vec<String>, (u64, Option<String>)>;

fn lake(folder: &Path, table: &Table) -> Result<Vec<String>> {
    let mut latest = Latest::new();
    for file in files(folder)? {
        let opened =
            File::open(&file).map_err(|error| failed("open a file of the lake", &error))?;
        let unreadable = |error: &dyn std::fmt::Display| {
            Error::internal(format!("{} cannot be read: {error}", file.display()))
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| unreadable(&error))?;
        for batch in reader {
            take(
                &mut latest,
                &batch.map_err(|error| unreadable(&error))?,
                table,
            )?;
        }
    }
    let mut lines: Vec<String> = latest.into_values().filter_map(|(_, row)| row).collect();
    lines.sort();
    Ok(lines)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| failed("list the lake", &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| failed("list the lake", &error))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            files.push(path);
        }
    }
    Ok(files)
}

fn take(latest: &mut Latest, batch: &RecordBatch, table: &Table) -> Result<()> {
    let unlike = |error: arrow::error::ArrowError| {
        Error::internal(format!("the lake is not as documented: {error}"))
    };
    let options = FormatOptions::new().with_null("NULL");
    let mut columns = Vec::new();
    for (name, kind) in table.columns {
        // Files from before the new column do not have it.
        let column = batch.column_by_name(name).map(|column| match kind {
            Plain => Ok(column.clone()),
            Instant => arrow::compute::cast(column, &DataType::Int64),
        });
        columns.push(column.transpose().map_err(unlike)?);
    }
    let formats = columns
        .iter()
        .map(|column| {
            column
                .as_ref()
                .map(|c| ArrayFormatter::try_new(c, &options))
                .transpose()
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(unlike)?;
    let missing = || Error::internal("the lake lacks _cdc_op or _cdc_seq");
    let ops = batch.column_by_name("_cdc_op").ok_or_else(missing)?;
    let ops = arrow::compute::cast(ops, &DataType::Utf8).map_err(unlike)?;
    let ops = ops.as_string::<i32>();
    let seq = batch.column_by_name("_cdc_seq").ok_or_else(missing)?;
    let seq = seq.as_primitive_opt::<UInt64Type>().ok_or_else(missing)?;
    for row in 0..batch.num_rows() {
        let mut values = formats.iter().map(|format| match format {
            Some(format) => format.value(row).to_string(),
            None => "NULL".to_owned(),
        });
        let key: Vec<String> = values.by_ref().take(table.key).collect();
        let line = key
            .iter()
            .cloned()
            .chain(values)
            .collect::<Vec<_>>()
            .join("|");
        let removes = ops.value(row) == "delete";
        // A copy's rows are the state after the change of the same number.
        let newest = (seq.value(row) * 2) + u64::from(ops.value(row) == "read");
        let entry = latest.entry(key).or_insert((0, None));
        if newest >= entry.0 {
            *entry = (newest, (!removes).then_some(line));
        }
    }
    Ok(())
}
