//! Rows as Debezium's records: key, value and headers, written straight from Arrow's arrays into
//! byte buffers. Nothing here talks to a broker.
//!
//! Code map: this file says which records a row gives · `value` writes their parts · `kind` what a
//! column is · `wire` JSON and Avro · `schema` Connect's schemas · `source`, `flat`, `headers` parts
//! of a record.
//!
//! Invariant: a record's text depends on the row, the table's shape and the settings alone, but for
//! the time at which it was written (`ts_ms`, `ts_us`, `ts_ns` of the value).

mod ddl;
mod decimal;
mod flat;
mod headers;
mod hstore;
mod kind;
mod message;
mod names;
mod notices;
mod outbox;
mod schema;
mod source;
mod temporal;
mod text;
mod value;
mod wire;

use std::sync::Arc;

use cdc_api::{ChangeBatch, Error, Identity, Op, Result, TableSchema, TransactionRun};

use crate::config::{Envelope, Format, KafkaConfig, Operation};
pub(crate) use ddl::Statements;
use flat::Flat;
pub(crate) use headers::Headers;
use kind::Kind;
pub(crate) use message::Messages;
pub(crate) use notices::Notices;
use outbox::Outbox;
use source::SourceBlock;
pub(crate) use source::{Commits, Origin};
use value::{Now, Values};
use wire::{Avro, Json, Wire};

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
    /// None: the table's.
    pub(crate) topic: Option<&'a str>,
    /// None where the table has no key.
    pub(crate) key: Option<&'a [u8]>,
    /// None for a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// The other key of a key change, and what the settings ask for.
    pub(crate) headers: &'a Headers,
    /// The change that it comes from.
    pub(crate) seq: u64,
    /// The version of its table's shape.
    pub(crate) version: u32,
}

/// Takes records one by one.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Record<'_>) -> Result<()>;

const NEW_KEY: &str = "__debezium.newkey";
const OLD_KEY: &str = "__debezium.oldkey";

/// A schema as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AvroSchema {
    /// Its own name, with the name space.
    pub(crate) name: String,
    /// Its JSON.
    pub(crate) text: String,
}

impl AvroSchema {
    fn of(schema: &schema::Schema) -> Self {
        Self {
            name: schema.name.clone().unwrap_or_default(),
            text: schema::avro::text(schema),
        }
    }
}

/// The settings say something that no record can be.
///
/// # Errors
/// `Config`, naming the setting.
pub(crate) fn validate(config: &KafkaConfig, connector: Connector) -> Result<()> {
    config.outbox.selection()?;
    Flat::new(config, connector).map(|_| ())
}

/// Writes the rows of one table at one version of its shape.
pub(crate) struct TableEncoder {
    table: Arc<TableSchema>,
    config: Arc<KafkaConfig>,
    topic: String,
    fields: Vec<Field>,
    source: SourceBlock,
    /// Where the row stands alone.
    flat: Option<Flat>,
    /// Where the row is an event.
    outbox: Option<Outbox>,
    schemas: schema::Schemas,
    /// What stands before keys and before values, and after both.
    opening: [Vec<u8>; 2],
    closing: &'static [u8],
    /// The first `seq` of the transaction at hand, and how many of its events were of this table.
    transaction: (u64, u64),
    /// How many of them are not counted yet, and the place of the first.
    uncounted: (u64, u64),
    /// The table as transactions' ends name it.
    collection: Arc<str>,
    key: Vec<u8>,
    other_key: Vec<u8>,
    value: Vec<u8>,
    headers: Headers,
}

/// A column.
struct Field {
    name: String,
    /// The name in quotes, and a colon.
    label: Vec<u8>,
    kind: Kind,
    nullable: bool,
}

impl TableEncoder {
    /// An encoder for rows of this shape that go to `topic`. In Avro it needs the schemas'
    /// [numbers](Self::numbered).
    ///
    /// # Errors
    /// Of the table, where a column has a type without a place on the wire.
    pub(crate) fn new(
        table: &Arc<TableSchema>,
        topic: String,
        origin: &Origin,
        config: &Arc<KafkaConfig>,
    ) -> Result<Self> {
        let names = config.names();
        let mut fields: Vec<Field> = Vec::with_capacity(table.columns.len());
        for (index, column) in table.columns.iter().enumerate() {
            let kind = Kind::of(column, origin.connector, config).ok_or_else(|| {
                Error::unsupported(format!(
                    "column `{}` of {} has a type that records have no place for: {}",
                    column.name, table.name, column.source_type
                ))
                .hint("leave the column out with `columns` of the source")
                .for_table(table.id)
            })?;
            let name = names::of_field(names, &column.name);
            if fields.iter().any(|field| field.name == name) {
                return Err(Error::unsupported(format!(
                    "column `{}` of {} would be called `{name}`, as another is",
                    column.name, table.name
                ))
                .hint("set `names: avro_unicode` in the sink, under which no two names become one")
                .for_table(table.id));
            }
            let mut label = Vec::new();
            text::string(&mut label, &name);
            label.push(b':');
            // Debezium's Geometry may always be missing.
            let optional = column.nullable || matches!(kind, Kind::Geometry { point: false });
            fields.push(Field {
                name,
                label,
                kind,
                nullable: optional && !table.key.contains(&index),
            });
        }
        let flat = match config.envelope {
            Envelope::Flat => Some(Flat::new(config, origin.connector)?),
            Envelope::Debezium => None,
        };
        let named = names::of_schema(names, &topic);
        let schemas = schema::Schemas::of(table, &fields, &named, origin.connector, flat.as_ref());
        let (opening, closing) = schema::json::around(config.format, &schemas.key, &schemas.value);
        Ok(Self {
            table: Arc::clone(table),
            config: Arc::clone(config),
            source: SourceBlock::new(origin, &table.name),
            topic,
            fields,
            flat,
            outbox: Outbox::new(table, origin.connector, config)?,
            schemas,
            opening,
            closing,
            transaction: (0, 0),
            uncounted: (0, u64::MAX),
            collection: format!("{}.{}", table.name.schema, table.name.table).into(),
            key: Vec::new(),
            other_key: Vec::new(),
            value: Vec::new(),
            headers: Headers::default(),
        })
    }

    /// The Avro schemas of keys (where there are any) and of values.
    pub(crate) fn avro_schemas(&self) -> (Option<AvroSchema>, AvroSchema) {
        let key = (!self.table.key.is_empty()).then(|| AvroSchema::of(&self.schemas.key));
        (key, AvroSchema::of(&self.schemas.value))
    }

    /// Keys and values begin with these schemas' numbers, as Confluent's serializers write them.
    pub(crate) fn numbered(&mut self, key: Option<u32>, value: u32) {
        self.opening = schema::avro::opening(key, value);
    }

    /// Whether its records say themselves where they go.
    pub(crate) fn is_outbox(&self) -> bool {
        self.outbox.is_some()
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
    /// Those of `take`; of the table, where a value has no place in its column's type.
    pub(crate) fn encode(
        &mut self,
        batch: &ChangeBatch,
        commits: &mut Commits,
        take: Take<'_>,
    ) -> Result<()> {
        if let Some(outbox) = &mut self.outbox {
            return outbox.encode(batch, &self.config, take);
        }
        match self.config.format {
            Format::Avro => self.rows::<Avro>(batch, commits, take),
            Format::Json | Format::JsonWithSchema => self.rows::<Json>(batch, commits, take),
        }
    }

    fn rows<W: Wire>(
        &mut self,
        batch: &ChangeBatch,
        commits: &mut Commits,
        take: Take<'_>,
    ) -> Result<()> {
        self.absent_values_have_a_place(batch, W::TYPED)?;
        let now = Now::read::<W>();
        let mut runs = batch.transactions.iter().peekable();
        let mut current = None;
        let mut row = 0;
        while row < batch.len() {
            while let Some(run) = runs.peek() {
                if row < run.end as usize {
                    break;
                }
                self.count(run, commits);
                runs.next();
                current = None;
            }
            if current.is_none() {
                let run = runs.peek().copied();
                self.source.transaction::<W>(run, commits, now.micros);
                // A transaction may go on from batch to batch.
                let first = run.map_or(0, |run| run.first_seq);
                if first != self.transaction.0 {
                    self.transaction = (first, 0);
                }
                current = Some(());
            }
            row += self.row::<W>(batch, row, &now, take)?;
        }
        if let Some(run) = runs.peek() {
            self.count(run, commits);
        }
        Ok(())
    }

    fn count(&mut self, run: &TransactionRun, commits: &mut Commits) {
        let (events, place) = std::mem::replace(&mut self.uncounted, (0, u64::MAX));
        if events > 0 {
            commits.count(run, &self.collection, events, place);
        }
    }

    /// Writes one row's records; gives the number of rows that they stand for.
    fn row<W: Wire>(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        now: &Now,
        take: Take<'_>,
    ) -> Result<usize> {
        let op = batch.op(row);
        if op == Op::MoveOut && self.table.key.is_empty() && row + 1 < batch.len() {
            // Without a key old and new row are one update.
            if !self.config.skips(Operation::Update) {
                let old = Some((&batch.rows, row, Values::Old));
                self.change::<W>(batch, row + 1, 'u', old, true, now)?;
                self.send(batch, row + 1, take)?;
            }
            return Ok(2);
        }
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
                self.change::<W>(batch, row, letter, before, true, now)?;
                self.write_key::<W>(&batch.rows, row, false)?;
                self.send(batch, row, take)?;
            }
            Op::Delete | Op::MoveOut => self.delete::<W>(batch, row, now, take)?,
            Op::MoveIn => {
                self.write_key::<W>(&batch.rows, row, false)?;
                self.change::<W>(batch, row, 'c', None, true, now)?;
                if row > 0 && batch.op(row - 1) == Op::MoveOut {
                    self.other_key::<W>(OLD_KEY, batch, row - 1)?;
                }
                self.send(batch, row, take)?;
            }
        }
        Ok(1)
    }

    fn delete<W: Wire>(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        now: &Now,
        take: Take<'_>,
    ) -> Result<()> {
        self.write_key::<W>(&batch.rows, row, false)?;
        let deletes = self.flat.as_ref().map(|flat| flat.deletes);
        if deletes.is_none_or(|deletes| deletes.rewrites()) {
            let values = if self.table.identity == Identity::Full {
                Values::Old
            } else {
                Values::KeyOnly
            };
            let old = Some((&batch.rows, row, values));
            self.change::<W>(batch, row, 'd', old, false, now)?;
            if batch.op(row) == Op::MoveOut && row + 1 < batch.len() {
                self.other_key::<W>(NEW_KEY, batch, row + 1)?;
            }
            self.send(batch, row, take)?;
        }
        let wanted = deletes.is_none_or(|deletes| deletes.has_tombstone());
        if wanted && self.config.tombstones && !self.table.key.is_empty() {
            self.headers.clear();
            take(Record {
                topic: None,
                key: Some(&self.key),
                value: None,
                headers: &self.headers,
                seq: batch.seq[row],
                version: self.table.version,
            })?;
        }
        Ok(())
    }

    fn send(&self, batch: &ChangeBatch, row: usize, take: Take<'_>) -> Result<()> {
        take(Record {
            topic: None,
            key: (!self.table.key.is_empty()).then_some(self.key.as_slice()),
            value: Some(&self.value),
            headers: &self.headers,
            seq: batch.seq[row],
            version: self.table.version,
        })
    }

    /// Writes the record of a truncate; none where truncates are left out.
    ///
    /// # Errors
    /// Those of `take`.
    pub(crate) fn truncate(&mut self, seq: u64, commit_time: i64, take: Take<'_>) -> Result<()> {
        let alone = self.flat.is_some() || self.outbox.is_some();
        if self.config.skips(Operation::Truncate) || alone {
            return Ok(());
        }
        match self.config.format {
            Format::Avro => self.emptied::<Avro>(commit_time),
            Format::Json | Format::JsonWithSchema => self.emptied::<Json>(commit_time),
        }
        self.headers.clear();
        take(Record {
            topic: None,
            key: None,
            value: Some(&self.value),
            headers: &self.headers,
            seq,
            version: self.table.version,
        })
    }

    /// Absent is not NULL: a column that was not sent needs a value that says so.
    fn absent_values_have_a_place(&self, batch: &ChangeBatch, typed: bool) -> Result<()> {
        for (index, bits) in batch.absent.iter().enumerate() {
            let Some(bits) = bits else { continue };
            if bits.count_set_bits() > 0 && !self.fields[index].kind.has_unavailable(typed) {
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

#[cfg(test)]
mod tests;
