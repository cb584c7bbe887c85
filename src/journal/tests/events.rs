//! Every event and every part of a batch comes back equal.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DurationMicrosecondArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, RecordBatchOptions,
    StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, TimeUnit, i256};
use cdc_api::{
    ChangeBatch, ChangeEvent, ChangedTable, Column, ColumnDefinition, Identity, Notice, Said,
    SchemaChange, TableChange, TableDefinition, TableId, TableName, TableSchema, TransactionId,
    TransactionRun,
};
use proptest::prelude::*;

use super::super::event::{self, Schemas};
use super::super::frame::{FrameWriter, HEADER, Header};
use super::super::{rows, varint};
use super::*;

/// All types of the data model.
fn types() -> Vec<DataType> {
    let list = |of: DataType| DataType::List(Arc::new(Field::new("item", of, true)));
    vec![
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(38, 10),
        DataType::Decimal256(76, 20),
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(TimeUnit::Microsecond),
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        DataType::FixedSizeBinary(16),
        DataType::Binary,
        DataType::Utf8,
        list(DataType::Int32),
        list(list(DataType::Utf8)),
        list(DataType::Boolean),
        list(DataType::FixedSizeBinary(16)),
        DataType::Struct(
            vec![
                Field::new("a", DataType::Int64, true),
                Field::new("b", list(DataType::Utf8), true),
            ]
            .into(),
        ),
    ]
}

/// An array of `length` values made from a seed, about a quarter of them null.
fn array(kind: &DataType, length: usize, seed: u64) -> ArrayRef {
    let number = |row: usize| {
        (row as u64 ^ seed)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(31)
    };
    let some = |row: usize| number(row + 1000) % 4 != 0;
    macro_rules! primitive {
        ($array:ty, $of:expr) => {
            Arc::new(
                (0..length)
                    .map(|row| some(row).then(|| $of(number(row))))
                    .collect::<$array>(),
            )
        };
    }
    let text = |row: usize| "é🙂x".repeat((number(row) % 7) as usize);
    match kind {
        DataType::Boolean => primitive!(BooleanArray, |n: u64| n.is_multiple_of(2)),
        DataType::Int16 => primitive!(Int16Array, |n| n as i16),
        DataType::Int32 => primitive!(Int32Array, |n| n as i32),
        DataType::Int64 => primitive!(Int64Array, |n| n as i64),
        DataType::UInt8 => primitive!(UInt8Array, |n| n as u8),
        DataType::UInt16 => primitive!(UInt16Array, |n| n as u16),
        DataType::UInt32 => primitive!(UInt32Array, |n| n as u32),
        DataType::UInt64 => primitive!(UInt64Array, |n| n),
        DataType::Float32 => primitive!(Float32Array, |n| n as f32),
        DataType::Float64 => primitive!(Float64Array, |n| n as f64),
        DataType::Date32 => primitive!(Date32Array, |n| n as i32),
        DataType::Time64(_) => primitive!(Time64MicrosecondArray, |n| n as i64),
        DataType::Duration(_) => primitive!(DurationMicrosecondArray, |n| n as i64),
        DataType::Interval(_) => primitive!(IntervalMonthDayNanoArray, |n| {
            IntervalMonthDayNano::new(n as i32, (n >> 32) as i32, n as i64)
        }),
        DataType::Timestamp(_, zone) => Arc::new(
            (0..length)
                .map(|row| some(row).then(|| number(row) as i64))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone_opt(zone.clone()),
        ),
        DataType::Decimal128(precision, scale) => Arc::new(
            (0..length)
                .map(|row| some(row).then(|| i128::from(number(row)) * 1_000_000_007))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(*precision, *scale)
                .expect("fits"),
        ),
        DataType::Decimal256(precision, scale) => Arc::new(
            (0..length)
                .map(|row| some(row).then(|| i256::from_i128(i128::from(number(row)) << 50)))
                .collect::<Decimal256Array>()
                .with_precision_and_scale(*precision, *scale)
                .expect("fits"),
        ),
        DataType::FixedSizeBinary(width) => Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                (0..length).map(|row| some(row).then(|| [number(row) as u8; 16])),
                *width,
            )
            .expect("16 bytes each"),
        ),
        DataType::Binary => Arc::new(
            (0..length)
                .map(|row| some(row).then(|| text(row).into_bytes()))
                .collect::<BinaryArray>(),
        ),
        DataType::Utf8 => Arc::new(
            (0..length)
                .map(|row| some(row).then(|| text(row)))
                .collect::<StringArray>(),
        ),
        DataType::List(of) => {
            let lengths = (0..length).map(|row| (number(row) % 4) as usize);
            let offsets = OffsetBuffer::from_lengths(lengths);
            let values = array(
                of.data_type(),
                *offsets.last().expect("one") as usize,
                seed + 1,
            );
            let nulls = (0..length).map(some).collect::<BooleanBuffer>();
            Arc::new(ListArray::new(
                Arc::clone(of),
                offsets,
                values,
                Some(nulls.into()),
            ))
        }
        DataType::Struct(fields) => {
            let columns = fields
                .iter()
                .map(|field| array(field.data_type(), length, seed + 2))
                .collect();
            let nulls = (0..length).map(some).collect::<BooleanBuffer>();
            Arc::new(StructArray::new(
                fields.clone(),
                columns,
                Some(nulls.into()),
            ))
        }
        other => panic!("no values of {other}"),
    }
}

fn table_of(kinds: &[DataType]) -> Arc<TableSchema> {
    let columns = kinds
        .iter()
        .enumerate()
        .map(|(n, kind)| Column::new(format!("c{n}"), kind.clone(), kind.to_string()))
        .collect();
    let name = TableName::new("s", "t");
    Arc::new(TableSchema::new(
        TableId(9),
        name,
        4,
        columns,
        vec![],
        Identity::Full,
    ))
}

fn record(table: &Arc<TableSchema>, length: usize, seed: u64) -> RecordBatch {
    let columns = table
        .columns
        .iter()
        .map(|column| array(&column.data_type, length, seed))
        .collect();
    RecordBatch::try_new_with_options(
        Arc::clone(table.arrow()),
        columns,
        &RecordBatchOptions::new().with_row_count(Some(length)),
    )
    .expect("columns fit")
}

fn batch(kinds: &[DataType], length: usize, seed: u64) -> ChangeBatch {
    let table = table_of(kinds);
    let bits = |salt: u64| -> BooleanBuffer {
        (0..length as u64)
            .map(|row| (row ^ seed ^ salt).is_multiple_of(3))
            .collect()
    };
    let absent = match seed % 3 {
        0 => Vec::new(),
        1 => vec![None; kinds.len()],
        _ => (0..kinds.len() as u64)
            .map(|column| (column % 2 == 0).then(|| bits(column)))
            .collect(),
    };
    let mut transactions = Vec::new();
    let mut end = 0;
    while end < length {
        end = (end + 1 + (seed as usize + end) % 5).min(length);
        transactions.push(TransactionRun {
            end: end as u32,
            id: if end % 2 == 0 {
                TransactionId::Number(seed.wrapping_mul(end as u64))
            } else {
                TransactionId::Text(format!("gtid-{end}-é").into())
            },
            commit_offset: u64::MAX - seed * end as u64,
            commit_time: i64::MIN.wrapping_add(seed as i64),
            first_seq: seed.wrapping_mul(end as u64),
        });
    }
    if seed.is_multiple_of(5) {
        transactions.clear();
    }
    ChangeBatch {
        rows: record(&table, length, seed),
        ops: (0..length).map(|row| (row % 6) as u8).collect(),
        seq: (0..length as u64).map(|row| seed + row * 3).collect(),
        offset: (0..length as u64)
            .map(|row| u64::MAX - (row ^ seed))
            .collect(),
        absent,
        before: seed
            .is_multiple_of(2)
            .then(|| record(&table, length, seed + 77)),
        transactions,
        table,
    }
}

fn assert_equal(a: &ChangeBatch, b: &ChangeBatch) {
    assert_eq!(a.table, b.table);
    assert_eq!(a.rows, b.rows);
    assert_eq!(a.ops, b.ops);
    assert_eq!(a.seq, b.seq);
    assert_eq!(a.offset, b.offset);
    assert_eq!(a.absent, b.absent);
    assert_eq!(a.before, b.before);
    assert_eq!(a.transactions, b.transactions);
    assert_eq!(a.ops[..].len(), b.rows.num_rows());
}

fn through_a_frame(
    event: &ChangeEvent,
    schemas: &mut Schemas,
    compression: Compression,
) -> ChangeEvent {
    let (label, body) = event::encode(event).expect("encodes");
    let mut bytes = b"before".to_vec();
    FrameWriter::new(compression)
        .write(&mut bytes, 5, label, &body)
        .expect("fits");
    let (head, body) = bytes[6..].split_at(HEADER);
    let head: &[u8; HEADER] = head.try_into().expect("a header's length");
    let header = Header::parse(head).expect("a header");
    assert_eq!(header.index, 5);
    assert_eq!(header.stored as usize, body.len());
    assert!(header.is_sound(head, body));
    event::decode(&header, body, schemas).expect("decodes")
}

fn rows_through_a_frame(batch: &ChangeBatch, compression: Compression) -> ChangeBatch {
    rows::validate(batch).expect("fits together");
    let mut schemas = Schemas::from([(batch.table.id, Arc::clone(&batch.table))]);
    match through_a_frame(&ChangeEvent::Rows(batch.clone()), &mut schemas, compression) {
        ChangeEvent::Rows(batch) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_type_comes_back_whole_sliced_and_empty() {
    for kind in types() {
        let whole = batch(std::slice::from_ref(&kind), 67, 8);
        for part in [
            whole.clone(),
            whole.slice(13, 41),
            whole.slice(1, 66),
            whole.slice(66, 1),
            whole.slice(30, 0),
        ] {
            for compression in [Compression::Lz4, Compression::None] {
                assert_equal(&part, &rows_through_a_frame(&part, compression));
            }
        }
    }
}

#[test]
fn a_table_without_columns_keeps_its_rows() {
    let batch = batch(&[], 5, 2);
    let back = rows_through_a_frame(&batch, Compression::Lz4);
    assert_equal(&batch, &back);
    assert_eq!(back.rows.num_rows(), 5);
}

#[test]
fn nulls_of_whole_columns_and_long_values_come_back() {
    let table = table_of(&[DataType::Utf8, DataType::Int32]);
    let long = "x".repeat(3 << 20);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some(long.as_str()), None, Some("")])),
        arrow::array::new_null_array(&DataType::Int32, 3),
    ];
    let batch = ChangeBatch::of_snapshot(
        Arc::clone(&table),
        RecordBatch::try_new(Arc::clone(table.arrow()), columns).expect("fits"),
        1,
        2,
    );
    assert_equal(&batch, &rows_through_a_frame(&batch, Compression::Lz4));
}

#[test]
fn a_batch_read_back_weighs_what_it_weighed() {
    // Its buffers are slices of one: counted whole, each would weigh as much as all together.
    let batch = batch(&types(), 1000, 8);
    let (before, after) = (
        batch.bytes(),
        rows_through_a_frame(&batch, Compression::Lz4).bytes(),
    );
    assert!(after.abs_diff(before) < before / 10, "{before} {after}");
}

#[test]
fn all_other_events_come_back() {
    let mut schemas = Schemas::new();
    let shape = table(3, 2, 4);
    for event in [
        ChangeEvent::Schema(Arc::clone(&shape)),
        ChangeEvent::Truncate {
            tables: vec![TableId(3), TableId(u64::MAX)],
            seq: u64::MAX,
            commit_time: -1,
        },
        ChangeEvent::Failed {
            table: TableId(1),
            seq: 12,
            message: "what \"happened\"".to_owned(),
            hint: "ALTER TABLE …;\n".to_owned(),
        },
        ChangeEvent::Notice(Arc::new(Notice {
            seq: 13,
            offset: 9,
            transaction: Some(TransactionRun {
                end: 1,
                id: TransactionId::Number(7),
                commit_offset: 10,
                commit_time: -5,
                first_seq: 12,
            }),
            commit_time: -5,
            said: Said::Message {
                prefix: "two\nlines".to_owned(),
                content: b"any \n bytes \xff".to_vec(),
            },
        })),
        ChangeEvent::Notice(Arc::new(Notice {
            seq: 14,
            offset: 9,
            transaction: None,
            commit_time: 5,
            said: Said::Schema(vec![SchemaChange {
                database: "shop".to_owned(),
                statement: "ALTER TABLE t\n ADD c \"int\"".to_owned(),
                table: Some(ChangedTable {
                    change: TableChange::Rename(TableName::new("shop", "s")),
                    name: TableName::new("shop", "t"),
                    definition: Some(TableDefinition {
                        charset: Some("utf8mb4".to_owned()),
                        key: vec!["id".to_owned()],
                        columns: vec![ColumnDefinition {
                            name: "id".to_owned(),
                            source_type: "int".to_owned(),
                            charset: None,
                            nullable: Some(false),
                            auto_increment: None,
                        }],
                    }),
                }),
            }]),
        })),
        commit(77),
    ] {
        let back = through_a_frame(&event, &mut schemas, Compression::Lz4);
        assert_eq!(format!("{back:?}"), format!("{event:?}"));
    }
    assert_eq!(schemas[&TableId(3)], shape);
}

#[test]
fn a_batch_that_does_not_fit_together_is_refused() {
    let good = batch(&[DataType::Int32, DataType::Utf8], 10, 8);
    rows::validate(&good).expect("fits together");
    let bad: [fn(&mut ChangeBatch); 6] = [
        |batch| batch.ops = vec![1; 9].into(),
        |batch| batch.seq = vec![1; 11].into(),
        |batch| batch.offset = vec![].into(),
        |batch| batch.absent = vec![None],
        |batch| batch.before = Some(batch.rows.slice(0, 3)),
        |batch| batch.transactions.truncate(1),
    ];
    for (index, spoil) in bad.iter().enumerate() {
        let mut batch = good.clone();
        spoil(&mut batch);
        assert!(rows::validate(&batch).is_err(), "{index}");
    }
    let mut other = good.clone();
    other.table = table_of(&[DataType::Int64, DataType::Utf8]);
    assert!(rows::validate(&other).is_err());
}

#[test]
fn zeros_and_short_bytes_are_no_frame() {
    assert_eq!(Header::parse(&[0; HEADER]), None);
    let table = table(1, 1, 1);
    let good = batch(&[DataType::Int32], 3, 8);
    let body = Buffer::from_vec(rows::encode(&good).expect("encodes"));
    for length in 0..body.len() {
        // Whatever it says, it does not panic.
        let _ = rows::decode(&body.slice_with_length(0, length), &table);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batch_comes_back(
        kinds in prop::collection::vec(prop::sample::select(types()), 0..6),
        length in 0usize..200,
        seed in 0u64..1000,
        from in 0.0f64..1.0,
        share in 0.0f64..=1.0,
        packed in any::<bool>(),
    ) {
        let whole = batch(&kinds, length, seed);
        let start = (length as f64 * from) as usize;
        let part = whole.slice(start, ((length - start) as f64 * share) as usize);
        let compression = if packed { Compression::Lz4 } else { Compression::None };
        assert_equal(&part, &rows_through_a_frame(&part, compression));
    }

    #[test]
    fn any_number_comes_back(value in any::<u64>(), signed in any::<i64>()) {
        let mut bytes = Vec::new();
        varint::put(&mut bytes, value);
        varint::put_signed(&mut bytes, signed);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(varint::take(&mut rest), Some(value));
        prop_assert_eq!(varint::take_signed(&mut rest), Some(signed));
        prop_assert!(rest.is_empty());
    }
}
