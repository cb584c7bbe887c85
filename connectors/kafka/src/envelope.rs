//! Rows as Debezium's records: key, value and headers, written straight from Arrow's arrays into
//! byte buffers. Nothing here talks to a broker.
//!
//! Invariant: a record's text depends on the row, the table's shape and the settings alone, but for
//! the time at which it was written (`ts_ms`, `ts_us`, `ts_ns` of the value).

mod decimal;
mod hstore;
mod kind;
mod schema;
mod source;
mod temporal;
mod text;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use cdc_api::{ChangeBatch, Error, Identity, Op, Result, TableSchema};

use crate::config::{Envelope, Format, KafkaConfig, Operation};
use kind::Kind;
pub(crate) use source::{Commits, Origin};
use source::{Row, SourceBlock};

/// Which connector of Debezium's the records look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connector {
    /// `postgresql`.
    Postgresql,
    /// `mysql`.
    Mysql,
}

/// One record for a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// None where the table has no key.
    pub(crate) key: Option<&'a [u8]>,
    /// None for a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// The other key of a key change, with the header's name.
    pub(crate) header: Option<(&'static str, &'a [u8])>,
    /// The change that it comes from.
    pub(crate) seq: u64,
    /// The version of its table's shape.
    pub(crate) version: u32,
}

/// Takes records one by one.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Record<'_>) -> Result<()>;

const NEW_KEY: &str = "__debezium.newkey";
const OLD_KEY: &str = "__debezium.oldkey";

/// Writes the rows of one table at one version of its shape.
pub(crate) struct TableEncoder {
    table: Arc<TableSchema>,
    config: Arc<KafkaConfig>,
    topic: String,
    fields: Vec<Field>,
    source: SourceBlock,
    /// What stands before the payload, where records carry their schema.
    schemas: Option<schema::Schemas>,
    key: Vec<u8>,
    other_key: Vec<u8>,
    value: Vec<u8>,
}

/// A column.
struct Field {
    /// The name in quotes, and a colon.
    label: Vec<u8>,
    kind: Kind,
    nullable: bool,
}

/// Which of a row's values are meant.
#[derive(Clone, Copy)]
enum Values {
    /// All, but for those that were not sent.
    New,
    /// All.
    Old,
    /// The key's alone; of the others none was sent.
    KeyOnly,
}

impl TableEncoder {
    /// An encoder for rows of this shape that go to `topic`.
    ///
    /// # Errors
    /// Of the table, where a column has a type without a place on the wire.
    pub(crate) fn new(
        table: &Arc<TableSchema>,
        topic: String,
        origin: &Origin,
        config: &Arc<KafkaConfig>,
    ) -> Result<Self> {
        let fields = table
            .columns
            .iter()
            .map(|column| {
                let kind = Kind::of(column, origin.connector, config).ok_or_else(|| {
                    Error::unsupported(format!(
                        "column `{}` of {} has a type that records have no place for: {}",
                        column.name, table.name, column.source_type
                    ))
                    .hint("leave the column out with `columns` of the source")
                    .for_table(table.id)
                })?;
                let mut label = Vec::new();
                text::string(&mut label, &column.name);
                label.push(b':');
                Ok(Field {
                    label,
                    kind,
                    nullable: column.nullable && !is_key(table, &column.name),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let schemas = (config.format == Format::JsonWithSchema)
            .then(|| schema::Schemas::of(table, &fields, &topic, origin.connector, config));
        Ok(Self {
            table: Arc::clone(table),
            config: Arc::clone(config),
            source: SourceBlock::new(origin, &table.name),
            topic,
            fields,
            schemas,
            key: Vec::new(),
            other_key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// The topic that the rows go to.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The shape.
    pub(crate) fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// Writes the records of a batch, in order.
    ///
    /// # Errors
    /// Those of `take`; of the table, where a value that was not sent has nothing to stand for it.
    pub(crate) fn encode(
        &mut self,
        batch: &ChangeBatch,
        commits: &mut Commits,
        take: Take<'_>,
    ) -> Result<()> {
        self.absent_values_have_a_place(batch)?;
        let now = Now::read();
        let mut runs = batch.transactions.iter().peekable();
        let mut current = None;
        let mut row = 0;
        while row < batch.len() {
            while let Some(run) = runs.peek() {
                if row < run.end as usize {
                    break;
                }
                runs.next();
                current = None;
            }
            if current.is_none() {
                let run = runs.peek().copied();
                self.source.transaction(run, commits, now.micros);
                current = Some(());
            }
            row += self.row(batch, row, &now, take)?;
        }
        Ok(())
    }

    /// Writes one row's records; gives the number of rows that they stand for.
    fn row(&mut self, batch: &ChangeBatch, row: usize, now: &Now, take: Take<'_>) -> Result<usize> {
        let op = batch.op(row);
        let whole = self.table.identity == Identity::Full;
        if op == Op::MoveOut && self.table.key.is_empty() && row + 1 < batch.len() {
            // Without a key old and new row are one update.
            if !self.config.skips(Operation::Update) {
                let old = Some((&batch.rows, row, Values::Old));
                let new = Some((batch, row + 1));
                self.change(batch, row + 1, 'u', old, new, now);
                self.send(batch, row + 1, None, take)?;
            }
            return Ok(2);
        }
        let old = |rows| Some((rows, row, if whole { Values::Old } else { Values::KeyOnly }));
        match op {
            Op::Read if self.config.skips(Operation::Read) => {}
            Op::Insert if self.config.skips(Operation::Create) => {}
            Op::Update if self.config.skips(Operation::Update) => {}
            Op::Delete if self.config.skips(Operation::Delete) => {}
            Op::Read | Op::Insert | Op::Update => {
                let letter = match op {
                    Op::Read => 'r',
                    Op::Insert => 'c',
                    _ => 'u',
                };
                let before = batch.before.as_ref().filter(|_| op == Op::Update);
                let before = before.map(|rows| (rows, row, Values::Old));
                self.change(batch, row, letter, before, Some((batch, row)), now);
                self.write_key(&batch.rows, row, false);
                self.send(batch, row, None, take)?;
            }
            Op::Delete | Op::MoveOut => {
                let moved = op == Op::MoveOut && row + 1 < batch.len();
                if moved {
                    self.write_key(&batch.rows, row + 1, true);
                }
                self.write_key(&batch.rows, row, false);
                if self.config.envelope == Envelope::Debezium {
                    self.change(batch, row, 'd', old(&batch.rows), None, now);
                    self.send(batch, row, moved.then_some(NEW_KEY), take)?;
                }
                if self.config.tombstones && !self.table.key.is_empty() {
                    take(Record {
                        key: Some(&self.key),
                        value: None,
                        header: None,
                        seq: batch.seq[row],
                        version: self.table.version,
                    })?;
                }
            }
            Op::MoveIn => {
                let moved = row > 0 && batch.op(row - 1) == Op::MoveOut;
                if moved {
                    self.write_key(&batch.rows, row - 1, true);
                }
                self.write_key(&batch.rows, row, false);
                self.change(batch, row, 'c', None, Some((batch, row)), now);
                self.send(batch, row, moved.then_some(OLD_KEY), take)?;
            }
        }
        Ok(1)
    }

    fn send(
        &self,
        batch: &ChangeBatch,
        row: usize,
        header: Option<&'static str>,
        take: Take<'_>,
    ) -> Result<()> {
        take(Record {
            key: (!self.table.key.is_empty()).then_some(self.key.as_slice()),
            value: Some(&self.value),
            header: header.map(|name| (name, self.other_key.as_slice())),
            seq: batch.seq[row],
            version: self.table.version,
        })
    }

    /// Writes the record of a truncate; None where truncates are left out.
    ///
    /// # Errors
    /// Those of `take`.
    pub(crate) fn truncate(&mut self, seq: u64, commit_time: i64, take: Take<'_>) -> Result<()> {
        if self.config.skips(Operation::Truncate) || self.config.envelope == Envelope::Flat {
            return Ok(());
        }
        self.source.truncate(commit_time);
        let now = Now::read();
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        self.open_value(&mut value);
        value.extend_from_slice(b"{\"before\":null,\"after\":null,\"source\":");
        self.source.write(&mut value, Row::without_place());
        self.close_value(&mut value, 't', &now);
        self.value = value;
        take(Record {
            key: None,
            value: Some(&self.value),
            header: None,
            seq,
            version: self.table.version,
        })
    }

    fn open_value(&self, out: &mut Vec<u8>) {
        if let Some(schemas) = &self.schemas {
            out.extend_from_slice(&schemas.value);
        }
    }

    fn close_value(&self, out: &mut Vec<u8>, letter: char, now: &Now) {
        out.extend_from_slice(b",\"transaction\":null,\"op\":\"");
        out.push(letter as u8);
        out.extend_from_slice(b"\",\"ts_ms\":");
        out.extend_from_slice(&now.text);
        if self.schemas.is_some() {
            out.push(b'}');
        }
    }

    /// Fills `value` with a change.
    fn change(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        letter: char,
        before: Option<(&RecordBatch, usize, Values)>,
        after: Option<(&ChangeBatch, usize)>,
        now: &Now,
    ) {
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        self.open_value(&mut value);
        if self.config.envelope == Envelope::Flat {
            if let Some((batch, row)) = after {
                self.write_row(&mut value, &batch.rows, row, Values::New, Some(batch));
            }
            if self.schemas.is_some() {
                value.push(b'}');
            }
            self.value = value;
            return;
        }
        value.extend_from_slice(b"{\"before\":");
        match before {
            Some((rows, row, values)) => self.write_row(&mut value, rows, row, values, None),
            None => value.extend_from_slice(b"null"),
        }
        value.extend_from_slice(b",\"after\":");
        match after {
            Some((batch, row)) => {
                self.write_row(&mut value, &batch.rows, row, Values::New, Some(batch));
            }
            None => value.extend_from_slice(b"null"),
        }
        value.extend_from_slice(b",\"source\":");
        self.source.write(&mut value, Row::at(batch.offset[row]));
        self.close_value(&mut value, letter, now);
        self.value = value;
    }

    fn write_row(
        &self,
        out: &mut Vec<u8>,
        rows: &RecordBatch,
        row: usize,
        values: Values,
        sent: Option<&ChangeBatch>,
    ) {
        out.push(b'{');
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&field.label);
            if matches!(values, Values::KeyOnly) && !self.table.key.contains(&index) {
                if field.nullable {
                    out.extend_from_slice(b"null");
                } else {
                    field.kind.write_fallback(out);
                }
            } else if sent.is_some_and(|batch| batch.is_absent(index, row)) {
                field
                    .kind
                    .write_unavailable(out, &self.config.unavailable_value);
            } else {
                field.kind.write(out, rows.column(index), row);
            }
        }
        out.push(b'}');
    }

    fn write_key(&mut self, rows: &RecordBatch, row: usize, other: bool) {
        if self.table.key.is_empty() {
            return;
        }
        let mut key = std::mem::take(if other {
            &mut self.other_key
        } else {
            &mut self.key
        });
        key.clear();
        if let Some(schemas) = &self.schemas {
            key.extend_from_slice(&schemas.key);
        }
        key.push(b'{');
        for (place, &index) in self.table.key.iter().enumerate() {
            if place > 0 {
                key.push(b',');
            }
            key.extend_from_slice(&self.fields[index].label);
            self.fields[index]
                .kind
                .write(&mut key, rows.column(index), row);
        }
        key.push(b'}');
        if self.schemas.is_some() {
            key.push(b'}');
        }
        if other {
            self.other_key = key;
        } else {
            self.key = key;
        }
    }

    /// Absent is not NULL: a column that was not sent needs a value that says so.
    fn absent_values_have_a_place(&self, batch: &ChangeBatch) -> Result<()> {
        for (index, bits) in batch.absent.iter().enumerate() {
            let Some(bits) = bits else { continue };
            if bits.count_set_bits() > 0 && !self.fields[index].kind.has_unavailable() {
                return Err(Error::unsupported(format!(
                    "column `{}` of {} was not sent, and its type has no value to say so",
                    self.table.columns[index].name, self.table.name
                ))
                .hint(format!(
                    "ALTER TABLE {} REPLICA IDENTITY FULL on PostgreSQL, SET GLOBAL \
                     binlog_row_image = 'FULL' on MySQL, then cdc snapshot {}",
                    self.table.name.quoted(),
                    self.table.name
                ))
                .for_table(self.table.id));
            }
        }
        Ok(())
    }
}

fn is_key(table: &TableSchema, name: &str) -> bool {
    table.key_columns().any(|column| column.name == name)
}

/// The time at which a batch is written, as the value's last fields.
struct Now {
    micros: i64,
    text: Vec<u8>,
}

impl Now {
    fn read() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut text = Vec::with_capacity(80);
        text::integer(&mut text, now.as_millis());
        text.extend_from_slice(b",\"ts_us\":");
        text::integer(&mut text, now.as_micros());
        text.extend_from_slice(b",\"ts_ns\":");
        text::integer(&mut text, now.as_nanos());
        text.push(b'}');
        Self {
            micros: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
            text,
        }
    }
}

#[cfg(test)]
mod tests;
