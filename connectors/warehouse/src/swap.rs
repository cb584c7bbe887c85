//! Tables that change places and names: a finished copy swapped in, a rename, room made for one.
//!
//! A copy lives in its target's schema under the reserved name `_cdc_copy_<id>`: DuckDB renames
//! within a schema at no cost, and cannot move a table to another one but by writing it again.
//!
//! Invariant: a table that is not ours is never dropped, replaced or written to.

use std::sync::Arc;

use cdc_api::schema::quote_identifier;
use cdc_api::{CopyId, Error, Result, TableSchema};
use duckdb::{Connection, params};

use crate::bookkeeping::{State, Table};
use crate::config::Mode;
use crate::database::{CATALOG, change, failed, qualified, run};
use crate::dialect::quoted_list;
use crate::session::{Session, Shared};
use crate::shape::{DELETED, own_columns, stored_key, target_columns};

/// The reserved name of a copy.
pub(crate) fn copy_name(copy: CopyId) -> String {
    format!("_cdc_copy_{}", copy.0)
}

/// Makes a schema where it is not there.
pub(crate) fn create_schema(connection: &Connection, schema: &str) -> Result<()> {
    run(
        connection,
        "creating a schema",
        &format!(
            "CREATE SCHEMA IF NOT EXISTS {}.{}",
            quote_identifier(CATALOG),
            quote_identifier(schema)
        ),
    )
}

/// The record of a finished copy, as it is when it is joined.
pub(crate) fn find_copy(session: &Session, shape: &TableSchema, copy: CopyId) -> Result<Table> {
    let shared = &session.shared;
    let own = shared.database.connect()?;
    let mut table = shared
        .notes
        .table(&own, copy)?
        .filter(|table| table.shape.id == shape.id)
        .ok_or_else(|| Error::internal("the copy to join is not there").for_table(shape.id))?;
    if session.is_open() && shared.notes.table(&session.connection, copy)?.is_none() {
        return Err(Error::transient(format!(
            "the copy of {} was finished within a transaction that is partly applied",
            shape.name
        )));
    }
    let (schema, name) = shared.config.target_name(&table.shape.name);
    occupant(shared, &own, &table, &schema, &name).map_err(|error| error.for_table(shape.id))?;
    table.state = State::Joined;
    table.caught_up = None;
    table.target.schema = schema;
    table.target.table = name;
    Ok(table)
}

/// Swaps a copy in, in the session's transaction.
pub(crate) fn join(session: &mut Session, shape: &Arc<TableSchema>, copy: CopyId) -> Result<Table> {
    let shared = Arc::clone(&session.shared);
    let mut table = shared
        .notes
        .table(&session.connection, copy)?
        .filter(|table| table.shape.id == shape.id)
        .ok_or_else(|| Error::internal("the copy to join is not there"))?;
    if table.state == State::Joined {
        return Ok(table);
    }
    // The copy follows the table's shape by its catch-up; only its name may be of another time.
    let (schema, name) = shared.config.target_name(&table.shape.name);
    let earlier: Vec<Table> = shared
        .notes
        .tables(&session.connection)?
        .into_iter()
        .filter(|other| {
            other.state != State::Copying
                && (other.shape.id == shape.id
                    || other.state == State::Left && is_at(other, &schema, &name))
        })
        .collect();
    let connection = &session.connection;
    for old in earlier {
        if old.shape.id == shape.id {
            carry_over(&shared, connection, &old, &table)?;
        }
        let old_name = shared.name_of(&old);
        let sql = if old.target.mode == Mode::Append {
            // A log is what nobody else has any more.
            let earlier = format!("_cdc_earlier_{}_{}", old.copy.0, old.target.table);
            format!(
                "ALTER TABLE {old_name} RENAME TO {}",
                quote_identifier(&earlier)
            )
        } else {
            format!("DROP TABLE IF EXISTS {old_name}")
        };
        run(connection, "taking the replaced table away", &sql)?;
        shared.notes.remove_table(connection, old.copy)?;
        shared.notes.remove_chunks(connection, old.copy)?;
    }
    rename(session, &mut table, &schema, &name)?;
    table.state = State::Joined;
    table.caught_up = None;
    shared.notes.set_table(&session.connection, &table)?;
    shared.notes.remove_chunks(&session.connection, copy)?;
    Ok(table)
}

fn is_at(table: &Table, schema: &str, name: &str) -> bool {
    table.target.schema.eq_ignore_ascii_case(schema)
        && table.target.table.eq_ignore_ascii_case(name)
}

/// Saves what a copy cannot have: rows that the source has deleted.
fn carry_over(shared: &Shared, connection: &Connection, old: &Table, new: &Table) -> Result<()> {
    if old.target.mode != Mode::SoftDelete || new.target.mode != Mode::SoftDelete {
        return Ok(());
    }
    let (from, into) = (shared.name_of(old), shared.name_of(new));
    let columns = target_columns(shared.dialect(), new)?;
    let known: Vec<_> = target_columns(shared.dialect(), old)?
        .into_iter()
        .filter(|old| {
            columns
                .iter()
                .any(|new| new.name == old.name && new.sql_type == old.sql_type)
        })
        .map(|column| column.name)
        .collect();
    let own = own_columns(new.target.mode);
    let names = quoted_list(
        known
            .iter()
            .map(String::as_str)
            .chain(own.iter().map(|(name, _)| name.as_str())),
    );
    let sql = {
        let key: Vec<_> = stored_key(new)
            .into_iter()
            .map(|index| &columns[index])
            .collect();
        if key.iter().any(|key| !known.contains(&key.name)) {
            return Ok(());
        }
        let mut gone = format!("t.{}", quote_identifier(DELETED));
        if !key.is_empty() {
            // Rows that the copy does not have were deleted while nobody listened.
            let same = key
                .iter()
                .map(|key| {
                    let name = quote_identifier(&key.name);
                    format!("n.{name} IS NOT DISTINCT FROM t.{name}")
                })
                .collect::<Vec<_>>()
                .join(" AND ");
            gone = format!("NOT EXISTS (FROM {into} AS n WHERE {same})");
        }
        let values = known
            .iter()
            .map(|name| format!("t.{}", quote_identifier(name)))
            .chain(["true".to_owned()])
            .collect::<Vec<_>>()
            .join(", ");
        format!("INSERT INTO {into} ({names}) SELECT {values} FROM {from} AS t WHERE {gone}")
    };
    change(connection, "keeping what a copy cannot have", &sql).map(|_| ())
}

/// Gives a table another name, and another schema where that changes too.
pub(crate) fn rename(
    session: &mut Session,
    table: &mut Table,
    schema: &str,
    name: &str,
) -> Result<()> {
    let shared = Arc::clone(&session.shared);
    make_room(session, table, schema, name)?;
    let connection = &session.connection;
    let doing = "renaming a table";
    if table.target.schema == schema {
        let same_but_case = table.target.table.eq_ignore_ascii_case(name);
        let steps = if same_but_case && table.target.table != name {
            vec![copy_name(table.copy), name.to_owned()]
        } else {
            vec![name.to_owned()]
        };
        for step in steps {
            if table.target.table != step {
                run(
                    connection,
                    doing,
                    &format!(
                        "ALTER TABLE {} RENAME TO {}",
                        shared.name_of(table),
                        quote_identifier(&step)
                    ),
                )?;
                table.target.table = step;
            }
        }
        return Ok(());
    }
    create_schema(connection, schema)?;
    let to = qualified(schema, name);
    run(
        connection,
        doing,
        &format!(
            "CREATE TABLE {to} AS FROM {from}; DROP TABLE {from}",
            from = shared.name_of(table)
        ),
    )?;
    schema.clone_into(&mut table.target.schema);
    name.clone_into(&mut table.target.table);
    Ok(())
}

/// Whichever of our tables has the name that a table is to take.
fn occupant(
    shared: &Shared,
    connection: &Connection,
    table: &Table,
    schema: &str,
    name: &str,
) -> Result<Option<Table>> {
    let taken: i64 = connection
        .query_row(
            "SELECT (SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() \
               AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2)) \
             + (SELECT count(*) FROM duckdb_views() WHERE database_name = current_database() \
               AND lower(schema_name) = lower($1) AND lower(view_name) = lower($2))",
            params![schema, name],
            |row| row.get(0),
        )
        .map_err(|error| failed("looking for the target table", error))?;
    if taken == 0 || is_at(table, schema, name) {
        return Ok(None);
    }
    let ours = shared
        .notes
        .tables(connection)?
        .into_iter()
        .find(|other| other.copy != table.copy && is_at(other, schema, name));
    if ours.is_none() {
        return Err(Error::unsupported(format!(
            "the warehouse has a table or view {} already, which cdc did not make",
            cdc_api::TableName::new(schema, name)
        ))
        .hint(format!(
            "DROP TABLE {} or rename it, or set `names` of the sink; then cdc snapshot {}",
            cdc_api::TableName::new(schema, name).quoted(),
            table.shape.name
        )));
    }
    Ok(ours)
}

/// Moves one of our tables out of the way, whose own new name is yet to come (`a` ↔ `b`).
fn make_room(session: &mut Session, table: &Table, schema: &str, name: &str) -> Result<()> {
    let shared = Arc::clone(&session.shared);
    let Some(mut other) = occupant(&shared, &session.connection, table, schema, name)? else {
        return Ok(());
    };
    let aside = format!("_cdc_moved_{}", other.copy.0);
    run(
        &session.connection,
        "making room for a table",
        &format!(
            "ALTER TABLE {} RENAME TO {}",
            shared.name_of(&other),
            quote_identifier(&aside)
        ),
    )?;
    other.target.table = aside;
    shared.notes.set_table(&session.connection, &other)?;
    if let Some(joined) = session.applied.get_mut(&other.shape.id)
        && joined.copy == other.copy
    {
        joined.target.table.clone_from(&other.target.table);
    }
    Ok(())
}
