//! DuckDB's words. Measured on 2.0: `DELETE … USING` the staged keys and a plain append beat
//! `MERGE` and a primary key at every batch size, so tables have neither constraint nor index.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use cdc_api::Column;
use cdc_api::schema::quote_identifier;

use super::{Dialect, Fill, TargetColumn, quoted_list};

/// The dialect of DuckDB 1.2 and later.
pub(crate) struct DuckDb;

/// DuckDB's widest decimal.
pub(crate) const MAX_PRECISION: u8 = 38;

fn sql_type(data_type: &DataType, extension: Option<&str>) -> Option<String> {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "UTINYINT",
        DataType::UInt16 => "USMALLINT",
        DataType::UInt32 => "UINTEGER",
        DataType::UInt64 => "UBIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => match extension {
            Some("arrow.json") => "JSON",
            _ => "VARCHAR",
        },
        DataType::FixedSizeBinary(16) if extension == Some("arrow.uuid") => "UUID",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BLOB",
        DataType::Date32 => "DATE",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Time64(TimeUnit::Microsecond) => "TIME",
        DataType::Duration(TimeUnit::Microsecond)
        | DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL",
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return Some(decimal(*precision, *scale).unwrap_or_else(|| "VARCHAR".to_owned()));
        }
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            let extension = field
                .metadata()
                .get("ARROW:extension:name")
                .map(String::as_str);
            return Some(format!("{}[]", sql_type(field.data_type(), extension)?));
        }
        _ => return None,
    };
    Some(name.to_owned())
}

fn decimal(precision: u8, scale: i8) -> Option<String> {
    let scale = u8::try_from(scale).ok()?;
    (precision <= MAX_PRECISION && scale <= precision)
        .then(|| format!("DECIMAL({precision},{scale})"))
}

/// Bits of an integer and whether it is signed.
fn integer(data_type: &DataType) -> Option<(u32, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

fn is_number_text(column: &Column) -> bool {
    let source = column.source_type.to_ascii_lowercase();
    source.starts_with("numeric") || source.starts_with("decimal")
}

impl Dialect for DuckDb {
    fn column_type(&self, column: &Column) -> Option<String> {
        sql_type(&column.data_type, column.extension.as_deref())
    }

    fn widens(&self, from: &Column, to: &Column) -> bool {
        use DataType::{Decimal128, Decimal256, Float32, Float64, Utf8};
        if let (Some((from, from_signed)), Some((to, to_signed))) =
            (integer(&from.data_type), integer(&to.data_type))
        {
            return to > from && (to_signed || !from_signed);
        }
        match (&from.data_type, &to.data_type) {
            (Float32, Float64) => true,
            (
                Decimal128(from_precision, from_scale),
                Decimal128(to_precision, to_scale) | Decimal256(to_precision, to_scale),
            ) if decimal(*to_precision, *to_scale).is_some() => {
                to_scale >= from_scale
                    && i16::from(*to_precision) - i16::from(*to_scale)
                        >= i16::from(*from_precision) - i16::from(*from_scale)
            }
            // Text of the same digits: the scale of a decimal is kept by the cast.
            (Decimal128(_, from_scale), Decimal256(_, to_scale)) => from_scale == to_scale,
            (Decimal128(..), Utf8) => is_number_text(from) && is_number_text(to),
            _ => false,
        }
    }

    fn create_table(&self, table: &str, columns: &[(String, String)]) -> String {
        format!("CREATE TABLE {table} ({})", definitions(columns))
    }

    fn create_stage(&self, name: &str, columns: &[(String, String)]) -> String {
        format!(
            "CREATE OR REPLACE TEMP TABLE {} ({})",
            quote_identifier(name),
            definitions(columns)
        )
    }

    fn stage(&self, name: &str) -> String {
        format!("temp.main.{}", quote_identifier(name))
    }

    fn delete_staged_keys(&self, table: &str, stage: &str, key: &[TargetColumn]) -> String {
        let matches = key
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let name = quote_identifier(&column.name);
                format!("t.{name} {} s.k{index}", equals(column.nullable))
            })
            .collect::<Vec<_>>()
            .join(" AND ");
        format!("DELETE FROM {table} AS t USING {stage} AS s WHERE {matches}")
    }

    fn fill_absent(&self, fill: &Fill<'_>) -> String {
        let Fill {
            into,
            table,
            stage,
            columns,
            key,
            absent,
            deleted,
        } = *fill;
        let mut values: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                if absent.contains(&index) {
                    let name = quote_identifier(&column.name);
                    format!("CASE WHEN s.a{index} THEN t.{name} ELSE s.c{index} END AS c{index}")
                } else {
                    format!("s.c{index}")
                }
            })
            .collect();
        if deleted {
            values.push("s.deleted".to_owned());
        }
        let matches = key
            .iter()
            .enumerate()
            .map(|(place, &index)| {
                let column = &columns[index];
                let name = quote_identifier(&column.name);
                format!("t.{name} {} s.k{place}", equals(column.nullable))
            })
            .collect::<Vec<_>>()
            .join(" AND ");
        format!(
            "CREATE OR REPLACE TEMP TABLE {} AS SELECT {} FROM {stage} AS s JOIN {table} AS t ON {matches}",
            quote_identifier(into),
            values.join(", ")
        )
    }

    fn matching_rows(
        &self,
        table: &str,
        stage: &str,
        columns: &[TargetColumn],
        live: Option<&str>,
    ) -> String {
        let mut matches: Vec<String> = columns
            .iter()
            .enumerate()
            .flat_map(|(index, column)| {
                let name = format!("t.{}", quote_identifier(&column.name));
                self.identity(&name, &column.sql_type)
                    .into_iter()
                    .zip(self.identity(&format!("s.c{index}"), &column.sql_type))
                    .map(|(ours, theirs)| format!("{ours} IS NOT DISTINCT FROM {theirs}"))
                    .collect::<Vec<_>>()
            })
            .collect();
        if let Some(deleted) = live {
            matches.push(format!("NOT t.{}", quote_identifier(deleted)));
        }
        format!(
            "SELECT r FROM (SELECT t.rowid AS r, s.n AS n, \
             row_number() OVER (PARTITION BY s.i) AS place \
             FROM {stage} AS s JOIN {table} AS t ON {}) WHERE place <= n",
            matches.join(" AND ")
        )
    }

    /// DuckDB takes `-0.0` for `0.0` and `1 month` for `30 days`; their texts differ.
    fn identity(&self, qualified: &str, sql_type: &str) -> Vec<String> {
        let mut expressions = vec![qualified.to_owned()];
        if ["FLOAT", "DOUBLE", "INTERVAL"]
            .iter()
            .any(|kind| sql_type.starts_with(kind))
        {
            expressions.push(format!("CAST({qualified} AS VARCHAR)"));
        }
        expressions
    }
}

fn equals(nullable: bool) -> &'static str {
    if nullable {
        "IS NOT DISTINCT FROM"
    } else {
        "="
    }
}

fn definitions(columns: &[(String, String)]) -> String {
    columns
        .iter()
        .map(|(name, sql_type)| format!("{} {sql_type}", quoted_list([name.as_str()])))
        .collect::<Vec<_>>()
        .join(", ")
}
