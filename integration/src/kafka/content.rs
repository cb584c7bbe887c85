//! Source against Kafka: a consumer of committed records rebuilds each table by key, and what it holds is compared.
//!
//! The rules are those that any consumer of Debezium's records has: `r`, `c` and `u` set a key's row, `d` takes it
//! away, `t` takes all away; a value that was not sent is the one that the row has, after a change of key that of
//! the row deleted just before. Read from topics of one partition, with text for decimals, intervals and bytes in
//! hexadecimal digits, and the sink's own headers. Invariant: no change is seen twice but where a copy begins anew.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::{Consumed, consume};
use crate::canonical::Canon;
use crate::compare::{self, Content, Row, Table};
use crate::server::Session;

/// What stands for a value that was not sent.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// The sink's section for topics that this module can read.
#[must_use]
pub fn section(brokers: &str) -> String {
    format!(
        "  events:\n    type: kafka\n    brokers: {brokers}\n    skipped_operations: []\n    decimals: string\n    \
         intervals: string\n    binary: hex\n    change_headers: true\n    \
         properties: {{message.max.bytes: \"8388608\"}}\n"
    )
}

/// [`compare::equal`], source against the topics of pipeline `shop`.
///
/// # Errors
/// The differences.
pub async fn equal(session: &impl Session, brokers: &str, schemas: &[&str]) -> Result<(), String> {
    compare::equal(session, schemas, |table| content(brokers, "shop", table)).await
}

/// What the records of a table amount to.
///
/// # Errors
/// A record that does not fit those before it, or one that came twice.
pub fn content(brokers: &str, prefix: &str, table: &Table) -> Result<Content, String> {
    let topic = topic(prefix, &table.schema, &table.name);
    let records = consume(brokers, &topic)?.unwrap_or_default();
    let mut held = Held::default();
    for record in &records {
        held.take(record)
            .map_err(|what| format!("{topic} at {}: {what}", record.offset))?;
    }
    Ok(table.content(held.rows().iter().map(|row| text_of(row, table)).collect()))
}

/// The topic of a table: what Kafka does not take becomes `_`.
#[must_use]
pub fn topic(prefix: &str, schema: &str, table: &str) -> String {
    let takes = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    format!("{prefix}.{schema}.{table}")
        .chars()
        .map(|it| if takes(it) { it } else { '_' })
        .collect()
}

type Fields = Map<String, Value>;

/// What a consumer holds of a table.
#[derive(Default)]
struct Held {
    keyed: HashMap<String, Fields>,
    /// Rows of a table without a key, with how often each is there.
    bag: HashMap<String, (Fields, i64)>,
    /// The row that was deleted last, for the values of one that moved.
    deleted: Option<Fields>,
    seq: u64,
}

impl Held {
    fn take(&mut self, record: &Consumed) -> Result<(), String> {
        let seq = record.headers.get("cdc.seq");
        let copied = record.headers.contains_key("cdc.copy");
        let Some(value) = &record.value else {
            let key = record.key.as_ref().ok_or("a tombstone without a key")?;
            return match self.keyed.contains_key(key) {
                true => Err("a tombstone of a row that is there".into()),
                false => Ok(()),
            };
        };
        let value: Value = serde_json::from_str(value).map_err(|error| error.to_string())?;
        let op = value["op"].as_str().ok_or("no op")?;
        if copied {
            *self = Self::default();
            return Ok(());
        }
        let seq = seq.ok_or("no header cdc.seq")?;
        let seq = seq
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        if op != "r" {
            if seq <= self.seq {
                return Err(format!("change {seq} after {}: it comes twice", self.seq));
            }
            self.seq = seq;
        }
        let image = |name: &str| -> Result<Fields, String> {
            let fields = value[name].as_object().cloned();
            fields.ok_or_else(|| format!("{op} without {name}"))
        };
        match (op, &record.key) {
            ("t", _) => {
                self.keyed.clear();
                self.bag.clear();
            }
            ("d", Some(key)) => {
                let gone = self.keyed.remove(key);
                self.deleted = Some(gone.ok_or("a delete of a row that is not there")?);
            }
            (_, Some(key)) => {
                let moved = record.headers.contains_key("__debezium.oldkey");
                let base = if moved {
                    self.deleted.take()
                } else {
                    self.keyed.get(key).cloned()
                };
                let row = completed(image("after")?, base.as_ref())?;
                self.keyed.insert(key.clone(), row);
            }
            (op, None) => {
                if matches!(op, "u" | "d") {
                    self.count(image("before")?, -1)?;
                }
                if op != "d" {
                    self.count(image("after")?, 1)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, fields: Fields, by: i64) -> Result<(), String> {
        let text = Value::Object(fields.clone()).to_string();
        let entry = self.bag.entry(text).or_insert((fields, 0));
        entry.1 += by;
        match entry.1 {
            0.. => Ok(()),
            _ => Err("a delete of a row that is not there".into()),
        }
    }

    fn rows(&self) -> Vec<Fields> {
        let bag = self.bag.values().flat_map(|(fields, count)| {
            let count = usize::try_from(*count).unwrap_or(0);
            std::iter::repeat_n(fields.clone(), count)
        });
        self.keyed.values().cloned().chain(bag).collect()
    }
}

fn completed(mut row: Fields, base: Option<&Fields>) -> Result<Fields, String> {
    for (name, value) in &mut row {
        let said = value.get(0).unwrap_or(value).as_str();
        if said == Some(UNAVAILABLE) {
            let base = base.ok_or("a value was not sent, and there is no row that has it")?;
            *value = base.get(name).cloned().unwrap_or(Value::Null);
        }
    }
    Ok(row)
}

fn text_of(row: &Fields, table: &Table) -> Row {
    table
        .columns
        .iter()
        .map(|column| match row.get(&column.name) {
            // Older than the column.
            None => column.missing.clone(),
            Some(Value::Null) => None,
            Some(value) => Some(text(value, &column.canon)),
        })
        .collect()
}

/// A value as the source's own text, as [`Canon`] compares it.
fn text(value: &Value, canon: &Canon) -> String {
    match (canon, value) {
        (Canon::List(element), Value::Array(items)) => {
            let items = items.iter().map(|item| match item {
                Value::Null => Value::Null,
                item => Value::String(text(item, element)),
            });
            Value::Array(items.collect()).to_string()
        }
        (Canon::Date, Value::Number(days)) => date(days.as_i64().unwrap_or_default()),
        (Canon::Clock, Value::Number(micros)) => clock(micros.as_i64().unwrap_or_default()),
        (Canon::Timestamp, Value::Number(number)) => moment(number.as_i64().unwrap_or_default()),
        (Canon::Bits(width), Value::String(text)) => {
            let bytes = BASE64.decode(text).unwrap_or_default();
            let digits = bytes.iter().rev().map(|byte| format!("{byte:08b}"));
            let digits = digits.collect::<String>();
            digits[digits.len().saturating_sub(*width as usize)..].to_owned()
        }
        (Canon::Timestamptz, Value::String(text)) => text.trim_end_matches('Z').replace('T', " "),
        (Canon::Interval, Value::String(text)) => interval(text).unwrap_or_else(|| text.clone()),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

/// Milliseconds, or where that would be far away: microseconds since the epoch.
fn moment(value: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let micros = match value.abs() {
        0..100_000_000_000_000 => value * 1000,
        _ => value,
    };
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    format!("{} {}", date(days), clock(time))
}

/// A day, counted from the epoch.
fn date(days: i64) -> String {
    // Eras of 400 years, counted from a 1st of March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{day_of_month:02}",
        year + era * 400 + later
    )
}

/// Microseconds of a day, or of many.
fn clock(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, fraction) = (micros.abs() / 1_000_000, micros.abs() % 1_000_000);
    format!(
        "{sign}{:02}:{:02}:{:02}.{fraction:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `P1Y2M3DT4H5M6.7S` as months, days and microseconds.
fn interval(text: &str) -> Option<String> {
    let (date, time) = text.strip_prefix('P')?.split_once('T')?;
    let part = |text: &str, from: Option<char>, to: char| -> Option<String> {
        let text = from.map_or(Some(text), |from| Some(text.split_once(from)?.1))?;
        Some(text.split_once(to)?.0.to_owned())
    };
    let number = |text: Option<String>| text?.parse::<i64>().ok();
    let months = number(part(date, None, 'Y'))? * 12 + number(part(date, Some('Y'), 'M'))?;
    let days = number(part(date, Some('M'), 'D'))?;
    let minutes = number(part(time, None, 'H'))? * 60 + number(part(time, Some('H'), 'M'))?;
    let seconds = part(time, Some('M'), 'S')?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((&seconds, ""));
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let fraction = if whole.starts_with('-') {
        -fraction
    } else {
        fraction
    };
    let micros = minutes * 60_000_000 + whole.parse::<i64>().ok()? * 1_000_000 + fraction;
    Some(format!("{months} {days} {micros}"))
}
