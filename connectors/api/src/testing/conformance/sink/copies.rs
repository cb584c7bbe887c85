//! Table copies: chunks, catch-up, the swap, and what survives a crash.

use super::rows::{ITEMS, bag, count, items, put, rekey, remove, with_items};
use super::{Drive, Fresh};
use crate::testing::database::{Kind, column};
use crate::{CopyId, CopyProgress, ErrorKind, Identity, TableId, TableName};
use arrow::datatypes::DataType;

async fn with_rows(fresh: Fresh<'_>, rows: i64) -> (Drive, TableId) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| items(w, ITEMS));
    drive.write(|w| {
        for id in 0..rows {
            put(w, table, id, &format!("body {id}"), id);
        }
    });
    drive.feed().await;
    (drive, table)
}

/// A copy is hidden until the commit after its join.
pub async fn a_copy_is_seen_when_it_joined_and_not_before(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 6).await;
    drive.commit().await;
    let mut copying = drive.begin_copy(table).await;
    drive.check_unseen(&copying.table.clone(), "begun").await;
    drive.chunk(&mut copying, 0, 0, 3).await;
    drive.chunk(&mut copying, 1, 3, u64::MAX).await;
    let shape = drive.table(table);
    drive.check_unseen(&shape, "chunks finished").await;
    assert!(drive.sink().joined().await.expect("asked").is_empty());
    drive.join(copying).await;
    drive.check_unseen(&shape, "joined, not committed").await;
    drive.commit().await;
    drive.check("committed").await;
    drive.reopen().await;
    drive.check("after reopening").await;
}

/// A table whose readers have its rows from elsewhere is part of the first commit; or it is refused,
/// and can be copied.
pub async fn a_table_is_taken_as_it_is_or_refused(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 0).await;
    if drive.adopt(table).await {
        // A crash before the commit leaves a sink that is new.
        drive.reopen().await;
        drive.feed().await;
        assert!(drive.adopt(table).await, "as before");
        drive.commit().await;
    } else {
        drive.rollback().await;
        drive.load(table).await;
    }
    drive.check("without rows").await;
    drive.reopen().await;
    drive.write(|w| put(w, table, 1, "one", 1));
    drive.catch_up().await;
    drive.check("and then a row").await;
}

/// A table without rows joins too, with and without a chunk.
pub async fn an_empty_table_joins(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 0).await;
    drive.load(table).await;
    drive.check("empty").await;
    drive.write(|w| put(w, table, 1, "one", 1));
    drive.catch_up().await;
    drive.check("and then a row").await;
}

/// What is finished is read back; what is not is written again without harm.
pub async fn finished_chunks_survive_reopening_and_unfinished_ones_leave_nothing(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 9).await;
    drive.commit().await;
    let seq = drive.committed.as_ref().expect("just committed").seq;
    let mut copying = drive.begin_copy(table).await;
    assert_eq!(
        copying.handle.progress().await.expect("asked"),
        CopyProgress::default()
    );
    drive.chunk(&mut copying, 1, 3, 6).await;
    let batch = drive.chunk_rows(table, 0, 3);
    let mut writer = copying.handle.chunk(0).await.expect("opened");
    writer.write(&batch).await.expect("accepted");
    drop(writer);
    let progress = copying.handle.progress().await.expect("asked");
    assert_eq!(progress.chunks, [(1, seq)], "only what is finished");
    let mut writer = copying.handle.chunk(0).await.expect("opened again");
    writer.write(&batch).await.expect("accepted");
    drop(writer);
    drop(copying.handle);
    drive.reopen().await;
    let shape = drive.table(table);
    copying.handle = drive
        .sink()
        .copy(&shape, copying.id)
        .await
        .expect("resumed");
    let progress = copying.handle.progress().await.expect("asked");
    assert_eq!(progress.chunks, [(1, seq)], "read back after a crash");
    assert_eq!(progress.caught_up, None);
    drive.chunk(&mut copying, 0, 0, 3).await;
    drive.chunk(&mut copying, 2, 6, u64::MAX).await;
    let mut progress = copying.handle.progress().await.expect("asked");
    progress.chunks.sort_unstable();
    assert_eq!(progress.chunks, [(0, seq), (1, seq), (2, seq)]);
    drive.join(copying).await;
    drive.commit().await;
    drive.check("joined").await;
}

/// Several chunks are open at once and finish in any order.
pub async fn chunks_are_written_side_by_side(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 12).await;
    let mut copying = drive.begin_copy(table).await;
    let seq = drive.checkpoint(drive.fed).seq;
    let mut writers = Vec::new();
    for index in 0..4u32 {
        let writer = copying.handle.chunk(index).await.expect("opened");
        writers.push((u64::from(index), writer));
    }
    for round in 0..3u64 {
        for (index, writer) in &mut writers {
            let place = *index * 3 + round;
            let batch = drive.chunk_rows(table, place, place + 1);
            writer.write(&batch).await.expect("accepted");
            copying.content.apply(&batch, false).expect("reads apply");
        }
    }
    writers.swap(0, 3);
    for (_, writer) in writers {
        writer.finish(seq).await.expect("finished");
    }
    drive.join(copying).await;
    drive.commit().await;
    drive.check("joined").await;
}

/// Changes after the snapshot reach the copy, and the stream goes on where it joined.
pub async fn a_copy_catches_up_and_joins(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 8).await;
    drive.commit().await;
    let mut copying = drive.begin_copy(table).await;
    drive.chunk(&mut copying, 0, 0, u64::MAX).await;
    drive.write(|w| {
        put(w, table, 100, "new", 1);
        count(w, table, 1, 111);
        remove(w, table, 2);
        rekey(w, table, 3, 33);
        rekey(w, table, 4, 99);
        rekey(w, table, 5, 4);
        rekey(w, table, 99, 5);
    });
    drive.catch_up_copy(&mut copying).await;
    drive.write(|w| {
        count(w, table, 100, 2);
        put(w, table, 2, "again", 2);
    });
    drive.catch_up_copy(&mut copying).await;
    let shape = drive.table(table);
    drive.check_unseen(&shape, "caught up").await;
    drive.feed().await;
    drive.join(copying).await;
    drive.commit().await;
    drive.check("joined").await;
    drive.write(|w| {
        count(w, table, 2, 3);
        count(w, table, 33, 3);
        remove(w, table, 100);
    });
    drive.catch_up().await;
    drive.check("streaming").await;
}

/// The catch-up's commits are read back; what it was given since comes again.
pub async fn a_catch_up_survives_reopening(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 5).await;
    drive.commit().await;
    let mut copying = drive.begin_copy(table).await;
    drive.chunk(&mut copying, 0, 0, u64::MAX).await;
    drive.write(|w| {
        count(w, table, 1, 10);
        put(w, table, 50, "new", 1);
    });
    drive.catch_up_copy(&mut copying).await;
    let caught_up = drive.checkpoint(copying.fed).seq;
    let (content, fed) = (copying.content.clone(), copying.fed);
    drive.write(|w| {
        remove(w, table, 50);
        count(w, table, 1, 11);
        w.truncate(&[table]);
        put(w, table, 2, "after", 2);
    });
    drive.feed_copy(&mut copying, true).await;
    drop(copying.handle);
    drive.reopen().await;
    (copying.content, copying.fed) = (content, fed);
    let shape = copying.content.table().clone();
    copying.handle = drive
        .sink()
        .copy(&shape, copying.id)
        .await
        .expect("resumed");
    let progress = copying.handle.progress().await.expect("asked");
    assert_eq!(
        progress.caught_up,
        Some(caught_up),
        "the catch-up is read back"
    );
    drive.catch_up_copy(&mut copying).await;
    drive.feed().await;
    drive.join(copying).await;
    drive.commit().await;
    drive.check("joined").await;
}

/// Chunks of two snapshots: the replay begins at the older point, over rows that are later.
pub async fn chunks_of_two_points_are_whole_after_the_newer(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 8).await;
    drive.commit().await;
    let mut copying = drive.begin_copy(table).await;
    drive.chunk(&mut copying, 0, 0, 4).await;
    drop(copying.handle);
    drive.write(|w| {
        w.leave_out = false;
        put(w, table, 20, "new in the second chunk", 1);
        // Moves to the end: from the first chunk's places into the second's.
        put(w, table, 1, "moved", 1);
        put(w, table, 5, "changed", 5);
        remove(w, table, 6);
        remove(w, table, 2);
        w.reuse_places = true;
        // Moves from the second chunk's places into the first's, which was read before.
        put(w, table, 7, "moved back", 7);
    });
    drive.write(|w| {
        w.leave_out = false;
        put(w, table, 20, "changed once more", 2);
        rekey(w, table, 4, 44);
    });
    let shape = drive.table(table);
    copying.handle = drive
        .sink()
        .copy(&shape, copying.id)
        .await
        .expect("resumed");
    drive.chunk(&mut copying, 1, 4, u64::MAX).await;
    drive.feed_copy(&mut copying, false).await;
    let newest = drive.checkpoint(copying.fed).seq;
    copying
        .handle
        .commit(newest)
        .await
        .expect("the catch-up holds");
    drive.write(|w| {
        count(w, table, 7, 70);
        count(w, table, 44, 44);
        remove(w, table, 1);
    });
    drive.catch_up_copy(&mut copying).await;
    drive.feed().await;
    drive.join(copying).await;
    drive.commit().await;
    drive.check("joined").await;
}

/// A row whose unchanged column is in no chunk makes the copy begin again.
pub async fn an_unchanged_column_without_a_row_to_hold_it_is_log_lost(fresh: Fresh<'_>) {
    let (mut drive, table) = with_rows(fresh, 6).await;
    if !drive.is_mirror() {
        return;
    }
    drive.commit().await;
    let mut copying = drive.begin_copy(table).await;
    drive.chunk(&mut copying, 0, 0, 3).await;
    drop(copying.handle);
    drive.write(|w| {
        w.reuse_places = true;
        remove(w, table, 1);
        // Into the place that is free now, in the chunk that was read before.
        count(w, table, 5, 50);
    });
    let shape = drive.table(table);
    copying.handle = drive
        .sink()
        .copy(&shape, copying.id)
        .await
        .expect("resumed");
    drive.chunk(&mut copying, 1, 3, u64::MAX).await;
    let first = copying.fed;
    let seq = drive.checkpoint(first).seq;
    let mut failed = None;
    for commit in first + 1..=drive.database.head() {
        let before = drive.checkpoint(commit - 1).seq;
        for step in super::drive::steps(&drive.database, commit, before, usize::MAX) {
            if let super::drive::Step::Rows(batch) = step
                && let Err(error) = copying.handle.write(&batch).await
            {
                failed = Some(error);
            }
        }
    }
    // A sink may look for the row when it writes or when it makes the catch-up durable.
    if failed.is_none() {
        let last = drive.checkpoint(drive.database.head()).seq;
        failed = copying.handle.commit(last).await.err();
    }
    let error = failed.unwrap_or_else(|| panic!("the row from seq {seq} on has no base"));
    assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");
    assert_eq!(error.table(), Some(table), "the error is the table's alone");
    drop(copying.handle);
    let id = copying.id;
    drive.sink().discard_copies(&[]).await.expect("discarded");
    drive.load(table).await;
    assert_ne!(drive.sink().joined().await.expect("asked")[0].copy, id);
    drive.check("a new copy").await;
}

/// While a table is copied again its content stays, and goes on, until the new copy joins.
pub async fn a_second_copy_leaves_the_content_until_it_joins(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 5).await;
    let mut copying = drive.begin_copy(table).await;
    drive.chunk(&mut copying, 0, 0, 3).await;
    drive.write(|w| {
        count(w, table, 1, 100);
        remove(w, table, 2);
    });
    drive.catch_up().await;
    drive.check("the content goes on beside the copy").await;
    // The second chunk is of the same view.
    let rows = drive.database.content(table, copying.fed).expect("there");
    let (from, to): (u64, u64) = (3, u64::MAX);
    let rows: Vec<_> = rows
        .rows
        .range(from..to)
        .map(|(_, row)| row.clone())
        .collect();
    let rows: Vec<_> = rows.iter().map(|row| Some(row.as_slice())).collect();
    let seq = drive.checkpoint(copying.fed).seq;
    let batch = crate::ChangeBatch::of_snapshot(
        copying.table.clone(),
        crate::testing::database::batch_of(&copying.table, &rows),
        seq,
        0,
    );
    let mut writer = copying.handle.chunk(1).await.expect("opened");
    writer.write(&batch).await.expect("accepted");
    writer.finish(seq).await.expect("finished");
    copying.content.apply(&batch, false).expect("reads apply");
    drive.catch_up_copy(&mut copying).await;
    drive.check("caught up").await;
    drive.join(copying).await;
    drive.check("joined, not committed").await;
    drive.commit().await;
    drive.check("committed").await;
    drive.write(|w| put(w, table, 2, "again", 2));
    drive.catch_up().await;
    drive.check("streaming").await;
    drive.reopen().await;
    drive.check("after reopening").await;
}

/// A discarded copy begins from nothing; a kept one goes on.
pub async fn discarded_copies_are_gone_and_kept_ones_are_not(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 6).await;
    let mut gone = drive.begin_copy(table).await;
    drive.chunk(&mut gone, 0, 0, 3).await;
    let mut kept = drive.begin_copy(table).await;
    drive.chunk(&mut kept, 0, 0, 3).await;
    drop(gone.handle);
    drive
        .sink()
        .discard_copies(&[kept.id])
        .await
        .expect("discarded");
    let shape = drive.table(table);
    let mut again = drive
        .sink()
        .copy(&shape, gone.id)
        .await
        .expect("begins again");
    assert_eq!(
        again.progress().await.expect("asked"),
        CopyProgress::default(),
        "a discarded copy holds nothing"
    );
    drop(again);
    drive
        .sink()
        .discard_copies(&[kept.id])
        .await
        .expect("discarded");
    assert_eq!(kept.handle.progress().await.expect("asked").chunks.len(), 1);
    drive.chunk(&mut kept, 1, 3, u64::MAX).await;
    drive.join(kept).await;
    drive.commit().await;
    drive.check("the kept copy joined").await;
    drive.sink().discard_copies(&[]).await.expect("discarded");
    drive.check("discarding leaves what is joined").await;
    drive
        .sink()
        .discard_copies(&[CopyId(77)])
        .await
        .expect("a copy unknown is no error");
    drive.reopen().await;
    drive.check("after reopening").await;
}

/// Two copies join by one commit, with rows of a third table.
pub async fn two_tables_join_in_one_commit(fresh: Fresh<'_>) {
    let (mut drive, first) = with_items(fresh, 3).await;
    let a = drive.write(|w| items(w, "a"));
    let b = drive.write(|w| items(w, "b"));
    drive.write(|w| {
        put(w, a, 1, "in a", 1);
        put(w, b, 1, "in b", 1);
        put(w, first, 9, "in the first", 9);
    });
    drive.feed().await;
    let mut copy_a = drive.begin_copy(a).await;
    let mut copy_b = drive.begin_copy(b).await;
    drive.chunk(&mut copy_a, 0, 0, u64::MAX).await;
    drive.chunk(&mut copy_b, 0, 0, u64::MAX).await;
    drive.join(copy_a).await;
    drive.join(copy_b).await;
    let shape = drive.table(a);
    drive.check_unseen(&shape, "not committed").await;
    drive.commit().await;
    drive.check("committed").await;
}

/// A table created while the stream runs.
pub async fn a_table_added_later_joins(fresh: Fresh<'_>) {
    let (mut drive, first) = with_items(fresh, 3).await;
    let later = drive.write(|w| {
        let later = items(w, "later");
        put(w, later, 1, "there before it was captured", 1);
        later
    });
    drive.write(|w| {
        put(w, later, 2, "passed over by the stream", 2);
        put(w, first, 4, "four", 4);
    });
    drive.catch_up().await;
    drive.check("the other table goes on").await;
    drive.load(later).await;
    drive.check("both").await;
}

/// A table that cannot tell its rows apart is a log's to take, and a mirror's to refuse unless it
/// says otherwise.
pub async fn a_table_without_identity_is_taken_or_refused(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| {
        w.create(
            TableName::new("shop", "audit"),
            vec![
                (column(1, "what", DataType::Utf8), Kind::Plain),
                (column(2, "count", DataType::Int32), Kind::Plain),
            ],
            vec![],
            Identity::None,
        )
    });
    drive.write(|w| {
        w.insert(table, vec!["x".into(), 1.into()]);
        w.insert(table, vec!["x".into(), 1.into()]);
    });
    drive.catch_up().await;
    if drive.sink().capabilities().keyless_append {
        drive.load(table).await;
        drive.write(|w| w.insert(table, vec!["y".into(), 2.into()]));
        drive.catch_up().await;
        drive.check("appended").await;
        return;
    }
    let shape = drive.table(table);
    let error = drive
        .sink()
        .copy(&shape, CopyId(1))
        .await
        .err()
        .expect("refused");
    assert_eq!(
        error.table(),
        Some(table),
        "the error is the table's alone: {error}"
    );
    assert!(error.hint_text().is_some(), "with a remedy: {error}");
    let bag = drive.write(bag);
    drive.load(bag).await;
    drive.check("a refused table stops no other").await;
}
