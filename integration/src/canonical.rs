//! One text per value, whatever side it was read from.
//!
//! Each side is asked for text by SQL of its own, and what the two print differently for the same value is
//! brought together here: the shortest form of floats, trailing zeros of fractions, zones, intervals, lists.
//! Invariant: two different values never get the same text.

use serde_json::Value;

/// How a type of the source is brought to text on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Canon {
    /// Both sides print the same.
    Text,
    /// `numeric`: a zero before the point may be left out.
    Numeric,
    /// `inet`, whose cast to text says more than its output does.
    Inet,
    /// Trailing blanks of `char(n)` carry no meaning.
    Blanks,
    /// `real`, compared by its bits.
    Float4,
    /// `double precision`, compared by its bits.
    Float8,
    /// Dates: eras are printed differently.
    Date,
    /// Times of a day, and MySQL's of many days: trailing zeros are printed differently.
    Clock,
    /// Timestamps: eras and trailing zeros are printed differently.
    Timestamp,
    /// Timestamps with time zone: read as UTC.
    Timestamptz,
    /// Months, days and microseconds.
    Interval,
    /// Hexadecimal digits.
    Bytea,
    /// A list of the element type.
    List(Box<Canon>),
    /// So many bits as digits.
    Bits(u32),
    /// A whole number that one side prints with zeros before it: `YEAR`, `ZEROFILL`.
    Padded,
    /// `VECTOR`: the bytes of its floats against a list of them.
    Vector,
}

impl Canon {
    /// By `pg_type.typname` of the type below all domains.
    #[must_use]
    pub fn of(typname: &str) -> Self {
        if let Some(element) = typname.strip_prefix('_') {
            return Self::List(Box::new(Self::of(element)));
        }
        match typname {
            "bpchar" => Self::Blanks,
            "numeric" => Self::Numeric,
            "inet" => Self::Inet,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "date" => Self::Date,
            "time" => Self::Clock,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            "interval" => Self::Interval,
            "bytea" => Self::Bytea,
            _ => Self::Text,
        }
    }

    /// By `DATA_TYPE` and `COLUMN_TYPE` of a column of MySQL or MariaDB.
    #[must_use]
    pub fn of_mysql(data_type: &str, column_type: &str) -> Self {
        match data_type {
            "decimal" => Self::Numeric,
            "float" => Self::Float4,
            "double" => Self::Float8,
            "date" => Self::Date,
            "time" => Self::Clock,
            "datetime" => Self::Timestamp,
            "timestamp" => Self::Timestamptz,
            "year" => Self::Padded,
            _ if column_type.contains("zerofill") && data_type.contains("int") => Self::Padded,
            "bit" => {
                let digits: String = column_type.chars().filter(char::is_ascii_digit).collect();
                Self::Bits(digits.parse().unwrap_or(1))
            }
            "vector" => Self::Vector,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob"
            | "geometry" | "point" | "linestring" | "polygon" | "multipoint"
            | "multilinestring" | "multipolygon" | "geomcollection" | "geometrycollection" => {
                Self::Bytea
            }
            _ => Self::Text,
        }
    }

    /// An expression of MySQL or MariaDB whose text, in UTC and UTF-8, is the value's.
    #[must_use]
    pub fn mysql(&self, value: &str) -> String {
        match self {
            // As text a FLOAT has six digits, and a DOUBLE(m,d) has d behind the point.
            Self::Float4 => format!("CAST({value} AS DOUBLE)"),
            Self::Float8 => format!("({value} * 1e0)"),
            Self::Bits(width) => format!("LPAD(BIN({value}), {width}, '0')"),
            Self::Bytea | Self::Vector => format!("LOWER(HEX({value}))"),
            _ => value.to_owned(),
        }
    }

    /// An expression of PostgreSQL that gives text.
    #[must_use]
    pub fn postgres(&self, value: &str) -> String {
        match self {
            Self::Text
            | Self::Numeric
            | Self::Blanks
            | Self::Float4
            | Self::Float8
            | Self::Date
            | Self::Clock
            | Self::Timestamp => format!("({value})::text"),
            Self::Inet => format!("CASE WHEN ({value}) IS NOT NULL THEN format('%s', {value}) END"),
            Self::Timestamptz => format!("(({value}) AT TIME ZONE 'UTC')::text"),
            Self::Interval => format!(
                "CASE WHEN NOT isfinite({value}) THEN ({value})::text ELSE \
                 (extract(year FROM {value}) * 12 + extract(month FROM {value}))::bigint || ' ' || \
                 extract(day FROM {value})::bigint || ' ' || (extract(hour FROM {value})::bigint * 3600000000 + \
                 extract(minute FROM {value})::bigint * 60000000 + extract(microseconds FROM {value})::bigint) END"
            ),
            Self::Bytea => format!("encode({value}, 'hex')"),
            Self::List(element) => format!(
                "CASE WHEN ({value}) IS NULL THEN NULL ELSE array_to_json(ARRAY(SELECT {} FROM \
                 unnest({value}) WITH ORDINALITY AS u(x, n) ORDER BY n))::text END",
                element.postgres("x")
            ),
            Self::Bits(_) | Self::Padded | Self::Vector => format!("({value})::text"),
        }
    }

    /// An expression of DuckDB that gives text.
    #[must_use]
    pub fn duckdb(&self, value: &str) -> String {
        match self {
            Self::Text
            | Self::Numeric
            | Self::Inet
            | Self::Blanks
            | Self::Float4
            | Self::Float8
            | Self::Bits(_)
            | Self::Padded
            | Self::Date
            | Self::Clock
            | Self::Timestamp => format!("CAST({value} AS VARCHAR)"),
            Self::Vector => format!(
                "CAST(to_json(list_transform({value}, lambda x: CAST(x AS VARCHAR))) AS VARCHAR)"
            ),
            Self::Timestamptz => format!(
                "CASE WHEN isfinite({value}) THEN CAST(make_timestamp(epoch_us({value})) AS VARCHAR) \
                 ELSE CAST({value} AS VARCHAR) END"
            ),
            Self::Interval => format!(
                "CAST(datepart('year', {value}) * 12 + datepart('month', {value}) AS VARCHAR) || ' ' || \
                 CAST(datepart('day', {value}) AS VARCHAR) || ' ' || CAST(datepart('hour', {value}) * 3600000000 + \
                 datepart('minute', {value}) * 60000000 + datepart('microsecond', {value}) AS VARCHAR)"
            ),
            Self::Bytea => format!("lower(hex({value}))"),
            Self::List(element) => format!(
                "CAST(to_json(list_transform({value}, lambda x: {})) AS VARCHAR)",
                element.duckdb("x")
            ),
        }
    }

    /// The same where files hold some types as text: intervals.
    #[must_use]
    pub fn duckdb_from_file(&self, value: &str) -> String {
        match self {
            Self::Interval => self.duckdb(&format!("CAST({value} AS INTERVAL)")),
            Self::List(element) if **element == Self::Interval => format!(
                "CAST(to_json(list_transform({value}, lambda x: {})) AS VARCHAR)",
                element.duckdb_from_file("x")
            ),
            _ => self.duckdb(value),
        }
    }

    /// The text that equal values share, from what either side printed.
    #[must_use]
    pub fn normal(&self, text: &str) -> String {
        match self {
            Self::Text | Self::Inet | Self::Interval | Self::Bytea | Self::Bits(_) => {
                text.to_owned()
            }
            Self::Padded => text
                .parse::<u64>()
                .map_or_else(|_| text.to_owned(), |number| number.to_string()),
            Self::Vector => vector(text),
            Self::Numeric => match (text.strip_prefix('.'), text.strip_prefix("-.")) {
                (Some(fraction), _) => format!("0.{fraction}"),
                (_, Some(fraction)) => format!("-0.{fraction}"),
                _ => text.to_owned(),
            },
            Self::Blanks => text.trim_end_matches(' ').to_owned(),
            Self::Float4 => text.parse::<f32>().map_or_else(|_| text.to_owned(), float4),
            Self::Float8 => text.parse::<f64>().map_or_else(|_| text.to_owned(), float8),
            Self::Date | Self::Clock | Self::Timestamp | Self::Timestamptz => time(text),
            Self::List(element) => match serde_json::from_str::<Value>(text) {
                Ok(Value::Array(items)) => {
                    let items = items.iter().map(|item| match item {
                        Value::String(text) => Value::String(element.normal(text)),
                        other => other.clone(),
                    });
                    Value::Array(items.collect()).to_string()
                }
                _ => text.to_owned(),
            },
        }
    }
}

fn float4(value: f32) -> String {
    if value.is_nan() {
        "NaN".into()
    } else {
        format!("{value} {:08x}", value.to_bits())
    }
}

fn float8(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else {
        format!("{value} {:016x}", value.to_bits())
    }
}

/// A list in JSON, or the hexadecimal digits of little-endian floats.
fn vector(text: &str) -> String {
    let floats: Option<Vec<f32>> = match serde_json::from_str::<Vec<String>>(text) {
        Ok(items) => items.iter().map(|item| item.parse().ok()).collect(),
        Err(_) => (0..text.len() / 8)
            .map(|n| u32::from_str_radix(text.get(n * 8..n * 8 + 8)?, 16).ok())
            .map(|bits| bits.map(|bits| f32::from_bits(bits.swap_bytes())))
            .collect(),
    };
    match floats {
        Some(floats) => floats
            .into_iter()
            .map(float4)
            .collect::<Vec<_>>()
            .join(", "),
        None => text.to_owned(),
    }
}

fn time(text: &str) -> String {
    let plain = text.replace(" (BC)", "").replace(" BC", "");
    let era = if plain == text { "" } else { " BC" };
    let text = plain.as_str();
    let text = match text.split_once('.') {
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        },
        None => text.to_owned(),
    };
    format!("{text}{era}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_printed_differently_meet() {
        assert_eq!(
            Canon::of("float8").normal("1"),
            Canon::of("float8").normal("1.0")
        );
        assert_eq!(
            Canon::of("float8").normal("Infinity"),
            Canon::of("float8").normal("inf")
        );
        assert_eq!(
            Canon::of("date").normal("0044-03-15 (BC)"),
            Canon::of("date").normal("0044-03-15 BC")
        );
        assert_eq!(
            Canon::of("timestamp").normal("4713-01-01 (BC) 00:00:00"),
            Canon::of("timestamp").normal("4713-01-01 00:00:00 BC")
        );
        assert_eq!(
            Canon::of("numeric").normal("-.5"),
            Canon::of("numeric").normal("-0.5")
        );
        assert_eq!(
            Canon::of("timestamp").normal("2024-01-01 00:00:00.5"),
            Canon::of("timestamp").normal("2024-01-01 00:00:00.500")
        );
        assert_eq!(
            Canon::Vector.normal("0000803f000000c0"),
            Canon::Vector.normal(r#"["1.0","-2.0"]"#)
        );
        assert_eq!(Canon::Padded.normal("0000"), Canon::Padded.normal("0"));
        assert_eq!(
            Canon::of("_float8").normal(r#"["1", null]"#),
            Canon::of("_float8").normal(r#"["1.0",null]"#)
        );
    }

    #[test]
    fn different_values_stay_apart() {
        assert_ne!(
            Canon::of("float8").normal("0"),
            Canon::of("float8").normal("-0")
        );
        assert_ne!(
            Canon::of("float4").normal("0.1"),
            Canon::of("float4").normal("0.10000001")
        );
        assert_ne!(
            Canon::of("numeric").normal("1.0"),
            Canon::of("numeric").normal("1.00")
        );
        assert_ne!(
            Canon::of("timestamp").normal("2024-01-01 00:00:00.05"),
            Canon::of("timestamp").normal("2024-01-01 00:00:00.5")
        );
        assert_ne!(
            Canon::Vector.normal("0000803f"),
            Canon::Vector.normal(r#"["1.0000001"]"#)
        );
        assert_ne!(
            Canon::of("_text").normal(r#"["null"]"#),
            Canon::of("_text").normal("[null]")
        );
    }
}
