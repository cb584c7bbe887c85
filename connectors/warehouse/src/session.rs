//! One connection that takes changes in order and makes them durable together: the main stream's,
//! or one copy's catch-up.
//!
//! Everything is staged in memory as [`Step`]s and applied in one transaction when the commit
//! comes: so the transaction is short, and sees every copy that was finished before. When staged
//! rows are more than [`STAGE_BYTES`], what is there is applied inside the transaction, which
//! then stays open until the commit makes it visible.
//!
//! Invariant: nothing is applied outside the transaction, each table's steps are applied in the
//! order in which they were given, and [`Session::rollback`] brings memory back to what is
//! durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::{ChangeBatch, Checkpoint, CopyId, Error, Result, TableId, TableSchema};
use duckdb::Connection;

use crate::apply::Apply;
use crate::bookkeeping::{Bookkeeping, State, Table};
use crate::config::{Mode, WarehouseConfig};
use crate::database::{Database, qualified, run};
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
        qualified(&table.target.schema, &table.target.table)
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

/// What waits for the commit.
enum Step {
    /// Rows of one shape, without a truncate between them.
    Rows(TableId, Vec<Staged>),
    /// The table is emptied: `seq` and commit time.
    Truncate(TableId, u64, i64),
    Evolve(Box<Evolve>),
    Join(Arc<TableSchema>, CopyId),
    Leave(TableId),
}

impl Step {
    fn table(&self) -> TableId {
        match self {
            Self::Rows(id, _) | Self::Truncate(id, ..) | Self::Leave(id) => *id,
            Self::Evolve(plan) => plan.table(),
            Self::Join(shape, _) => shape.id,
        }
    }
}

/// A connection with its tables and what is staged for them.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Connection,
    role: Role,
    /// The tables as they are when all steps have been applied.
    tables: BTreeMap<TableId, Table>,
    /// The tables as they are in the transaction.
    pub(crate) applied: BTreeMap<TableId, Table>,
    steps: Vec<Step>,
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
            applied: BTreeMap::new(),
            steps: Vec::new(),
            staged_bytes: 0,
            open: false,
        };
        session.reload()?;
        Ok(session)
    }

    fn reload(&mut self) -> Result<()> {
        let tables = self.shared.notes.tables(&self.connection)?;
        self.applied = tables
            .into_iter()
            .filter(|table| match self.role {
                Role::Stream => table.state == State::Joined,
                Role::CatchUp(copy) => table.copy == copy,
            })
            .map(|table| (table.shape.id, table))
            .collect();
        self.tables = self.applied.clone();
        Ok(())
    }

    /// The tables with all that was given, in the order of their ids.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    pub(crate) fn table(&self, id: TableId) -> Result<&Table> {
        self.tables.get(&id).ok_or_else(|| {
            Error::internal(format!("table {id} is not joined to this sink")).for_table(id)
        })
    }

    /// Makes the table fit the shape.
    pub(crate) fn apply_schema(&mut self, shape: &Arc<TableSchema>) -> Result<()> {
        let table = self.table(shape.id)?;
        if *table.shape == **shape {
            return Ok(());
        }
        let plan = Evolve::plan(&self.shared, table, shape)?;
        self.tables.insert(shape.id, plan.outcome());
        self.steps.push(Step::Evolve(Box::new(plan)));
        Ok(())
    }

    pub(crate) fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let id = batch.table.id;
        let table = self.table(id)?;
        if table.shape.version != batch.table.version && !table.shape.same_shape(&batch.table) {
            return Err(Error::internal(format!(
                "rows of {} have another shape than the one applied",
                table.shape.name
            ))
            .for_table(id));
        }
        let rows = staged(table, batch)?;
        self.staged_bytes += rows.bytes();
        // Tables do not wait for each other: rows join their table's last ones.
        match self.steps.iter_mut().rev().find(|step| step.table() == id) {
            Some(Step::Rows(_, stage)) => stage.push(rows),
            _ => self.steps.push(Step::Rows(id, vec![rows])),
        }
        if self.staged_bytes > STAGE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn truncate(&mut self, id: TableId, seq: u64, commit_time: i64) -> Result<()> {
        if self.table(id)?.target.mode == Mode::Upsert {
            // Rows that go at once need not come.
            self.steps
                .retain(|step| !matches!(step, Step::Rows(table, _) if *table == id));
        }
        self.steps.push(Step::Truncate(id, seq, commit_time));
        Ok(())
    }

    /// Swaps a finished copy in for its table.
    pub(crate) fn join(&mut self, shape: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        let joined = swap::find_copy(self, shape, copy)?;
        self.tables.insert(shape.id, joined);
        self.steps.push(Step::Join(Arc::clone(shape), copy));
        Ok(())
    }

    /// Takes a table out of the stream.
    pub(crate) fn leave(&mut self, id: TableId) -> Result<()> {
        if self.tables.remove(&id).is_some() {
            // The stop may be because of just these.
            self.steps.retain(|step| step.table() != id);
            self.steps.push(Step::Leave(id));
        }
        Ok(())
    }

    /// Applies everything staged inside the transaction.
    fn flush(&mut self) -> Result<()> {
        if !self.open {
            run(
                &self.connection,
                "beginning a transaction",
                "BEGIN TRANSACTION",
            )?;
            self.open = true;
        }
        self.staged_bytes = 0;
        for step in std::mem::take(&mut self.steps) {
            let id = step.table();
            self.apply(step).map_err(|error| error.for_table(id))?;
        }
        Ok(())
    }

    fn apply(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Rows(id, stage) => self.on(id)?.rows(&stage),
            Step::Truncate(id, seq, commit_time) => self.on(id)?.truncate(seq, commit_time),
            Step::Evolve(plan) => {
                let table = plan.run(self)?;
                self.shared.notes.set_table(&self.connection, &table)?;
                self.applied.insert(table.shape.id, table);
                Ok(())
            }
            Step::Join(shape, copy) => {
                let table = swap::join(self, &shape, copy)?;
                self.applied.insert(shape.id, table);
                Ok(())
            }
            Step::Leave(id) => match self.applied.remove(&id) {
                Some(mut table) => {
                    table.state = State::Left;
                    self.shared.notes.set_table(&self.connection, &table)
                }
                None => Ok(()),
            },
        }
    }

    fn on(&self, id: TableId) -> Result<Apply<'_>> {
        let table = self
            .applied
            .get(&id)
            .ok_or_else(|| Error::internal(format!("table {id} is not joined to this sink")))?;
        Ok(Apply {
            shared: &self.shared,
            connection: &self.connection,
            table,
            role: self.role,
        })
    }

    /// The tables are nobody's any more.
    pub(crate) fn forget(&mut self) {
        self.tables.clear();
        self.applied.clear();
    }

    /// Whether the transaction has begun: it does not see what others have committed since.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Makes everything durable with the checkpoint.
    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.flush()?;
        self.shared
            .notes
            .set_checkpoint(&self.connection, checkpoint)?;
        self.end()
    }

    /// Makes the catch-up durable through `seq`.
    pub(crate) fn commit_catch_up(&mut self, seq: u64) -> Result<()> {
        self.flush()?;
        let Some(table) = self.applied.values_mut().next() else {
            return Err(Error::internal("the copy is gone"));
        };
        table.caught_up = Some(seq);
        self.shared.notes.set_table(&self.connection, table)?;
        self.end()
    }

    /// Makes a shape durable that was applied before anything else.
    pub(crate) fn commit_shape(&mut self) -> Result<()> {
        self.flush()?;
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        run(&self.connection, "committing", "COMMIT")?;
        self.open = false;
        Ok(())
    }

    /// Gives up everything since the last commit.
    pub(crate) fn rollback(&mut self) -> Result<()> {
        self.steps.clear();
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
