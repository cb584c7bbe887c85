//! What it knows outlives it; what was not committed does not.

use cdc_api::{ErrorKind, Identity, Position, TableName};

use super::*;

fn table(id: u64) -> Arc<TableSchema> {
    let name = TableName::new("shop", format!("t{id}"));
    let schema = TableSchema::new(TableId(id), name, 1, Vec::new(), Vec::new(), Identity::None);
    Arc::new(schema)
}

fn checkpoint(seq: u64) -> Checkpoint {
    Checkpoint {
        position: Position::new("here"),
        seq,
        offset: 0,
        commit_time: 0,
    }
}

async fn opened(path: &std::path::Path) -> Blackhole {
    let mut sink = Blackhole::new(BlackholeConfig {
        path: path.display().to_string(),
    });
    sink.open().await.expect("it opens");
    sink
}

async fn joined(sink: &mut Blackhole) -> Vec<(TableId, CopyId)> {
    let joined = sink.joined().await.expect("it is open");
    joined.iter().map(|it| (it.table.id, it.copy)).collect()
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nothing.json");
    let mut sink = opened(&path).await;
    assert!(!sink.exists());
    assert_eq!(sink.committed().await.expect("open"), None);
    let mut copy = sink.copy(&table(1), CopyId(7)).await.expect("a copy");
    let chunk = copy.chunk(3).await.expect("a chunk");
    chunk.finish(40).await.expect("finished");
    let mut sink = opened(&path).await;
    let mut copy = sink
        .copy(&table(1), CopyId(7))
        .await
        .expect("the same copy");
    let progress = copy.progress().await.expect("its progress");
    assert_eq!((progress.chunks, progress.caught_up), (vec![(3, 40)], None));
    copy.commit(50).await.expect("caught up");
    let progress = copy.progress().await.expect("its progress");
    assert_eq!(progress.caught_up, Some(50));
    sink.join(&table(1), CopyId(7)).await.expect("is there");
    sink.rollback().await.expect("nothing to tell");
    sink.commit(&checkpoint(50)).await.expect("committed");
    assert_eq!(joined(&mut sink).await, vec![]);
    sink.join(&table(1), CopyId(7)).await.expect("is there");
    sink.commit(&checkpoint(60)).await.expect("committed");
    let mut sink = opened(&path).await;
    assert_eq!(sink.committed().await.expect("open"), Some(checkpoint(60)));
    assert_eq!(joined(&mut sink).await, vec![(TableId(1), CopyId(7))]);
    sink.leave(TableId(1)).await.expect("noted");
    sink.commit(&checkpoint(61)).await.expect("committed");
    assert_eq!(joined(&mut opened(&path).await).await, vec![]);
    assert_eq!(sink.teardown().await.expect("removed").len(), 1);
    assert!(!sink.exists());
}

#[tokio::test]
async fn copies_that_are_discarded_cannot_join() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = opened(&folder.path().join("nothing.json")).await;
    for copy in [CopyId(1), CopyId(2)] {
        sink.copy(&table(1), copy).await.expect("a copy");
    }
    sink.discard_copies(&[CopyId(2)]).await.expect("discarded");
    assert!(sink.join(&table(1), CopyId(1)).await.is_err());
    assert!(sink.join(&table(1), CopyId(2)).await.is_ok());
}

#[tokio::test]
async fn a_commit_costs_a_line_and_the_file_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nothing.json");
    let size = || std::fs::metadata(&path).map_or(0, |file| file.len());
    let mut sink = opened(&path).await;
    for id in 0..100 {
        sink.copy(&table(id), CopyId(id)).await.expect("a copy");
        sink.join(&table(id), CopyId(id)).await.expect("is there");
    }
    sink.commit(&checkpoint(1)).await.expect("committed");
    let before = size();
    sink.commit(&checkpoint(2)).await.expect("committed");
    assert!(size() - before < 200, "not all the tables again");
    for seq in 3..500 {
        sink.commit(&checkpoint(seq)).await.expect("committed");
        assert!(size() < 3 * before);
    }
    let mut sink = opened(&path).await;
    assert_eq!(joined(&mut sink).await.len(), 100);
    let last = sink.committed().await.expect("open");
    assert_eq!(last, Some(checkpoint(499)));
}

#[tokio::test]
async fn a_line_that_was_not_written_whole_says_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nothing.json");
    let mut sink = opened(&path).await;
    sink.commit(&checkpoint(1)).await.expect("committed");
    sink.commit(&checkpoint(2)).await.expect("committed");
    let whole = std::fs::read(&path).expect("is there");
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("written");
    let mut sink = opened(&path).await;
    assert_eq!(sink.committed().await.expect("open"), Some(checkpoint(1)));
    sink.commit(&checkpoint(3)).await.expect("committed");
    let mut sink = opened(&path).await;
    assert_eq!(sink.committed().await.expect("open"), Some(checkpoint(3)));
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_an_error_with_its_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nothing.json");
    std::fs::write(&path, "{").expect("written");
    let open = async |path: String| Blackhole::new(BlackholeConfig { path }).open().await;
    let damaged = open(path.display().to_string()).await.expect_err("damaged");
    assert_eq!(damaged.kind(), ErrorKind::Data);
    assert!(damaged.hint_text().is_some());
    let mut sink = opened(&folder.path().join("gone/nothing.json")).await;
    let missing = sink.commit(&checkpoint(1)).await.expect_err("no folder");
    assert!(missing.is_transient() && missing.hint_text().is_some());
}
