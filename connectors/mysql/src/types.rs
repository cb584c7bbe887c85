//! The types of MySQL and MariaDB, and what they become in Arrow.
//!
//! [`ColumnType`] is the one description of a column. It is made of the catalog's text
//! ([`ColumnType::of_catalog`]) or of a table map with full metadata (`decode::table_map`), and
//! both give the same. Invariants: its Arrow type depends on itself alone, never on a value; a value
//! has the same Arrow form whether it came by the log ([`append::Appender::append_logged`]) or by
//! the binary protocol ([`append::Appender::append_protocol`]). A value that cannot be represented
//! is an error of its table, never another value.
//!
//! | type | Arrow | notes |
//! |---|---|---|
//! | integers | of their width and sign | MEDIUMINT: 32 bits; BOOL is TINYINT |
//! | FLOAT, DOUBLE | Float32, Float64 | |
//! | DECIMAL(p,s) | Decimal128 to 38 digits, else Decimal256 | |
//! | BIT(n) | Utf8, n digits `0` and `1` | |
//! | YEAR | UInt16 | the year 0 stays 0 |
//! | DATE; DATETIME; TIMESTAMP | Date32; Timestamp µs; the same in UTC | zero and partial dates by [`ZeroDates`]; all three are Utf8 under `text` |
//! | TIME | Duration µs | ±838:59:59.000000 |
//! | CHAR, VARCHAR, TEXT | Utf8 | from the column's character set, as the server converts it |
//! | BINARY, VARBINARY, BLOB | Binary | BINARY(n) has n bytes, those that the log trims included |
//! | ENUM, SET | Utf8 | the invalid member 0 is the empty text |
//! | JSON | Utf8, `arrow.json` | as the server prints it |
//! | GEOMETRY and its kin | Binary | four bytes of SRID, then WKB |
//! | VECTOR | List of Float32 | MariaDB's is VARBINARY in the log and Binary here |
//! | UUID | FixedSizeBinary(16), `arrow.uuid` | MariaDB |
//! | INET4, INET6 | Utf8, as the server prints them | MariaDB |

pub(crate) mod append;
mod catalog;
pub(crate) mod charset;
mod json;
mod network;
pub(crate) mod number;
mod options;
mod refused;
pub(crate) mod temporal;

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use cdc_api::Column;

pub(crate) use charset::Charset;
pub use options::{TypeOptions, ZeroDates};
pub(crate) use refused::ValueError;

/// The type of a column, without what Arrow cannot show (display width, collation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// TINYINT to BIGINT.
    Integer {
        /// Bytes: 1, 2, 3, 4 or 8.
        width: u8,
        /// UNSIGNED.
        unsigned: bool,
    },
    /// FLOAT.
    Float {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// DOUBLE.
    Double {
        /// UNSIGNED.
        unsigned: bool,
    },
    /// DECIMAL.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
        /// UNSIGNED.
        unsigned: bool,
    },
    /// BIT.
    Bit {
        /// 1 to 64.
        bits: u8,
    },
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// DATETIME.
    DateTime {
        /// Digits of a second, 0 to 6.
        digits: u8,
    },
    /// TIMESTAMP.
    Timestamp {
        /// Digits of a second, 0 to 6.
        digits: u8,
    },
    /// TIME.
    Time {
        /// Digits of a second, 0 to 6.
        digits: u8,
    },
    /// CHAR.
    Char {
        /// In characters.
        length: u32,
        /// The column's.
        charset: Charset,
    },
    /// VARCHAR.
    Varchar {
        /// In characters.
        length: u32,
        /// The column's.
        charset: Charset,
    },
    /// TINYTEXT to LONGTEXT.
    Text {
        /// Bytes of the length: 1 to 4.
        size: u8,
        /// The column's.
        charset: Charset,
    },
    /// BINARY.
    Binary {
        /// In bytes.
        length: u32,
    },
    /// VARBINARY.
    Varbinary {
        /// In bytes.
        length: u32,
    },
    /// TINYBLOB to LONGBLOB.
    Blob {
        /// Bytes of the length: 1 to 4.
        size: u8,
    },
    /// ENUM.
    Enum {
        /// From number 1 on.
        members: Arc<[Box<str>]>,
    },
    /// SET.
    Set {
        /// From the lowest bit on.
        members: Arc<[Box<str>]>,
    },
    /// JSON of MySQL; MariaDB's is LONGTEXT.
    Json,
    /// GEOMETRY, POINT, …
    Geometry(Geometry),
    /// VECTOR of MySQL.
    Vector {
        /// Numbers, at most.
        dimensions: u32,
    },
    /// UUID of MariaDB.
    Uuid,
    /// INET6 of MariaDB.
    Inet6,
    /// INET4 of MariaDB.
    Inet4,
}

/// The kinds of geometry, by the numbers that WKB gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Geometry {
    Any = 0,
    Point = 1,
    LineString = 2,
    Polygon = 3,
    MultiPoint = 4,
    MultiLineString = 5,
    MultiPolygon = 6,
    Collection = 7,
}

impl Geometry {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Any, "geometry"),
        (Self::Point, "point"),
        (Self::LineString, "linestring"),
        (Self::Polygon, "polygon"),
        (Self::MultiPoint, "multipoint"),
        (Self::MultiLineString, "multilinestring"),
        (Self::MultiPolygon, "multipolygon"),
        (Self::Collection, "geometrycollection"),
    ];

    /// The kind with this number; what is not known is any geometry.
    pub(crate) fn of_number(number: u64) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number))
            .map_or(Self::Any, |(kind, _)| *kind)
    }

    fn of_name(name: &str) -> Option<Self> {
        // MySQL 8 says geomcollection.
        let name = match name {
            "geomcollection" => "geometrycollection",
            name => name,
        };
        let found = Self::ALL.iter().find(|(_, known)| *known == name)?;
        Some(found.0)
    }

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What a column's values become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnType {
    /// The source's type.
    pub(crate) kind: ColumnKind,
    /// What becomes of impossible dates.
    pub(crate) zero_dates: ZeroDates,
}

impl ColumnType {
    /// A column of this kind.
    pub(crate) fn new(kind: ColumnKind, options: TypeOptions) -> Self {
        Self {
            kind,
            zero_dates: options.zero_dates,
        }
    }

    /// The Arrow type.
    pub(crate) fn data_type(&self) -> DataType {
        match &self.kind {
            ColumnKind::Integer { width, unsigned } => match (width, unsigned) {
                (1, false) => DataType::Int8,
                (1, true) => DataType::UInt8,
                (2, false) => DataType::Int16,
                (2, true) => DataType::UInt16,
                (3 | 4, false) => DataType::Int32,
                (3 | 4, true) => DataType::UInt32,
                (_, false) => DataType::Int64,
                (_, true) => DataType::UInt64,
            },
            ColumnKind::Float { .. } => DataType::Float32,
            ColumnKind::Double { .. } => DataType::Float64,
            ColumnKind::Decimal {
                precision, scale, ..
            } => {
                let scale = i8::try_from(*scale).unwrap_or(i8::MAX);
                match *precision {
                    precision @ ..=38 => DataType::Decimal128(precision.max(1), scale),
                    precision => DataType::Decimal256(precision, scale),
                }
            }
            ColumnKind::Year => DataType::UInt16,
            ColumnKind::Date | ColumnKind::DateTime { .. } | ColumnKind::Timestamp { .. }
                if self.zero_dates == ZeroDates::Text =>
            {
                DataType::Utf8
            }
            ColumnKind::Date => DataType::Date32,
            ColumnKind::DateTime { .. } => DataType::Timestamp(TimeUnit::Microsecond, None),
            ColumnKind::Timestamp { .. } => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            ColumnKind::Time { .. } => DataType::Duration(TimeUnit::Microsecond),
            ColumnKind::Binary { .. }
            | ColumnKind::Varbinary { .. }
            | ColumnKind::Blob { .. }
            | ColumnKind::Geometry(_) => DataType::Binary,
            ColumnKind::Vector { .. } => {
                DataType::List(Arc::new(Field::new("item", DataType::Float32, true)))
            }
            ColumnKind::Uuid => DataType::FixedSizeBinary(16),
            ColumnKind::Bit { .. }
            | ColumnKind::Char { .. }
            | ColumnKind::Varchar { .. }
            | ColumnKind::Text { .. }
            | ColumnKind::Enum { .. }
            | ColumnKind::Set { .. }
            | ColumnKind::Json
            | ColumnKind::Inet6
            | ColumnKind::Inet4 => DataType::Utf8,
        }
    }

    /// The source's name of the type, in one spelling: without display width, collation and
    /// character set.
    pub(crate) fn source_type(&self) -> String {
        let sign = |unsigned: bool| if unsigned { " unsigned" } else { "" };
        let digits = |digits: u8| match digits {
            0 => String::new(),
            digits => format!("({digits})"),
        };
        match &self.kind {
            ColumnKind::Integer { width, unsigned } => {
                let name = match width {
                    1 => "tinyint",
                    2 => "smallint",
                    3 => "mediumint",
                    4 => "int",
                    _ => "bigint",
                };
                format!("{name}{}", sign(*unsigned))
            }
            ColumnKind::Float { unsigned } => format!("float{}", sign(*unsigned)),
            ColumnKind::Double { unsigned } => format!("double{}", sign(*unsigned)),
            ColumnKind::Decimal {
                precision,
                scale,
                unsigned,
            } => format!("decimal({precision},{scale}){}", sign(*unsigned)),
            ColumnKind::Bit { bits } => format!("bit({bits})"),
            ColumnKind::Year => "year".to_owned(),
            ColumnKind::Date => "date".to_owned(),
            ColumnKind::DateTime { digits: fraction } => format!("datetime{}", digits(*fraction)),
            ColumnKind::Timestamp { digits: fraction } => format!("timestamp{}", digits(*fraction)),
            ColumnKind::Time { digits: fraction } => format!("time{}", digits(*fraction)),
            ColumnKind::Char { length, .. } => format!("char({length})"),
            ColumnKind::Varchar { length, .. } => format!("varchar({length})"),
            ColumnKind::Text { size, .. } => format!("{}text", size_name(*size)),
            ColumnKind::Binary { length } => format!("binary({length})"),
            ColumnKind::Varbinary { length } => format!("varbinary({length})"),
            ColumnKind::Blob { size } => format!("{}blob", size_name(*size)),
            ColumnKind::Enum { members } => listed("enum", members),
            ColumnKind::Set { members } => listed("set", members),
            ColumnKind::Json => "json".to_owned(),
            ColumnKind::Geometry(geometry) => geometry.name().to_owned(),
            ColumnKind::Vector { dimensions } => format!("vector({dimensions})"),
            ColumnKind::Uuid => "uuid".to_owned(),
            ColumnKind::Inet6 => "inet6".to_owned(),
            ColumnKind::Inet4 => "inet4".to_owned(),
        }
    }

    /// A column of this type; nullable and not generated, which is the caller's to change.
    pub(crate) fn column(&self, name: impl Into<String>) -> Column {
        let mut column = Column::new(name, self.data_type(), self.source_type());
        column.extension = match self.kind {
            ColumnKind::Uuid => Some("arrow.uuid".to_owned()),
            ColumnKind::Json => Some("arrow.json".to_owned()),
            _ => None,
        };
        column
    }

    /// Bytes that a value keeps in an array at least: its own where they are of fixed number,
    /// null or not, else those of its place.
    pub(crate) fn width(&self) -> usize {
        match self.data_type() {
            DataType::FixedSizeBinary(width) => usize::try_from(width).unwrap_or(0),
            other => other.primitive_width().unwrap_or(4),
        }
    }
}

fn size_name(size: u8) -> &'static str {
    match size {
        1 => "tiny",
        2 => "",
        3 => "medium",
        _ => "long",
    }
}

fn listed(name: &str, members: &[Box<str>]) -> String {
    let mut text = format!("{name}(");
    for (index, member) in members.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}'{}'", member.replace('\'', "''"));
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests;
