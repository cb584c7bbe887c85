//! Makes a table fit the source's new shape, in the transaction of the rows that need it.
//!
//! Invariant: what the target cannot follow without the table's rows is refused by
//! [`Evolve::plan`], before anything is changed. A column that is kept after its drop at the
//! source gives up its name, when another column wants it, for `_cdc_dropped_<version>_<name>`.

use std::sync::Arc;

use cdc_api::schema::quote_identifier;
use cdc_api::{Column, ColumnChange, Error, ExistingValue, Result, SchemaDiff, TableSchema};
use duckdb::params;

use crate::bookkeeping::{State, Table, Target};
use crate::config::{Mode, SchemaPolicy};
use crate::database::{change, failed, run};
use crate::session::{Session, Shared};
use crate::shape::{new_target, own_columns, snapshot_hint};
use crate::swap;

/// A change that the target can follow.
pub(crate) struct Evolve {
    before: Table,
    shape: Arc<TableSchema>,
    /// Where the table is afterwards, and in which columns.
    target: Target,
    /// Columns to drop.
    drops: Vec<String>,
    /// Columns to rename: from, to.
    renames: Vec<(String, String)>,
    /// Columns to give a wider type: name afterwards, column.
    widened: Vec<(String, Column)>,
    added: Vec<Column>,
}

impl Evolve {
    /// What to do, or why it cannot be done.
    pub(crate) fn plan(shared: &Shared, before: &Table, shape: &Arc<TableSchema>) -> Result<Self> {
        let refuse = |what: String| {
            Err(
                Error::unsupported(format!("{what} of {} at the source", shape.name))
                    .hint(snapshot_hint(shape))
                    .for_table(shape.id),
            )
        };
        let config = &shared.config;
        let diff = SchemaDiff::between(&before.shape, shape);
        if config.schema_changes == SchemaPolicy::Fail
            && !(diff.columns.is_empty() && diff.renamed_from.is_none())
        {
            return refuse("`schema_changes: fail` stops at a changed shape".to_owned());
        }
        let mut wanted = new_target(shared.dialect(), config, shape)?;
        if before.state == State::Copying {
            // A copy has a name of its own until it is joined.
            wanted.schema.clone_from(&before.target.schema);
            wanted.table.clone_from(&before.target.table);
        }
        if wanted.mode != before.target.mode {
            return refuse("the warehouse cannot follow a changed replica identity".to_owned());
        }
        if diff.key_changed && before.target.mode != Mode::Append {
            return refuse("the warehouse cannot follow a changed key".to_owned());
        }
        let dialect = shared.dialect();
        let follow = config.schema_changes == SchemaPolicy::Evolve;
        let mut plan = Self {
            target: if follow {
                wanted
            } else {
                before.target.clone()
            },
            before: before.clone(),
            shape: Arc::clone(shape),
            drops: Vec::new(),
            renames: Vec::new(),
            widened: Vec::new(),
            added: Vec::new(),
        };
        // Per new column the target's column that has its values so far.
        let matched: Vec<Option<String>> = shape
            .columns
            .iter()
            .map(|column| held_in(before, column))
            .collect();
        for change in diff.columns {
            match change {
                ColumnChange::Retype { from, to, .. } => {
                    if dialect.column_type(&from) == dialect.column_type(&to) {
                        continue;
                    }
                    let Some(place) = shape.columns.iter().position(|column| *column == to) else {
                        continue;
                    };
                    if matched[place].is_none() {
                        continue;
                    }
                    if !follow || !dialect.widens(&from, &to) {
                        return refuse(format!(
                            "the warehouse cannot follow column {} from {} to {}",
                            to.name, from.source_type, to.source_type
                        ));
                    }
                    plan.widened.push((to.name.clone(), to));
                }
                ColumnChange::Drop { name } => {
                    let held = before
                        .shape
                        .columns
                        .iter()
                        .position(|column| column.name == name)
                        .and_then(|index| before.target.columns.get(index).cloned().flatten());
                    if let (true, true, Some(held)) = (follow, config.drop, held) {
                        plan.drops.push(held);
                    }
                }
                ColumnChange::Add { column } if follow => plan.added.push(column),
                ColumnChange::Add { .. }
                | ColumnChange::Rename { .. }
                | ColumnChange::Nullable { .. } => {}
            }
        }
        if follow {
            for (column, held) in shape.columns.iter().zip(&matched) {
                match held {
                    Some(held) if *held != column.name => {
                        plan.renames.push((held.clone(), column.name.clone()));
                    }
                    // Known before, and left out then (`ignore`): it comes with its own values
                    // only from here on.
                    None if !plan.added.iter().any(|added| added.name == column.name) => {
                        plan.added.push(column.clone());
                    }
                    _ => {}
                }
            }
        } else {
            plan.target.columns = matched;
            if shape
                .key
                .iter()
                .any(|&key| plan.target.columns[key].is_none())
            {
                return refuse("the warehouse cannot follow a changed key".to_owned());
            }
        }
        Ok(plan)
    }

    pub(crate) fn table(&self) -> cdc_api::TableId {
        self.shape.id
    }

    /// The table as it is afterwards.
    pub(crate) fn outcome(&self) -> Table {
        Table {
            shape: Arc::clone(&self.shape),
            target: self.target.clone(),
            ..self.before.clone()
        }
    }

    /// Does it inside the session's transaction; gives the table as it is then.
    pub(crate) fn run(self, session: &mut Session) -> Result<Table> {
        let shared = Arc::clone(&session.shared);
        // Another table may have moved this one aside since the plan was made.
        let mut table = session
            .applied
            .get(&self.shape.id)
            .unwrap_or(&self.before)
            .clone();
        let moved = (&table.target.schema, &table.target.table)
            != (&self.target.schema, &self.target.table);
        if moved {
            swap::rename(session, &mut table, &self.target.schema, &self.target.table)?;
        }
        let connection = &session.connection;
        let name = shared.name_of(&table);
        let alter = |doing: &str, what: String| {
            run(connection, doing, &format!("ALTER TABLE {name} {what}"))
        };
        let rename = |from: &str, to: &str| {
            alter(
                "renaming a column",
                format!(
                    "RENAME COLUMN {} TO {}",
                    quote_identifier(from),
                    quote_identifier(to)
                ),
            )
        };
        for column in &self.drops {
            alter(
                "dropping a column",
                format!("DROP COLUMN {}", quote_identifier(column)),
            )?;
        }
        let mut kept = kept_columns(session, &table, &self)?;
        let wanted = self
            .renames
            .iter()
            .map(|(_, to)| to)
            .chain(self.added.iter().map(|column| &column.name));
        for wanted in wanted {
            if let Some(place) = kept
                .iter()
                .position(|kept| kept.eq_ignore_ascii_case(wanted))
            {
                let kept = kept.swap_remove(place);
                rename(
                    &kept,
                    &format!("_cdc_dropped_{}_{kept}", self.shape.version),
                )?;
            }
        }
        // In two steps, so that names can change places.
        let crossing = self.renames.iter().any(|(_, to)| {
            self.renames
                .iter()
                .any(|(from, _)| from.eq_ignore_ascii_case(to))
        });
        if crossing {
            for (index, (from, _)) in self.renames.iter().enumerate() {
                rename(from, &format!("_cdc_renamed_{index}"))?;
            }
        }
        for (index, (from, to)) in self.renames.iter().enumerate() {
            if crossing {
                rename(&format!("_cdc_renamed_{index}"), to)?;
            } else {
                rename(from, to)?;
            }
        }
        for (column, to) in &self.widened {
            alter(
                "widening a column",
                format!(
                    "ALTER COLUMN {} TYPE {}",
                    quote_identifier(column),
                    shared.dialect().column_type(to).unwrap_or_default()
                ),
            )?;
        }
        for column in &self.added {
            add_column(session, &table, column)?;
        }
        table.target.columns = self.target.columns;
        table.shape = self.shape;
        Ok(table)
    }
}

/// The target's column that holds this column's values so far.
fn held_in(before: &Table, column: &Column) -> Option<String> {
    let place = before
        .shape
        .columns
        .iter()
        .position(|old| match (old.id, column.id) {
            (Some(old), Some(new)) => old == new,
            _ => old.name == column.name,
        })?;
    before.target.columns.get(place).cloned().flatten()
}

/// The target's columns that hold no column of the source any more.
fn kept_columns(session: &Session, table: &Table, plan: &Evolve) -> Result<Vec<String>> {
    let doing = "looking up columns";
    let mut statement = session
        .connection
        .prepare_cached(
            "SELECT column_name FROM duckdb_columns() \
             WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        )
        .map_err(|error| failed(doing, error))?;
    let names: Vec<String> = statement
        .query_map(params![table.target.schema, table.target.table], |row| {
            row.get(0)
        })
        .and_then(Iterator::collect)
        .map_err(|error| failed(doing, error))?;
    let held: Vec<String> = plan
        .shape
        .columns
        .iter()
        .filter_map(|column| held_in(&plan.before, column))
        .collect();
    let own = own_columns(table.target.mode);
    Ok(names
        .into_iter()
        .filter(|name| !held.contains(name) && !own.iter().any(|(own, _)| own == name))
        .collect())
}

/// Adds a column with the value that existing rows have in it.
fn add_column(session: &Session, table: &Table, column: &Column) -> Result<()> {
    // Rows of a log are what was sent when they were written.
    let is_log = table.target.mode == Mode::Append;
    let table = &session.shared.name_of(table);
    let dialect = session.shared.dialect();
    let connection = &session.connection;
    let doing = "adding a column";
    let sql_type = dialect.column_type(column).unwrap_or_default();
    let name = quote_identifier(&column.name);
    let add = format!("ALTER TABLE {table} ADD COLUMN {name} {sql_type}");
    let existing = column
        .existing
        .as_ref()
        .filter(|ExistingValue(value)| !is_log && value.len() == 1 && value.is_valid(0));
    let Some(ExistingValue(value)) = existing else {
        return run(connection, doing, &add);
    };
    let value = crate::values::stored(value).map_err(|refused| {
        Error::data(format!(
            "existing rows of column {} hold {}, which the warehouse cannot store exactly",
            column.name, refused.0
        ))
    })?;
    let stage = "_cdc_existing";
    run(
        connection,
        doing,
        &dialect.create_stage(stage, &[("value".to_owned(), sql_type.clone())]),
    )?;
    let field = column
        .field()
        .with_name("value")
        .with_data_type(value.data_type().clone());
    let rows = arrow::array::RecordBatch::try_new(
        Arc::new(arrow::datatypes::Schema::new(vec![field])),
        vec![value],
    )
    .map_err(|error| Error::internal("an existing value cannot be laid out").caused_by(error))?;
    {
        let mut appender = connection
            .appender_to_catalog_and_db(stage, "temp", "main")
            .map_err(|error| failed(doing, error))?;
        appender
            .append_record_batch(rows)
            .and_then(|()| appender.flush())
            .map_err(|error| failed(doing, error))?;
    }
    // As a default the value is stored once; as an update it is written to every row. The text
    // serves if it reads back as the same value.
    let staged = dialect.stage(stage);
    let same = dialect
        .identity("value", &sql_type)
        .into_iter()
        .zip(dialect.identity(
            &format!("CAST(CAST(value AS VARCHAR) AS {sql_type})"),
            &sql_type,
        ))
        .map(|(value, text)| format!("{value} IS NOT DISTINCT FROM {text}"))
        .collect::<Vec<_>>()
        .join(" AND ");
    let text: Option<String> = connection
        .query_row(
            &format!("SELECT CASE WHEN {same} THEN CAST(value AS VARCHAR) END FROM {staged}"),
            [],
            |row| row.get(0),
        )
        .map_err(|error| failed(doing, error))?;
    match text {
        Some(text) => run(
            connection,
            doing,
            &format!(
                "{add} DEFAULT CAST('{}' AS {sql_type}); ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT",
                text.replace('\'', "''")
            ),
        ),
        None => {
            run(connection, doing, &add)?;
            change(
                connection,
                doing,
                &format!("UPDATE {table} SET {name} = (SELECT value FROM {staged})"),
            )
            .map(|_| ())
        }
    }
}
