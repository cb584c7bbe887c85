//! Reading one chunk: a prepared statement's rows, from the socket into record batches.
//!
//! Invariants: values go straight into the builders, nothing is allocated for a row. After the
//! last row the session's metadata locks are released, its view stays.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use cdc_api::{BatchLimits, BatchReader, Error, Result, TableSchema};
use cdc_database::rows::{Column as _, record_batch};

use super::pool::Lease;
use crate::connect::session::{Arrived, Statement};
use crate::types::append::Appender;
use crate::types::{ColumnType, ValueError};
use crate::wire::Wire;

/// The savepoint at which a view begins: going back to it releases metadata locks.
pub(super) const SAVEPOINT: &str = "cdc_view";

pub(super) struct RowReader {
    /// `None` when there is nothing more to read.
    running: Option<(Lease, Statement)>,
    rows: Rows,
}

/// Rows under construction.
struct Rows {
    table: Arc<TableSchema>,
    columns: Vec<Appender>,
    limits: BatchLimits,
    count: usize,
    bytes: usize,
}

impl RowReader {
    /// Sends the statement.
    pub(super) async fn begin(
        mut lease: Lease,
        select: &str,
        table: &Arc<TableSchema>,
        types: &[ColumnType],
        limits: BatchLimits,
    ) -> Result<Self> {
        let session = lease.session()?;
        let statement = session.prepare(select).await?;
        let columns = session.run(statement).await?;
        if columns != types.len() {
            return Err(Error::internal(
                "the rows have other columns than asked for",
            ));
        }
        let capacity = limits.rows.min(4096);
        Ok(Self {
            running: Some((lease, statement)),
            rows: Rows {
                table: Arc::clone(table),
                columns: types
                    .iter()
                    .map(|column| Appender::new(column, capacity))
                    .collect(),
                limits,
                count: 0,
                bytes: 0,
            },
        })
    }

    async fn read(&mut self) -> Result<Option<RecordBatch>> {
        let Some((mut lease, statement)) = self.running.take() else {
            return Ok(None);
        };
        let rows = &mut self.rows;
        loop {
            let session = lease.session()?;
            let mut ended = match session.row().await? {
                None => true,
                Some(row) => {
                    rows.append(row)?;
                    false
                }
            };
            // What has arrived is taken without going through the runtime for each row.
            while !ended && !rows.is_full() {
                match session.row_arrived()? {
                    Arrived::Row(row) => rows.append(row)?,
                    Arrived::End => ended = true,
                    Arrived::Nothing => break,
                }
            }
            if ended {
                session.forget(statement).await?;
                session
                    .execute(&format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"))
                    .await?;
                lease.give_back();
                return match rows.count {
                    0 => Ok(None),
                    _ => rows.take().map(Some),
                };
            }
            if rows.is_full() {
                self.running = Some((lease, statement));
                return rows.take().map(Some);
            }
        }
    }
}

impl Rows {
    fn is_full(&self) -> bool {
        self.count >= self.limits.rows || self.bytes >= self.limits.bytes
    }

    /// Appends a row of the binary protocol (page_protocol_binary_resultset): a zero, the bitmap of
    /// NULLs from its third bit on, the values that are not NULL.
    fn append(&mut self, packet: &[u8]) -> Result<()> {
        let mut wire = Wire(packet);
        let appended = (|| {
            wire.u8()?;
            let nulls = wire.take((self.columns.len() + 9) / 8)?;
            for (index, column) in self.columns.iter_mut().enumerate() {
                let bit = index + 2;
                if nulls[bit / 8] >> (bit % 8) & 1 == 1 {
                    column.append_null();
                } else {
                    column.append_protocol(&mut wire)?;
                }
            }
            match wire.rest() {
                [] => Ok(()),
                _ => Err(ValueError::Malformed),
            }
        })();
        appended.map_err(|error| {
            Error::data(format!("{} of {}", error.message(), self.table.name)).hint(error.hint())
        })?;
        self.count += 1;
        self.bytes += packet.len();
        Ok(())
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let count = std::mem::take(&mut self.count);
        self.bytes = 0;
        record_batch(&self.table, &mut self.columns, count)
    }
}

#[async_trait]
impl BatchReader for RowReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let result = self.read().await;
        let table = &self.rows.table;
        result.map_err(|error| super::altered(error, table))
    }
}
