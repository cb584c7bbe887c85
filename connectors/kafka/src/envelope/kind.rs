//! What a column is on the wire: its Connect type. Its values are `write`'s.
//!
//! Invariant: a column's kind depends on its type and the settings alone, so that the existing rows
//! of a table and its changes are written alike.

pub(super) mod write;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use cdc_api::Column;

use super::Connector;
use crate::config::{Binary, Decimals, Hstore, Intervals, KafkaConfig, Times, UnsignedBigint};

/// How a column's values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    /// Any integer; the Connect type's name.
    Integer(&'static str),
    /// Unsigned 64 bits as signed ones.
    UnsignedLong,
    /// Unsigned 64 bits as a decimal.
    UnsignedPrecise,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
        form: Decimals,
    },
    /// A number without a declared scale, which travels as text.
    Number(Decimals),
    Money(Decimals),
    Date {
        connect: bool,
    },
    TimeMillis {
        connect: bool,
    },
    TimeMicros,
    TimestampMillis {
        connect: bool,
    },
    TimestampMicros,
    DateText,
    TimeText,
    TimestampText,
    Zoned {
        digits: usize,
    },
    ZonedTime,
    IntervalMicros,
    IntervalText,
    Uuid,
    Bytes(Binary),
    Bit,
    Bits(u32),
    /// Text, with the semantic type's name.
    Text(Option<&'static str>),
    HstoreJson,
    HstoreMap,
    Point,
    /// MySQL's, as its bytes: the system of its coordinates, then the well-known binary.
    Geometry {
        point: bool,
    },
    Year,
    List(Box<Kind>),
}

impl Kind {
    pub(super) fn of(column: &Column, connector: Connector, config: &KafkaConfig) -> Option<Self> {
        let json = column.extension.as_deref() == Some("arrow.json");
        Self::of_type(
            &column.data_type,
            &column.source_type,
            json,
            connector,
            config,
        )
    }

    fn of_type(
        data_type: &DataType,
        source_type: &str,
        json: bool,
        connector: Connector,
        config: &KafkaConfig,
    ) -> Option<Self> {
        let mysql = connector == Connector::Mysql;
        let connect = config.times == Times::Connect;
        let digits = digits(source_type);
        Some(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int32 | DataType::UInt16 | DataType::Int16
                if source_type.starts_with("year") =>
            {
                Self::Year
            }
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::Integer("int16"),
            DataType::UInt16 | DataType::Int32 => Self::Integer("int32"),
            DataType::UInt32 if source_type.starts_with("mediumint") => Self::Integer("int32"),
            DataType::UInt32 | DataType::Int64 => Self::Integer("int64"),
            DataType::UInt64 => match config.unsigned_bigint {
                UnsignedBigint::Long => Self::UnsignedLong,
                UnsignedBigint::Precise => Self::UnsignedPrecise,
            },
            DataType::Float32 => Self::Float,
            DataType::Float64 => Self::Double,
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                Self::Decimal {
                    precision: *precision,
                    scale: *scale,
                    form: config.decimals,
                }
            }
            DataType::Date32 if config.times == Times::IsoString => Self::DateText,
            DataType::Date32 => Self::Date { connect },
            DataType::Time64(TimeUnit::Microsecond) | DataType::Duration(TimeUnit::Microsecond) => {
                match config.times {
                    Times::Connect => Self::TimeMillis { connect },
                    Times::IsoString => Self::TimeText,
                    Times::Adaptive if !mysql && digits.is_some_and(|digits| digits <= 3) => {
                        Self::TimeMillis { connect }
                    }
                    _ => Self::TimeMicros,
                }
            }
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Zoned {
                // Without a modifier PostgreSQL keeps 6 digits, MySQL none.
                digits: digits.unwrap_or(if mysql { 0 } else { 6 }),
            },
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                let digits = digits.unwrap_or(if mysql { 0 } else { 6 });
                match config.times {
                    Times::Connect => Self::TimestampMillis { connect },
                    Times::IsoString => Self::TimestampText,
                    Times::Adaptive | Times::AdaptiveTimeMicroseconds if digits <= 3 => {
                        Self::TimestampMillis { connect }
                    }
                    _ => Self::TimestampMicros,
                }
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => match config.intervals {
                Intervals::Numeric => Self::IntervalMicros,
                Intervals::String => Self::IntervalText,
            },
            DataType::FixedSizeBinary(16) => Self::Uuid,
            DataType::Binary | DataType::LargeBinary if mysql && source_type.starts_with("bit") => {
                Self::bits(source_type)
            }
            DataType::Binary | DataType::LargeBinary if mysql && is_geometry(source_type) => {
                Self::Geometry {
                    point: source_type == "point",
                }
            }
            DataType::Binary | DataType::LargeBinary => Self::Bytes(config.binary),
            DataType::Utf8 | DataType::LargeUtf8 => Self::of_text(source_type, json, config),
            DataType::List(element) => {
                let name = source_type.strip_suffix("[]").unwrap_or(source_type);
                Self::List(Box::new(Self::of_type(
                    element.data_type(),
                    name,
                    matches!(name, "json" | "jsonb"),
                    connector,
                    config,
                )?))
            }
            _ => return None,
        })
    }

    fn bits(source_type: &str) -> Self {
        let length = modifier(source_type).and_then(|text| text.parse().ok());
        match length {
            Some(1) => Self::Bit,
            // `bit` alone is one bit; `bit varying` alone has no bound.
            None if source_type == "bit" => Self::Bit,
            length => Self::Bits(length.unwrap_or(i32::MAX as u32)),
        }
    }

    fn of_text(source_type: &str, json: bool, config: &KafkaConfig) -> Self {
        let name = source_type.split('(').next().unwrap_or(source_type);
        match name.trim_end() {
            "numeric" => Self::Number(config.decimals),
            "money" => Self::Money(config.decimals),
            "bit" | "bit varying" | "varbit" => Self::bits(source_type),
            "hstore" | "public.hstore" => match config.hstore {
                Hstore::Json => Self::HstoreJson,
                Hstore::Map => Self::HstoreMap,
            },
            "point" => Self::Point,
            "timetz" | "time with time zone" => Self::ZonedTime,
            "time" if source_type.ends_with("with time zone") => Self::ZonedTime,
            "xml" => Self::Text(Some("io.debezium.data.Xml")),
            "ltree" => Self::Text(Some("io.debezium.data.Ltree")),
            "tsvector" => Self::Text(Some("io.debezium.data.Tsvector")),
            _ if json => Self::Text(Some("io.debezium.data.Json")),
            _ => Self::Text(None),
        }
    }

    /// Whether there is a value that stands for one that was not sent. Where a value can only be
    /// of its type, a double has none.
    pub(super) fn has_unavailable(&self, typed: bool) -> bool {
        match self {
            Self::Text(_) | Self::Bytes(_) | Self::HstoreJson | Self::HstoreMap | Self::Bits(_) => {
                true
            }
            Self::Number(form) | Self::Decimal { form, .. } => !typed || *form != Decimals::Double,
            Self::List(element) => match element.as_ref() {
                Self::Integer(_) | Self::Uuid => true,
                // Debezium writes null for the others, which would be a lie.
                other => other.has_unavailable(typed) && !matches!(other, Self::Decimal { .. }),
            },
            _ => false,
        }
    }
}

/// MySQL's names of what has a place.
fn is_geometry(source_type: &str) -> bool {
    matches!(
        source_type,
        "geometry"
            | "point"
            | "linestring"
            | "polygon"
            | "multipoint"
            | "multilinestring"
            | "multipolygon"
            | "geomcollection"
            | "geometrycollection"
    )
}

fn modifier(source_type: &str) -> Option<&str> {
    let (_, rest) = source_type.split_once('(')?;
    Some(rest.split_once(')')?.0.trim())
}

/// The declared digits of a second.
fn digits(source_type: &str) -> Option<usize> {
    modifier(source_type)?.parse().ok()
}
