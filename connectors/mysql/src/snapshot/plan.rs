//! Cutting a table into ranges of its primary key.
//!
//! Invariants: the ranges of a plan follow each other without a gap and are open at both ends, so
//! that every row, also one that comes later, is in exactly one of them. What a range means depends
//! on the key's columns and their collations alone (`epoch`). Bounds are written so that they can be
//! read back whatever they hold, and put into statements as literals that cannot be anything else.

use cdc_api::{Result, TableSize};
use serde::{Deserialize, Serialize};

use crate::catalog::{CatalogTable, identifier};
use crate::connect::{Row, Session};
use crate::types::{ColumnKind, ColumnType};

/// Numbers are counted through rather than looked up where rows fill at least this share of them.
const DENSE: u128 = 8;

/// The most ranges of a table.
const MOST: u64 = 10_000;

/// The columns by which a table is cut.
pub(super) struct Keys(Vec<Key>);

struct Key {
    column: String,
    kind: Kind,
}

/// How a bound of a column is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// As the number that it is.
    Integer,
    /// As a number: DECIMAL, and the numbers of BIT, ENUM, YEAR.
    Number,
    /// As text of digits and signs: dates, times, UUIDs, addresses.
    Plain,
    /// As the bytes of a text in this character set.
    Text(String),
    /// As bytes.
    Bytes,
}

/// Rows after one key and up to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    /// The last key before it; none: from the first row on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
    /// The last key in it; none: to the last row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    upto: Vec<String>,
}

impl Range {
    /// As in [`cdc_api::Chunk::range`]: `{"after":["100"],"upto":["200"]}`.
    pub(super) fn text(&self) -> String {
        // Lists of texts have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Keys {
    /// The keys of a table, if it can be cut.
    pub(super) fn of(table: &CatalogTable, types: &[ColumnType]) -> Option<Self> {
        let keys: Option<Vec<Key>> = table
            .key
            .iter()
            .map(|&index| {
                let column = &table.columns[index];
                let kind = match &types[index].kind {
                    ColumnKind::Integer { .. } => Kind::Integer,
                    ColumnKind::Decimal { .. }
                    | ColumnKind::Bit { .. }
                    | ColumnKind::Year
                    | ColumnKind::Enum { .. }
                    | ColumnKind::Set { .. } => Kind::Number,
                    ColumnKind::Date
                    | ColumnKind::DateTime { .. }
                    | ColumnKind::Timestamp { .. }
                    | ColumnKind::Time { .. }
                    | ColumnKind::Uuid
                    | ColumnKind::Inet6
                    | ColumnKind::Inet4 => Kind::Plain,
                    ColumnKind::Char { .. }
                    | ColumnKind::Varchar { .. }
                    | ColumnKind::Text { .. } => Kind::Text(column.charset.clone()?),
                    ColumnKind::Binary { .. }
                    | ColumnKind::Varbinary { .. }
                    | ColumnKind::Blob { .. } => Kind::Bytes,
                    // A number that is not exact finds no row again.
                    ColumnKind::Float { .. }
                    | ColumnKind::Double { .. }
                    | ColumnKind::Json
                    | ColumnKind::Geometry(_)
                    | ColumnKind::Vector { .. } => return None,
                };
                Some(Key {
                    column: identifier(&column.name),
                    kind,
                })
            })
            .collect();
        keys.filter(|keys| !keys.is_empty()).map(Self)
    }

    /// `WHERE …` for the rows of a range, nothing for all of them; `None` where the range is not of
    /// these keys.
    pub(super) fn filter(&self, range: &Range) -> Option<String> {
        let mut conditions = Vec::new();
        if !range.after.is_empty() {
            conditions.push(self.beyond(&range.after, ">", false)?);
        }
        if !range.upto.is_empty() {
            conditions.push(self.beyond(&range.upto, "<", true)?);
        }
        Some(match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        })
    }

    /// Keys on one side of a bound: `(a > 1 OR (a = 1 AND b > 2))`, which the server looks up by the
    /// index, unlike a comparison of rows.
    fn beyond(&self, bound: &[String], side: &str, with: bool) -> Option<String> {
        if bound.len() != self.0.len() {
            return None;
        }
        let mut text = String::new();
        for (index, (key, value)) in self.0.iter().zip(bound).enumerate().rev() {
            let (column, value) = (&key.column, key.kind.literal(value)?);
            let last = index + 1 == self.0.len();
            text = match (last, with) {
                (true, true) => format!("{column} {side}= {value}"),
                (true, false) => format!("{column} {side} {value}"),
                (false, _) => {
                    format!("({column} {side} {value} OR ({column} = {value} AND {text}))")
                }
            };
        }
        Some(text)
    }

    fn columns(&self) -> String {
        let columns: Vec<&str> = self.0.iter().map(|key| key.column.as_str()).collect();
        columns.join(", ")
    }

    fn expressions(&self) -> String {
        let expressions: Vec<String> = self
            .0
            .iter()
            .map(|key| key.kind.expression(&key.column))
            .collect();
        expressions.join(", ")
    }

    fn bound(&self, row: &Row) -> Vec<String> {
        (0..self.0.len())
            .map(|index| row.text(index).to_owned())
            .collect()
    }
}

impl Kind {
    /// What to select for a bound.
    fn expression(&self, column: &str) -> String {
        match self {
            Self::Integer => column.to_owned(),
            Self::Number => format!("{column} + 0"),
            Self::Plain => format!("CAST({column} AS CHAR)"),
            Self::Text(_) | Self::Bytes => format!("HEX({column})"),
        }
    }

    /// A bound as a literal; `None` where it is none of this kind.
    fn literal(&self, bound: &str) -> Option<String> {
        let all = |allowed: fn(&u8) -> bool| bound.bytes().all(|byte| allowed(&byte));
        match self {
            Self::Integer | Self::Number => {
                let fits = all(|byte| byte.is_ascii_digit() || b"-.".contains(byte));
                (fits && !bound.is_empty()).then(|| bound.to_owned())
            }
            Self::Plain => all(|byte| byte.is_ascii_hexdigit() || b"-.: ".contains(byte))
                .then(|| format!("'{bound}'")),
            Self::Text(charset) => (all(u8::is_ascii_hexdigit)
                && charset.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .then(|| format!("_{charset} X'{bound}'")),
            Self::Bytes => all(u8::is_ascii_hexdigit).then(|| format!("X'{bound}'")),
        }
    }
}

/// What ranges of the table mean: its columns, and when it was made.
pub(super) fn epoch(table: &CatalogTable) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    add(&table.created);
    for column in &table.columns {
        add(&column.name);
        add(&column.column_type);
        add(column.collation.as_deref().unwrap_or_default());
    }
    for key in &table.key {
        add(&key.to_string());
    }
    format!("{hash:016x}")
}

/// Ranges of about `bytes` each.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn ranges(
    session: &mut Session,
    table: &str,
    keys: &Keys,
    (size, bytes): (TableSize, u64),
) -> Result<Vec<Range>> {
    let count = (size.bytes / bytes.max(1)).min(size.rows).min(MOST);
    if count < 2 {
        return Ok(vec![Range::default()]);
    }
    let bounds = match counted(session, table, keys, size.rows, count).await? {
        Some(bounds) => bounds,
        None => looked_up(session, table, keys, size.rows / count).await?,
    };
    Ok(between(bounds))
}

/// Ranges between bounds, which rise.
fn between(bounds: Vec<Vec<String>>) -> Vec<Range> {
    let mut ranges = Vec::with_capacity(bounds.len() + 1);
    let mut after = Vec::new();
    for bound in bounds {
        ranges.push(Range {
            after,
            upto: bound.clone(),
        });
        after = bound;
    }
    ranges.push(Range {
        after,
        upto: Vec::new(),
    });
    ranges
}

/// Bounds of a single whole number, by arithmetic, where it is dense enough.
async fn counted(
    session: &mut Session,
    table: &str,
    keys: &Keys,
    rows: u64,
    count: u64,
) -> Result<Option<Vec<Vec<String>>>> {
    let [key] = keys.0.as_slice() else {
        return Ok(None);
    };
    if key.kind != Kind::Integer {
        return Ok(None);
    }
    let column = &key.column;
    let row = session
        .query_one(&format!("SELECT MIN({column}), MAX({column}) FROM {table}"))
        .await?;
    let (Ok(first), Ok(last)) = (row.number::<i128>(0), row.number::<i128>(1)) else {
        return Ok(Some(Vec::new()));
    };
    Ok(steps(first, last, rows, count).map(|bounds| {
        bounds
            .into_iter()
            .map(|bound| vec![bound.to_string()])
            .collect()
    }))
}

/// Equal steps from `first` to `last`, `None` where rows are too thin between them.
fn steps(first: i128, last: i128, rows: u64, count: u64) -> Option<Vec<i128>> {
    let span = u128::try_from(last.checked_sub(first)?).ok()? + 1;
    if span > u128::from(rows) * DENSE {
        return None;
    }
    let count = u128::from(count).min(span);
    let bounds = (1..count).map(|index| {
        let step = span * index / count;
        // The span of 64-bit numbers times 10,000 is far from the end of 128 bits.
        first + i128::try_from(step).unwrap_or(0) - 1
    });
    Some(bounds.collect())
}

/// Every `step`-th key, walking the index.
async fn looked_up(
    session: &mut Session,
    table: &str,
    keys: &Keys,
    step: u64,
) -> Result<Vec<Vec<String>>> {
    let (columns, expressions) = (keys.columns(), keys.expressions());
    let mut bounds: Vec<Vec<String>> = Vec::new();
    while (bounds.len() as u64) < MOST {
        let range = Range {
            after: bounds.last().cloned().unwrap_or_default(),
            upto: Vec::new(),
        };
        let Some(filter) = keys.filter(&range) else {
            break;
        };
        let rows = session
            .query(&format!(
                "SELECT {expressions} FROM {table} FORCE INDEX (PRIMARY){filter} \
                 ORDER BY {columns} LIMIT 1 OFFSET {}",
                step.max(1) - 1
            ))
            .await?;
        let Some(row) = rows.first() else { break };
        let bound = keys.bound(row);
        if bounds.last() == Some(&bound) {
            break;
        }
        bounds.push(bound);
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests;
