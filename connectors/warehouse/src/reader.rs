//! Reads for `cdc query`: one statement, one committed state, beside the sink's own work.
//!
//! Invariant: a read changes nothing and reaches nothing but the database. The text is given to
//! DuckDB's `query()`, which takes a single SELECT and nothing else (no second statement that
//! could end the transaction), inside a read-only transaction, on a database opened without
//! access to files or the network.

use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use async_trait::async_trait;
use cdc_api::{BatchReader, Error, Reader, Result};
use duckdb::InterruptHandle;
use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, lock, run};

/// Batches that a query is ahead of its reader.
const AHEAD: usize = 2;

/// Where the open database is found, if there is one.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Arc<Database>>>);

impl Slot {
    pub(crate) fn set(&self, database: Option<Arc<Database>>) {
        *lock(&self.0) = database;
    }

    fn get(&self) -> Option<Arc<Database>> {
        lock(&self.0).clone()
    }
}

/// The reader of one sink, over reopenings.
pub(crate) struct CommittedReader(pub(crate) Arc<Slot>);

#[async_trait]
impl Reader for CommittedReader {
    async fn query(&self, sql: &str) -> Result<Box<dyn BatchReader>> {
        let database = self.0.get().ok_or_else(|| {
            Error::transient("the warehouse is not open").hint("try again when the sink is running")
        })?;
        let sql = sql.to_owned();
        let (batches, inbox) = mpsc::channel(AHEAD);
        let (began, begun) = oneshot::channel();
        std::thread::Builder::new()
            .name("warehouse-query".to_owned())
            .spawn(move || read(&database, &sql, began, &batches))
            .map_err(|error| Error::transient("no thread could be started").caused_by(error))?;
        let running = begun
            .await
            .map_err(|_| Error::internal("the query's thread has ended"))??;
        Ok(Box::new(Batches { inbox, running }))
    }
}

type Batch = Result<RecordBatch>;

/// What interrupts a query, as long as its connection is there.
type Running = Arc<Mutex<Option<Arc<InterruptHandle>>>>;

/// Takes the way to interrupt a query away when it is over.
struct Stop(Running);

impl Drop for Stop {
    fn drop(&mut self) {
        lock(&self.0).take();
    }
}

fn read(
    database: &Database,
    sql: &str,
    began: oneshot::Sender<Result<Running>>,
    batches: &mpsc::Sender<Batch>,
) {
    let connection = match database.connect() {
        Ok(connection) => connection,
        Err(error) => {
            let _ = began.send(Err(error));
            return;
        }
    };
    // Dropped before the connection, whose handle must not be used once it is closed.
    let stop = Stop(Arc::new(Mutex::new(Some(connection.interrupt_handle()))));
    let wrapped = format!("FROM query('{}')", sql.replace('\'', "''"));
    let started = run(&connection, "reading", "BEGIN TRANSACTION READ ONLY").and_then(|()| {
        connection
            .prepare(&wrapped)
            .and_then(|mut statement| {
                // Steps are taken below, where an error is an error and no panic.
                let _ = statement.stream_arrow([])?;
                Ok(statement)
            })
            .map_err(wrong)
    });
    // Whoever asked may be gone by now; then there is nobody to tell.
    let statement = match started {
        Ok(statement) => statement,
        Err(error) => {
            let _ = began.send(Err(error));
            return;
        }
    };
    if began.send(Ok(Arc::clone(&stop.0))).is_err() {
        return;
    }
    // Columns have names and types even where there are no rows.
    let mut rows = 0;
    loop {
        let step = statement
            .step()
            .map_err(wrong)
            .map(|step| step.map(|rows| offset_zones(&RecordBatch::from(&rows))));
        let end = !matches!(step, Ok(Some(_)));
        let batch = match step {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) if rows == 0 => Ok(offset_zones(&RecordBatch::new_empty(statement.schema()))),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        rows += batch.as_ref().map_or(0, RecordBatch::num_rows);
        if batches.blocking_send(batch).is_err() || end {
            return;
        }
    }
}

/// The same rows, times in `+00:00` instead of the name of a zone, which Arrow can show only with
/// a database of zones.
fn offset_zones(rows: &RecordBatch) -> RecordBatch {
    let zoned = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_))
        )
    };
    let schema = rows.schema();
    if !schema.fields().iter().any(|field| zoned(field.data_type())) {
        return rows.clone();
    }
    let columns: Vec<ArrayRef> = rows
        .columns()
        .iter()
        .map(
            |values| match values.as_primitive_opt::<TimestampMicrosecondType>() {
                Some(times) if zoned(values.data_type()) => {
                    Arc::new(times.clone().with_timezone("+00:00"))
                }
                _ => Arc::clone(values),
            },
        )
        .collect();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, values)| {
            field
                .as_ref()
                .clone()
                .with_data_type(values.data_type().clone())
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap_or_else(|_| rows.clone())
}

/// The target's own words, without the lines that repeat the statement.
fn wrong(error: duckdb::Error) -> Error {
    let text = match error {
        duckdb::Error::DuckDBFailure(_, Some(text)) => text,
        other => other.to_string(),
    };
    let words: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("LINE "))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let words = words.join(" ");
    if words.contains("Expected a single SELECT statement") {
        return Error::config("only a single SELECT statement can be run")
            .hint("write one statement that begins with SELECT, FROM, WITH, VALUES, SHOW, DESCRIBE or SUMMARIZE");
    }
    Error::config(words)
}

struct Batches {
    inbox: mpsc::Receiver<Batch>,
    running: Running,
}

#[async_trait]
impl BatchReader for Batches {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.inbox.recv().await.transpose()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(query) = lock(&self.running).as_ref() {
            query.interrupt();
        }
    }
}
