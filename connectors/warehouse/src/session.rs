//! One connection that takes changes in order and makes them durable together: the main stream's,
//! or one copy's catch-up.
//!
//! Rows are staged in memory and folded when the commit comes, or when they are more than
//! [`STAGE_BYTES`]: then what is there is applied inside the open transaction, which only the
//! commit makes visible. Schema changes and truncates apply a table's staged rows first, so that
//! within one transaction everything happens in the order in which it was given.
//!
//! Invariant: nothing is applied outside the open transaction, and [`Session::rollback`] brings
//! memory back to what is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::{ChangeBatch, Checkpoint, CopyId, Error, Result, TableId, TableSchema};
use duckdb::Connection;

use crate::apply::Apply;
use crate::bookkeeping::{Bookkeeping, State, Table};
use crate::config::{Mode, WarehouseConfig};
use crate::database::{Database, run};
use crate::dialect::Dialect;
use crate::dialect::duckdb::DuckDb;
use crate::evolve::Evolve;
use crate::fold::Staged;
use crate::shape::{snapshot_hint, staged};
use crate::swap;

/// Staged rows are applied when they are more than this.
const STAGE_BYTES: usize = 32 << 20;

/// What every part of an open warehouse shares.
pub(crate) struct Shared {
    pub(crate) database: Arc<Database>,
    pub(crate) notes: Bookkeeping,
    pub(crate) config: WarehouseConfig,
}

impl Shared {
    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        &DuckDb
    }

    /// The complete name of a table.
    pub(crate) fn name_of(&self, table: &Table) -> String {
        self.database
            .qualified(&table.target.schema, &table.target.table)
    }
}

/// Whose changes a session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The stream's, of all joined tables.
    Stream,
    /// One copy's own.
    CatchUp(CopyId),
}

/// A connection with its tables and what is staged for them.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Connection,
    role: Role,
    pub(crate) tables: BTreeMap<TableId, Table>,
    stages: BTreeMap<TableId, Vec<Staged>>,
    staged_bytes: usize,
    open: bool,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, role: Role) -> Result<Self> {
        let connection = shared.database.connect()?;
        let mut session = Self {
            shared,
            connection,
            role,
            tables: BTreeMap::new(),
            stages: BTreeMap::new(),
            staged_bytes: 0,
            open: false,
        };
        session.reload()?;
        Ok(session)
    }

    fn reload(&mut self) -> Result<()> {
        let tables = self.shared.notes.tables(&self.connection)?;
        self.tables = tables
            .into_iter()
            .filter(|table| match self.role {
                Role::Stream => table.state == State::Joined,
                Role::CatchUp(copy) => table.copy == copy,
            })
            .map(|table| (table.shape.id, table))
            .collect();
        Ok(())
    }

    /// Opens the transaction where none is open.
    pub(crate) fn begin(&mut self) -> Result<()> {
        if !self.open {
            run(
                &self.connection,
                "beginning a transaction",
                "BEGIN TRANSACTION",
            )?;
            self.open = true;
        }
        Ok(())
    }

    pub(crate) fn table(&self, id: TableId) -> Result<&Table> {
        self.tables.get(&id).ok_or_else(|| {
            Error::internal(format!("table {id} is not joined to this sink")).for_table(id)
        })
    }

    /// Makes the table fit the shape, after its staged rows.
    pub(crate) fn apply_schema(&mut self, shape: &Arc<TableSchema>) -> Result<()> {
        let table = self.table(shape.id)?;
        if *table.shape == **shape {
            return Ok(());
        }
        let plan = Evolve::plan(&self.shared, table, shape)?;
        self.begin()?;
        self.flush_table(shape.id)?;
        let evolved = plan.run(self).map_err(|error| error.for_table(shape.id))?;
        self.shared.notes.set_table(&self.connection, &evolved)?;
        self.tables.insert(shape.id, evolved);
        Ok(())
    }

    pub(crate) fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let table = self.table(batch.table.id)?;
        if table.shape.version != batch.table.version && !table.shape.same_shape(&batch.table) {
            return Err(Error::internal(format!(
                "rows of {} have another shape than the one applied",
                table.shape.name
            ))
            .for_table(batch.table.id));
        }
        let rows = staged(table, batch)?;
        self.staged_bytes += batch.bytes();
        self.stages.entry(batch.table.id).or_default().push(rows);
        if self.staged_bytes > STAGE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn truncate(&mut self, id: TableId, seq: u64, commit_time: i64) -> Result<()> {
        self.begin()?;
        if self.table(id)?.target.mode == Mode::Upsert {
            self.stages.remove(&id);
        } else {
            self.flush_table(id)?;
        }
        self.apply(self.table(id)?).truncate(seq, commit_time)
    }

    /// Applies everything staged inside the open transaction.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.begin()?;
        for (id, stage) in std::mem::take(&mut self.stages) {
            self.apply(self.table(id)?).rows(&stage)?;
        }
        self.staged_bytes = 0;
        Ok(())
    }

    fn flush_table(&mut self, id: TableId) -> Result<()> {
        match self.stages.remove(&id) {
            Some(stage) => self.apply(self.table(id)?).rows(&stage),
            None => Ok(()),
        }
    }

    fn apply<'a>(&'a self, table: &'a Table) -> Apply<'a> {
        Apply {
            shared: &self.shared,
            connection: &self.connection,
            table,
            role: self.role,
        }
    }

    /// Swaps a finished copy in for its table.
    pub(crate) fn join(&mut self, shape: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.begin()?;
        // Rows of the table that the copy replaces are not worth applying where it replaces all.
        self.flush_table(shape.id)?;
        let joined = swap::join(self, shape, copy).map_err(|error| error.for_table(shape.id))?;
        self.tables.insert(shape.id, joined);
        Ok(())
    }

    /// Takes a table out of the stream.
    pub(crate) fn leave(&mut self, id: TableId) -> Result<()> {
        let Some(mut table) = self.tables.remove(&id) else {
            return Ok(());
        };
        // The stop may be because of just these rows.
        self.stages.remove(&id);
        self.begin()?;
        table.state = State::Left;
        self.shared.notes.set_table(&self.connection, &table)
    }

    /// Makes everything durable with the checkpoint.
    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.flush()?;
        self.shared
            .notes
            .set_checkpoint(&self.connection, checkpoint)?;
        self.end("COMMIT")
    }

    /// Makes the catch-up durable through `seq`.
    pub(crate) fn commit_catch_up(&mut self, seq: u64) -> Result<()> {
        self.flush()?;
        let Some(table) = self.tables.values_mut().next() else {
            return Err(Error::internal("the copy is gone"));
        };
        table.caught_up = Some(seq);
        self.shared.notes.set_table(&self.connection, table)?;
        self.end("COMMIT")
    }

    /// Makes a shape durable that was applied before anything else.
    pub(crate) fn commit_shape(&mut self) -> Result<()> {
        if self.open {
            self.end("COMMIT")
        } else {
            Ok(())
        }
    }

    fn end(&mut self, how: &str) -> Result<()> {
        run(&self.connection, "ending a transaction", how)?;
        self.open = false;
        Ok(())
    }

    /// Gives up everything since the last commit.
    pub(crate) fn rollback(&mut self) -> Result<()> {
        self.stages.clear();
        self.staged_bytes = 0;
        if self.open {
            self.open = false;
            // A transaction that failed to commit is over already.
            if let Err(error) = run(&self.connection, "rolling back", "ROLLBACK")
                && !error.message().contains("no transaction is active")
            {
                return Err(error);
            }
        }
        self.reload()
    }
}

/// What brings a table back whose content is not what its changes were made to.
pub(crate) fn lost_row(role: Role, shape: &TableSchema) -> Error {
    match role {
        Role::Stream => Error::data(format!(
            "a changed row of {} is not in the warehouse",
            shape.name
        ))
        .hint(snapshot_hint(shape)),
        Role::CatchUp(_) => Error::log_lost(format!(
            "a changed row of {} is in no chunk of its copy",
            shape.name
        ))
        .hint("the copy begins again by itself"),
    }
    .for_table(shape.id)
}
