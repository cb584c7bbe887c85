//! The parts of a record: key, value and headers of a row, in either way of writing.
//!
//! Invariant: what is appended are the members of `schema`, in its order.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use cdc_api::{ChangeBatch, Error, Result};

use super::TableEncoder;
use super::flat::{Extra, Member};
use super::source::{Row, SourceBlock};
use super::wire::{Json, Wire};

/// Which of a row's values are meant.
#[derive(Clone, Copy)]
pub(super) enum Values {
    /// All, but for those that were not sent.
    New,
    /// All.
    Old,
    /// The key's alone; of the others none was sent.
    KeyOnly,
}

/// A row's place in its transaction, from 1.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) total: u64,
    pub(super) collection: u64,
}

/// What the envelope says of the change at hand.
#[derive(Clone, Copy)]
struct Facts<'a> {
    letter: char,
    row: Row,
    order: Option<Order>,
    now: &'a Now,
}

impl TableEncoder {
    /// Fills `value` and `headers` with a change. Without `after` the row is gone.
    pub(super) fn change<W: Wire>(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        letter: char,
        before: Option<(&RecordBatch, usize, Values)>,
        after: bool,
        now: &Now,
    ) -> Result<()> {
        let facts = Facts {
            letter,
            row: Row::at(batch.offset[row]),
            order: self.order(batch.seq[row], batch.offset[row]),
            now,
        };
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        value.extend_from_slice(&self.opening[1]);
        let new = (&batch.rows, row, Values::New);
        if let Some(flat) = &self.flat {
            let shown = if after { Some(new) } else { before };
            if let Some((rows, row, values)) = shown {
                let sent = after.then_some(batch);
                self.write_row::<W>(
                    &mut value,
                    rows,
                    row,
                    values,
                    sent,
                    Some((&flat.fields, facts)),
                )?;
            }
        } else {
            W::open(&mut value);
            W::label(&mut value, true, b"\"before\":");
            match before {
                Some((rows, row, values)) => {
                    W::some(&mut value);
                    self.write_row::<W>(&mut value, rows, row, values, None, None)?;
                }
                None => W::null(&mut value),
            }
            W::label(&mut value, false, b"\"after\":");
            if after {
                W::some(&mut value);
                let (rows, row, values) = new;
                self.write_row::<W>(&mut value, rows, row, values, Some(batch), None)?;
            } else {
                W::null(&mut value);
            }
            self.close_value::<W>(&mut value, facts);
        }
        value.extend_from_slice(self.closing);
        self.value = value;
        self.write_headers(facts);
        Ok(())
    }

    /// Fills `value` with a truncate.
    pub(super) fn emptied<W: Wire>(&mut self, commit_time: i64) {
        self.source.truncate::<W>(commit_time);
        let now = Now::read::<W>();
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        value.extend_from_slice(&self.opening[1]);
        W::open(&mut value);
        W::label(&mut value, true, b"\"before\":");
        W::null(&mut value);
        W::label(&mut value, false, b"\"after\":");
        W::null(&mut value);
        let facts = Facts {
            letter: 't',
            row: Row::without_place(),
            order: None,
            now: &now,
        };
        self.close_value::<W>(&mut value, facts);
        value.extend_from_slice(self.closing);
        self.value = value;
    }

    /// The row's place in its transaction, where consumers are told; counts it.
    fn order(&mut self, seq: u64, place: u64) -> Option<Order> {
        if !self.config.transaction_metadata || !self.source.is_change() {
            return None;
        }
        let (first, count) = &mut self.transaction;
        *count += 1;
        self.uncounted = (self.uncounted.0 + 1, self.uncounted.1.min(place));
        Some(Order {
            total: seq.saturating_sub(*first) + 1,
            collection: *count,
        })
    }

    fn close_value<W: Wire>(&self, out: &mut Vec<u8>, facts: Facts<'_>) {
        W::label(out, false, b"\"source\":");
        self.source.write::<W>(out, facts.row);
        W::label(out, false, b"\"transaction\":");
        let place = facts.row.offset.unwrap_or(0);
        write_order::<W>(out, &self.source, facts.order, place);
        W::label(out, false, b"\"op\":");
        W::ascii(out, |out| out.push(facts.letter as u8));
        out.extend_from_slice(&facts.now.members);
        W::close(out);
    }

    fn write_row<W: Wire>(
        &self,
        out: &mut Vec<u8>,
        rows: &RecordBatch,
        row: usize,
        values: Values,
        sent: Option<&ChangeBatch>,
        extra: Option<(&[Extra], Facts<'_>)>,
    ) -> Result<()> {
        W::open(out);
        for (index, field) in self.fields.iter().enumerate() {
            W::label(out, index == 0, &field.label);
            if matches!(values, Values::KeyOnly) && !self.table.key.contains(&index) {
                if field.nullable {
                    W::null(out);
                } else {
                    field.kind.write_fallback::<W>(out);
                }
            } else if sent.is_some_and(|batch| batch.is_absent(index, row)) {
                if field.nullable {
                    W::some(out);
                }
                let placeholder = &self.config.unavailable_value;
                field.kind.write_unavailable::<W>(out, placeholder);
            } else {
                field
                    .kind
                    .write_in::<W>(out, field.nullable, rows.column(index), row)
                    .map_err(|_| self.unfit(index))?;
            }
        }
        if let Some((extra, facts)) = extra {
            for (index, extra) in extra.iter().enumerate() {
                W::label(out, index + self.fields.len() == 0, &extra.label);
                self.write_extra::<W>(out, &extra.field, facts);
            }
        }
        W::close(out);
        Ok(())
    }

    /// A member of the envelope in a place that may have none.
    fn write_extra<W: Wire>(&self, out: &mut Vec<u8>, member: &Member, facts: Facts<'_>) {
        let number = |out: &mut Vec<u8>, value: i64| {
            W::some(out);
            W::integer(out, value);
        };
        match member {
            Member::Deleted => {
                let gone = facts.letter == 'd';
                W::some(out);
                W::string(out, if gone { "true" } else { "false" });
            }
            Member::Op => {
                W::some(out);
                W::ascii(out, |out| out.push(facts.letter as u8));
            }
            Member::Made("ts_ms") => number(out, facts.now.micros.div_euclid(1000)),
            Member::Made("ts_us") => number(out, facts.now.micros),
            Member::Made(_) => number(out, facts.now.nanos),
            Member::Source(name) => self.source.member::<W>(out, name, facts.row),
            Member::Transaction(name) => match (facts.order, *name) {
                (None, _) => W::null(out),
                (Some(_), "id") => {
                    W::some(out);
                    let place = facts.row.offset.unwrap_or(0);
                    self.source.transaction_id::<W>(out, place);
                }
                (Some(order), "total_order") => number(out, order.total.cast_signed()),
                (Some(order), _) => number(out, order.collection.cast_signed()),
            },
        }
    }

    /// Fills the headers that the settings ask for: text without quotes, numbers in digits.
    fn write_headers(&mut self, facts: Facts<'_>) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        for extra in self.flat.iter().flat_map(|flat| &flat.headers) {
            headers.push(&extra.name, |out| {
                let start = out.len();
                self.write_extra::<Json>(out, &extra.field, facts);
                // What these members have needs no escaping but `sequence`, whose quotes have it.
                if out.get(start) == Some(&b'"') {
                    out.pop();
                    out.remove(start);
                    out.retain(|byte| *byte != b'\\');
                }
            });
        }
        self.headers = headers;
    }

    pub(super) fn write_key<W: Wire>(
        &mut self,
        rows: &RecordBatch,
        row: usize,
        other: bool,
    ) -> Result<()> {
        if self.table.key.is_empty() {
            return Ok(());
        }
        let mut key = std::mem::take(if other {
            &mut self.other_key
        } else {
            &mut self.key
        });
        key.clear();
        key.extend_from_slice(&self.opening[0]);
        W::open(&mut key);
        for (place, &index) in self.table.key.iter().enumerate() {
            let field = &self.fields[index];
            W::label(&mut key, place == 0, &field.label);
            field
                .kind
                .write_in::<W>(&mut key, false, rows.column(index), row)
                .map_err(|_| self.unfit(index))?;
        }
        W::close(&mut key);
        key.extend_from_slice(self.closing);
        if other {
            self.other_key = key;
        } else {
            self.key = key;
        }
        Ok(())
    }

    /// Adds the key that the row had, or will have, as a header.
    pub(super) fn other_key<W: Wire>(
        &mut self,
        name: &str,
        batch: &ChangeBatch,
        row: usize,
    ) -> Result<()> {
        self.write_key::<W>(&batch.rows, row, true)?;
        let key = &self.other_key;
        self.headers.push(name, |out| out.extend_from_slice(key));
        Ok(())
    }

    fn unfit(&self, index: usize) -> Error {
        let name = &self.table.name;
        Error::unsupported(format!(
            "column `{}` of {name} has a value that its type in Avro has not, such as NaN",
            self.table.columns[index].name
        ))
        .hint(format!(
            "set `decimals: string` in the sink, or leave the column out with `columns` of the \
             source, then cdc snapshot {name}"
        ))
        .for_table(self.table.id)
    }
}

/// The envelope's block of a change's transaction, which has `place` in the log.
pub(super) fn write_order<W: Wire>(
    out: &mut Vec<u8>,
    source: &SourceBlock,
    order: Option<Order>,
    place: u64,
) {
    let Some(order) = order else {
        return W::null(out);
    };
    W::some(out);
    W::open(out);
    W::label(out, true, b"\"id\":");
    source.transaction_id::<W>(out, place);
    W::label(out, false, b"\"total_order\":");
    W::integer(out, order.total.cast_signed());
    W::label(out, false, b"\"data_collection_order\":");
    W::integer(out, order.collection.cast_signed());
    W::close(out);
}

/// The time at which a batch is written.
pub(super) struct Now {
    pub(super) micros: i64,
    nanos: i64,
    /// As the value's last members.
    members: Vec<u8>,
}

impl Now {
    pub(super) fn read<W: Wire>() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let nanos = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let mut members = Vec::with_capacity(96);
        for (label, value) in [
            ("\"ts_ms\":", nanos / 1_000_000),
            ("\"ts_us\":", nanos / 1000),
            ("\"ts_ns\":", nanos),
        ] {
            W::label(&mut members, false, label.as_bytes());
            W::some(&mut members);
            W::integer(&mut members, value);
        }
        Self {
            micros: nanos / 1000,
            nanos,
            members,
        }
    }
}
