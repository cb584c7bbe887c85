//! Every Arrow type that a source sends, with its edges, from a copy and from the stream.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int32Builder,
    Int64Array, IntervalMonthDayNanoArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array, new_null_array,
};
use arrow::array::{Decimal256Array, Int8Array};
use arrow::datatypes::{IntervalMonthDayNano, i256};

use super::{Drive, Fresh};
use crate::testing::canonical;
use crate::testing::content::Content;
use crate::{
    ChangeBatch, Column, CopyId, Identity, Op, TableId, TableName, TableSchema, TransactionId,
    TransactionRun,
};

fn uuids() -> FixedSizeBinaryArray {
    let values: [[u8; 16]; 2] = [[0xa0; 16], *b"0123456789abcdef"];
    FixedSizeBinaryArray::try_from_iter(values.iter()).expect("of one size")
}

fn decimals(precision: u8, scale: i8, values: [i128; 2]) -> ArrayRef {
    Arc::new(
        Decimal128Array::from(values.to_vec())
            .with_precision_and_scale(precision, scale)
            .expect("in range"),
    )
}

fn interval(months: i32, days: i32, microseconds: i64) -> IntervalMonthDayNano {
    IntervalMonthDayNano::new(months, days, microseconds * 1000)
}

fn lists() -> (ArrayRef, ArrayRef) {
    let mut numbers = ListBuilder::new(Int32Builder::new());
    numbers.append_value([Some(1), None, Some(-3)]);
    numbers.append_value([]);
    let mut texts = ListBuilder::new(StringBuilder::new());
    texts.append_value([Some("a"), None, Some("it's, \"b\"")]);
    texts.append_value([Some("")]);
    (Arc::new(numbers.finish()), Arc::new(texts.finish()))
}

/// Two values of every type: name, source's type, extension, values.
fn values() -> Vec<(&'static str, &'static str, Option<&'static str>, ArrayRef)> {
    const DAY: i64 = 86_400_000_000;
    let big = i256::from_string("-123456789012345678901234567890123456789012345678901234567890")
        .expect("a number");
    let wide = Decimal256Array::from(vec![i256::ONE, big])
        .with_precision_and_scale(70, 10)
        .expect("in range");
    let (numbers, texts) = lists();
    let stamps = || TimestampMicrosecondArray::from(vec![1_700_000_000_123_456, -1]);
    vec![
        (
            "c_bool",
            "bool",
            None,
            Arc::new(BooleanArray::from(vec![true, false])),
        ),
        (
            "c_int1",
            "tinyint",
            None,
            Arc::new(Int8Array::from(vec![i8::MIN, i8::MAX])),
        ),
        (
            "c_int2",
            "int2",
            None,
            Arc::new(Int16Array::from(vec![i16::MIN, i16::MAX])),
        ),
        (
            "c_int4",
            "int4",
            None,
            Arc::new(Int32Array::from(vec![i32::MIN, i32::MAX])),
        ),
        (
            "c_int8",
            "int8",
            None,
            Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])),
        ),
        (
            "c_uint1",
            "tinyint unsigned",
            None,
            Arc::new(UInt8Array::from(vec![0, u8::MAX])),
        ),
        (
            "c_uint2",
            "smallint unsigned",
            None,
            Arc::new(UInt16Array::from(vec![0, u16::MAX])),
        ),
        (
            "c_uint4",
            "int unsigned",
            None,
            Arc::new(UInt32Array::from(vec![0, u32::MAX])),
        ),
        (
            "c_uint8",
            "bigint unsigned",
            None,
            Arc::new(UInt64Array::from(vec![0, u64::MAX])),
        ),
        (
            "c_float4",
            "float4",
            None,
            Arc::new(Float32Array::from(vec![f32::NAN, -1.5e30])),
        ),
        (
            "c_float8",
            "float8",
            None,
            Arc::new(Float64Array::from(vec![f64::NEG_INFINITY, 0.1 + 0.2])),
        ),
        (
            "c_numeric",
            "numeric(10,2)",
            None,
            decimals(10, 2, [-9_999_999_999, 1]),
        ),
        (
            "c_numeric38",
            "numeric(38,10)",
            None,
            decimals(38, 10, [-(10i128.pow(38) - 1), 10i128.pow(38) - 1]),
        ),
        ("c_numeric70", "numeric(70,10)", None, Arc::new(wide)),
        (
            "c_number_text",
            "numeric",
            None,
            Arc::new(StringArray::from(vec![
                "NaN",
                "1e-1000 is written out elsewhere",
            ])),
        ),
        (
            "c_date",
            "date",
            None,
            Arc::new(Date32Array::from(vec![-719_162, 2_932_896])),
        ),
        ("c_timestamp", "timestamp", None, Arc::new(stamps())),
        (
            "c_timestamptz",
            "timestamptz",
            None,
            Arc::new(stamps().with_timezone("UTC")),
        ),
        (
            "c_time",
            "time",
            None,
            Arc::new(Time64MicrosecondArray::from(vec![0, DAY - 1])),
        ),
        (
            "c_duration",
            "time",
            None,
            Arc::new(DurationMicrosecondArray::from(vec![-3_020_399_000_000, 1])),
        ),
        (
            "c_interval",
            "interval",
            None,
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                interval(14, -3, 4_000_005),
                interval(-1, 0, -1),
            ])),
        ),
        ("c_uuid", "uuid", Some("arrow.uuid"), Arc::new(uuids())),
        (
            "c_bytes",
            "bytea",
            None,
            Arc::new(BinaryArray::from(vec![b"\x00\xff\x80".as_slice(), b""])),
        ),
        (
            "c_text",
            "text",
            None,
            Arc::new(StringArray::from(vec!["", "ünï 漢字 🦆 '\" \\ \n"])),
        ),
        (
            "c_json",
            "jsonb",
            Some("arrow.json"),
            Arc::new(StringArray::from(vec![
                "{\"a\": [1, null]}",
                "12345678901234567890.123",
            ])),
        ),
        ("c_numbers", "int4[]", None, numbers),
        ("c_texts", "text[]", None, texts),
    ]
}

fn every_type() -> (Arc<TableSchema>, RecordBatch) {
    let mut columns = vec![Column::new("id", arrow::datatypes::DataType::Int64, "int8")];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1, 2, 3]))];
    for (name, source_type, extension, array) in values() {
        columns.push(Column {
            extension: extension.map(str::to_owned),
            ..Column::new(name, array.data_type().clone(), source_type)
        });
        let nothing = new_null_array(array.data_type(), 1);
        let array = arrow::compute::concat(&[&array, &nothing]).expect("of one type");
        arrays.push(array);
    }
    for (number, column) in (1..).zip(&mut columns) {
        column.id = Some(number);
    }
    let name = TableName::new("shop", "every_type");
    let table = TableSchema::new(TableId(1), name, 1, columns, vec![0], Identity::Key);
    let rows = RecordBatch::try_new(Arc::clone(table.arrow()), arrays).expect("fits");
    (Arc::new(table), rows)
}

fn changes(table: &Arc<TableSchema>, rows: RecordBatch, op: Op, first: u64) -> ChangeBatch {
    let count = rows.num_rows();
    ChangeBatch {
        table: Arc::clone(table),
        ops: vec![op.code(); count].into(),
        seq: (first..first + count as u64).collect::<Vec<_>>().into(),
        offset: vec![first; count].into(),
        absent: Vec::new(),
        before: None,
        transactions: vec![TransactionRun {
            end: u32::try_from(count).expect("a few rows"),
            id: TransactionId::Number(first),
            commit_offset: first,
            commit_time: 1_700_000_000_000_000,
            first_seq: 1,
        }],
        rows,
    }
}

/// Joins a table that holds `rows`, from a copy at the drive's first commit.
async fn joined(drive: &mut Drive, table: &Arc<TableSchema>, rows: &RecordBatch) -> Content {
    drive.write(|_| ());
    drive.fed = drive.database.head();
    let mut content = Content::new(Arc::clone(table), drive.probe.flavour());
    let batch = ChangeBatch::of_snapshot(Arc::clone(table), rows.clone(), 0, 0);
    let sink = drive.sink();
    let mut copy = sink
        .copy(table, CopyId(1))
        .await
        .expect("every type has a place");
    let mut writer = copy.chunk(0).await.expect("opened");
    writer.write(&batch).await.expect("existing rows are taken");
    writer.finish(0).await.expect("finished");
    drop(copy);
    sink.join(table, CopyId(1)).await.expect("joins");
    content.apply(&batch, true).expect("reads apply");
    drive.commit().await;
    drive.check_content(&content, "from the copy").await;
    content
}

async fn write(drive: &mut Drive, content: &mut Content, batch: &ChangeBatch, seq: u64) {
    drive.sink().write(batch).await.expect("rows are taken");
    content.apply(batch, true).expect("fits");
    let mut checkpoint = drive.checkpoint(drive.fed);
    checkpoint.seq = seq;
    drive.sink().commit(&checkpoint).await.expect("commits");
}

/// The same values by both ways, NULL among them; updated to each other, and deleted.
pub async fn every_type_is_kept(fresh: Fresh<'_>) {
    let (table, rows) = every_type();
    let mut drive = Drive::begin(fresh()).await;
    let mut content = joined(&mut drive, &table, &rows).await;
    let streamed = |ids: [i64; 3], from: &RecordBatch| {
        let mut arrays = from.columns().to_vec();
        arrays[0] = Arc::new(Int64Array::from(ids.to_vec()));
        RecordBatch::try_new(Arc::clone(table.arrow()), arrays).expect("fits")
    };
    let batch = changes(&table, streamed([4, 5, 6], &rows), Op::Insert, 1);
    write(&mut drive, &mut content, &batch, 3).await;
    drive.check_content(&content, "from the stream").await;
    if drive.is_mirror() {
        // Row for row the same as the copy's, whatever the type became in the target.
        let batches = drive.read(&table).await.expect("there");
        let mut rows = canonical::rows(&batches, &table.columns).expect("all columns");
        rows.sort();
        for (copied, streamed) in [(0, 3), (1, 4), (2, 5)] {
            assert_eq!(
                rows[copied][1..],
                rows[streamed][1..],
                "copy against stream"
            );
        }
    }
    let order = arrow::array::UInt32Array::from(vec![2, 0, 1]);
    let turned: Vec<ArrayRef> = rows
        .columns()
        .iter()
        .map(|column| arrow::compute::take(column, &order, None).expect("in range"))
        .collect();
    let turned = RecordBatch::try_new(Arc::clone(table.arrow()), turned).expect("fits");
    let batch = changes(&table, streamed([1, 2, 3], &turned), Op::Update, 4);
    write(&mut drive, &mut content, &batch, 6).await;
    drive.check_content(&content, "updated").await;
}

/// Each type that a key can have tells rows apart: one is updated, one deleted.
pub async fn keys_of_every_type(fresh: Fresh<'_>) {
    let mut number = 0;
    for (name, source_type, extension, array) in values() {
        if matches!(name, "c_json" | "c_numbers" | "c_texts" | "c_float4") {
            continue;
        }
        number += 1;
        let mut drive = Drive::begin(fresh()).await;
        let mut key = Column::new("key", array.data_type().clone(), source_type);
        key.extension = extension.map(str::to_owned);
        key.id = Some(1);
        let mut value = Column::new("value", arrow::datatypes::DataType::Int32, "int4");
        value.id = Some(2);
        let table = Arc::new(TableSchema::new(
            TableId(number),
            TableName::new("shop", format!("by_{name}")),
            1,
            vec![key, value],
            vec![0],
            Identity::Key,
        ));
        let batch_of = |keys: ArrayRef, values: Vec<Option<i32>>| {
            let values: ArrayRef = Arc::new(Int32Array::from(values));
            RecordBatch::try_new(Arc::clone(table.arrow()), vec![keys, values]).expect("fits")
        };
        let rows = batch_of(Arc::clone(&array), vec![Some(1), Some(2)]);
        let mut content = joined(&mut drive, &table, &rows).await;
        let updated = batch_of(array.slice(0, 1), vec![Some(10)]);
        write(
            &mut drive,
            &mut content,
            &changes(&table, updated, Op::Update, 1),
            1,
        )
        .await;
        let deleted = batch_of(array.slice(1, 1), vec![None]);
        write(
            &mut drive,
            &mut content,
            &changes(&table, deleted, Op::Delete, 2),
            2,
        )
        .await;
        drive
            .check_content(&content, &format!("key of type {source_type}"))
            .await;
    }
}
