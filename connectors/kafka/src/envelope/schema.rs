//! What Connect's schemas of keys and values are, as a tree; `json` and `avro` write it.
//!
//! Invariant: made once for a table's shape; members stand in the order in which `envelope` writes
//! their values.

pub(super) mod avro;
pub(super) mod json;

use cdc_api::TableSchema;

use super::flat::{Extra, Flat, Member};
use super::kind::Kind;
use super::{Connector, Field};
use crate::config::{Binary, Decimals};

/// A schema of Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) shape: Shape,
    pub(super) optional: bool,
    /// Of a structure its own name; of others what the type means.
    pub(super) name: Option<String>,
    pub(super) version: Option<u32>,
    pub(super) doc: Option<&'static str>,
    pub(super) parameters: Vec<(&'static str, String)>,
    /// Text that stands where there is no value.
    pub(super) default: Option<&'static str>,
}

/// What a schema is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A scalar, by its name: `int16`, `int32`, `int64`, `float`, `double`, `boolean`, `string`,
    /// `bytes`.
    Scalar(&'static str),
    /// Members with their names.
    Struct(Vec<(String, Schema)>),
    /// Elements, which may be null.
    Array(Box<Schema>),
    /// Values, which may be null, by text.
    Map(Box<Schema>),
}

impl Schema {
    /// A schema without a meaning of its own.
    pub(super) fn plain(shape: Shape, optional: bool) -> Self {
        Self {
            shape,
            optional,
            name: None,
            version: None,
            doc: None,
            parameters: Vec::new(),
            default: None,
        }
    }

    pub(super) fn scalar(kind: &'static str, optional: bool) -> Self {
        Self::plain(Shape::Scalar(kind), optional)
    }

    /// A scalar of a meaning.
    fn logical(kind: &'static str, optional: bool, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            version: Some(1),
            ..Self::scalar(kind, optional)
        }
    }

    pub(super) fn structure(members: Vec<(String, Self)>, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..Self::plain(Shape::Struct(members), false)
        }
    }

    pub(super) fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    pub(super) fn version(self, version: u32) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    fn doc(self, doc: &'static str) -> Self {
        Self {
            doc: Some(doc),
            ..self
        }
    }
}

/// The schemas of a table's keys and values.
pub(super) struct Schemas {
    pub(super) key: Schema,
    pub(super) value: Schema,
}

impl Schemas {
    /// Of records in `topic`, whose schemas are named after it.
    pub(super) fn of(
        table: &TableSchema,
        fields: &[Field],
        topic: &str,
        connector: Connector,
        flat: Option<&Flat>,
    ) -> Self {
        let member = |index: usize| {
            let field = &fields[index];
            let name = field.name.clone();
            (name, of_kind(&field.kind, field.nullable))
        };
        let key = table.key.iter().map(|index| member(*index)).collect();
        let mut row: Vec<_> = (0..fields.len()).map(member).collect();
        let value = match flat {
            Some(flat) => {
                let extra = flat.fields.iter().map(|extra| of_extra(extra, connector));
                row.extend(extra);
                Schema::structure(row, &format!("{topic}.Value"))
            }
            None => {
                let row = Schema::structure(row, &format!("{topic}.Value")).optional();
                let members = vec![
                    ("before".to_owned(), row.clone()),
                    ("after".to_owned(), row),
                    ("source".to_owned(), source(connector)),
                    ("transaction".to_owned(), transaction()),
                    ("op".to_owned(), Schema::scalar("string", false)),
                    ("ts_ms".to_owned(), Schema::scalar("int64", true)),
                    ("ts_us".to_owned(), Schema::scalar("int64", true)),
                    ("ts_ns".to_owned(), Schema::scalar("int64", true)),
                ];
                Schema::structure(members, &format!("{topic}.Envelope")).version(2)
            }
        };
        Self {
            key: Schema::structure(key, &format!("{topic}.Key")),
            value,
        }
    }
}

fn of_extra(extra: &Extra, connector: Connector) -> (String, Schema) {
    let schema = match &extra.field {
        Member::Source(name) => {
            let members = match source(connector).shape {
                Shape::Struct(members) => members,
                _ => Vec::new(),
            };
            let found = members.into_iter().find(|(it, _)| it == name);
            found.map_or_else(|| Schema::scalar("string", true), |(_, schema)| schema)
        }
        Member::Deleted | Member::Op | Member::Transaction("id") => Schema::scalar("string", true),
        Member::Made(_) | Member::Transaction(_) => Schema::scalar("int64", true),
    };
    let schema = Schema {
        optional: true,
        default: None,
        ..schema
    };
    (extra.name.clone(), schema)
}

pub(super) fn transaction() -> Schema {
    let members = vec![
        ("id".to_owned(), Schema::scalar("string", false)),
        ("total_order".to_owned(), Schema::scalar("int64", false)),
        (
            "data_collection_order".to_owned(),
            Schema::scalar("int64", false),
        ),
    ];
    Schema::structure(members, "event.block")
        .version(1)
        .optional()
}

/// Name, type and whether it may be missing, of each member of the source block.
pub(super) fn source_members(connector: Connector) -> Vec<(&'static str, &'static str, bool)> {
    let mut members = vec![
        ("version", "string", false),
        ("connector", "string", false),
        ("name", "string", false),
        ("ts_ms", "int64", false),
        ("snapshot", "string", true),
        ("db", "string", false),
        ("sequence", "string", true),
        ("ts_us", "int64", true),
        ("ts_ns", "int64", true),
    ];
    members.extend_from_slice(match connector {
        Connector::Postgresql => &[
            ("schema", "string", false),
            ("table", "string", false),
            ("txId", "int64", true),
            ("lsn", "int64", true),
            ("xmin", "int64", true),
            ("origin", "string", true),
            ("origin_lsn", "int64", true),
        ],
        Connector::Mysql => &[
            ("table", "string", true),
            ("server_id", "int64", false),
            ("gtid", "string", true),
            ("file", "string", false),
            ("pos", "int64", false),
            ("row", "int32", false),
            ("thread", "int64", true),
            ("query", "string", true),
        ],
    });
    members
}

pub(super) fn source(connector: Connector) -> Schema {
    let members = source_members(connector)
        .into_iter()
        .map(|(name, kind, optional)| {
            let schema = if name == "snapshot" {
                let allowed = "true,first,first_in_data_collection,last_in_data_collection,last,\
                               false,incremental";
                Schema {
                    parameters: vec![("allowed", allowed.to_owned())],
                    default: Some("false"),
                    ..Schema::logical(kind, optional, "io.debezium.data.Enum")
                }
            } else {
                Schema::scalar(kind, optional)
            };
            (name.to_owned(), schema)
        })
        .collect();
    let name = match connector {
        Connector::Postgresql => "io.debezium.connector.postgresql.Source",
        Connector::Mysql => "io.debezium.connector.mysql.Source",
    };
    Schema::structure(members, name).version(1)
}

/// The schema of one column, or of a list's element.
fn of_kind(kind: &Kind, optional: bool) -> Schema {
    let plain = |kind| Schema::scalar(kind, optional);
    let logical = |kind, name| Schema::logical(kind, optional, name);
    let decimal = |scale: i32, precision: Option<u8>| {
        let mut parameters = vec![("scale", scale.to_string())];
        if let Some(digits) = precision {
            parameters.push(("connect.decimal.precision", digits.to_string()));
        }
        Schema {
            parameters,
            ..logical("bytes", "org.apache.kafka.connect.data.Decimal")
        }
    };
    let structure = |members: Vec<(&str, Schema)>, name: &str, words| {
        let members = members.into_iter();
        let members = members.map(|(name, schema)| (name.to_owned(), schema));
        let schema = Schema::structure(members.collect(), name)
            .version(1)
            .doc(words);
        Schema { optional, ..schema }
    };
    match kind {
        Kind::Boolean | Kind::Bit => plain("boolean"),
        Kind::Integer(name) => plain(name),
        Kind::UnsignedLong => plain("int64"),
        Kind::UnsignedPrecise => decimal(0, Some(20)),
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
        Kind::Number(_) => structure(
            vec![
                ("scale", Schema::scalar("int32", false)),
                ("value", Schema::scalar("bytes", false)),
            ],
            "io.debezium.data.VariableScaleDecimal",
            "Variable scaled decimal",
        ),
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
        Kind::DateText => logical("string", "io.debezium.time.IsoDate"),
        Kind::TimeText => logical("string", "io.debezium.time.IsoTime"),
        Kind::TimestampText => logical("string", "io.debezium.time.IsoTimestamp"),
        Kind::Zoned { .. } => logical("string", "io.debezium.time.ZonedTimestamp"),
        Kind::ZonedTime => logical("string", "io.debezium.time.ZonedTime"),
        Kind::IntervalMicros => logical("int64", "io.debezium.time.MicroDuration"),
        Kind::IntervalText => logical("string", "io.debezium.time.Interval"),
        Kind::Year => logical("int32", "io.debezium.time.Year"),
        Kind::Uuid => logical("string", "io.debezium.data.Uuid"),
        Kind::Bytes(Binary::Bytes) => plain("bytes"),
        Kind::Bytes(_) => plain("string"),
        Kind::Bits(length) => Schema {
            parameters: vec![("length", length.to_string())],
            ..logical("bytes", "io.debezium.data.Bits")
        },
        Kind::Text(None) => plain("string"),
        Kind::Text(Some(name)) => logical("string", name),
        Kind::HstoreJson => logical("string", "io.debezium.data.Json"),
        Kind::HstoreMap => {
            let values = Box::new(Schema::scalar("string", true));
            Schema::plain(Shape::Map(values), optional)
        }
        Kind::Geometry { point: false } => structure(
            vec![
                ("wkb", Schema::scalar("bytes", false)),
                ("srid", Schema::scalar("int32", true)),
            ],
            "io.debezium.data.geometry.Geometry",
            "Geometry",
        ),
        Kind::Point | Kind::Geometry { .. } => structure(
            vec![
                ("x", Schema::scalar("double", false)),
                ("y", Schema::scalar("double", false)),
                ("wkb", Schema::scalar("bytes", true)),
                ("srid", Schema::scalar("int32", true)),
            ],
            "io.debezium.data.geometry.Point",
            "Geometry (POINT)",
        ),
        Kind::List(element) => {
            Schema::plain(Shape::Array(Box::new(of_kind(element, true))), optional)
        }
    }
}
