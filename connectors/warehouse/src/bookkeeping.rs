//! What the warehouse notes about itself, in schema `_cdc` of its own file: the checkpoint, the
//! tables and their copies, the finished chunks.
//!
//! Invariant: notes are written in the same transaction as what they speak of. There are no keys
//! and no indexes: a sink is one writer, and DuckDB's indexes refuse what is deleted and inserted
//! again within a transaction.

use std::sync::Arc;

use cdc_api::schema::quote_identifier;
use cdc_api::{Checkpoint, CopyId, Error, Position, Result, TableId, TableSchema};
use duckdb::{Connection, params};

use crate::config::Mode;
use crate::database::{CATALOG, failed, run};

/// The schema of the notes; reserved.
pub(crate) const SCHEMA: &str = "_cdc";
/// The version of the notes' layout.
const LAYOUT: i32 = 1;

/// Where a table is kept, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) table: String,
    /// How its rows are kept.
    pub(crate) mode: Mode,
    /// For each of the source's columns the column that holds it, if one does.
    pub(crate) columns: Vec<Option<String>>,
}

/// What a table's rows are to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A copy that is not joined yet; hidden under a name of its own.
    Copying,
    /// Whole and kept up to date.
    Joined,
    /// Was joined; only a new copy brings it back.
    Left,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Copying => "copying",
            Self::Joined => "joined",
            Self::Left => "left",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Copying, Self::Joined, Self::Left]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// One table, or one copy of it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The copy that it is or came from; names the record.
    pub(crate) copy: CopyId,
    /// What it is to the stream.
    pub(crate) state: State,
    /// Its shape as last applied.
    pub(crate) shape: Arc<TableSchema>,
    /// Where it is.
    pub(crate) target: Target,
    /// The catch-up's progress.
    pub(crate) caught_up: Option<u64>,
}

/// The notes of one file.
#[derive(Clone)]
pub(crate) struct Bookkeeping {
    /// The notes' schema, complete and quoted.
    schema: String,
}

impl Bookkeeping {
    pub(crate) fn new() -> Self {
        Self {
            schema: format!("{}.{}", quote_identifier(CATALOG), quote_identifier(SCHEMA)),
        }
    }

    /// Makes the schema where it is not there, and checks that it is ours.
    pub(crate) fn create(&self, connection: &Connection, mode: Mode) -> Result<()> {
        let schema = &self.schema;
        if self.exists(connection)? {
            return self.check(connection, mode);
        }
        run(
            connection,
            "creating bookkeeping",
            &format!(
                "BEGIN; CREATE SCHEMA {schema}; \
                 CREATE TABLE {schema}.layout (version INTEGER, mode VARCHAR); \
                 CREATE TABLE {schema}.checkpoint (position VARCHAR, seq UBIGINT, \"offset\" UBIGINT, commit_time BIGINT); \
                 CREATE TABLE {schema}.tables (copy UBIGINT, id UBIGINT, state VARCHAR, \"schema\" VARCHAR, \"table\" VARCHAR, \
                   mode VARCHAR, shape VARCHAR, columns VARCHAR, caught_up UBIGINT); \
                 CREATE TABLE {schema}.chunks (copy UBIGINT, chunk UINTEGER, seq UBIGINT); \
                 INSERT INTO {schema}.layout VALUES ({LAYOUT}, '{}'); COMMIT",
                mode_name(mode)
            ),
        )
    }

    /// Whether the file has notes.
    pub(crate) fn exists(&self, connection: &Connection) -> Result<bool> {
        connection
            .query_row(
                "SELECT count(*) FROM duckdb_schemas() WHERE schema_name = ? AND database_name = current_database()",
                params![SCHEMA],
                |row| row.get::<_, i64>(0),
            )
            .map(|count| count > 0)
            .map_err(|error| failed("looking for bookkeeping", error))
    }

    fn check(&self, connection: &Connection, mode: Mode) -> Result<()> {
        let (version, kept): (i32, String) = connection
            .query_row(
                &format!("SELECT version, mode FROM {}.layout", self.schema),
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(|error| {
                Error::config("the file has a schema `_cdc` that cdc did not write")
                    .hint("set `path` to another file, or drop the schema `_cdc`")
                    .caused_by(error)
            })?;
        if version != LAYOUT {
            return Err(Error::config(format!(
                "the file's bookkeeping has layout {version}, this cdc knows {LAYOUT}"
            ))
            .hint("use the cdc that wrote the file, or set `path` to a new one"));
        }
        if kept != mode_name(mode) {
            return Err(Error::config(format!(
                "the file was begun in mode `{kept}`, the configuration says `{}`",
                mode_name(mode)
            ))
            .hint(format!("set `mode: {kept}`, or `path` to a new file")));
        }
        Ok(())
    }

    pub(crate) fn checkpoint(&self, connection: &Connection) -> Result<Option<Checkpoint>> {
        let row = connection.query_row(
            &format!(
                "SELECT position, seq, \"offset\", commit_time FROM {}.checkpoint",
                self.schema
            ),
            [],
            |row| {
                Ok(Checkpoint {
                    position: Position::new(row.get::<_, String>(0)?),
                    seq: row.get(1)?,
                    offset: row.get(2)?,
                    commit_time: row.get(3)?,
                })
            },
        );
        match row {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(duckdb::Error::QueryReturnedNoRows) => Ok(None),
            Err(error) => Err(failed("reading the checkpoint", error)),
        }
    }

    pub(crate) fn set_checkpoint(
        &self,
        connection: &Connection,
        checkpoint: &Checkpoint,
    ) -> Result<()> {
        let values = params![
            checkpoint.position.as_str(),
            checkpoint.seq,
            checkpoint.offset,
            checkpoint.commit_time
        ];
        let doing = "writing the checkpoint";
        let changed = connection
            .prepare_cached(&format!(
                "UPDATE {}.checkpoint SET position = ?, seq = ?, \"offset\" = ?, commit_time = ?",
                self.schema
            ))
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| failed(doing, error))?;
        if changed == 0 {
            connection
                .execute(
                    &format!("INSERT INTO {}.checkpoint VALUES (?, ?, ?, ?)", self.schema),
                    values,
                )
                .map_err(|error| failed(doing, error))?;
        }
        Ok(())
    }

    /// All tables and copies, in no order.
    pub(crate) fn tables(&self, connection: &Connection) -> Result<Vec<Table>> {
        let doing = "reading the notes on tables";
        let mut statement = connection
            .prepare(&format!(
                "SELECT copy, state, \"schema\", \"table\", mode, shape, columns, caught_up FROM {}.tables",
                self.schema
            ))
            .map_err(|error| failed(doing, error))?;
        let rows = statement
            .query_map([], |row| {
                Ok((
                    row.get::<_, u64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, String>(4)?,
                    row.get::<_, String>(5)?,
                    row.get::<_, String>(6)?,
                    row.get::<_, Option<u64>>(7)?,
                ))
            })
            .map_err(|error| failed(doing, error))?;
        let unreadable = || {
            Error::config("the file's bookkeeping cannot be read")
                .hint("use the cdc that wrote the file")
        };
        rows.map(|row| {
            let (copy, state, schema, table, mode, shape, columns, caught_up) =
                row.map_err(|error| failed(doing, error))?;
            let shape: TableSchema =
                serde_json::from_str(&shape).map_err(|error| unreadable().caused_by(error))?;
            let columns: Vec<Option<String>> =
                serde_json::from_str(&columns).map_err(|error| unreadable().caused_by(error))?;
            let mode: Mode = serde_json::from_value(serde_json::Value::String(mode))
                .map_err(|error| unreadable().caused_by(error))?;
            Ok(Table {
                copy: CopyId(copy),
                state: State::of(&state).ok_or_else(unreadable)?,
                shape: Arc::new(shape),
                target: Target {
                    schema,
                    table,
                    mode,
                    columns,
                },
                caught_up,
            })
        })
        .collect()
    }

    /// The record of one copy.
    pub(crate) fn table(&self, connection: &Connection, copy: CopyId) -> Result<Option<Table>> {
        Ok(self
            .tables(connection)?
            .into_iter()
            .find(|table| table.copy == copy))
    }

    /// Writes a record, replacing that of the same copy.
    pub(crate) fn set_table(&self, connection: &Connection, table: &Table) -> Result<()> {
        let doing = "noting a table";
        let unwritable = |error: serde_json::Error| {
            Error::internal("a shape cannot be written down").caused_by(error)
        };
        self.remove_table(connection, table.copy)?;
        connection
            .execute(
                &format!(
                    "INSERT INTO {}.tables VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    self.schema
                ),
                params![
                    table.copy.0,
                    table.shape.id.0,
                    table.state.name(),
                    table.target.schema,
                    table.target.table,
                    mode_name(table.target.mode),
                    serde_json::to_string(table.shape.as_ref()).map_err(unwritable)?,
                    serde_json::to_string(&table.target.columns).map_err(unwritable)?,
                    table.caught_up
                ],
            )
            .map(|_| ())
            .map_err(|error| failed(doing, error))
    }

    pub(crate) fn remove_table(&self, connection: &Connection, copy: CopyId) -> Result<()> {
        connection
            .execute(
                &format!("DELETE FROM {}.tables WHERE copy = ?", self.schema),
                params![copy.0],
            )
            .map(|_| ())
            .map_err(|error| failed("removing the note on a table", error))
    }

    pub(crate) fn chunks(&self, connection: &Connection, copy: CopyId) -> Result<Vec<(u32, u64)>> {
        let doing = "reading the finished chunks";
        let mut statement = connection
            .prepare(&format!(
                "SELECT chunk, seq FROM {}.chunks WHERE copy = ? ORDER BY chunk",
                self.schema
            ))
            .map_err(|error| failed(doing, error))?;
        statement
            .query_map(params![copy.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .map_err(|error| failed(doing, error))
    }

    pub(crate) fn add_chunk(
        &self,
        connection: &Connection,
        copy: CopyId,
        chunk: u32,
        seq: u64,
    ) -> Result<()> {
        connection
            .execute(
                &format!("INSERT INTO {}.chunks VALUES (?, ?, ?)", self.schema),
                params![copy.0, chunk, seq],
            )
            .map(|_| ())
            .map_err(|error| failed("noting a finished chunk", error))
    }

    pub(crate) fn remove_chunks(&self, connection: &Connection, copy: CopyId) -> Result<()> {
        connection
            .execute(
                &format!("DELETE FROM {}.chunks WHERE copy = ?", self.schema),
                params![copy.0],
            )
            .map(|_| ())
            .map_err(|error| failed("removing the notes on chunks", error))
    }

    /// Forgets the pipeline: its checkpoint, and that any table follows it. Which tables are ours
    /// stays noted, so that a later pipeline may put its own in their place.
    pub(crate) fn forget(&self, connection: &Connection) -> Result<()> {
        let schema = &self.schema;
        run(
            connection,
            "removing bookkeeping",
            &format!(
                "BEGIN; DELETE FROM {schema}.checkpoint; DELETE FROM {schema}.chunks; \
                 UPDATE {schema}.tables SET state = '{}'; COMMIT",
                State::Left.name()
            ),
        )
    }
}

/// Which of the records is the joined one of a table.
pub(crate) fn joined(tables: &[Table], id: TableId) -> Option<&Table> {
    tables
        .iter()
        .find(|table| table.state == State::Joined && table.shape.id == id)
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Upsert => "upsert",
        Mode::SoftDelete => "soft_delete",
        Mode::Append => "append",
    }
}
