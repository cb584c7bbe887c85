//! The journal as a whole: against a plain list of events, over restarts, damage and full disks.

mod disk_faults;
mod durability;
mod events;
mod model;
mod retained;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use cdc_api::{
    ChangeBatch, ChangeEvent, Checkpoint, Column, Identity, Notice, Op, Position, Said, TableId,
    TableName, TableSchema, TransactionId, TransactionRun,
};

use super::*;

/// A journal's configuration with everything small, so that little data goes a long way.
fn small(dir: &Path) -> JournalConfig {
    JournalConfig {
        segment_bytes: 4096,
        memory_bytes: 16 << 10,
        ..JournalConfig::new(dir.join("journal"))
    }
}

fn identity() -> JournalIdentity {
    JournalIdentity {
        pipeline: "shop".to_owned(),
        source: "7123".to_owned(),
    }
}

fn checkpoint(seq: u64) -> Checkpoint {
    Checkpoint {
        position: Position::new(format!("{{\"v\":1,\"lsn\":{seq}}}")),
        seq,
        offset: seq * 100,
        commit_time: 1_700_000_000_000_000,
    }
}

/// A shape with `columns` text columns beside the key.
fn table(id: u64, version: u32, columns: usize) -> Arc<TableSchema> {
    let mut all = vec![Column::new("id", DataType::Int64, "bigint")];
    all.extend((0..columns).map(|n| Column::new(format!("c{n}"), DataType::Utf8, "text")));
    Arc::new(TableSchema::new(
        TableId(id),
        TableName::new("public", format!("t{id}")),
        version,
        all,
        vec![0],
        Identity::Key,
    ))
}

/// Inserted rows with these `seq`s, each value telling its row.
fn rows(table: &Arc<TableSchema>, seqs: &[u64]) -> ChangeEvent {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(
        seqs.iter().map(|&seq| seq as i64),
    ))];
    for column in 1..table.columns.len() {
        columns.push(Arc::new(StringArray::from_iter_values(
            seqs.iter()
                .map(|seq| format!("value {seq} of column {column}")),
        )));
    }
    ChangeEvent::Rows(ChangeBatch {
        table: Arc::clone(table),
        rows: RecordBatch::try_new(Arc::clone(table.arrow()), columns).expect("columns fit"),
        ops: vec![Op::Insert.code(); seqs.len()].into(),
        seq: seqs.to_vec().into(),
        offset: seqs.iter().map(|seq| seq * 10).collect::<Vec<_>>().into(),
        absent: Vec::new(),
        before: None,
        transactions: vec![TransactionRun {
            end: seqs.len() as u32,
            id: TransactionId::Number(7),
            commit_offset: 99,
            commit_time: 5,
            first_seq: 1,
        }],
    })
}

fn notice(seq: u64) -> ChangeEvent {
    ChangeEvent::Notice(Arc::new(Notice {
        seq,
        offset: seq,
        transaction: None,
        commit_time: 5,
        said: Said::Message {
            prefix: "p".to_owned(),
            content: seq.to_be_bytes().to_vec(),
        },
    }))
}

fn commit(seq: u64) -> ChangeEvent {
    ChangeEvent::Commit(checkpoint(seq))
}

/// An event in words: all of it that matters to the order and to the content.
fn told(event: &ChangeEvent) -> String {
    match event {
        ChangeEvent::Schema(schema) => format!("schema {} v{}", schema.id, schema.version),
        ChangeEvent::Rows(batch) => {
            format!(
                "rows {} v{} {:?} {:?}",
                batch.table.id,
                batch.table.version,
                &batch.seq[..],
                batch.rows
            )
        }
        other => format!("{other:?}"),
    }
}

/// Everything that a cursor has to give until the end of what is appended.
async fn drain(cursor: &mut Cursor) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(event) = cursor.try_next().await.expect("cursor reads") {
        all.push(told(&event));
    }
    all
}

/// Opens a journal, and starts it at `seq` 0 when it is new. Dropped pins let go at once.
async fn open(config: &JournalConfig) -> (Journal, Recovered) {
    open_with(config, Duration::ZERO).await
}

async fn open_with(config: &JournalConfig, pin_grace: Duration) -> (Journal, Recovered) {
    let disk = Arc::new(LocalDisk);
    let (journal, recovered) = Journal::open_on(disk, pin_grace, config.clone(), &identity())
        .await
        .expect("journal opens");
    if recovered.tail.is_none() {
        journal.reset(&checkpoint(0)).await.expect("journal starts");
    }
    (journal, recovered)
}

/// Appends transactions of one row each, with the `seq`s of the range, to table 1.
async fn fill(journal: &Journal, seqs: std::ops::RangeInclusive<u64>) {
    let table = table(1, 1, 1);
    for seq in seqs {
        journal.append(rows(&table, &[seq])).await.expect("append");
        journal.append(commit(seq)).await.expect("append");
    }
}

/// A copy of the journal's directory as it is now; the mark first, since it may lag and not lead.
fn copy_dir(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("directory");
    for name in ["durable", "identity.json"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("copy");
        }
    }
    // The newest first: an older segment is whole once there is a newer one.
    for found in directory::segments(from).expect("directory").iter().rev() {
        let name = found.path.file_name().expect("name");
        std::fs::copy(&found.path, to.join(name)).expect("copy");
    }
}

/// Segment files, in order.
fn segment_files(config: &JournalConfig) -> Vec<std::path::PathBuf> {
    directory::segments(&config.dir)
        .expect("directory")
        .into_iter()
        .map(|found| found.path.to_path_buf())
        .collect()
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}
