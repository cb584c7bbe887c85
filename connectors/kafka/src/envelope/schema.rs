//! Connect's schemas as `JsonConverter` writes them, for records that carry their own.
//!
//! Invariant: made once for a table's shape; the order of members is the converter's.

use cdc_api::TableSchema;

use super::kind::Kind;
use super::{Connector, Field, text};
use crate::config::{Binary, Decimals, Envelope, KafkaConfig};

/// What stands before the payload of keys and values: `{"schema":…,"payload":`.
pub(super) struct Schemas {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Schemas {
    pub(super) fn of(
        table: &TableSchema,
        fields: &[Field],
        topic: &str,
        connector: Connector,
        config: &KafkaConfig,
    ) -> Self {
        let named = |index: &usize| (table.columns[*index].name.as_str(), &fields[*index]);
        let columns = |indices: &[usize]| -> Vec<String> {
            indices
                .iter()
                .map(named)
                .map(|(name, field)| of_kind(&field.kind, field.nullable, Some(name)))
                .collect()
        };
        let all: Vec<usize> = (0..fields.len()).collect();
        let key = structure(
            &columns(&table.key),
            false,
            &format!("{topic}.Key"),
            None,
            None,
        );
        let row = |optional, field: Option<&str>| {
            structure(
                &columns(&all),
                optional,
                &format!("{topic}.Value"),
                None,
                field,
            )
        };
        let value = if config.envelope == Envelope::Flat {
            row(false, None)
        } else {
            let members = [
                row(true, Some("before")),
                row(true, Some("after")),
                source(connector),
                transaction(),
                simple("string", false, "op"),
                simple("int64", true, "ts_ms"),
                simple("int64", true, "ts_us"),
                simple("int64", true, "ts_ns"),
            ];
            structure(&members, false, &format!("{topic}.Envelope"), Some(2), None)
        };
        let opened = |schema: String| format!("{{\"schema\":{schema},\"payload\":").into_bytes();
        Self {
            key: opened(key),
            value: opened(value),
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    text::string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

fn structure(
    members: &[String],
    optional: bool,
    name: &str,
    version: Option<u32>,
    field: Option<&str>,
) -> String {
    closed(fields(members), optional, Some(name), version, "", field)
}

/// A structure of the first version that Debezium describes in words.
fn described(
    members: &[String],
    optional: bool,
    name: &str,
    words: &str,
    field: Option<&str>,
) -> String {
    let words = format!(",\"doc\":{}", quoted(words));
    closed(
        fields(members),
        optional,
        Some(name),
        Some(1),
        &words,
        field,
    )
}

fn fields(members: &[String]) -> String {
    format!("{{\"type\":\"struct\",\"fields\":[{}]", members.join(","))
}

fn simple(kind: &str, optional: bool, field: &str) -> String {
    closed(
        format!("{{\"type\":\"{kind}\""),
        optional,
        None,
        None,
        "",
        Some(field),
    )
}

fn closed(
    mut schema: String,
    optional: bool,
    name: Option<&str>,
    version: Option<u32>,
    parameters: &str,
    field: Option<&str>,
) -> String {
    schema.push_str(&format!(",\"optional\":{optional}"));
    if let Some(name) = name {
        schema.push_str(&format!(",\"name\":{}", quoted(name)));
    }
    if let Some(version) = version {
        schema.push_str(&format!(",\"version\":{version}"));
    }
    schema.push_str(parameters);
    if let Some(field) = field {
        schema.push_str(&format!(",\"field\":{}", quoted(field)));
    }
    schema.push('}');
    schema
}

fn transaction() -> String {
    let members = [
        simple("string", false, "id"),
        simple("int64", false, "total_order"),
        simple("int64", false, "data_collection_order"),
    ];
    structure(&members, true, "event.block", Some(1), Some("transaction"))
}

fn source(connector: Connector) -> String {
    let snapshot = "{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\
         \"version\":1,\"parameters\":{\"allowed\":\"true,first,first_in_data_collection,\
         last_in_data_collection,last,false,incremental\"},\"default\":\"false\",\
         \"field\":\"snapshot\"}";
    let mut members = vec![
        simple("string", false, "version"),
        simple("string", false, "connector"),
        simple("string", false, "name"),
        simple("int64", false, "ts_ms"),
        snapshot.to_owned(),
        simple("string", false, "db"),
        simple("string", true, "sequence"),
        simple("int64", true, "ts_us"),
        simple("int64", true, "ts_ns"),
    ];
    let (own, name): (&[(&str, bool, &str)], &str) = match connector {
        Connector::Postgresql => (
            &[
                ("string", false, "schema"),
                ("string", false, "table"),
                ("int64", true, "txId"),
                ("int64", true, "lsn"),
                ("int64", true, "xmin"),
                ("string", true, "origin"),
                ("int64", true, "origin_lsn"),
            ],
            "io.debezium.connector.postgresql.Source",
        ),
        Connector::Mysql => (
            &[
                ("string", true, "table"),
                ("int64", false, "server_id"),
                ("string", true, "gtid"),
                ("string", false, "file"),
                ("int64", false, "pos"),
                ("int32", false, "row"),
                ("int64", true, "thread"),
                ("string", true, "query"),
            ],
            "io.debezium.connector.mysql.Source",
        ),
    };
    members.extend(
        own.iter()
            .map(|(kind, optional, field)| simple(kind, *optional, field)),
    );
    structure(&members, false, name, Some(1), Some("source"))
}

/// The schema of one column, or of a list's element (which has no name of a field).
fn of_kind(kind: &Kind, optional: bool, field: Option<&str>) -> String {
    let logical = |kind: &str, name: &str| {
        closed(
            format!("{{\"type\":\"{kind}\""),
            optional,
            Some(name),
            Some(1),
            "",
            field,
        )
    };
    let plain = |kind: &str| {
        closed(
            format!("{{\"type\":\"{kind}\""),
            optional,
            None,
            None,
            "",
            field,
        )
    };
    let decimal = |scale: i32, precision: Option<u8>| {
        let precision = precision.map_or_else(String::new, |digits| {
            format!(",\"connect.decimal.precision\":\"{digits}\"")
        });
        closed(
            "{\"type\":\"bytes\"".to_owned(),
            optional,
            Some("org.apache.kafka.connect.data.Decimal"),
            Some(1),
            &format!(",\"parameters\":{{\"scale\":\"{scale}\"{precision}}}"),
            field,
        )
    };
    match kind {
        Kind::Boolean | Kind::Bit => plain("boolean"),
        Kind::Integer(name) => plain(name),
        Kind::UnsignedLong => plain("int64"),
        Kind::UnsignedPrecise => decimal(0, None),
        Kind::Float => plain("float"),
        Kind::Double => plain("double"),
        Kind::Decimal { form, .. } | Kind::Number(form) | Kind::Money(form)
            if *form == Decimals::Double =>
        {
            plain("double")
        }
        Kind::Decimal { form, .. } | Kind::Number(form) | Kind::Money(form)
            if *form == Decimals::String =>
        {
            plain("string")
        }
        Kind::Decimal {
            precision, scale, ..
        } => decimal(i32::from(*scale), Some(*precision)),
        Kind::Money(_) => decimal(2, None),
        Kind::Number(_) => {
            let members = [
                simple("int32", false, "scale"),
                simple("bytes", false, "value"),
            ];
            described(
                &members,
                optional,
                "io.debezium.data.VariableScaleDecimal",
                "Variable scaled decimal",
                field,
            )
        }
        Kind::Date { connect: true } => logical("int32", "org.apache.kafka.connect.data.Date"),
        Kind::Date { .. } => logical("int32", "io.debezium.time.Date"),
        Kind::TimeMillis { connect: true } => {
            logical("int32", "org.apache.kafka.connect.data.Time")
        }
        Kind::TimeMillis { .. } => logical("int32", "io.debezium.time.Time"),
        Kind::TimeMicros => logical("int64", "io.debezium.time.MicroTime"),
        Kind::TimestampMillis { connect: true } => {
            logical("int64", "org.apache.kafka.connect.data.Timestamp")
        }
        Kind::TimestampMillis { .. } => logical("int64", "io.debezium.time.Timestamp"),
        Kind::TimestampMicros => logical("int64", "io.debezium.time.MicroTimestamp"),
        Kind::Zoned { .. } => logical("string", "io.debezium.time.ZonedTimestamp"),
        Kind::ZonedTime => logical("string", "io.debezium.time.ZonedTime"),
        Kind::IntervalMicros => logical("int64", "io.debezium.time.MicroDuration"),
        Kind::IntervalText => logical("string", "io.debezium.time.Interval"),
        Kind::Year => logical("int32", "io.debezium.time.Year"),
        Kind::Uuid => logical("string", "io.debezium.data.Uuid"),
        Kind::Bytes(Binary::Bytes) => plain("bytes"),
        Kind::Bytes(_) => plain("string"),
        Kind::Bits(length) => closed(
            "{\"type\":\"bytes\"".to_owned(),
            optional,
            Some("io.debezium.data.Bits"),
            Some(1),
            &format!(",\"parameters\":{{\"length\":\"{length}\"}}"),
            field,
        ),
        Kind::Text(None) => plain("string"),
        Kind::Text(Some(name)) => logical("string", name),
        Kind::HstoreJson => logical("string", "io.debezium.data.Json"),
        Kind::HstoreMap => closed(
            "{\"type\":\"map\",\"keys\":{\"type\":\"string\",\"optional\":false},\
             \"values\":{\"type\":\"string\",\"optional\":true}"
                .to_owned(),
            optional,
            None,
            None,
            "",
            field,
        ),
        Kind::Point => {
            let members = [
                simple("double", false, "x"),
                simple("double", false, "y"),
                simple("bytes", true, "wkb"),
                simple("int32", true, "srid"),
            ];
            described(
                &members,
                optional,
                "io.debezium.data.geometry.Point",
                "Geometry (POINT)",
                field,
            )
        }
        Kind::List(element) => {
            let items = of_kind(element, true, None);
            closed(
                format!("{{\"type\":\"array\",\"items\":{items}"),
                optional,
                None,
                None,
                "",
                field,
            )
        }
    }
}
