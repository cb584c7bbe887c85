//! Debezium's records back into columns, by what its documentation says of each type.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DurationMicrosecondArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int32Builder, Int64Array, IntervalMonthDayNanoArray, ListBuilder, RecordBatch, StringArray,
    StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, TimeUnit, i256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cdc_api::{
    ChangeBatch, Column, Identity, Op, TableId, TableName, TableSchema, TransactionId,
    TransactionRun,
};
use cdc_integration::kafka::Consumed;
use serde_json::Value;

/// The topic of a table.
pub(crate) fn topic(prefix: &str, table: &TableSchema) -> String {
    let name = format!("{prefix}.{}.{}", table.name.schema, table.name.table);
    name.chars()
        .map(|it| {
            if it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-') {
                it
            } else {
                '_'
            }
        })
        .collect()
}

/// A table with a key.
pub(crate) fn a_table() -> TableSchema {
    TableSchema::new(
        TableId(1),
        TableName::new("shop", "items"),
        1,
        vec![Column::new("id", DataType::Int64, "int8")],
        vec![0],
        Identity::Key,
    )
}

/// Inserted rows of [`a_table`], by their ids, which are their numbers, too.
pub(crate) fn inserts(table: &Arc<TableSchema>, ids: std::ops::Range<u64>) -> ChangeBatch {
    let keys = ids.clone().map(|id| i64::try_from(id).expect("is small"));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
    let rows = RecordBatch::try_new(Arc::clone(table.arrow()), vec![keys]).expect("its shape");
    let mut batch = ChangeBatch::of_snapshot(Arc::clone(table), rows, 0, ids.start);
    batch.ops = vec![Op::Insert.code(); batch.len()].into();
    batch.seq = ids.clone().collect::<Vec<_>>().into();
    batch.transactions = vec![TransactionRun {
        end: u32::try_from(batch.len()).expect("few rows"),
        id: TransactionId::Number(ids.start),
        commit_offset: ids.end,
        commit_time: 0,
        first_seq: ids.start,
    }];
    batch
}

/// A log's entry: its number, what happened, the columns by the names of their time.
struct Entry {
    seq: u64,
    op: &'static str,
    version: u32,
    columns: serde_json::Map<String, Value>,
}

/// What the records say, as the suite wants it: `_cdc_seq`, `_cdc_op`, the table's columns.
pub(crate) fn rows(
    consumed: &[Consumed],
    table: &TableSchema,
    shapes: &BTreeMap<(TableId, u32), TableSchema>,
) -> Vec<RecordBatch> {
    let mut entries = Vec::new();
    // A copy's beginning ends what was there before.
    let copied = |record: &Consumed| record.headers.contains_key("cdc.copy");
    let start = consumed.iter().rposition(copied).map_or(0, |at| at + 1);
    for record in &consumed[start..] {
        entries.extend(read(record, table));
    }
    let mut fields = vec![
        Field::new("_cdc_seq", DataType::UInt64, true),
        Field::new("_cdc_op", DataType::Utf8, true),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(
            entries.iter().map(|it| it.seq),
        )),
        Arc::new(StringArray::from_iter_values(
            entries.iter().map(|it| it.op),
        )),
    ];
    for column in &table.columns {
        let values: Vec<Option<&Value>> = entries
            .iter()
            .map(|entry| {
                let shape = shapes.get(&(table.id, entry.version)).unwrap_or(table);
                let was = shape.columns.iter().find(|was| was.id == column.id)?;
                entry
                    .columns
                    .get(&was.name)
                    .filter(|value| !value.is_null() && !is_unavailable(value))
            })
            .collect();
        let array = array(column, &values);
        fields.push(Field::new(&column.name, array.data_type().clone(), true));
        columns.push(array);
    }
    vec![RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits")]
}

fn is_unavailable(value: &Value) -> bool {
    value.as_str() == Some("__debezium_unavailable_value")
}

fn read(record: &Consumed, table: &TableSchema) -> Vec<Entry> {
    let number = |name: &str| -> u64 {
        let bytes = record.headers.get(name).expect("in every record");
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let Some(value) = &record.value else {
        assert!(record.key.is_some(), "a tombstone has a key");
        return Vec::new();
    };
    let value: Value = serde_json::from_str(value).expect("JSON");
    let op = value["op"].as_str().expect("an op");
    let seq = number("cdc.seq");
    let version = u32::try_from(number("cdc.schema_version")).expect("32 bits");
    let entry = |seq, op, columns: &Value| Entry {
        seq,
        op,
        version,
        columns: columns.as_object().cloned().unwrap_or_default(),
    };
    if table.key.is_empty() || op == "t" {
        assert_eq!(record.key, None, "without a key");
    } else {
        let key: Value = serde_json::from_str(record.key.as_deref().expect("a key")).expect("JSON");
        let image = if op == "d" {
            &value["before"]
        } else {
            &value["after"]
        };
        for (name, part) in key.as_object().expect("a structure") {
            assert_eq!(part, &image[name], "the key is the row's");
        }
    }
    match op {
        "r" => vec![entry(seq, "read", &value["after"])],
        "c" => vec![entry(seq, "insert", &value["after"])],
        "u" if table.key.is_empty() => vec![
            entry(seq - 1, "delete", &value["before"]),
            entry(seq, "insert", &value["after"]),
        ],
        "u" => vec![entry(seq, "update", &value["after"])],
        "d" if table.identity == Identity::Full => vec![entry(seq, "delete", &value["before"])],
        "d" => {
            // Of the other columns the source has sent nothing.
            let key: Value =
                serde_json::from_str(record.key.as_deref().unwrap_or("{}")).expect("JSON");
            vec![entry(seq, "delete", &key)]
        }
        "t" => vec![entry(seq, "truncate", &Value::Null)],
        other => panic!("{other} is no op"),
    }
}

fn array(column: &Column, values: &[Option<&Value>]) -> ArrayRef {
    fn all<'a, T>(
        values: &'a [Option<&'a Value>],
        read: impl Fn(&'a Value) -> T + 'a,
    ) -> impl Iterator<Item = Option<T>> + 'a {
        values.iter().map(move |value| value.map(&read))
    }
    let int = |value: &Value| value.as_i64().expect("a number");
    match &column.data_type {
        DataType::Boolean => {
            Arc::new(all(values, |it| it.as_bool().expect("a boolean")).collect::<BooleanArray>())
        }
        DataType::Int8 => Arc::new(all(values, |it| int(it) as i8).collect::<Int8Array>()),
        DataType::Int16 => Arc::new(all(values, |it| int(it) as i16).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(all(values, |it| int(it) as i32).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(all(values, int).collect::<Int64Array>()),
        DataType::UInt8 => Arc::new(all(values, |it| int(it) as u8).collect::<UInt8Array>()),
        DataType::UInt16 => Arc::new(all(values, |it| int(it) as u16).collect::<UInt16Array>()),
        DataType::UInt32 => Arc::new(all(values, |it| int(it) as u32).collect::<UInt32Array>()),
        DataType::UInt64 => Arc::new(all(values, |it| int(it) as u64).collect::<UInt64Array>()),
        DataType::Float32 => Arc::new(all(values, |it| float(it) as f32).collect::<Float32Array>()),
        DataType::Float64 => Arc::new(all(values, float).collect::<Float64Array>()),
        DataType::Decimal128(precision, scale) => Arc::new(
            all(values, |it| {
                let mut wide = [0u8; 16];
                extend(&mut wide, &bytes(it));
                i128::from_be_bytes(wide)
            })
            .collect::<Decimal128Array>()
            .with_precision_and_scale(*precision, *scale)
            .expect("in range"),
        ),
        DataType::Decimal256(precision, scale) => Arc::new(
            all(values, |it| {
                let mut wide = [0u8; 32];
                extend(&mut wide, &bytes(it));
                i256::from_be_bytes(wide)
            })
            .collect::<Decimal256Array>()
            .with_precision_and_scale(*precision, *scale)
            .expect("in range"),
        ),
        DataType::Date32 => Arc::new(all(values, |it| int(it) as i32).collect::<Date32Array>()),
        DataType::Time64(_) => Arc::new(all(values, int).collect::<Time64MicrosecondArray>()),
        DataType::Duration(_) => Arc::new(all(values, int).collect::<DurationMicrosecondArray>()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Arc::new(all(values, int).collect::<TimestampMicrosecondArray>())
        }
        DataType::Timestamp(..) => Arc::new(
            all(values, |it| instant(it.as_str().expect("text")))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        DataType::Interval(_) => Arc::new(
            all(values, |it| interval(it.as_str().expect("text")))
                .collect::<IntervalMonthDayNanoArray>(),
        ),
        DataType::Binary => {
            let values: Vec<Option<Vec<u8>>> = all(values, bytes).collect();
            Arc::new(BinaryArray::from_iter(values))
        }
        DataType::List(element) if element.data_type() == &DataType::Int32 => {
            let mut list = ListBuilder::new(Int32Builder::new());
            for value in values {
                let items = value.map(|it| it.as_array().expect("a list"));
                list.append_option(items.map(|items| {
                    items
                        .iter()
                        .map(|it| it.as_i64().map(|it| it as i32))
                        .collect::<Vec<_>>()
                }));
            }
            Arc::new(list.finish())
        }
        DataType::List(_) => {
            let mut list = ListBuilder::new(StringBuilder::new());
            for value in values {
                let items = value.map(|it| it.as_array().expect("a list"));
                list.append_option(items.map(|items| {
                    items
                        .iter()
                        .map(|it| it.as_str().map(str::to_owned))
                        .collect::<Vec<_>>()
                }));
            }
            Arc::new(list.finish())
        }
        // Text, and UUIDs as text.
        _ => Arc::new(
            all(values, |it| it.as_str().expect("text").to_owned()).collect::<StringArray>(),
        ),
    }
}

fn float(value: &Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        _ => value.as_f64().expect("a number"),
    }
}

fn extend(wide: &mut [u8], bytes: &[u8]) {
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    wide.fill(sign);
    let start = wide.len() - bytes.len();
    wide[start..].copy_from_slice(bytes);
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("base64");
    BASE64.decode(text).expect("base64")
}

/// `2023-11-14T22:13:20.123456Z` in microseconds.
fn instant(text: &str) -> i64 {
    let text = text.strip_suffix('Z').expect("in UTC");
    let (date, time) = text.split_once('T').expect("date and time");
    let part = |text: &str| text.parse::<i64>().expect("a number");
    let mut parts = date.split('-').map(part);
    let mut next = || parts.next().expect("three parts");
    let (year, month, day) = (next(), next(), next());
    // Days since the epoch of a date in the Gregorian calendar.
    let shifted = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * shifted + shifted.div_euclid(4) - shifted.div_euclid(100)
        + shifted.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    days * 86_400_000_000 + clock(time)
}

fn clock(text: &str) -> i64 {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = clock.split(':').fold(0, |sum, part| {
        sum * 60 + part.parse::<i64>().expect("a number")
    });
    seconds * 1_000_000 + format!("{fraction:0<6}").parse::<i64>().expect("digits")
}

/// `P1Y2M-3DT4H5M6.7S`.
fn interval(text: &str) -> IntervalMonthDayNano {
    let (date, time) = text
        .strip_prefix('P')
        .expect("ISO 8601")
        .split_once('T')
        .expect("a time");
    let take = |text: &str, unit: char| -> (i64, String) {
        let (number, rest) = text.split_once(unit).expect("every unit");
        (number.parse().expect("a number"), rest.to_owned())
    };
    let (years, rest) = take(date, 'Y');
    let (months, rest) = take(&rest, 'M');
    let (days, _) = take(&rest, 'D');
    let (hours, rest) = take(time, 'H');
    let (minutes, rest) = take(&rest, 'M');
    let seconds = rest.strip_suffix('S').expect("seconds");
    let sign = if seconds.starts_with('-') { -1 } else { 1 };
    let micros = sign * clock(seconds.trim_start_matches('-'));
    IntervalMonthDayNano::new(
        i32::try_from(years * 12 + months).expect("months"),
        i32::try_from(days).expect("days"),
        ((hours * 3600 + minutes * 60) * 1_000_000 + micros) * 1000,
    )
}
