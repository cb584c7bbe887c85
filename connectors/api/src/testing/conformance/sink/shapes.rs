//! Schema changes of the kinds that a sink follows.

use arrow::datatypes::DataType;

use super::rows::{count, put, remove, with_items};
use super::{Drive, Fresh};
use crate::TableId;
use crate::testing::database::{Value, Writer};

/// Inserts a row with `extra` after the columns of [`super::rows::items`].
fn put_wide(w: &mut Writer, table: TableId, id: i64, extra: &[Value]) {
    let mut row: Vec<Value> = vec![id.into(), format!("body {id}").as_str().into(), id.into()];
    row.extend_from_slice(extra);
    assert_eq!(row.len(), w.table(table).schema.columns.len());
    match w.table(table).keys.get(&vec![Value::Int(id)]).copied() {
        Some(place) => assert!(w.update(table, place, row)),
        None => assert!(w.insert(table, row)),
    }
}

/// Existing rows have the constant, or NULL; later ones what they say.
pub async fn a_column_is_added_with_the_value_of_existing_rows(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 4).await;
    drive.write(|w| {
        w.add_column(table, "answer", DataType::Int32, Value::Int(42));
        w.add_column(table, "text", DataType::Utf8, "it's \"old\"".into());
        w.add_column(table, "nothing", DataType::Utf8, Value::Null);
    });
    drive.catch_up().await;
    drive.check("added").await;
    drive.write(|w| {
        put_wide(w, table, 10, &[Value::Null, "new".into(), "x".into()]);
        put_wide(w, table, 1, &[7.into(), Value::Null, Value::Null]);
        count(w, table, 2, 20);
        remove(w, table, 3);
    });
    drive.catch_up().await;
    drive.check("rows of the new shape").await;
    drive.reopen().await;
    drive.check("after reopening").await;
}

/// Rows before and after the change belong to one commit.
pub async fn a_column_is_added_between_rows_of_one_commit(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 4).await;
    drive.write(|w| {
        put(w, table, 5, "before", 5);
        count(w, table, 1, 10);
        w.add_column(table, "answer", DataType::Int32, Value::Int(42));
        count(w, table, 5, 50);
        count(w, table, 2, 20);
        put_wide(w, table, 6, &[1.into()]);
        w.add_column(table, "other", DataType::Utf8, "y".into());
        count(w, table, 6, 60);
        count(w, table, 1, 11);
        put_wide(w, table, 7, &[2.into(), "z".into()]);
    });
    drive.catch_up().await;
    drive.check("two shapes within a commit").await;
}

/// The column's values stay with it.
pub async fn a_column_is_renamed(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 4).await;
    drive.write(|w| {
        w.rename_column(table, 2, "quantity");
        count(w, table, 1, 10);
        put(w, table, 5, "five", 5);
    });
    drive.catch_up().await;
    drive.check("renamed").await;
    drive.write(|w| {
        w.rename_column(table, 2, "qty");
        w.rename_column(table, 0, "key");
        w.add_column(table, "quantity", DataType::Utf8, "another".into());
        put_wide(w, table, 6, &["x".into()]);
        remove(w, table, 1);
    });
    drive.catch_up().await;
    drive
        .check("renamed back, the key too, and the freed name given again")
        .await;
}

/// Two columns take each other's name.
pub async fn two_columns_swap_names(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 3).await;
    drive.write(|w| {
        w.add_column(table, "a", DataType::Int32, Value::Int(1));
        w.add_column(table, "b", DataType::Int32, Value::Int(2));
        put_wide(w, table, 4, &[3.into(), 4.into()]);
    });
    drive.catch_up().await;
    // One step for the sink: a source tells a shape before the next row that has it.
    let shape = drive.write(|w| {
        w.rename_column(table, 3, "tmp");
        w.rename_column(table, 4, "a");
        w.rename_column(table, 3, "b");
        put_wide(w, table, 5, &[5.into(), 6.into()]);
        w.table(table).schema.clone()
    });
    drive.feed_at_once(&shape).await;
    drive.commit().await;
    drive.check("swapped").await;
}

/// Values stay what they are, and larger ones fit.
pub async fn a_type_is_widened(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 4).await;
    drive.write(|w| {
        put(w, table, 5, "before", i64::from(i32::MAX));
        w.widen_column(table, 2);
        put(w, table, 6, "after", i64::MAX);
        count(w, table, 1, i64::MIN);
    });
    drive.catch_up().await;
    drive.check("widened").await;
    drive.reopen().await;
    drive.write(|w| remove(w, table, 6));
    drive.catch_up().await;
    drive.check("and deleted").await;
}

/// A dropped column is not written any more; another of the same name is another column.
pub async fn a_column_is_dropped_and_added_again(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 4).await;
    drive.write(|w| {
        w.drop_column(table, 2);
        w.insert(table, vec![10.into(), "ten".into()]);
    });
    drive.catch_up().await;
    drive.check("dropped").await;
    drive.write(|w| {
        w.add_column(table, "later", DataType::Int32, Value::Int(9));
        w.insert(table, vec![11.into(), "eleven".into(), 1.into()]);
    });
    drive.catch_up().await;
    drive.check("another added").await;
    drive.write(|w| {
        w.drop_column(table, 2);
        w.add_column(table, "later", DataType::Int32, Value::Null);
        w.insert(table, vec![12.into(), "twelve".into(), 2.into()]);
    });
    drive.catch_up().await;
    drive.check("dropped and added under the same name").await;
}

/// NULL is taken where it was not before.
pub async fn not_null_is_dropped(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 2).await;
    drive.write(|w| {
        w.set_nullable(table, 2, false);
        put(w, table, 3, "three", 3);
    });
    drive.catch_up().await;
    drive.write(|w| {
        w.set_nullable(table, 2, true);
        w.insert(table, vec![4.into(), "four".into(), Value::Null]);
        let place = w.table(table).keys[&vec![1.into()]];
        assert!(w.update(table, place, vec![1.into(), Value::Null, Value::Null]));
    });
    drive.catch_up().await;
    drive.check("NULL is taken").await;
}

/// A shape given before a crash or a rollback is given again, with its rows.
pub async fn a_shape_that_was_not_committed_comes_again(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 3).await;
    drive.write(|w| {
        put(w, table, 4, "before", 4);
        w.add_column(table, "answer", DataType::Int32, Value::Int(42));
        w.rename_column(table, 2, "quantity");
        w.widen_column(table, 2);
        put_wide(w, table, 5, &[1.into()]);
    });
    drive.feed().await;
    drive.rollback().await;
    drive.check("rolled back").await;
    drive.feed().await;
    drive.reopen().await;
    drive.check("after a crash").await;
    drive.catch_up().await;
    drive.check("given again").await;
}

/// Shapes change between a copy's snapshot and its join.
pub async fn a_copy_follows_shapes_while_it_catches_up(fresh: Fresh<'_>) {
    let (mut drive, table) = with_items(fresh, 4).await;
    let mut copying = drive.begin_copy(table).await;
    drive.chunk(&mut copying, 0, 0, u64::MAX).await;
    drive.write(|w| {
        count(w, table, 1, 10);
        w.add_column(table, "answer", DataType::Int32, Value::Int(42));
        count(w, table, 2, 20);
    });
    drive.catch_up_copy(&mut copying).await;
    drive.resume(&mut copying).await;
    drive.write(|w| {
        w.widen_column(table, 2);
        put_wide(w, table, 5, &[1.into()]);
        w.drop_column(table, 3);
        put(w, table, 6, "six", 6);
    });
    drive.catch_up_copy(&mut copying).await;
    drive.catch_up().await;
    drive.check("the content goes on beside the copy").await;
    drive.join(copying).await;
    drive.commit().await;
    drive.check("joined").await;
    drive.reopen().await;
    drive.check("after reopening").await;
}

impl Drive {
    /// Gives everything, but only this shape of the ones in between.
    async fn feed_at_once(&mut self, shape: &std::sync::Arc<crate::TableSchema>) {
        self.only_shape = Some(std::sync::Arc::clone(shape));
        self.feed().await;
        self.only_shape = None;
    }
}
