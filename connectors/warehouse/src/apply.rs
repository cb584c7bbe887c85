//! Applies one table's staged changes inside the open transaction: delete the touched keys,
//! append the rows, fill what the source did not send from the rows that were there.
//!
//! Invariant: base rows are read before any row of the same stage is deleted. A change whose row
//! must be there and is not is an error, never a quiet no-op.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use cdc_api::schema::quote_identifier;
use cdc_api::{Error, Result};
use duckdb::Connection;

use crate::bag;
use crate::bookkeeping::Table;
use crate::config::Mode;
use crate::database::{CATALOG, change, failed, run};
use crate::dialect::{Fill, TargetColumn, quoted_list};
use crate::fold::{Folded, Partial, Staged, Unfoldable, fold};
use crate::log;
use crate::session::{Role, Shared, lost_row};
use crate::shape::{DELETED, stored_key, target_columns};

const KEYS: &str = "_cdc_keys";
const PARTIAL: &str = "_cdc_partial";
const FILLED: &str = "_cdc_filled";
const GONE: &str = "_cdc_gone";

/// One table and the connection to change it on.
pub(crate) struct Apply<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) connection: &'a Connection,
    pub(crate) table: &'a Table,
    pub(crate) role: Role,
}

impl Apply<'_> {
    /// Applies batches in order.
    pub(crate) fn rows(&self, stage: &[Staged]) -> Result<()> {
        let shape = &self.table.shape;
        if self.table.target.mode == Mode::Append {
            for staged in stage {
                self.append(&staged.rows)?;
            }
            return Ok(());
        }
        let columns = target_columns(self.shared.dialect(), self.table)?;
        if shape.key.is_empty() {
            let counted = bag::count(stage).map_err(|error| self.unusable(error))?;
            return self.count(&columns, counted);
        }
        let key = stored_key(self.table);
        let keep_deleted = self.table.target.mode == Mode::SoftDelete;
        match fold(stage, &key, keep_deleted) {
            Ok(folded) => self.fold(&columns, &key, folded),
            Err(Unfoldable::NoBase) => Err(lost_row(self.role, shape)),
            Err(Unfoldable::Arrow(error)) => Err(self.unusable(error)),
        }
    }

    fn fold(&self, columns: &[TargetColumn], key: &[usize], folded: Folded) -> Result<()> {
        let dialect = self.shared.dialect();
        let name = self.shared.name_of(self.table);
        let filled = match &folded.partial {
            Some(partial) => Some(self.fill(columns, key, partial)?),
            None => None,
        };
        let key_columns: Vec<TargetColumn> =
            key.iter().map(|&index| columns[index].clone()).collect();
        self.stage(
            KEYS,
            folded
                .keys
                .into_iter()
                .enumerate()
                .map(|(place, values)| {
                    let column = &key_columns[place];
                    (
                        format!("k{place}"),
                        column.sql_type.clone(),
                        self.field_of(key[place]),
                        values,
                    )
                })
                .collect(),
        )?;
        change(
            self.connection,
            "deleting replaced rows",
            &dialect.delete_staged_keys(&name, &dialect.stage(KEYS), &key_columns),
        )?;
        self.append_marked(&folded.rows, folded.deleted)?;
        if let Some(filled) = filled {
            let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            if self.table.target.mode == Mode::SoftDelete {
                names.push(DELETED);
            }
            change(
                self.connection,
                "inserting changed rows",
                &format!(
                    "INSERT INTO {name} ({}) SELECT * FROM {filled}",
                    quoted_list(names)
                ),
            )?;
        }
        Ok(())
    }

    /// Stages rows that lack values and fills them from the target.
    fn fill(&self, columns: &[TargetColumn], key: &[usize], partial: &Partial) -> Result<String> {
        let dialect = self.shared.dialect();
        let soft = self.table.target.mode == Mode::SoftDelete;
        let mut staged = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            staged.push((
                format!("c{index}"),
                column.sql_type.clone(),
                self.field_of(index),
                Arc::clone(partial.rows.column(index)),
            ));
        }
        for (place, values) in partial.base.iter().enumerate() {
            staged.push((
                format!("k{place}"),
                columns[key[place]].sql_type.clone(),
                self.field_of(key[place]),
                Arc::clone(values),
            ));
        }
        let flag = |name: String, flags: &BooleanArray| {
            (
                name,
                "BOOLEAN".to_owned(),
                Field::new("flag", DataType::Boolean, true),
                Arc::new(flags.clone()) as ArrayRef,
            )
        };
        for (index, flags) in &partial.absent {
            staged.push(flag(format!("a{index}"), flags));
        }
        staged.push(flag("deleted".to_owned(), &partial.deleted));
        self.stage(PARTIAL, staged)?;
        let absent: Vec<usize> = partial.absent.iter().map(|(index, _)| *index).collect();
        let doing = "reading unchanged values";
        change(
            self.connection,
            doing,
            &dialect.fill_absent(&Fill {
                into: FILLED,
                table: &self.shared.name_of(self.table),
                stage: &dialect.stage(PARTIAL),
                columns,
                key,
                absent: &absent,
                deleted: soft,
            }),
        )?;
        let filled = dialect.stage(FILLED);
        let living = if soft { " WHERE NOT deleted" } else { "" };
        let found: i64 = self
            .connection
            .query_row(
                &format!("SELECT count(*) FROM {filled}{living}"),
                [],
                |row| row.get(0),
            )
            .map_err(|error| failed(doing, error))?;
        if usize::try_from(found) != Ok(partial.required) {
            return Err(lost_row(self.role, &self.table.shape));
        }
        Ok(filled)
    }

    /// Applies counted whole rows.
    fn count(&self, columns: &[TargetColumn], counted: bag::Counted) -> Result<()> {
        let dialect = self.shared.dialect();
        let soft = self.table.target.mode == Mode::SoftDelete;
        let expected: i64 = counted.counts.values().iter().sum();
        if expected > 0 {
            let mut staged: Vec<_> = columns
                .iter()
                .enumerate()
                .map(|(index, column)| {
                    (
                        format!("c{index}"),
                        column.sql_type.clone(),
                        self.field_of(index),
                        Arc::clone(counted.removed.column(index)),
                    )
                })
                .collect();
            let number = |name: &str, values: Int64Array| {
                (
                    name.to_owned(),
                    "BIGINT".to_owned(),
                    Field::new(name, DataType::Int64, true),
                    Arc::new(values) as ArrayRef,
                )
            };
            let places = (0i64..).take(counted.counts.len()).collect::<Int64Array>();
            staged.push(number("n", counted.counts));
            staged.push(number("i", places));
            self.stage(GONE, staged)?;
            let name = self.shared.name_of(self.table);
            let rows = dialect.matching_rows(
                &name,
                &dialect.stage(GONE),
                columns,
                soft.then_some(DELETED),
            );
            let sql = if soft {
                format!(
                    "UPDATE {name} SET {} = true WHERE rowid IN ({rows})",
                    quote_identifier(DELETED)
                )
            } else {
                format!("DELETE FROM {name} WHERE rowid IN ({rows})")
            };
            let found = change(self.connection, "deleting whole rows", &sql)?;
            if i64::try_from(found) != Ok(expected) {
                return Err(lost_row(self.role, &self.table.shape));
            }
        }
        let count = counted.added.num_rows();
        self.append_marked(&counted.added, vec![false; count].into())?;
        if soft {
            let count = counted.added_deleted.num_rows();
            self.append_marked(&counted.added_deleted, vec![true; count].into())?;
        }
        Ok(())
    }

    /// Empties the table.
    pub(crate) fn truncate(&self, seq: u64, commit_time: i64) -> Result<()> {
        let name = self.shared.name_of(self.table);
        let doing = "emptying a table";
        match self.table.target.mode {
            Mode::Upsert => {
                change(self.connection, doing, &format!("DELETE FROM {name}")).map(|_| ())
            }
            Mode::SoftDelete => change(
                self.connection,
                doing,
                &format!(
                    "UPDATE {name} SET {deleted} = true WHERE NOT {deleted}",
                    deleted = quote_identifier(DELETED)
                ),
            )
            .map(|_| ()),
            Mode::Append => self.append(&log::truncate(seq, commit_time)?),
        }
    }

    /// Rows into the target, with our mark where the mode has one.
    fn append_marked(&self, rows: &RecordBatch, deleted: BooleanArray) -> Result<()> {
        if self.table.target.mode != Mode::SoftDelete {
            return self.append(rows);
        }
        self.append(&with_mark(rows, deleted).map_err(|error| self.unusable(error))?)
    }

    /// Rows into the target's columns of the same names.
    fn append(&self, rows: &RecordBatch) -> Result<()> {
        append(self.connection, self.table, rows)
    }

    /// Makes a stage of columns: name, type, Arrow field for its metadata, values.
    fn stage(&self, name: &str, columns: Vec<(String, String, Field, ArrayRef)>) -> Result<()> {
        let doing = "staging rows";
        let definitions: Vec<(String, String)> = columns
            .iter()
            .map(|(name, sql_type, ..)| (name.clone(), sql_type.clone()))
            .collect();
        run(
            self.connection,
            doing,
            &self.shared.dialect().create_stage(name, &definitions),
        )?;
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, _, field, values)| {
                Field::new(name, values.data_type().clone(), true)
                    .with_metadata(field.metadata().clone())
            })
            .collect();
        let values = columns.into_iter().map(|(.., values)| values).collect();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), values)
            .map_err(|error| self.unusable(error))?;
        let mut appender = self
            .connection
            .appender_to_catalog_and_db(name, "temp", "main")
            .map_err(|error| failed(doing, error))?;
        appender
            .append_record_batch(rows)
            .and_then(|()| appender.flush())
            .map_err(|error| failed(doing, error).for_table(self.table.shape.id))
    }

    /// The Arrow field of a stored column.
    fn field_of(&self, stored: usize) -> Field {
        self.table
            .shape
            .columns
            .iter()
            .zip(&self.table.target.columns)
            .filter(|(_, name)| name.is_some())
            .nth(stored)
            .map_or_else(
                || Field::new("none", DataType::Null, true),
                |(column, _)| column.field(),
            )
    }

    fn unusable(&self, error: arrow::error::ArrowError) -> Error {
        Error::internal(format!(
            "rows of {} cannot be laid out",
            self.table.shape.name
        ))
        .for_table(self.table.shape.id)
        .caused_by(error)
    }
}

/// Rows with the mark of mode `soft_delete`.
pub(crate) fn with_mark(
    rows: &RecordBatch,
    deleted: BooleanArray,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, true)));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(deleted));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Appends rows to a table, by the names of the columns; others get NULL.
pub(crate) fn append(connection: &Connection, table: &Table, rows: &RecordBatch) -> Result<()> {
    if rows.num_rows() == 0 {
        return Ok(());
    }
    let schema = rows.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let failed = |error| failed("appending rows", error).for_table(table.shape.id);
    let mut appender = connection
        .appender_with_columns_to_catalog_and_db(
            &table.target.table,
            CATALOG,
            &table.target.schema,
            &names,
        )
        .map_err(failed)?;
    appender
        .append_record_batch(rows.clone())
        .and_then(|()| appender.flush())
        .map_err(failed)
}
