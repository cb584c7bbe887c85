//! What values become in a file.

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Decimal128Array, Int64Array, ListArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use cdc_api::{Column, Identity, Op, TableId, TableName, TransactionId, TransactionRun};

use super::*;

fn table(columns: Vec<Column>) -> Arc<TableSchema> {
    Arc::new(TableSchema::new(
        TableId(1),
        TableName::new("s", "t"),
        3,
        columns,
        vec![0],
        Identity::Key,
    ))
}

fn encoded(
    columns: Vec<(&str, ArrayRef)>,
    change: impl FnOnce(&mut ChangeBatch),
) -> Result<RecordBatch> {
    let shape = table(
        columns
            .iter()
            .map(|(name, values)| Column::new(*name, values.data_type().clone(), ""))
            .collect(),
    );
    let arrays = columns.into_iter().map(|(_, values)| values).collect();
    let rows = RecordBatch::try_new(Arc::clone(shape.arrow()), arrays).expect("fits");
    let mut batch = ChangeBatch::of_snapshot(Arc::clone(&shape), rows, 9, 0);
    change(&mut batch);
    encode(&shape, &file_schema(&shape), &batch)
}

fn special(batch: &RecordBatch, row: usize) -> Vec<(String, String)> {
    let map = batch.column_by_name(SPECIAL).expect("there").as_map();
    if map.is_null(row) {
        return Vec::new();
    }
    let entries = map.value(row);
    let text = |column: usize, at: usize| {
        entries
            .column(column)
            .as_string::<i32>()
            .value(at)
            .to_owned()
    };
    (0..entries.len())
        .map(|at| (text(0, at), text(1, at)))
        .collect()
}

#[test]
fn values_without_a_place_in_parquet_are_null_and_named() {
    let batch = encoded(
        vec![
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            (
                "day",
                Arc::new(Date32Array::from(vec![Some(i32::MAX), None, Some(0)])),
            ),
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN, 5, i64::MAX])),
            ),
            (
                "time",
                Arc::new(Time64MicrosecondArray::from(vec![
                    86_400_000_000,
                    0,
                    86_399_999_999,
                ])),
            ),
        ],
        |_| {},
    )
    .expect("is written");
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(
        special(&batch, 0),
        [pair("day", "infinity"), pair("at", "-infinity")]
    );
    assert_eq!(special(&batch, 1), []);
    assert_eq!(special(&batch, 2), [pair("at", "infinity")]);
    let nulls: Vec<usize> = batch.columns()[1..4]
        .iter()
        .map(|it| it.null_count())
        .collect();
    assert_eq!(nulls, [2, 2, 0]);
    let times = batch.column(3).as_string::<i32>();
    let times: Vec<&str> = (0..3).map(|row| times.value(row)).collect();
    assert_eq!(times, ["24:00:00", "00:00:00", "23:59:59.999999"]);
}

#[test]
fn an_infinite_element_of_an_array_stops_the_table() {
    let list =
        ListArray::from_iter_primitive::<arrow::datatypes::Date32Type, _, _>([Some(vec![Some(
            i32::MAX,
        )])]);
    let error = encoded(vec![("days", Arc::new(list))], |_| {}).expect_err("has no place");
    assert_eq!(error.table(), Some(TableId(1)));
    assert!(error.hint_text().is_some());
}

#[test]
fn absent_columns_are_named_and_null_is_not_absent() {
    let batch = encoded(
        vec![
            ("id", Arc::new(Int64Array::from(vec![1, 2]))),
            ("a", Arc::new(BooleanArray::from(vec![None, None]))),
        ],
        |batch| {
            batch.ops = vec![Op::Update.code(); 2].into();
            batch.seq = vec![4, 5].into();
            batch.absent = vec![None, Some(BooleanBuffer::from(vec![true, false]))];
        },
    )
    .expect("is written");
    let absent = batch
        .column_by_name(ABSENT)
        .expect("there")
        .as_list::<i32>();
    assert_eq!(absent.value(0).as_string::<i32>().value(0), "a");
    assert!(absent.is_null(1));
}

#[test]
fn transactions_are_told_by_run() {
    let run = |end, id, commit_time| TransactionRun {
        end,
        id: TransactionId::Number(id),
        commit_offset: 0,
        commit_time,
        first_seq: 1,
    };
    let batch = encoded(
        vec![("id", Arc::new(Int64Array::from(vec![1, 2, 3])))],
        |batch| {
            batch.seq = vec![4, 5, 6].into();
            batch.ops = vec![Op::MoveOut.code(), Op::MoveIn.code(), Op::Insert.code()].into();
            batch.transactions = vec![run(2, 70, 7), run(3, 80, 8)];
        },
    )
    .expect("is written");
    let text = |name: &str| {
        let column = batch.column_by_name(name).expect("there");
        let column = arrow::compute::cast(column, &DataType::Utf8).expect("text");
        let column = column.as_string::<i32>();
        (0..3)
            .map(|row| column.value(row).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(text(OP), ["delete", "insert", "insert"]);
    assert_eq!(text(TRANSACTION), ["70", "70", "80"]);
    let times = batch.column_by_name(COMMIT_TIME).expect("there");
    let times = times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(times.values().to_vec(), [7, 7, 8]);
}

#[test]
fn decimals_fit_parquets_rules_or_are_text() {
    use DataType::{Decimal128, Decimal256, Utf8};
    assert_eq!(stored_type(&Decimal128(38, 10), None), Decimal128(38, 10));
    assert_eq!(stored_type(&Decimal128(3, -2), None), Decimal128(5, 0));
    assert_eq!(stored_type(&Decimal128(3, 5), None), Decimal128(5, 5));
    assert_eq!(stored_type(&Decimal128(38, -2), None), Utf8);
    assert_eq!(stored_type(&Decimal256(70, 10), None), Utf8);
    let numbers = Decimal128Array::from(vec![123])
        .with_precision_and_scale(3, -2)
        .expect("in range");
    let batch = encoded(vec![("n", Arc::new(numbers))], |_| {}).expect("is written");
    let stored = batch
        .column(0)
        .as_primitive::<arrow::datatypes::Decimal128Type>();
    assert_eq!(stored.value(0), 12_300);
}

#[test]
fn names_of_ours_are_refused_with_the_remedy() {
    let error = check_names(&table(vec![Column::new(
        "_CDC_seq",
        DataType::Int64,
        "int8",
    )]))
    .expect_err("is refused");
    assert_eq!(error.table(), Some(TableId(1)));
    assert!(error.hint_text().is_some_and(|hint| hint.contains("!s.t")));
}

#[test]
fn widening_keeps_every_value() {
    use DataType::{Decimal128, Float32, Float64, Int32, Int64, Utf8};
    assert!(widens(&Int32, &Int64));
    assert!(!widens(&Int64, &Int32));
    assert!(!widens(&Int64, &Float64));
    assert!(widens(&Float32, &Float64));
    assert!(widens(&Decimal128(10, 2), &Decimal128(12, 4)));
    assert!(!widens(&Decimal128(10, 2), &Decimal128(10, 4)));
    assert!(!widens(&Int32, &Utf8));
}
