//! Every type of the contract, stored exactly: copied and streamed, as key, as a value that is
//! not sent again, and as part of a row that only its content names.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DurationMicrosecondArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch,
    StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, i256};
use cdc_api::{
    ChangeBatch, Column, CopyId, ErrorKind, Identity, Op, Sink, TableId, TableName, TableSchema,
};

use super::scene::{Scene, checkpoint, lines};
use crate::{Mode, Warehouse};

struct Case {
    values: ArrayRef,
    extension: Option<&'static str>,
    /// The type that it is stored in.
    sql: &'static str,
    /// The values as DuckDB writes them.
    texts: Vec<String>,
}

fn case(values: impl Array + 'static, sql: &'static str, texts: &[&str]) -> Case {
    Case {
        values: Arc::new(values),
        extension: None,
        sql,
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn extended(extension: &'static str, case: Case) -> Case {
    Case {
        extension: Some(extension),
        ..case
    }
}

fn list(values: ArrayRef, ends: &[i32]) -> ListArray {
    let field = Field::new_list_field(values.data_type().clone(), true);
    let offsets = OffsetBuffer::new([0].iter().chain(ends).copied().collect());
    ListArray::new(Arc::new(field), offsets, values, None)
}

/// Distinct values, so that each can be a key.
fn cases() -> Vec<Case> {
    let digits = "7".repeat(1000);
    let number = format!("{{\"n\": {digits}, \"n\": 1e999999, \"s\": \"\\ud800\"}}");
    let decimal = |text: &str| i256::from_string(text).expect("a number");
    let interval = IntervalMonthDayNano::new;
    vec![
        case(
            BooleanArray::from(vec![true, false]),
            "BOOLEAN",
            &["true", "false"],
        ),
        case(
            Int8Array::from(vec![i8::MIN, i8::MAX]),
            "TINYINT",
            &["-128", "127"],
        ),
        case(
            Int16Array::from(vec![i16::MIN, i16::MAX]),
            "SMALLINT",
            &["-32768", "32767"],
        ),
        case(
            Int32Array::from(vec![i32::MIN, i32::MAX]),
            "INTEGER",
            &["-2147483648", "2147483647"],
        ),
        case(
            Int64Array::from(vec![i64::MIN, i64::MAX]),
            "BIGINT",
            &["-9223372036854775808", "9223372036854775807"],
        ),
        case(
            UInt8Array::from(vec![0, u8::MAX]),
            "UTINYINT",
            &["0", "255"],
        ),
        case(
            UInt16Array::from(vec![0, u16::MAX]),
            "USMALLINT",
            &["0", "65535"],
        ),
        case(
            UInt32Array::from(vec![0, u32::MAX]),
            "UINTEGER",
            &["0", "4294967295"],
        ),
        case(
            UInt64Array::from(vec![0, u64::MAX]),
            "UBIGINT",
            &["0", "18446744073709551615"],
        ),
        case(
            Float32Array::from(vec![
                -0.0,
                1.5,
                f32::NAN,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::MIN_POSITIVE,
            ]),
            "FLOAT",
            &["-0.0", "1.5", "nan", "inf", "-inf", "1.1754944e-38"],
        ),
        case(
            Float64Array::from(vec![
                -0.0,
                0.1,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                5e-324,
            ]),
            "DOUBLE",
            &["-0.0", "0.1", "nan", "inf", "-inf", "5e-324"],
        ),
        case(
            StringArray::from(vec![
                "",
                "a",
                "A",
                "ä",
                "a\u{308}",
                "a ",
                "NULL",
                "'\"\\",
                "line\nbreak",
                "nul\0inside",
            ]),
            "VARCHAR",
            &[
                "",
                "a",
                "A",
                "ä",
                "a\u{308}",
                "a ",
                "NULL",
                "'\"\\",
                "line\nbreak",
                "nul\0inside",
            ],
        ),
        extended(
            "arrow.json",
            case(
                StringArray::from(vec![
                    number.as_str(),
                    "{\"a\":  [1, null]}",
                    "null",
                    "\"x\"",
                ]),
                "JSON",
                &[number.as_str(), "{\"a\":  [1, null]}", "null", "\"x\""],
            ),
        ),
        case(
            BinaryArray::from(vec![&b""[..], b"\x00\xff", b"abc", b"abc\x00"]),
            "BLOB",
            &["", "\\x00\\xFF", "abc", "abc\\x00"],
        ),
        extended(
            "arrow.uuid",
            case(
                FixedSizeBinaryArray::from(vec![&[0u8; 16], &[0xff; 16], &[0x12; 16]]),
                "UUID",
                &[
                    "00000000-0000-0000-0000-000000000000",
                    "ffffffff-ffff-ffff-ffff-ffffffffffff",
                    "12121212-1212-1212-1212-121212121212",
                ],
            ),
        ),
        case(
            FixedSizeBinaryArray::from(vec![b"ab\x00", b"abc"]),
            "BLOB",
            &["ab\\x00", "abc"],
        ),
        case(
            Date32Array::from(vec![0, i32::MAX, i32::MIN, -2_440_588 + 1, 2_145_042_905]),
            "DATE",
            &[
                "1970-01-01",
                "infinity",
                "-infinity",
                "4714-11-25 (BC)",
                "5874897-12-31",
            ],
        ),
        case(
            TimestampMicrosecondArray::from(vec![
                1,
                i64::MAX,
                i64::MIN,
                -1,
                9_223_371_331_200_000_000 - 1,
            ]),
            "TIMESTAMP",
            &[
                "1970-01-01 00:00:00.000001",
                "infinity",
                "-infinity",
                "1969-12-31 23:59:59.999999",
                "294247-01-01 23:59:59.999999",
            ],
        ),
        case(
            TimestampMicrosecondArray::from(vec![0, i64::MAX, i64::MIN]).with_timezone("UTC"),
            "TIMESTAMP WITH TIME ZONE",
            &["1970-01-01 00:00:00+00", "infinity", "-infinity"],
        ),
        case(
            Time64MicrosecondArray::from(vec![0, 86_400_000_000, 86_399_999_999]),
            "TIME",
            &["00:00:00", "24:00:00", "23:59:59.999999"],
        ),
        case(
            DurationMicrosecondArray::from(vec![
                0,
                -3_020_399_000_000,
                3_020_399_999_999,
                i64::MIN,
            ]),
            "INTERVAL",
            &[
                "00:00:00",
                "-838:59:59",
                "838:59:59.999999",
                "-2562047788:00:54.775808",
            ],
        ),
        case(
            IntervalMonthDayNanoArray::from(vec![
                interval(14, -3, 1_000),
                interval(0, 0, -1_000),
                interval(-1, 31, 0),
            ]),
            "INTERVAL",
            &[
                "1 year 2 months -3 days 00:00:00.000001",
                "-00:00:00.000001",
                "-1 month 31 days",
            ],
        ),
        case(
            Decimal128Array::from(vec![150, -1, 0])
                .with_precision_and_scale(4, 2)
                .unwrap(),
            "DECIMAL(4,2)",
            &["1.50", "-0.01", "0.00"],
        ),
        case(
            Decimal128Array::from(vec![99_999_999, -1])
                .with_precision_and_scale(9, 0)
                .unwrap(),
            "DECIMAL(9,0)",
            &["99999999", "-1"],
        ),
        case(
            Decimal128Array::from(vec![10i128.pow(38) - 1, 1 - 10i128.pow(38)])
                .with_precision_and_scale(38, 10)
                .unwrap(),
            "DECIMAL(38,10)",
            &[
                "9999999999999999999999999999.9999999999",
                "-9999999999999999999999999999.9999999999",
            ],
        ),
        case(
            Decimal256Array::from(vec![
                decimal(
                    "1234567890123456789012345678901234567890123456789012345678901234567890123456",
                ),
                decimal("-150"),
            ])
            .with_precision_and_scale(76, 2)
            .unwrap(),
            "VARCHAR",
            &[
                "12345678901234567890123456789012345678901234567890123456789012345678901234.56",
                "-1.50",
            ],
        ),
        case(
            Decimal256Array::from(vec![decimal("150"), decimal("-1")])
                .with_precision_and_scale(38, 2)
                .unwrap(),
            "DECIMAL(38,2)",
            &["1.50", "-0.01"],
        ),
        case(
            list(
                Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])),
                &[2, 2, 3],
            ),
            "INTEGER[]",
            &["[1, NULL]", "[]", "[3]"],
        ),
        case(
            list(
                Arc::new(StringArray::from(vec!["a, b", "a", "b", "it's"])),
                &[1, 3, 4],
            ),
            "VARCHAR[]",
            &["['a, b']", "[a, b]", "['it\\'s']"],
        ),
        case(
            list(
                Arc::new(Date32Array::from(vec![i32::MIN, i32::MAX])),
                &[1, 2],
            ),
            "DATE[]",
            &["[-infinity]", "[infinity]"],
        ),
        case(
            list(
                Arc::new(list(Arc::new(Float64Array::from(vec![-0.0, 1.0])), &[1, 2])),
                &[1, 2],
            ),
            "DOUBLE[][]",
            &["[[-0.0]]", "[[1.0]]"],
        ),
    ]
}

fn table(id: u64, case: &Case, key: Vec<usize>, identity: Identity) -> Arc<TableSchema> {
    let value = Column {
        extension: case.extension.map(ToOwned::to_owned),
        ..Column::new("v", case.values.data_type().clone(), "the source's type")
    };
    Arc::new(TableSchema::new(
        TableId(id),
        TableName::new("public", format!("t{id}")),
        1,
        vec![
            Column::new("id", DataType::Int32, "int4"),
            value,
            Column::new("n", DataType::Int32, "int4"),
        ],
        key,
        identity,
    ))
}

fn rows(table: &Arc<TableSchema>, values: &ArrayRef, n: i32) -> RecordBatch {
    let count = i32::try_from(values.len()).unwrap();
    RecordBatch::try_new(
        Arc::clone(table.arrow()),
        vec![
            Arc::new((0..count).collect::<Int32Array>()),
            Arc::clone(values),
            Arc::new(Int32Array::from(vec![n; values.len()])),
        ],
    )
    .unwrap()
}

fn changes(table: &Arc<TableSchema>, rows: RecordBatch, seq: u64, op: Op) -> ChangeBatch {
    let count = rows.num_rows();
    let mut batch = ChangeBatch::of_snapshot(Arc::clone(table), rows, seq, 0);
    batch.ops = vec![op.code(); count].into();
    batch.seq = (seq..).take(count).collect::<Vec<_>>().into();
    batch
}

async fn join(sink: &mut Warehouse, table: &Arc<TableSchema>, rows: RecordBatch) {
    let copy = CopyId(table.id.0);
    let mut copying = sink.copy(table, copy).await.unwrap();
    let mut chunk = copying.chunk(0).await.unwrap();
    let batch = ChangeBatch::of_snapshot(Arc::clone(table), rows, 0, 0);
    chunk.write(&batch).await.unwrap();
    chunk.finish(0).await.unwrap();
    drop(copying);
    sink.join(table, copy).await.unwrap();
    sink.commit(&checkpoint(0)).await.unwrap();
}

#[tokio::test]
async fn values_of_every_type_are_stored_exactly_by_every_way_in() {
    let scene = Scene::new(Mode::Upsert);
    let mut sink = scene.open().await;
    for (number, case) in (0u64..).zip(cases()) {
        let what = format!("{} as {}", case.values.data_type(), case.sql);
        let null = new_null_array(case.values.data_type(), 1);
        let with_null = concat(&[case.values.as_ref(), null.as_ref()]).unwrap();
        let sorted = |mut texts: Vec<String>| {
            texts.sort();
            texts
        };
        let mut expected = case.texts.clone();
        expected.push("NULL".to_owned());

        // Copied as key; then a change to every row finds it, and a delete of the first.
        let keyed = table(number * 10 + 1, &case, vec![1], Identity::Key);
        let name = keyed.name.quoted();
        join(&mut sink, &keyed, rows(&keyed, &case.values, 1)).await;
        let columns = format!(
            "SELECT data_type FROM duckdb_columns() WHERE table_name = '{}' AND column_name = 'v'",
            keyed.name.table
        );
        assert_eq!(lines(&sink, &columns).await, vec![case.sql], "{what}");
        sink.write(&changes(
            &keyed,
            rows(&keyed, &case.values, 2),
            10,
            Op::Update,
        ))
        .await
        .unwrap();
        let first = rows(&keyed, &case.values, 2).slice(0, 1);
        sink.write(&changes(&keyed, first, 90, Op::Delete))
            .await
            .unwrap();
        sink.commit(&checkpoint(100)).await.unwrap();
        let found = lines(&sink, &format!("SELECT v FROM {name} WHERE n = 2")).await;
        assert_eq!(
            sorted(found),
            sorted(case.texts[1..].to_vec()),
            "{what} as key"
        );
        assert_eq!(
            lines(&sink, &format!("SELECT count(*) FROM {name}")).await,
            vec![(case.texts.len() - 1).to_string()],
            "{what} as key"
        );

        // Streamed; then changed without being sent again.
        let valued = table(number * 10 + 2, &case, vec![0], Identity::Key);
        let name = valued.name.quoted();
        join(&mut sink, &valued, rows(&valued, &with_null, 1).slice(0, 0)).await;
        sink.write(&changes(
            &valued,
            rows(&valued, &with_null, 1),
            1,
            Op::Insert,
        ))
        .await
        .unwrap();
        sink.commit(&checkpoint(100)).await.unwrap();
        let nothing = new_null_array(case.values.data_type(), with_null.len());
        let mut unsent = changes(&valued, rows(&valued, &nothing, 2), 101, Op::Update);
        unsent.absent = vec![None, Some(BooleanBuffer::new_set(with_null.len())), None];
        sink.write(&unsent).await.unwrap();
        sink.commit(&checkpoint(200)).await.unwrap();
        let found = lines(
            &sink,
            &format!("SELECT v FROM {name} WHERE n = 2 ORDER BY id"),
        )
        .await;
        assert_eq!(found, expected, "{what} not sent");

        // Without a key, every row twice; then one of each is deleted.
        let whole = table(number * 10 + 3, &case, vec![], Identity::Full);
        let name = whole.name.quoted();
        let once = rows(&whole, &with_null, 1);
        let twice = arrow::compute::concat_batches(whole.arrow(), [&once, &once]).unwrap();
        join(&mut sink, &whole, twice).await;
        sink.write(&changes(&whole, once, 1, Op::Delete))
            .await
            .unwrap();
        sink.commit(&checkpoint(100)).await.unwrap();
        let found = lines(&sink, &format!("SELECT v FROM {name} ORDER BY id")).await;
        assert_eq!(found, expected, "{what} without a key");
    }
}

#[tokio::test]
async fn rows_that_differ_only_in_what_equality_overlooks_are_different_rows() {
    let scene = Scene::new(Mode::Upsert);
    let mut sink = scene.open().await;
    let interval = IntervalMonthDayNano::new;
    let overlooked = [
        case(
            Float64Array::from(vec![0.0, -0.0]),
            "DOUBLE",
            &["0.0", "-0.0"],
        ),
        case(
            list(Arc::new(Float32Array::from(vec![0.0, -0.0])), &[1, 2]),
            "FLOAT[]",
            &["[0.0]", "[-0.0]"],
        ),
        case(
            IntervalMonthDayNanoArray::from(vec![interval(1, 0, 0), interval(0, 30, 0)]),
            "INTERVAL",
            &["1 month", "30 days"],
        ),
    ];
    for (number, case) in (1u64..).zip(overlooked) {
        let table = table(number, &case, vec![], Identity::Full);
        let both = rows(&table, &case.values, 1);
        let same_id = RecordBatch::try_new(
            Arc::clone(table.arrow()),
            vec![
                Arc::new(Int32Array::from(vec![1, 1])),
                Arc::clone(&case.values),
                Arc::clone(both.column(2)),
            ],
        )
        .unwrap();
        join(&mut sink, &table, same_id.clone()).await;
        sink.write(&changes(&table, same_id.slice(1, 1), 1, Op::Delete))
            .await
            .unwrap();
        sink.commit(&checkpoint(1)).await.unwrap();
        let found = lines(&sink, &format!("SELECT v FROM {}", table.name.quoted())).await;
        assert_eq!(found, vec![case.texts[0].clone()]);
    }
}

#[tokio::test]
async fn values_out_of_range_stop_their_table_and_name_its_column() {
    let scene = Scene::new(Mode::Upsert);
    let mut sink = scene.open().await;
    let infinite = IntervalMonthDayNano::new(i32::MAX, i32::MAX, i64::MAX);
    let wrong = [
        case(TimestampMicrosecondArray::from(vec![i64::MIN + 1]), "", &[]),
        case(
            TimestampMicrosecondArray::from(vec![-9_223_372_022_400_000_001]),
            "",
            &[],
        ),
        case(Date32Array::from(vec![i32::MIN + 1]), "", &[]),
        case(Time64MicrosecondArray::from(vec![86_400_000_001]), "", &[]),
        case(Time64MicrosecondArray::from(vec![-1]), "", &[]),
        case(IntervalMonthDayNanoArray::from(vec![infinite]), "", &[]),
        case(
            list(Arc::new(Date32Array::from(vec![i32::MIN + 1])), &[1]),
            "",
            &[],
        ),
    ];
    for (number, case) in (1u64..).zip(wrong) {
        let table = table(number, &case, vec![0], Identity::Key);
        let none = rows(&table, &case.values, 1).slice(0, 0);
        join(&mut sink, &table, none).await;
        let batch = changes(&table, rows(&table, &case.values, 1), 1, Op::Insert);
        let error = sink.write(&batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert_eq!(error.table(), Some(table.id));
        assert!(error.message().contains("column v"), "{error}");
        assert!(
            error
                .hint_text()
                .is_some_and(|hint| hint.contains("cdc snapshot public.t"))
        );
    }
}

#[tokio::test]
async fn a_type_without_an_equal_refuses_the_table_before_anything_is_made() {
    let scene = Scene::new(Mode::Upsert);
    let mut sink = scene.open().await;
    let unknown = case(
        new_null_array(&DataType::Float16, 1)
            .as_any()
            .downcast_ref::<arrow::array::Float16Array>()
            .unwrap()
            .clone(),
        "",
        &[],
    );
    let table = table(1, &unknown, vec![0], Identity::Key);
    let error = sink.copy(&table, CopyId(1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.table(), Some(table.id));
    assert!(
        lines(
            &sink,
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'public'"
        )
        .await
        .is_empty()
    );
}
