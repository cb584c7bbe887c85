//! Small files into larger ones, a run of neighbours at a time, beside the sink's own work.
//!
//! Invariant: a merge holds exactly the rows of its inputs, in their order and of one shape; it
//! counts only once it is in the manifest. A byte is rewritten a bounded number of times: a file
//! joins a merge only if the newer ones in it weigh at least half as much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cdc_api::{Error, Result, TableId, TableSchema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::task::JoinHandle;

use crate::encode::{Encoder, Finished, broken};
use crate::manifest::{DataFile, Table};
use crate::site::Site;
use crate::storage::failed;

/// How long a call may wait for a merge to end; a longer one goes on in the background. Short, since
/// a busy stream's commits wait as well.
const PATIENCE: Duration = Duration::from_millis(20);

/// Bytes that a batch of a merge has at most, about.
const BATCH_BYTES: u64 = 8 << 20;

/// A finished merge.
pub(crate) struct Merged {
    pub(crate) table: TableId,
    /// Names of the files that it replaces.
    pub(crate) removed: Vec<String>,
    pub(crate) files: Vec<Finished>,
}

/// A merge on its way.
pub(crate) struct Merge {
    work: JoinHandle<Result<Merged>>,
    wanted: Arc<AtomicBool>,
}

impl Drop for Merge {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}

impl Merge {
    /// Begins the most rewarding merge, if there is one.
    pub(crate) fn begin(site: &Arc<Site>, tables: &BTreeMap<TableId, Table>) -> Option<Self> {
        let (table, inputs) = tables
            .values()
            .filter_map(|table| Some((table, choose(&table.files, site)?)))
            .max_by_key(|(_, inputs)| inputs.len())?;
        let shape = table
            .shapes
            .iter()
            .find(|shape| shape.version == inputs[0].shape)?;
        let (site, shape) = (Arc::clone(site), Arc::clone(shape));
        let (folder, inputs) = (table.folder.clone(), inputs.to_vec());
        let wanted = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&wanted);
        let work =
            tokio::task::spawn_blocking(move || merge(&site, &shape, &folder, &inputs, &still));
        Some(Self { work, wanted })
    }

    /// What came of it; `None` while it goes on.
    pub(crate) async fn wait(&mut self) -> Option<Result<Merged>> {
        let ended = tokio::time::timeout(PATIENCE, &mut self.work).await.ok()?;
        Some(ended.unwrap_or_else(|_| Err(Error::internal("a merge of files has stopped"))))
    }
}

/// The longest run of neighbours worth merging.
fn choose<'a>(files: &'a [DataFile], site: &Site) -> Option<&'a [DataFile]> {
    let least = site.config.compaction.min_files as usize;
    let target = site.config.target_file_bytes;
    let mut best: &[DataFile] = &[];
    let mut end = files.len();
    while end > 0 {
        let mut start = end - 1;
        let mut bytes = files[start].bytes;
        while start > 0 {
            let older = &files[start - 1];
            let fits = bytes + older.bytes <= target && older.bytes <= 2 * bytes;
            if !fits || older.shape != files[start].shape {
                break;
            }
            start -= 1;
            bytes += older.bytes;
        }
        if end - start > best.len() {
            best = &files[start..end];
        }
        end = if end - start >= least { start } else { end - 1 };
    }
    (best.len() >= least).then_some(best)
}

fn merge(
    site: &Arc<Site>,
    shape: &Arc<TableSchema>,
    folder: &str,
    inputs: &[DataFile],
    wanted: &AtomicBool,
) -> Result<Merged> {
    let mut encoder = Encoder::new(site);
    for input in inputs {
        let path = format!("{folder}/{}", input.name);
        let file = site
            .storage
            .open(&path)
            .map_err(|error| failed("opening a file to merge", error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?;
        let size: i64 = reader
            .metadata()
            .row_groups()
            .iter()
            .map(|it| it.total_byte_size())
            .sum();
        let row = u64::try_from(size).unwrap_or(0) / input.rows.max(1) + 1;
        let rows = (BATCH_BYTES / row).clamp(1, 8_192);
        let reader = reader
            .with_batch_size(usize::try_from(rows).unwrap_or(1))
            .build()
            .map_err(broken)?;
        for batch in reader {
            if !wanted.load(Ordering::Relaxed) {
                return Err(Error::transient("the lake was closed during a merge"));
            }
            let batch = batch.map_err(|_| {
                Error::data(format!("the lake's file `{path}` is damaged"))
                    .hint(format!("cdc snapshot {}", shape.name))
            })?;
            encoder.append(
                shape,
                batch.schema(),
                &batch,
                (input.first_seq, input.last_seq),
            )?;
        }
    }
    let files = encoder.finish()?;
    let rows = |count: &mut dyn Iterator<Item = u64>| count.sum::<u64>();
    if rows(&mut files.iter().map(|it| it.file.rows)) != rows(&mut inputs.iter().map(|it| it.rows))
    {
        return Err(Error::data(format!(
            "files of {} do not hold the rows that they held",
            shape.name
        ))
        .hint(format!("cdc snapshot {}", shape.name)));
    }
    Ok(Merged {
        table: shape.id,
        removed: inputs.iter().map(|it| it.name.clone()).collect(),
        files,
    })
}
