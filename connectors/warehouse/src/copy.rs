//! Copies: a table's existing rows in chunks, each chunk in a transaction of its own with the
//! note that it is finished, then the changes since, until the copy is swapped in.
//!
//! Invariant: a chunk's rows and its note become durable together or not at all. Chunk writers
//! and the catch-up have connections and threads of their own; nothing here waits for the main
//! stream.

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    ChangeBatch, ChunkWriter, CopyId, CopyProgress, Error, Result, TableCopy, TableId, TableSchema,
};
use duckdb::Connection;

use crate::apply::{append, with_mark};
use crate::bookkeeping::{State, Table, Target};
use crate::config::Mode;
use crate::database::run;
use crate::session::{Role, Session, Shared};
use crate::shape::{new_target, own_columns, staged, target_columns};
use crate::swap::{copy_name, create_schema};
use crate::worker::Worker;

/// Makes the copy's table and its note, where they are not there.
pub(crate) fn prepare(shared: &Shared, shape: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
    let connection = shared.database.connect()?;
    if let Some(table) = shared.notes.table(&connection, copy)? {
        if table.shape.id != shape.id || table.state != State::Copying {
            return Err(
                Error::internal("the copy's number is of another table").for_table(shape.id)
            );
        }
        return Ok(());
    }
    let target = new_target(shared.dialect(), &shared.config, shape)?;
    let table = Table {
        copy,
        state: State::Copying,
        shape: Arc::clone(shape),
        target: Target {
            table: copy_name(copy),
            ..target
        },
        caught_up: None,
    };
    let mut columns: Vec<(String, String)> = target_columns(shared.dialect(), &table)?
        .into_iter()
        .map(|column| (column.name, column.sql_type))
        .collect();
    columns.extend(own_columns(table.target.mode));
    if columns.is_empty() {
        return Err(
            Error::unsupported(format!("table {} has no column", shape.name))
                .hint(format!("exclude {} from the pipeline's tables", shape.name))
                .for_table(shape.id),
        );
    }
    run(&connection, "beginning a copy", "BEGIN TRANSACTION")?;
    create_schema(&connection, &table.target.schema)?;
    run(
        &connection,
        "creating a copy's table",
        &shared
            .dialect()
            .create_table(&shared.name_of(&table), &columns),
    )
    .map_err(|error| error.for_table(shape.id))?;
    shared.notes.set_table(&connection, &table)?;
    run(&connection, "beginning a copy", "COMMIT")
}

/// Removes copies other than these.
pub(crate) fn discard(
    shared: &Shared,
    connection: &Connection,
    keep: &[CopyId],
) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for table in shared.notes.tables(connection)? {
        if table.state != State::Copying || keep.contains(&table.copy) {
            continue;
        }
        run(connection, "discarding a copy", "BEGIN TRANSACTION")?;
        let dropped = run(
            connection,
            "discarding a copy",
            &format!("DROP TABLE IF EXISTS {}", shared.name_of(&table)),
        )
        .and_then(|()| shared.notes.remove_chunks(connection, table.copy))
        .and_then(|()| shared.notes.remove_table(connection, table.copy));
        let end = if dropped.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        run(connection, "discarding a copy", end)?;
        dropped?;
        removed.push(format!("unfinished copy of {}", table.shape.name));
    }
    Ok(removed)
}

/// A copy, its catch-up on a thread of its own.
pub(crate) struct Copy {
    shared: Arc<Shared>,
    id: TableId,
    copy: CopyId,
    session: Worker<Session>,
}

impl Copy {
    pub(crate) async fn open(
        shared: Arc<Shared>,
        shape: Arc<TableSchema>,
        copy: CopyId,
    ) -> Result<Self> {
        let id = shape.id;
        let own = Arc::clone(&shared);
        let session = Worker::start("warehouse-copy", move || {
            prepare(&own, &shape, copy)?;
            let mut session = Session::new(Arc::clone(&own), Role::CatchUp(copy))?;
            // A copy that is resumed follows the shape of the snapshot that resumes it.
            let evolved = session.apply_schema(&shape);
            if evolved.is_err() {
                session.rollback()?;
            }
            evolved?;
            session.commit_shape()?;
            Ok(session)
        })
        .await?;
        Ok(Self {
            shared,
            id,
            copy,
            session,
        })
    }
}

#[async_trait]
impl TableCopy for Copy {
    async fn progress(&mut self) -> Result<CopyProgress> {
        let copy = self.copy;
        self.session
            .run(move |session| {
                let shared = Arc::clone(&session.shared);
                Ok(CopyProgress {
                    chunks: shared.notes.chunks(&session.connection, copy)?,
                    caught_up: shared
                        .notes
                        .table(&session.connection, copy)?
                        .and_then(|table| table.caught_up),
                })
            })
            .await
    }

    async fn chunk(&mut self, index: u32) -> Result<Box<dyn ChunkWriter>> {
        let shared = Arc::clone(&self.shared);
        let id = self.id;
        let table = self
            .session
            .run(move |session| session.table(id).cloned())
            .await?;
        let writer = Worker::start("warehouse-chunk", move || {
            Chunk::begin(shared, table, index)
        })
        .await?;
        Ok(Box::new(Writer(writer)))
    }

    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let table = Arc::clone(table);
        self.session
            .run(move |session| session.apply_schema(&table))
            .await
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        let copy = self.copy;
        self.session
            .run(move |session| {
                refuse_torn(session, batch.table.id, copy)?;
                session.write(&batch)
            })
            .await
    }

    async fn truncate(&mut self, seq: u64, commit_time: i64) -> Result<()> {
        let id = self.id;
        self.session
            .run(move |session| session.truncate(id, seq, commit_time))
            .await
    }

    async fn commit(&mut self, seq: u64) -> Result<()> {
        self.session
            .run(move |session| session.commit_catch_up(seq))
            .await
    }
}

/// Without a key a change cannot be applied again to a row that has it already: chunks of
/// different snapshots do not make a table.
fn refuse_torn(session: &Session, id: TableId, copy: CopyId) -> Result<()> {
    let table = session.table(id)?;
    if table.target.mode == Mode::Append || !table.shape.key.is_empty() {
        return Ok(());
    }
    let chunks = session.shared.notes.chunks(&session.connection, copy)?;
    if chunks.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        return Err(Error::log_lost(format!(
            "the copy of {} has chunks of several snapshots, and no key to fit them together",
            table.shape.name
        ))
        .hint("the copy begins again by itself")
        .for_table(id));
    }
    Ok(())
}

/// One chunk's transaction.
struct Chunk {
    shared: Arc<Shared>,
    connection: Connection,
    table: Table,
    index: u32,
}

impl Chunk {
    fn begin(shared: Arc<Shared>, table: Table, index: u32) -> Result<Self> {
        let connection = shared.database.connect()?;
        run(&connection, "beginning a chunk", "BEGIN TRANSACTION")?;
        Ok(Self {
            shared,
            connection,
            table,
            index,
        })
    }

    fn write(&self, batch: &ChangeBatch) -> Result<()> {
        let known = self
            .table
            .shape
            .columns
            .iter()
            .map(|column| (&column.name, &column.data_type));
        let given = batch
            .table
            .columns
            .iter()
            .map(|column| (&column.name, &column.data_type));
        if !known.eq(given) {
            return Err(Error::log_lost(format!(
                "table {} changed its shape while it was copied",
                batch.table.name
            ))
            .hint("the copy begins again by itself")
            .for_table(batch.table.id));
        }
        let rows = staged(&self.table, batch)?.rows;
        let rows = if self.table.target.mode == Mode::SoftDelete {
            let count = rows.num_rows();
            with_mark(&rows, vec![false; count].into())
                .map_err(|error| Error::internal("rows cannot be laid out").caused_by(error))?
        } else {
            rows
        };
        append(&self.connection, &self.table, &rows)
    }

    fn finish(&self, seq: u64) -> Result<()> {
        self.shared
            .notes
            .add_chunk(&self.connection, self.table.copy, self.index, seq)?;
        run(&self.connection, "finishing a chunk", "COMMIT")
    }
}

struct Writer(Worker<Chunk>);

#[async_trait]
impl ChunkWriter for Writer {
    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        self.0.run(move |chunk| chunk.write(&batch)).await
    }

    async fn finish(self: Box<Self>, seq: u64) -> Result<()> {
        self.0.run(move |chunk| chunk.finish(seq)).await
    }
}
