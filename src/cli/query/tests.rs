//! Every format on values that are easily written wrong.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;

use super::*;

fn batch() -> RecordBatch {
    let decimal = Decimal128Array::from(vec![Some(1_234_500), None, Some(-1)])
        .with_precision_and_scale(38, 4)
        .expect("a decimal");
    let time =
        TimestampMicrosecondArray::from(vec![Some(i64::MAX), None, Some(1_700_000_000_123_456)]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    RecordBatch::try_from_iter_with_nullable(vec![
        (
            "id",
            Arc::new(Int64Array::from(vec![i64::MAX, -1, 0])) as ArrayRef,
            true,
        ),
        (
            "big",
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])),
            true,
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![
                Some("a,\"b\"\nc\u{1b}"),
                None,
                Some(""),
            ])),
            true,
        ),
        ("price", Arc::new(decimal), true),
        (
            "ratio",
            Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(1.5)])),
            true,
        ),
        (
            "flag",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            true,
        ),
        (
            "raw",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\x00\xff"[..]),
                None,
                Some(b""),
            ])),
            true,
        ),
        ("at", Arc::new(time), true),
        ("tags", Arc::new(list), true),
    ])
    .expect("a batch")
}

#[test]
fn json_is_exact_and_shows_nulls() {
    let text = String::from_utf8(json(&batch()).expect("json")).expect("UTF-8");
    insta::assert_snapshot!(text);
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    assert_eq!(rows[0]["big"], u64::MAX);
    assert_eq!(rows[0]["price"], "123.4500");
    assert_eq!(rows[0]["ratio"], "NaN");
    assert_eq!(rows[2]["ratio"], 1.5);
    assert_eq!(rows[0]["at"], "infinity");
    assert!(rows[1].as_object().expect("an object").len() == 9 && rows[1]["text"].is_null());
}

#[test]
fn csv_tells_null_from_the_empty_text() {
    insta::assert_snapshot!(csv(&batch(), true).expect("csv"));
    let later = csv(&batch(), false).expect("csv");
    assert!(!later.starts_with("id,"));
}

#[test]
fn a_table_is_aligned_and_cannot_steer_the_terminal() {
    let batch = batch();
    let mut table = columns(&batch);
    add_rows(&mut table, &batch).expect("a table");
    let text = table.render();
    assert!(!text.contains('\u{1b}'));
    assert_eq!(text.lines().count(), 4);
    insta::assert_snapshot!(text);
}

#[test]
fn no_rows_leave_the_heading() {
    let empty = batch().slice(0, 0);
    assert_eq!(
        csv(&empty, true).expect("csv"),
        "id,big,text,price,ratio,flag,raw,at,tags\n"
    );
    assert!(json(&empty).expect("json").is_empty());
}
