//! The scripted source keeps the contract, and a tiny loop over it keeps a strict sink equal.

use std::collections::BTreeMap;

use super::*;
use crate::testing::canonical::{self, Row};
use crate::testing::database::{Mix, Workload};
use crate::{ChangeEvent, TableId};

type Told = BTreeMap<u64, (TableId, u8, Row)>;

async fn read_to_head(source: &ScriptedSource, from: &Checkpoint) -> (Told, Vec<Checkpoint>) {
    let mut stream = source
        .start(
            from,
            &[],
            BatchLimits {
                rows: 5,
                bytes: 1 << 20,
            },
        )
        .await
        .expect("starts");
    let (mut told, mut open, mut commits) = (Told::new(), Told::new(), Vec::new());
    let head = source.database().head();
    while commits
        .last()
        .is_none_or(|at: &Checkpoint| Database::commit_of(&at.position) < Some(head))
    {
        match stream.next().await.expect("no faults") {
            ChangeEvent::Rows(batch) => {
                for row in 0..batch.len() {
                    let mut cells = canonical::row(&batch.rows, row);
                    for (column, cell) in cells.iter_mut().enumerate() {
                        if batch.is_absent(column, row) {
                            *cell = Some("absent".into());
                        }
                    }
                    let id = batch.table.id;
                    assert!(
                        open.insert(batch.seq[row], (id, batch.ops[row], cells))
                            .is_none()
                    );
                }
            }
            ChangeEvent::Truncate { tables, seq, .. } => {
                open.insert(seq, (tables[0], 99, Vec::new()));
            }
            ChangeEvent::Commit(checkpoint) => {
                assert!(open.keys().all(|seq| *seq <= checkpoint.seq));
                told.append(&mut open);
                commits.push(checkpoint);
            }
            ChangeEvent::Notice(notice) => {
                let told = (
                    TableId(0),
                    98,
                    vec![Some(format!("{:?}", notice.said).into())],
                );
                assert!(open.insert(notice.seq, told).is_none());
            }
            ChangeEvent::Schema(_) | ChangeEvent::Failed { .. } | ChangeEvent::Mark { .. } => {}
        }
    }
    (told, commits)
}

#[tokio::test(start_paused = true)]
async fn every_stream_gives_a_row_the_same_seq_however_it_cuts() {
    for seed in 0..20 {
        let database = Database::new();
        let mut workload = Workload::new(&database, seed, Mix::default());
        let trace = Trace::new();
        let source = ScriptedSource::new(&database, seed, &trace);
        let tables: Vec<_> = source.discover().await.expect("no faults");
        let tables: Vec<_> = tables.into_iter().map(|found| found.table).collect();
        source.capture(&tables).await.expect("no faults");
        let origin = source.origin().await.expect("no faults");
        for _ in 0..40 {
            workload.step();
        }
        let (all, commits) = read_to_head(&source, &origin).await;
        assert!(!all.is_empty());
        assert!(
            all.keys().copied().eq(1..=all.len() as u64),
            "seq has no gap"
        );
        for from in &commits {
            if Database::commit_of(&from.position) == Some(database.head()) {
                break;
            }
            let (later, again) = read_to_head(&source, from).await;
            let expected: Told = all
                .range(from.seq + 1..)
                .map(|(k, v)| (*k, v.clone()))
                .collect();
            assert_eq!(later, expected, "seed {seed} from {from:?}");
            assert_eq!(again.last(), commits.last());
        }
        assert_eq!(trace.violations(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn the_acknowledged_log_is_gone() {
    let database = Database::new();
    let mut workload = Workload::new(&database, 1, Mix::default());
    let trace = Trace::new();
    let source = ScriptedSource::new(&database, 1, &trace);
    let origin = source.origin().await.expect("no faults");
    for _ in 0..20 {
        workload.step();
    }
    let mut stream = source
        .start(&origin, &[], BatchLimits::default())
        .await
        .expect("starts");
    let checkpoint = loop {
        if let ChangeEvent::Commit(checkpoint) = stream.next().await.expect("no faults") {
            break checkpoint;
        }
    };
    stream.acknowledge(&checkpoint.position).expect("ours");
    drop(stream);
    let error = source
        .start(&origin, &[], BatchLimits::default())
        .await
        .err()
        .expect("the log is gone");
    assert_eq!(error.kind(), crate::ErrorKind::LogLost);
    assert!(
        source
            .start(&checkpoint, &[], BatchLimits::default())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn the_chunks_of_a_snapshot_are_its_content_and_its_mark_follows_its_commit() {
    for seed in 0..20 {
        let database = Database::new();
        let mut workload = Workload::new(&database, seed, Mix::default());
        let trace = Trace::new();
        let source = ScriptedSource::new(&database, seed, &trace);
        let tables: Vec<_> = source.discover().await.expect("no faults");
        let tables: Vec<_> = tables.into_iter().map(|found| found.table).collect();
        source.capture(&tables).await.expect("no faults");
        let origin = source.origin().await.expect("no faults");
        for _ in 0..10 {
            workload.step();
        }
        let mut stream = source
            .start(&origin, &tables, BatchLimits::default())
            .await
            .expect("starts");
        let snapshot = source.snapshot(&tables).await.expect("no faults");
        let point = database.head();
        for _ in 0..10 {
            workload.step();
        }
        for table in snapshot.tables() {
            let mut rows = Vec::new();
            for chunk in snapshot.chunks(table.id, 300).await.expect("no faults") {
                let mut reader = snapshot
                    .read(table.id, &chunk, BatchLimits::default())
                    .await
                    .expect("no faults");
                while let Some(batch) = reader.next().await.expect("no faults") {
                    rows.extend((0..batch.num_rows()).map(|row| canonical::row(&batch, row)));
                }
            }
            rows.sort();
            let expected = database.content(table.id, point).expect("there").cells();
            assert_eq!(rows, expected, "seed {seed} {}", table.name);
        }
        let mut last = Some(origin);
        loop {
            match stream.next().await.expect("no faults") {
                ChangeEvent::Mark { id } => {
                    assert_eq!(id, snapshot.id());
                    break;
                }
                ChangeEvent::Commit(checkpoint) => last = Some(checkpoint),
                _ => last = None,
            }
        }
        let last = last.expect("a mark stands right after a commit");
        assert_eq!(Database::commit_of(&last.position), Some(point));
    }
}
