//! The contract's sink over the sessions: hands every call to the thread that owns the main
//! stream's connection.

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    Capabilities, ChangeBatch, Checkpoint, CopyId, Difference, Error, Finding, JoinedTable, Reader,
    Result, Sink, TableCopy, TableId, TableSchema,
};

use crate::bookkeeping::Bookkeeping;
use crate::config::{Keyless, Mode, WarehouseConfig};
use crate::copy::{self, Copy};
use crate::database::{Database, run};
use crate::reader::{CommittedReader, Slot};
use crate::session::{Role, Session, Shared};
use crate::worker::Worker;
use crate::{check, compare};

/// An embedded DuckDB warehouse; see the crate's documentation for what it promises.
pub struct Warehouse {
    config: WarehouseConfig,
    slot: Arc<Slot>,
    open: Option<Open>,
}

struct Open {
    session: Worker<Session>,
    shared: Arc<Shared>,
}

impl Warehouse {
    /// A warehouse with these settings; touches nothing yet.
    ///
    /// # Errors
    /// `Config` where a setting makes no sense, with the key.
    pub fn new(config: WarehouseConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            slot: Arc::default(),
            open: None,
        })
    }

    fn opened(&self) -> Result<&Open> {
        self.open
            .as_ref()
            .ok_or_else(|| Error::internal("the warehouse is not open"))
    }

    async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Session) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.opened()?.session.run(job).await
    }
}

impl Drop for Warehouse {
    fn drop(&mut self) {
        self.slot.set(None);
    }
}

/// Runs what may block where it may.
async fn blocking<R: Send + 'static>(
    job: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(|error| Error::internal("a task of the warehouse has ended").caused_by(error))?
}

#[async_trait]
impl Sink for Warehouse {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            upsert: self.config.mode != Mode::Append,
            keyless_append: self.config.mode == Mode::Append
                || self.config.keyless == Keyless::Append,
            query: true,
            compare: self.config.mode != Mode::Append,
        }
    }

    async fn check(&mut self) -> Result<Vec<Finding>> {
        let config = self.config.clone();
        blocking(move || check::check(&config)).await
    }

    async fn open(&mut self) -> Result<()> {
        // What is still open of before: the file itself stays open while copies of it live.
        self.slot.set(None);
        let before = self.open.take().map(|open| open.shared);
        self.slot.set(None);
        let config = self.config.clone();
        let shared = blocking(move || {
            let database = match before {
                Some(shared) if Arc::strong_count(&shared) > 1 => Arc::clone(&shared.database),
                Some(shared) => {
                    drop(shared);
                    Database::open(&config)?
                }
                None => Database::open(&config)?,
            };
            let notes = Bookkeeping::new();
            notes.create(&database.connect()?, config.mode)?;
            Ok(Arc::new(Shared {
                notes,
                database,
                config,
            }))
        })
        .await?;
        self.slot.set(Some(Arc::clone(&shared.database)));
        let own = Arc::clone(&shared);
        let session = Worker::start("warehouse", move || Session::new(own, Role::Stream)).await?;
        self.open = Some(Open { session, shared });
        Ok(())
    }

    async fn committed(&mut self) -> Result<Option<Checkpoint>> {
        self.run(|session| {
            let notes = session.shared.notes.clone();
            notes.checkpoint(&session.connection)
        })
        .await
    }

    async fn joined(&mut self) -> Result<Vec<JoinedTable>> {
        self.run(|session| {
            Ok(session
                .tables()
                .map(|table| JoinedTable {
                    table: Arc::clone(&table.shape),
                    copy: table.copy,
                })
                .collect())
        })
        .await
    }

    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let table = Arc::clone(table);
        self.run(move |session| session.apply_schema(&table)).await
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        self.run(move |session| session.write(&batch)).await
    }

    async fn truncate(
        &mut self,
        table: &Arc<TableSchema>,
        seq: u64,
        commit_time: i64,
    ) -> Result<()> {
        let id = table.id;
        self.run(move |session| session.truncate(id, seq, commit_time))
            .await
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let checkpoint = checkpoint.clone();
        self.run(move |session| session.commit(&checkpoint)).await
    }

    async fn rollback(&mut self) -> Result<()> {
        self.run(Session::rollback).await
    }

    async fn copy(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Box<dyn TableCopy>> {
        let shared = Arc::clone(&self.opened()?.shared);
        Ok(Box::new(Copy::open(shared, Arc::clone(table), copy).await?))
    }

    async fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        let table = Arc::clone(table);
        self.run(move |session| session.join(&table, copy)).await
    }

    async fn leave(&mut self, table: TableId) -> Result<()> {
        self.run(move |session| session.leave(table)).await
    }

    async fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()> {
        let shared = Arc::clone(&self.opened()?.shared);
        let keep = keep.to_vec();
        blocking(move || {
            let connection = shared.database.connect()?;
            copy::discard(&shared, &connection, &keep).map(|_| ())
        })
        .await
    }

    async fn compare(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<Difference> {
        let shared = Arc::clone(&self.opened()?.shared);
        let table = Arc::clone(table);
        blocking(move || compare::compare(&shared, &table, copy)).await
    }

    fn reader(&self) -> Option<Arc<dyn Reader>> {
        Some(Arc::new(CommittedReader(Arc::clone(&self.slot))))
    }

    async fn maintain(&mut self) -> Result<()> {
        Ok(())
    }

    fn exists(&self) -> bool {
        self.config.path.exists()
    }

    async fn teardown(&mut self) -> Result<Vec<String>> {
        self.run(|session| {
            session.rollback()?;
            let shared = Arc::clone(&session.shared);
            let mut removed = copy::discard(&shared, &session.connection, &[])?;
            shared.notes.forget(&session.connection)?;
            removed.push(format!(
                "checkpoint in {} (tables stay; schema _cdc notes that they are ours)",
                shared.config.path.display()
            ));
            session.forget();
            run(&session.connection, "writing the file", "CHECKPOINT")?;
            Ok(removed)
        })
        .await
    }
}
