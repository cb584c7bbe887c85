//! What else happens in a lake's life: preflight, foreign and missing files, earlier generations,
//! resumed copies, the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::BooleanBuffer;
use cdc_api::{
    ChangeBatch, Checkpoint, CopyId, ErrorKind, Op, Position, Severity, Sink, TableSchema,
};
use tempfile::TempDir;

use super::script::{accounts, batch, read};
use crate::{Lake, LakeConfig, SchemaPolicy};

struct Place {
    _folder: TempDir,
    root: PathBuf,
}

fn place() -> Place {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("lake");
    Place {
        _folder: folder,
        root,
    }
}

fn config(root: &Path) -> LakeConfig {
    let mut config = LakeConfig::new(root.display().to_string());
    config.compaction.min_files = 2;
    config
}

async fn opened(root: &Path) -> Lake {
    let mut sink = Lake::new(config(root), "shop").expect("a lake");
    sink.open().await.expect("opens");
    sink
}

fn at(seq: u64) -> Checkpoint {
    Checkpoint {
        position: Position::new(seq.to_string()),
        seq,
        offset: 0,
        commit_time: 0,
    }
}

/// A table with rows 1 and 2, joined at 0 by copy `copy`.
async fn load(sink: &mut Lake, table: &Arc<TableSchema>, copy: u64, seq: u64) {
    let mut handle = sink.copy(table, CopyId(copy)).await.expect("begins");
    let mut chunk = handle.chunk(0).await.expect("opens");
    let rows = batch(table, &[(seq, Op::Read, 1), (seq, Op::Read, 2)]);
    chunk.write(&rows).await.expect("is taken");
    chunk.finish(seq).await.expect("is finished");
    sink.join(table, CopyId(copy)).await.expect("joins");
    sink.commit(&at(seq)).await.expect("holds");
}

#[tokio::test]
async fn preflight_finds_what_is_wrong_before_anything_is_made() {
    let place = place();
    let severities = async |sink: &mut Lake| -> Vec<Severity> {
        let findings = sink.check().await.expect("can be asked");
        for finding in &findings {
            assert!(finding.severity == Severity::Ok || finding.remedy.is_some());
        }
        findings.into_iter().map(|it| it.severity).collect()
    };
    let mut sink = Lake::new(config(&place.root), "shop").expect("a lake");
    assert!(!severities(&mut sink).await.contains(&Severity::Error));
    assert!(!place.root.exists(), "nothing is made");
    sink.open().await.expect("opens");
    let mut other = Lake::new(config(&place.root), "shop").expect("a lake");
    assert!(
        severities(&mut other).await.contains(&Severity::Warning),
        "it is locked"
    );
    let file = place.root.join("a file");
    std::fs::write(&file, "x").expect("is written");
    let mut sink = Lake::new(config(&file), "shop").expect("a lake");
    assert!(severities(&mut sink).await.contains(&Severity::Error));
}

#[tokio::test]
async fn files_that_are_not_ours_stay_and_files_that_are_gone_stop_their_table() {
    let place = place();
    let mut sink = opened(&place.root).await;
    let table = accounts(1, "accounts", false);
    load(&mut sink, &table, 1, 0).await;
    let folder = place.root.join("shop/accounts");
    std::fs::write(folder.join("notes.txt"), "mine").expect("is written");
    for seq in 1..6 {
        sink.write(&batch(&table, &[(seq, Op::Insert, 9)]))
            .await
            .expect("is taken");
        sink.commit(&at(seq)).await.expect("holds");
    }
    // Until the files are merged.
    while super::reading::glob(&folder).len() > 1 {
        sink.maintain().await.expect("merges");
    }
    assert_eq!(
        std::fs::read(folder.join("notes.txt")).expect("is there"),
        b"mine"
    );
    let merged = super::reading::glob(&folder);
    std::fs::remove_file(&merged[0]).expect("is removed");
    drop(sink);

    let mut sink = opened(&place.root).await;
    let lost = sink
        .write(&batch(&table, &[(6, Op::Insert, 9)]))
        .await
        .expect_err("is lost");
    assert_eq!(lost.table(), Some(table.id));
    assert!(
        lost.hint_text()
            .is_some_and(|hint| hint.contains("cdc snapshot shop.accounts"))
    );
    load(&mut sink, &table, 2, 6).await;
    sink.write(&batch(&table, &[(7, Op::Insert, 9)]))
        .await
        .expect("is whole again");
    sink.commit(&at(7)).await.expect("holds");
    assert_eq!(read(&place.root)["shop/accounts"].len(), 3);
}

#[tokio::test]
async fn a_replaced_generation_stays_readable() {
    let place = place();
    let mut sink = opened(&place.root).await;
    let table = accounts(1, "accounts", false);
    load(&mut sink, &table, 1, 0).await;
    load(&mut sink, &table, 2, 3).await;
    let earlier = place
        .root
        .join("_cdc/earlier/shop/accounts")
        .join(format!("{:020}", 1));
    assert_eq!(super::reading::batches(&earlier)[0].num_rows(), 2);
    load(&mut sink, &table, 3, 4).await;
    assert!(super::reading::glob(&earlier).is_empty(), "one is kept");
    assert_eq!(read(&place.root)["shop/accounts"].len(), 2);
}

#[tokio::test]
async fn ignored_columns_are_left_out() {
    let place = place();
    let mut config = config(&place.root);
    config.schema_changes = SchemaPolicy::Ignore;
    let mut sink = Lake::new(config, "shop").expect("a lake");
    sink.open().await.expect("opens");
    load(&mut sink, &accounts(1, "accounts", false), 1, 0).await;
    let wide = accounts(2, "accounts", true);
    sink.apply_schema(&wide).await.expect("is ignored");
    sink.write(&batch(&wide, &[(1, Op::Insert, 5)]))
        .await
        .expect("is taken");
    sink.commit(&at(1)).await.expect("holds");
    let batches = super::reading::batches(&place.root.join("shop/accounts"));
    assert!(batches.iter().all(|it| it.column_by_name("more").is_none()));
    assert_eq!(read(&place.root)["shop/accounts"].len(), 3);
}

#[tokio::test]
async fn a_torn_down_lake_keeps_its_tables_and_nothing_else() {
    let place = place();
    let mut sink = opened(&place.root).await;
    let table = accounts(1, "accounts", false);
    load(&mut sink, &table, 1, 0).await;
    let mut copy = sink.copy(&table, CopyId(2)).await.expect("begins");
    let chunk = copy.chunk(0).await.expect("opens");
    drop((chunk, copy));
    assert!(!sink.teardown().await.expect("is torn down").is_empty());
    drop(sink);
    assert!(!place.root.join("_cdc").exists());
    assert_eq!(read(&place.root)["shop/accounts"].len(), 2);
    // A new pipeline starts from nothing, and its copy takes the table over.
    let mut sink = opened(&place.root).await;
    assert_eq!(sink.committed().await.expect("asked"), None);
    load(&mut sink, &table, 1, 8).await;
    let rows = &read(&place.root)["shop/accounts"];
    assert!(
        rows.len() == 2 && rows.iter().all(|row| row.0 == 8),
        "{rows:?}"
    );
}

/// Changes of which the first leaves the note out.
fn unchanged(table: &Arc<TableSchema>, rows: &[(u64, Op, i64)]) -> ChangeBatch {
    let mut changes = batch(table, rows);
    let first = (0..rows.len()).map(|row| row == 0).collect::<Vec<_>>();
    changes.absent = vec![None, Some(BooleanBuffer::from(first))];
    changes
}

/// Chunks 1 to 3 read at 4, and 4 to 6 at 9; then a change in between.
async fn resumed(rows: &[(u64, Op, i64)], first_absent: bool) -> Result<(), cdc_api::Error> {
    let place = place();
    let mut sink = opened(&place.root).await;
    let table = accounts(1, "accounts", false);
    let mut copy = sink.copy(&table, CopyId(1)).await?;
    for (index, seq, ids) in [(0, 4, [1, 2, 3]), (1, 9, [4, 5, 6])] {
        let mut chunk = copy.chunk(index).await?;
        chunk
            .write(&batch(&table, &ids.map(|id| (seq, Op::Read, id))))
            .await?;
        chunk.finish(seq).await?;
    }
    let changes = if first_absent {
        unchanged(&table, rows)
    } else {
        batch(&table, rows)
    };
    copy.write(&changes).await?;
    copy.commit(10).await
}

#[tokio::test]
async fn an_unchanged_column_needs_a_row_in_some_chunk() {
    use Op::{Insert, MoveIn, MoveOut, Update};
    for held in [1, 5] {
        resumed(&[(6, Update, held)], true)
            .await
            .expect("is in a chunk");
    }
    for lost in [7, 70] {
        let error = resumed(&[(6, Update, lost)], true)
            .await
            .expect_err("is in none");
        assert_eq!(error.kind(), ErrorKind::LogLost);
        assert_eq!(error.table(), Some(accounts(1, "accounts", false).id));
    }
    resumed(&[(6, Update, 7)], false).await.expect("is whole");
    resumed(&[(6, Insert, 7), (7, Update, 7)], false)
        .await
        .expect("was inserted");
    resumed(&[(10, Update, 7)], true)
        .await
        .expect("after the newest point all rows are there");
    resumed(&[(6, MoveOut, 7), (7, MoveIn, 8)], false)
        .await
        .expect("carries all");
}

#[tokio::test]
async fn a_table_without_a_key_is_copied_at_one_point() {
    let place = place();
    let mut sink = opened(&place.root).await;
    let mut table = TableSchema::clone(&accounts(1, "bag", false));
    table.key = Vec::new();
    let table = Arc::new(table);
    let mut copy = sink.copy(&table, CopyId(1)).await.expect("begins");
    copy.chunk(0)
        .await
        .expect("opens")
        .finish(4)
        .await
        .expect("is the first");
    let error = copy
        .chunk(1)
        .await
        .expect("opens")
        .finish(5)
        .await
        .expect_err("is later");
    assert_eq!(error.kind(), ErrorKind::LogLost);
}
