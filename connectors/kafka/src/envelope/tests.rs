//! Records to the letter.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, TimeUnit};
use cdc_api::{
    ChangeBatch, Column, ErrorKind, Identity, Op, TableId, TableName, TableSchema, TransactionId,
    TransactionRun,
};

use super::{Commits, Connector, Origin, TableEncoder};
use crate::config::{Envelope, Flattened, Format, KafkaConfig, Operation};

fn table(columns: Vec<Column>, key: Vec<usize>, identity: Identity) -> Arc<TableSchema> {
    let name = TableName::new("public", "t");
    Arc::new(TableSchema::new(
        TableId(1),
        name,
        1,
        columns,
        key,
        identity,
    ))
}

fn items() -> Arc<TableSchema> {
    let mut id = Column::new("id", DataType::Int32, "integer");
    id.nullable = false;
    let columns = vec![id, Column::new("v", DataType::Utf8, "text")];
    table(columns, vec![0], Identity::Key)
}

fn rows(table: &Arc<TableSchema>, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(table.arrow()), columns).expect("fits")
}

fn batch(table: &Arc<TableSchema>, rows: RecordBatch, ops: &[Op]) -> ChangeBatch {
    let count = ops.len();
    ChangeBatch {
        table: Arc::clone(table),
        rows,
        ops: ops.iter().map(|op| op.code()).collect::<Vec<_>>().into(),
        seq: (1..=count as u64).collect::<Vec<_>>().into(),
        offset: vec![20; count].into(),
        absent: Vec::new(),
        before: None,
        transactions: vec![TransactionRun {
            end: u32::try_from(count).expect("few"),
            id: TransactionId::Number(5),
            commit_offset: 30,
            commit_time: 1_700_000_000_123_456,
            first_seq: 1,
        }],
    }
}

/// Keys, values and headers of a batch; of values the times of their making are cut off.
fn written(batch: &ChangeBatch, config: KafkaConfig) -> Vec<String> {
    let origin = Origin {
        connector: Connector::Postgresql,
        name: "p".to_owned(),
        database: "d".to_owned(),
    };
    let config = Arc::new(config);
    let topic = "p.public.t".to_owned();
    let mut encoder = TableEncoder::new(&batch.table, topic, &origin, &config).expect("every type");
    let mut commits = Commits::default();
    commits.before(10);
    let mut records = Vec::new();
    let text = |bytes: Option<&[u8]>| {
        let text = bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"));
        text.unwrap_or_else(|| "none".to_owned())
    };
    encoder
        .encode(batch, &mut commits, &mut |record| {
            let value = text(record.value);
            let value = value
                .rfind(",\"ts_ms\":")
                .map_or(value.as_str(), |at| &value[..at]);
            let header: String = record
                .headers
                .iter()
                .map(|(name, value)| format!(" {name}={}", text(Some(value))))
                .collect();
            records.push(format!("{} {value}{header}", text(record.key)));
            Ok(())
        })
        .expect("is written");
    records
}

fn config() -> KafkaConfig {
    KafkaConfig::new("localhost:9092")
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn a_create_of_postgresql_is_debeziums() {
    let table = table(
        vec![Column::new("id", DataType::Int32, "integer")],
        vec![0],
        Identity::Key,
    );
    let one = rows(&table, vec![Arc::new(Int32Array::from(vec![1]))]);
    let records = written(&batch(&table, one, &[Op::Insert]), config());
    assert_eq!(
        records,
        [format!(
            "{{\"id\":1}} {{\"before\":null,\"after\":{{\"id\":1}},\"source\":{{\"version\":\"{VERSION}\",\
             \"connector\":\"postgresql\",\"name\":\"p\",\"ts_ms\":1700000000123,\"snapshot\":\"false\",\
             \"db\":\"d\",\"sequence\":\"[\\\"10\\\",\\\"20\\\"]\",\"ts_us\":1700000000123456,\
             \"ts_ns\":1700000000123456000,\"schema\":\"public\",\"table\":\"t\",\"txId\":5,\"lsn\":20,\
             \"xmin\":null,\"origin\":null,\"origin_lsn\":null}},\"transaction\":null,\"op\":\"c\""
        )]
    );
}

/// Of a value only before, after and op.
fn outlines(batch: &ChangeBatch, config: KafkaConfig) -> Vec<String> {
    written(batch, config)
        .into_iter()
        .map(
            |text| match (text.find(",\"source\""), text.find("\"op\"")) {
                (Some(from), Some(to)) => format!("{} {}", &text[..from], &text[to..]),
                _ => text,
            },
        )
        .collect()
}

fn two(table: &Arc<TableSchema>, values: [Option<&str>; 2]) -> RecordBatch {
    rows(
        table,
        vec![
            Arc::new(Int32Array::from(vec![1, 2])),
            Arc::new(StringArray::from(values.to_vec())),
        ],
    )
}

#[test]
fn a_changed_key_is_a_delete_a_tombstone_and_a_create_with_headers() {
    let table = items();
    let change = batch(
        &table,
        two(&table, [None, Some("x")]),
        &[Op::MoveOut, Op::MoveIn],
    );
    assert_eq!(
        outlines(&change, config()),
        [
            "{\"id\":1} {\"before\":{\"id\":1,\"v\":null},\"after\":null \"op\":\"d\" \
             __debezium.newkey={\"id\":2}",
            "{\"id\":1} none",
            "{\"id\":2} {\"before\":null,\"after\":{\"id\":2,\"v\":\"x\"} \"op\":\"c\" \
             __debezium.oldkey={\"id\":1}",
        ]
    );
}

#[test]
fn what_may_not_be_null_has_a_zero_in_the_old_row_of_a_delete() {
    let mut columns = items().columns.clone();
    columns[1].nullable = false;
    let table = table(columns, vec![0], Identity::Key);
    let change = batch(&table, two(&table, [None, None]).slice(0, 1), &[Op::Delete]);
    assert_eq!(
        outlines(&change, config()),
        [
            "{\"id\":1} {\"before\":{\"id\":1,\"v\":\"\"},\"after\":null \"op\":\"d\"",
            "{\"id\":1} none"
        ]
    );
}

#[test]
fn without_a_key_old_and_new_row_are_one_update() {
    let table = table(items().columns.clone(), vec![], Identity::Full);
    let change = batch(
        &table,
        two(&table, [Some("a"), Some("b")]),
        &[Op::MoveOut, Op::MoveIn],
    );
    assert_eq!(
        outlines(&change, config()),
        ["none {\"before\":{\"id\":1,\"v\":\"a\"},\"after\":{\"id\":2,\"v\":\"b\"} \"op\":\"u\""]
    );
}

#[test]
fn an_absent_value_is_not_null() {
    let table = items();
    let mut change = batch(&table, two(&table, [None, None]), &[Op::Update, Op::Update]);
    change.absent = vec![None, Some(BooleanBuffer::from(vec![true, false]))];
    assert_eq!(
        outlines(&change, config()),
        [
            "{\"id\":1} {\"before\":null,\"after\":{\"id\":1,\"v\":\"__debezium_unavailable_value\"} \"op\":\"u\"",
            "{\"id\":2} {\"before\":null,\"after\":{\"id\":2,\"v\":null} \"op\":\"u\""
        ]
    );
}

#[test]
fn an_absent_number_stops_its_table() {
    let columns = vec![
        items().columns[0].clone(),
        Column::new("n", DataType::Int32, "int"),
    ];
    let table = table(columns, vec![0], Identity::Key);
    let numbers = || -> ArrayRef { Arc::new(Int32Array::from(vec![1])) };
    let mut change = batch(
        &table,
        rows(&table, vec![numbers(), numbers()]),
        &[Op::Update],
    );
    change.absent = vec![None, Some(BooleanBuffer::from(vec![true]))];
    let origin = Origin {
        connector: Connector::Mysql,
        name: "p".to_owned(),
        database: String::new(),
    };
    let config = Arc::new(config());
    let mut encoder =
        TableEncoder::new(&table, "t".to_owned(), &origin, &config).expect("known types");
    let error = encoder
        .encode(&change, &mut Commits::default(), &mut |_| Ok(()))
        .expect_err("is refused");
    assert_eq!(
        (error.kind(), error.table()),
        (ErrorKind::Unsupported, Some(TableId(1)))
    );
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("binlog_row_image"))
    );
}

#[test]
fn a_flat_value_is_the_row_and_a_delete_a_tombstone() {
    let table = items();
    let mut flat = config();
    flat.envelope = Envelope::Flat;
    let change = batch(
        &table,
        two(&table, [Some("a"), None]),
        &[Op::Insert, Op::Delete],
    );
    assert_eq!(
        written(&change, flat),
        ["{\"id\":1} {\"id\":1,\"v\":\"a\"}", "{\"id\":2} none"]
    );
}

#[test]
fn what_is_left_out_is_not_there() {
    let table = items();
    let mut less = config();
    less.skipped_operations = vec![Operation::Create, Operation::Delete];
    let change = batch(&table, two(&table, [None, None]), &[Op::Insert, Op::Delete]);
    assert_eq!(written(&change, less), Vec::<String>::new());
    let mut without = config();
    without.tombstones = false;
    let change = batch(&table, two(&table, [None, None]), &[Op::Delete, Op::Delete]);
    assert_eq!(written(&change, without).len(), 2);
}

#[test]
fn mysqls_types_and_source_are_debeziums() {
    let columns = vec![
        Column::new("id", DataType::UInt64, "bigint unsigned"),
        Column::new(
            "at",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            "datetime",
        ),
        Column::new(
            "stamp",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "timestamp",
        ),
        Column::new("big", DataType::Int64, "bigint"),
    ];
    let table = table(columns, vec![0], Identity::Key);
    let time = || TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]);
    let one = rows(
        &table,
        vec![
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            Arc::new(time()),
            Arc::new(time().with_timezone("UTC")),
            Arc::new(Int64Array::from(vec![i64::MIN])),
        ],
    );
    let mut change = batch(&table, one, &[Op::Insert]);
    change.transactions[0].id = TransactionId::Text("uuid:7".into());
    let origin = Origin {
        connector: Connector::Mysql,
        name: "p".to_owned(),
        database: String::new(),
    };
    let config = Arc::new(config());
    let mut encoder =
        TableEncoder::new(&table, "t".to_owned(), &origin, &config).expect("known types");
    let mut value = Vec::new();
    encoder
        .encode(&change, &mut Commits::default(), &mut |record| {
            value = record.value.unwrap_or_default().to_vec();
            Ok(())
        })
        .expect("is written");
    let value = String::from_utf8(value).expect("text");
    assert!(
        value.starts_with(
            "{\"before\":null,\"after\":{\"id\":-1,\"at\":1700000000000,\
             \"stamp\":\"2023-11-14T22:13:20Z\",\"big\":-9223372036854775808},\"source\":{"
        ),
        "{value}"
    );
    assert!(
        value.contains(
            "\"table\":\"t\",\"server_id\":0,\"gtid\":\"uuid:7\",\"file\":\"\",\"pos\":20,\"row\":0,\
             \"thread\":null,\"query\":null}"
        ),
        "{value}"
    );
}

#[test]
fn schemas_stand_before_the_payload() {
    let table = items();
    let mut with = config();
    with.format = Format::JsonWithSchema;
    let change = batch(
        &table,
        two(&table, [Some("a"), None]).slice(0, 1),
        &[Op::Insert],
    );
    let records = written(&change, with);
    assert!(
        records[0].starts_with(
            "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":false,\
             \"field\":\"id\"}],\"optional\":false,\"name\":\"p.public.t.Key\"},\"payload\":{\"id\":1}} \
             {\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"struct\",\"fields\":[\
             {\"type\":\"int32\",\"optional\":false,\"field\":\"id\"},{\"type\":\"string\",\
             \"optional\":true,\"field\":\"v\"}],\"optional\":true,\"name\":\"p.public.t.Value\",\
             \"field\":\"before\"},"
        ),
        "{}",
        records[0]
    );
}

#[test]
fn a_deleted_row_that_is_rewritten_says_so_before_the_members_of_the_envelope() {
    let table = items();
    let mut flat = config();
    flat.envelope = Envelope::Flat;
    flat.flat.deletes = Flattened::RewriteWithTombstone;
    flat.flat.add_fields = vec!["op".into(), "source.lsn".into(), "txId:tx".into()];
    flat.flat.add_headers = vec!["sequence".into(), "op".into()];
    let change = batch(
        &table,
        two(&table, [Some("a"), None]),
        &[Op::Insert, Op::Delete],
    );
    assert_eq!(
        written(&change, flat),
        [
            "{\"id\":1} {\"id\":1,\"v\":\"a\",\"__deleted\":\"false\",\"__op\":\"c\",\"__source_lsn\":20,\
             \"__tx\":5} __sequence=[\"10\",\"20\"] __op=c",
            "{\"id\":2} {\"id\":2,\"v\":null,\"__deleted\":\"true\",\"__op\":\"d\",\"__source_lsn\":20,\
             \"__tx\":5} __sequence=[\"10\",\"20\"] __op=d",
            "{\"id\":2} none",
        ]
    );
}

#[test]
fn a_member_that_the_envelope_has_not_is_told_at_once() {
    let mut flat = config();
    flat.flat.add_fields = vec!["source.gtid".into()];
    super::validate(&flat, Connector::Mysql).expect("MySQL has it");
    let error = super::validate(&flat, Connector::Postgresql).expect_err("PostgreSQL has not");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`source.gtid`"), "{error}");
}

#[test]
fn a_change_says_its_place_in_its_transaction() {
    let table = items();
    let mut told = config();
    told.transaction_metadata = true;
    let mut change = batch(
        &table,
        two(&table, [Some("a"), Some("b")]),
        &[Op::Insert, Op::Update],
    );
    change.seq = vec![12, 15].into();
    change.transactions[0].first_seq = 11;
    let records = written(&change, told);
    for (record, total, own) in [(&records[0], 2, 1), (&records[1], 5, 2)] {
        let wanted = format!(
            ",\"transaction\":{{\"id\":\"5:20\",\"total_order\":{total},\"data_collection_order\":{own}}},"
        );
        assert!(record.contains(&wanted), "{record}");
    }
}

#[test]
fn a_row_of_an_outbox_is_its_event() {
    let columns = ["id", "aggregatetype", "aggregateid", "payload"];
    let columns = columns.map(|name| Column::new(name, DataType::Utf8, "text"));
    let table = table(columns.to_vec(), vec![0], Identity::Key);
    let text =
        |values: [Option<&str>; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let events = || {
        rows(
            &table,
            vec![
                text([Some("e1"), Some("e2")]),
                text([Some("order line"), Some("x")]),
                text([Some("7"), None]),
                text([Some("{\"a\": \"ü\"}"), None]),
            ],
        )
    };
    let mut outbox = config();
    outbox.outbox.tables = vec!["public.t".into()];
    let change = batch(&table, events(), &[Op::Insert, Op::Insert]);
    assert_eq!(
        written(&change, outbox.clone()),
        ["7 {\"a\": \"ü\"} id=e1", "none none id=e2"]
    );
    let housekeeping = batch(&table, events(), &[Op::Update, Op::Delete]);
    assert_eq!(written(&housekeeping, outbox.clone()), Vec::<String>::new());
    outbox.outbox.payload = "body".into();
    let origin = Origin {
        connector: Connector::Postgresql,
        name: "p".to_owned(),
        database: String::new(),
    };
    let error = TableEncoder::new(&table, "t".to_owned(), &origin, &Arc::new(outbox))
        .err()
        .expect("is refused");
    assert_eq!(error.table(), Some(TableId(1)), "{error}");
    assert!(
        error
            .hint_text()
            .is_some_and(|it| it.contains("outbox.payload"))
    );
}

#[test]
fn avro_is_the_schemas_members_one_after_another() {
    let table = items();
    let mut avro = config();
    avro.format = Format::Avro;
    let config = Arc::new(avro);
    let origin = Origin {
        connector: Connector::Postgresql,
        name: "p".to_owned(),
        database: "d".to_owned(),
    };
    let topic = "p.public.t".to_owned();
    let mut encoder = TableEncoder::new(&table, topic, &origin, &config).expect("every type");
    let (key, value) = encoder.avro_schemas();
    assert_eq!(
        key.expect("there is one").text,
        "{\"type\":\"record\",\"name\":\"Key\",\"namespace\":\"p.public.t\",\"fields\":[{\"name\":\"id\",\
         \"type\":\"int\"}],\"connect.name\":\"p.public.t.Key\"}"
    );
    assert_eq!(value.name, "p.public.t.Envelope");
    assert!(
        value.text.starts_with(
            "{\"type\":\"record\",\"name\":\"Envelope\",\"namespace\":\"p.public.t\",\"fields\":[{\"name\":\
             \"before\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"Value\",\"fields\":[{\"name\":\"id\",\
             \"type\":\"int\"},{\"name\":\"v\",\"type\":[\"null\",\"string\"],\"default\":null}],\
             \"connect.name\":\"p.public.t.Value\"}],\"default\":null},{\"name\":\"after\",\"type\":[\"null\",\
             \"Value\"],\"default\":null},"
        ),
        "{}",
        value.text
    );
    encoder.numbered(Some(7), 258);
    let change = batch(
        &table,
        two(&table, [Some("a"), None]).slice(0, 1),
        &[Op::Insert],
    );
    let mut seen = Vec::new();
    encoder
        .encode(&change, &mut Commits::default(), &mut |record| {
            seen.push((
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
            ));
            Ok(())
        })
        .expect("is written");
    let (key, value) = seen.remove(0);
    assert_eq!(key.expect("a key"), [0, 0, 0, 0, 7, 2]);
    // No row before; after: 1 and "a".
    let value = value.expect("a value");
    assert_eq!(value[..11], [0, 0, 0, 1, 2, 0, 2, 2, 2, 2, b'a']);
}
