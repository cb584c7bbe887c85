//! One table of a copy job, while its chunks are read and written, by several workers at a time.
//!
//! Invariant: after the first failure that is the table's own no further chunk is begun. Which chunks
//! there are and what follows the last one is the job's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use cdc_api::{BatchLimits, ChangeBatch, Chunk, Error, Result, Snapshot, TableCopy, TableSchema};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::no_longer_wanted;
use crate::pipeline::board::Meter;

/// One table, while its chunks are read.
pub(super) struct Copying {
    pub(super) table: Arc<TableSchema>,
    /// Taken when the last chunk is finished.
    pub(super) copy: Mutex<Option<Box<dyn TableCopy>>>,
    pub(super) left: AtomicUsize,
    /// Chunks that are being written: the copy is in use.
    pub(super) writing: AtomicUsize,
    /// Why no more chunks of the table are read.
    pub(super) broken: OnceLock<Error>,
    pub(super) meter: Arc<Meter>,
    pub(super) unwanted: CancellationToken,
}

impl Copying {
    /// Reads and writes one chunk; `true` when it was the table's last.
    pub(super) async fn chunk(
        &self,
        snapshot: &dyn Snapshot,
        chunk: &Chunk,
        limits: BatchLimits,
        seq: u64,
    ) -> Result<bool> {
        if self.unwanted.is_cancelled() {
            self.broken.get_or_init(|| no_longer_wanted(self.table.id));
        }
        if self.broken.get().is_some() {
            return Ok(false);
        }
        self.writing.fetch_add(1, Ordering::Relaxed);
        let done = self.write_chunk(snapshot, chunk, limits, seq).await;
        self.writing.fetch_sub(1, Ordering::Relaxed);
        done
    }

    async fn write_chunk(
        &self,
        snapshot: &dyn Snapshot,
        chunk: &Chunk,
        limits: BatchLimits,
        seq: u64,
    ) -> Result<bool> {
        let mut reader = snapshot.read(self.table.id, chunk, limits).await?;
        let mut writer = match self.copy.lock().await.as_mut() {
            Some(copy) => copy.chunk(chunk.index).await?,
            None => return Ok(false),
        };
        let mut rows = 0;
        let written = async {
            while let Some(batch) = reader.next().await? {
                let count = batch.num_rows() as u64;
                let batch = ChangeBatch::of_snapshot(Arc::clone(&self.table), batch, seq, 0);
                writer.write(&batch).await?;
                rows += count;
                self.meter.rows_done.fetch_add(count, Ordering::Relaxed);
            }
            writer.finish(seq).await
        }
        .await;
        if let Err(error) = written {
            self.meter.rows_done.fetch_sub(rows, Ordering::Relaxed);
            return Err(error);
        }
        self.meter
            .bytes_done
            .fetch_add(chunk.bytes, Ordering::Relaxed);
        Ok(self.left.fetch_sub(1, Ordering::Relaxed) == 1)
    }
}
