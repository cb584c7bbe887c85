//! Reading one chunk: COPY in binary, from the socket into record batches.
//!
//! Invariant: a session goes back to the idle ones only when its COPY has ended well.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use cdc_api::{BatchReader, Result, TableId};

use crate::decode::copy::CopyDecoder;
use crate::session::Session;

pub(super) struct CopyReader {
    /// `None` when there is nothing more to read.
    running: Option<(Session, CopyDecoder)>,
    table: TableId,
    idle: Arc<Mutex<Vec<Session>>>,
}

impl CopyReader {
    /// Sends the statement.
    pub(super) async fn begin(
        mut session: Session,
        copy: &str,
        decoder: CopyDecoder,
        table: TableId,
        idle: &Arc<Mutex<Vec<Session>>>,
    ) -> Result<Self> {
        session.copy_out(copy).await?;
        Ok(Self {
            running: Some((session, decoder)),
            table,
            idle: Arc::clone(idle),
        })
    }

    async fn read(&mut self) -> Result<Option<RecordBatch>> {
        let Some((mut session, mut decoder)) = self.running.take() else {
            return Ok(None);
        };
        loop {
            let full = match session.copied().await? {
                None => {
                    self.idle
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(session);
                    return decoder.finish();
                }
                Some(piece) => decoder.push(piece)?,
            };
            // What has arrived is taken without going through the runtime for each row.
            let mut full = full;
            while !full {
                match session.copied_already()? {
                    Some(piece) => full = decoder.push(piece)?,
                    None => break,
                }
            }
            if full {
                let batch = decoder.take()?;
                if batch.is_some() {
                    self.running = Some((session, decoder));
                    return Ok(batch);
                }
            }
        }
    }
}

#[async_trait]
impl BatchReader for CopyReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let table = self.table;
        self.read().await.map_err(|error| error.for_table(table))
    }
}
