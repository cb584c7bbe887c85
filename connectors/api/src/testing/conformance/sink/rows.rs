//! Row changes: keys, absent columns, truncates, tables without a key.

use arrow::datatypes::DataType;

use super::{Drive, Fresh};
use crate::testing::database::{Kind, Value, Writer, column};
use crate::{Identity, TableId, TableName};

pub(super) const ITEMS: &str = "items";

/// A table with a key, a large column and a number.
pub(super) fn items(writer: &mut Writer, name: &str) -> TableId {
    writer.create(
        TableName::new("shop", name),
        vec![
            (column(1, "id", DataType::Int64), Kind::Key),
            (column(2, "body", DataType::Utf8), Kind::Large),
            (column(3, "qty", DataType::Int32), Kind::Plain),
        ],
        vec![0],
        Identity::Key,
    )
}

/// A table without a key.
pub(super) fn bag(writer: &mut Writer) -> TableId {
    writer.create(
        TableName::new("shop", "bag"),
        vec![
            (column(1, "kind", DataType::Utf8), Kind::Plain),
            (column(2, "count", DataType::Int32), Kind::Plain),
        ],
        vec![],
        Identity::Full,
    )
}

fn item(id: i64, body: &str, qty: i64) -> Vec<Value> {
    vec![id.into(), body.into(), qty.into()]
}

/// Inserts a row of [`items`], or replaces it.
pub(super) fn put(writer: &mut Writer, table: TableId, id: i64, body: &str, qty: i64) {
    match writer.table(table).keys.get(&vec![Value::Int(id)]).copied() {
        Some(place) => assert!(writer.update(table, place, item(id, body, qty))),
        None => assert!(writer.insert(table, item(id, body, qty))),
    }
}

/// Deletes the row with this key.
pub(super) fn remove(writer: &mut Writer, table: TableId, id: i64) {
    let place = writer.table(table).keys[&vec![Value::Int(id)]];
    assert!(writer.delete(table, place));
}

/// Gives a row another key; the body stays as it is and is left out by the log.
pub(super) fn rekey(writer: &mut Writer, table: TableId, from: i64, to: i64) {
    let place = writer.table(table).keys[&vec![Value::Int(from)]];
    let mut row = writer.table(table).rows[&place].to_vec();
    row[0] = Value::Int(to);
    assert!(writer.update(table, place, row));
}

/// Changes the number of a row; the body stays as it is and is left out by the log.
pub(super) fn count(writer: &mut Writer, table: TableId, id: i64, qty: i64) {
    let place = writer.table(table).keys[&vec![Value::Int(id)]];
    let mut row = writer.table(table).rows[&place].to_vec();
    row[2] = Value::Int(qty);
    assert!(writer.update(table, place, row));
}

pub(super) async fn with_items(fresh: Fresh<'_>, rows: i64) -> (Drive, TableId) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| items(w, ITEMS));
    drive.write(|w| {
        for id in 1..=rows {
            put(w, table, id, &format!("body {id}"), id);
        }
    });
    drive.load(table).await;
    drive.check("after the copy").await;
    (drive, table)
}

/// The plain case, commit by commit.
pub async fn inserts_updates_and_deletes(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 5).await;
    drive.write(|w| put(w, table, 10, "new", 10));
    drive.catch_up().await;
    drive.check("insert").await;
    drive.write(|w| put(w, table, 3, "changed", 30));
    drive.catch_up().await;
    drive.check("update").await;
    drive.write(|w| remove(w, table, 4));
    drive.catch_up().await;
    drive.check("delete").await;
    drive.write(|w| put(w, table, 4, "again", 4));
    drive.catch_up().await;
    drive.check("insert of a deleted key").await;
    drive.reopen().await;
    drive.check("after reopening").await;
}

/// A row comes and goes within one commit, in one batch and over several.
pub async fn many_changes_of_one_row_in_one_commit(fresh: Fresh<'_>) {
    for batch_rows in [usize::MAX, 1, 2] {
        let (mut drive, table) = with_items(fresh, 3).await;
        drive.batch_rows = batch_rows;
        drive.write(|w| {
            put(w, table, 9, "a", 1);
            put(w, table, 9, "b", 2);
            remove(w, table, 9);
            put(w, table, 8, "c", 3);
            remove(w, table, 8);
            put(w, table, 8, "d", 4);
            remove(w, table, 1);
            put(w, table, 1, "back", 1);
            put(w, table, 2, "x", 2);
            put(w, table, 2, "y", 3);
            remove(w, table, 3);
        });
        drive.write(|w| {
            put(w, table, 3, "next transaction", 3);
            remove(w, table, 2);
        });
        drive.catch_up().await;
        drive.check("one commit of two transactions").await;
    }
}

/// A column that was not sent keeps its value: from the target, from the same batch, from an
/// earlier batch of the commit.
pub async fn absent_columns_keep_their_value(fresh: Fresh<'_>) {
    for batch_rows in [usize::MAX, 1] {
        let (mut drive, table) = with_items(fresh, 4).await;
        drive.batch_rows = batch_rows;
        drive.write(|w| count(w, table, 1, 100));
        drive.catch_up().await;
        drive.check("the value is in the target").await;
        drive.write(|w| {
            put(w, table, 2, "sent", 5);
            count(w, table, 2, 6);
            count(w, table, 2, 7);
            put(w, table, 20, "inserted", 1);
            count(w, table, 20, 2);
            remove(w, table, 3);
            put(w, table, 3, "inserted again", 3);
            count(w, table, 3, 33);
            count(w, table, 4, 44);
            count(w, table, 4, 45);
        });
        drive.catch_up().await;
        drive.check("the value is in the same commit").await;
        drive.write(|w| {
            count(w, table, 1, 101);
            put(w, table, 1, "sent after it was absent", 102);
            count(w, table, 1, 103);
            count(w, table, 2, 8);
            remove(w, table, 2);
        });
        drive.catch_up().await;
        drive
            .check("sent after it was absent; deleted after it was absent")
            .await;
    }
}

/// The value of an absent column lives under the old key when the key changes.
pub async fn absent_columns_follow_a_key_change(fresh: Fresh<'_>) {
    for batch_rows in [usize::MAX, 1] {
        let (mut drive, table) = with_items(fresh, 4).await;
        drive.batch_rows = batch_rows;
        drive.write(|w| rekey(w, table, 1, 11));
        drive.catch_up().await;
        drive.check("key change").await;
        drive.write(|w| {
            rekey(w, table, 11, 12);
            rekey(w, table, 12, 13);
            count(w, table, 13, 130);
            put(w, table, 2, "sent before", 2);
            rekey(w, table, 2, 22);
            count(w, table, 3, 30);
            rekey(w, table, 3, 33);
            put(w, table, 3, "another under the old key", 3);
        });
        drive.catch_up().await;
        drive.check("chains within a commit").await;
    }
}

/// A changed key leaves nothing under the old one.
pub async fn a_key_change_moves_the_row(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 3).await;
    drive.write(|w| {
        w.leave_out = false;
        rekey(w, table, 1, 10);
        rekey(w, table, 2, 1);
    });
    drive.catch_up().await;
    drive.check("moved, and the old key taken by another").await;
    drive.write(|w| {
        rekey(w, table, 10, 2);
        remove(w, table, 2);
    });
    drive.catch_up().await;
    drive.check("moved and deleted").await;
}

/// Rows take each other's key by way of a third, whole and with absent columns.
pub async fn keys_are_swapped(fresh: Fresh<'_>) {
    for (batch_rows, leave_out) in [(usize::MAX, false), (usize::MAX, true), (1, true)] {
        let (mut drive, table) = with_items(fresh, 4).await;
        drive.batch_rows = batch_rows;
        for _ in 0..3 {
            drive.write(|w| {
                w.leave_out = leave_out;
                rekey(w, table, 1, 99);
                rekey(w, table, 2, 1);
                rekey(w, table, 99, 2);
                rekey(w, table, 3, 98);
                rekey(w, table, 4, 3);
                rekey(w, table, 98, 4);
                count(w, table, 4, 40);
            });
            drive.catch_up().await;
            drive.check("swapped").await;
        }
    }
}

/// The key's order is not the columns' order, and its parts are of several types.
pub async fn a_composite_key_in_another_order_than_the_columns(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| {
        let table = w.create(
            TableName::new("shop", "lines"),
            vec![
                (column(1, "amount", DataType::Int64), Kind::Plain),
                (column(2, "product", DataType::Utf8), Kind::Key),
                (column(3, "photo", DataType::Utf8), Kind::Large),
                (column(4, "order_id", DataType::Int32), Kind::Key),
            ],
            vec![3, 1],
            Identity::Key,
        );
        for order in 0..3 {
            for product in ["a", "b", ""] {
                let row = vec![1.into(), product.into(), "photo".into(), order.into()];
                assert!(w.insert(table, row));
            }
        }
        table
    });
    drive.load(table).await;
    drive.check("after the copy").await;
    drive.write(|w| {
        let places: Vec<u64> = w.table(table).rows.keys().copied().collect();
        for (index, place) in places.into_iter().enumerate() {
            let mut row = w.table(table).rows[&place].to_vec();
            match index % 3 {
                0 => row[0] = Value::Int(100),
                1 => row[1] = Value::from(format!("moved {index}").as_str()),
                _ => {
                    w.delete(table, place);
                    continue;
                }
            }
            assert!(w.update(table, place, row));
        }
    });
    drive.catch_up().await;
    drive.check("updated, moved, deleted").await;
}

/// Rows before, between and after truncates of one commit.
pub async fn a_truncate_within_a_commit(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 3).await;
    drive.write(|w| w.truncate(&[table]));
    drive.catch_up().await;
    drive.check("truncated alone").await;
    drive.write(|w| {
        put(w, table, 1, "before", 1);
        put(w, table, 5, "before", 5);
        w.truncate(&[table]);
        put(w, table, 1, "between", 1);
        w.truncate(&[table]);
        put(w, table, 2, "after", 2);
        count(w, table, 2, 22);
        put(w, table, 1, "after", 1);
        remove(w, table, 1);
    });
    drive.write(|w| put(w, table, 3, "next transaction", 3));
    drive.catch_up().await;
    drive.check("truncated twice within a commit").await;
    let other = drive.write(|w| items(w, "other"));
    drive.load(other).await;
    drive.write(|w| {
        put(w, other, 1, "one", 1);
        w.truncate(&[table, other]);
        put(w, table, 7, "seven", 7);
    });
    drive.catch_up().await;
    drive.check("two tables by one statement").await;
    drive.write(|w| w.truncate(&[table]));
    drive.feed().await;
    drive.rollback().await;
    drive.check("a truncate rolled back").await;
    drive.catch_up().await;
    drive.check("and given again").await;
}

/// Equal rows are counted: one delete takes one of them.
pub async fn a_table_without_a_key_keeps_its_duplicates(fresh: Fresh<'_>) {
    for batch_rows in [usize::MAX, 1] {
        let mut drive = Drive::begin(fresh()).await;
        drive.batch_rows = batch_rows;
        let table = drive.write(|w| {
            let table = bag(w);
            for count in [1, 1, 1, 2, 3] {
                w.insert(table, vec!["x".into(), count.into()]);
                w.insert(table, vec![Value::Null, count.into()]);
            }
            w.insert(table, vec![Value::Null, Value::Null]);
            w.insert(table, vec![Value::Null, Value::Null]);
            table
        });
        drive.load(table).await;
        drive.check("after the copy").await;
        drive.write(|w| {
            assert!(w.delete(table, 0));
            assert!(w.delete(table, 1));
        });
        drive.catch_up().await;
        drive.check("one of three is deleted").await;
        drive.write(|w| {
            let last = *w.table(table).rows.keys().next_back().expect("rows");
            assert!(w.delete(table, last));
            for _ in 0..3 {
                w.insert(table, vec!["new".into(), 1.into()]);
            }
            let new = *w.table(table).rows.keys().next_back().expect("rows");
            assert!(w.delete(table, new));
            let new = *w.table(table).rows.keys().next_back().expect("rows");
            assert!(w.update(table, new, vec!["new".into(), 2.into()]));
            let new = *w.table(table).rows.keys().next_back().expect("rows");
            assert!(w.update(table, new, vec!["new".into(), 3.into()]));
        });
        drive.catch_up().await;
        drive
            .check("inserted, deleted and updated within a commit")
            .await;
        drive.write(|w| {
            w.truncate(&[table]);
            w.insert(table, vec!["x".into(), 1.into()]);
            w.insert(table, vec!["x".into(), 1.into()]);
        });
        drive.catch_up().await;
        drive.check("truncated").await;
    }
}

/// Old rows are whole although there is a key: updates bring them beside the new ones.
pub async fn full_old_rows_with_a_key(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| {
        let table = w.create(
            TableName::new("shop", "ledger"),
            vec![
                (column(1, "id", DataType::Int64), Kind::Key),
                (column(2, "body", DataType::Utf8), Kind::Large),
                (column(3, "qty", DataType::Int32), Kind::Plain),
            ],
            vec![0],
            Identity::Full,
        );
        for id in 1..5 {
            put(w, table, id, "body", id);
        }
        table
    });
    drive.load(table).await;
    drive.write(|w| {
        put(w, table, 9, "new", 9);
        count(w, table, 1, 100);
        rekey(w, table, 2, 22);
        remove(w, table, 3);
        count(w, table, 9, 90);
    });
    drive.catch_up().await;
    drive.check("full old rows").await;
}

/// A batch without rows changes nothing; a large one is taken whole.
pub async fn empty_and_large_batches(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 2).await;
    let mut empty = drive.chunk_rows(table, 0, 1);
    empty = empty.slice(0, 0);
    drive
        .sink()
        .write(&empty)
        .await
        .expect("an empty batch is taken");
    drive.commit().await;
    drive.check("an empty batch").await;
    drive.write(|w| {
        for id in 10..10_010 {
            w.insert(table, item(id, "some body", id % 1000));
        }
    });
    drive.catch_up().await;
    drive.check("10,000 rows in a batch").await;
    drive.write(|w| {
        for id in (10..10_010).step_by(3) {
            remove(w, table, id);
        }
        for id in (11..10_010).step_by(3) {
            count(w, table, id, 5);
        }
    });
    drive.catch_up().await;
    drive.check("a third deleted, a third updated").await;
}

/// NULL is sent, absent is not, and an empty text is neither.
pub async fn null_is_not_absent_and_not_empty(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 4).await;
    let set = |w: &mut Writer, id: i64, body: Value| {
        let place = w.table(table).keys[&vec![Value::Int(id)]];
        let mut row = w.table(table).rows[&place].to_vec();
        row[1] = body;
        assert!(w.update(table, place, row));
    };
    drive.write(|w| {
        set(w, 1, Value::Null);
        set(w, 2, "".into());
        count(w, table, 3, 3000);
        set(w, 4, Value::Null);
        set(w, 4, "value again".into());
    });
    drive.catch_up().await;
    drive.check("NULL, empty and absent").await;
    drive.write(|w| {
        count(w, table, 1, 9);
        count(w, table, 2, 9);
        set(w, 3, Value::Null);
        count(w, table, 3, 9);
    });
    drive.catch_up().await;
    drive.check("changed beside them").await;
}

/// Names that need quoting everywhere.
pub async fn odd_names(fresh: Fresh<'_>) {
    let mut drive = Drive::begin(fresh()).await;
    let table = drive.write(|w| {
        let table = w.create(
            TableName::new("Odd \"Schema", "select from.where/a?b"),
            vec![
                (column(1, "order", DataType::Int64), Kind::Key),
                (column(2, "it's \"quoted\"", DataType::Utf8), Kind::Large),
                (column(3, "Ünï cödé, (x) = ?", DataType::Int32), Kind::Plain),
                (column(4, "group", DataType::Utf8), Kind::Plain),
            ],
            vec![0],
            Identity::Key,
        );
        w.insert(
            table,
            vec![1.into(), "it's".into(), 1.into(), "\"g\"".into()],
        );
        table
    });
    drive.load(table).await;
    drive.check("after the copy").await;
    drive.write(|w| {
        w.insert(
            table,
            vec![2.into(), "\\ ' \" ; --".into(), 2.into(), "\n\t".into()],
        );
        count(w, table, 1, 7);
        w.insert(table, vec![3.into(), "x".into(), 2.into(), "y".into()]);
        rekey(w, table, 3, 4);
        remove(w, table, 4);
    });
    drive.catch_up().await;
    drive.check("changes").await;
}
