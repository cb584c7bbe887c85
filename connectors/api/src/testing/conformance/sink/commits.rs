//! Checkpoints, atomicity, rollback, reopening.

use super::rows::{ITEMS, items, put};
use super::{Drive, Fresh};

/// Nothing is there at first; the first checkpoint is read back, by the same handle and another.
pub async fn a_fresh_target_has_no_checkpoint_and_keeps_the_first(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    drive.reopen().await;
    drive.write(|_| ());
    drive.catch_up().await;
    let committed = drive.sink().committed().await.expect("asked");
    assert_eq!(
        committed, drive.committed,
        "the checkpoint is the one committed"
    );
    drive.reopen().await;
}

/// A commit with nothing written keeps the content and moves the checkpoint.
pub async fn an_idle_commit_moves_the_position_alone(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| items(w, ITEMS));
    drive.write(|w| put(w, table, 1, "one", 1));
    drive.load(table).await;
    for _ in 0..3 {
        let before = drive.committed.clone();
        drive.write(|_| ());
        drive.catch_up().await;
        assert_ne!(drive.committed, before, "the position moved");
        assert_eq!(
            drive.committed.as_ref().map(|c| c.seq),
            before.map(|c| c.seq)
        );
        drive.check("after an idle commit").await;
    }
    drive.reopen().await;
    drive.check("after reopening").await;
}

/// Readers see rows when they are committed, and not while they are only accepted.
pub async fn writes_are_seen_after_their_commit_and_not_before(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| items(w, ITEMS));
    drive.write(|w| put(w, table, 1, "one", 1));
    drive.load(table).await;
    drive.check("after the join").await;
    drive.write(|w| {
        put(w, table, 2, "two", 2);
        let place = w.table(table).keys[&vec![1.into()]];
        w.delete(table, place);
    });
    drive.feed().await;
    drive.check("accepted, not committed").await;
    drive.commit().await;
    drive.check("committed").await;
}

/// Two tables of one commit are both there or both not.
pub async fn a_commit_is_all_tables_or_none(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let a = drive.write(|w| items(w, "a"));
    let b = drive.write(|w| items(w, "b"));
    drive.load(a).await;
    drive.load(b).await;
    for round in 0..3 {
        drive.write(|w| {
            put(w, a, round, "in a", 1);
            put(w, b, round, "in b", 2);
        });
        drive.feed().await;
        drive.reopen().await;
        drive.check("a crash before the commit").await;
        drive.catch_up().await;
        drive.check("the commit").await;
    }
}

/// After a rollback the same rows come again, and are there once.
pub async fn what_was_rolled_back_is_given_again_once(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| items(w, ITEMS));
    let bag = drive.write(super::rows::bag);
    drive.load(table).await;
    drive.load(bag).await;
    drive.write(|w| {
        put(w, table, 1, "one", 1);
        w.insert(bag, vec!["x".into(), 1.into()]);
        w.insert(bag, vec!["x".into(), 1.into()]);
    });
    drive.feed().await;
    drive.rollback().await;
    drive.check("rolled back").await;
    drive.catch_up().await;
    drive.check("given again").await;
    drive.rollback().await;
    drive.check("a rollback of nothing").await;
}

/// A handle dropped with writes leaves the last commit.
pub async fn what_was_not_committed_is_gone_after_reopening(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| items(w, ITEMS));
    drive.load(table).await;
    drive.write(|w| put(w, table, 1, "one", 1));
    drive.catch_up().await;
    drive.write(|w| {
        put(w, table, 2, "two", 2);
        w.truncate(&[table]);
        put(w, table, 3, "three", 3);
    });
    drive.feed().await;
    drive.reopen().await;
    drive.check("after the crash").await;
    drive.catch_up().await;
    drive.reopen().await;
    drive.check("given again").await;
}

/// The last checkpoint may be committed again, as a join does.
pub async fn committing_the_same_checkpoint_again_changes_nothing(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| items(w, ITEMS));
    drive.write(|w| put(w, table, 1, "one", 1));
    drive.load(table).await;
    drive.commit().await;
    drive.commit().await;
    drive.check("committed twice more").await;
    drive.reopen().await;
    drive.check("after reopening").await;
}

/// A table taken out of the stream stays readable as it was, other tables go on, and a new copy
/// brings it back.
pub async fn a_table_that_left_keeps_its_rows_until_a_new_copy_joins(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let a = drive.write(|w| items(w, "a"));
    let b = drive.write(|w| items(w, "b"));
    drive.write(|w| {
        put(w, a, 1, "one", 1);
        put(w, b, 1, "one", 1);
    });
    drive.load(a).await;
    drive.load(b).await;
    drive.sink().leave(a).await.expect("the table leaves");
    let left = drive.forget(a).expect("it was joined");
    drive.write(|w| {
        put(w, a, 2, "two", 2);
        put(w, b, 2, "two", 2);
    });
    drive.catch_up().await;
    drive.check("the other table went on").await;
    drive.check_content(&left, "the table that left").await;
    drive
        .sink()
        .leave(a)
        .await
        .expect("a table that is not joined is no error");
    drive.reopen().await;
    drive
        .check_content(&left, "the table that left, after reopening")
        .await;
    drive.load(a).await;
    drive.check("both tables").await;
    drive.write(|w| put(w, a, 3, "three", 3));
    drive.catch_up().await;
    drive.check("both tables, later").await;
}
