//! Records that are of no table: the begin and the end of a transaction, and heartbeats, as Debezium
//! writes them.
//!
//! Invariant: what is written are the members of the notice's schema, in its order.

use cdc_api::TransactionId;

use super::AvroSchema;
use super::schema::{self, Schema, Shape};
use super::source::Told;
use super::text;
use super::wire::{Avro, Json, Wire};
use crate::config::{Format, KafkaConfig};

/// Writes the notices of one topic.
pub(crate) struct Notices {
    topic: String,
    format: Format,
    key_schema: Schema,
    value_schema: Schema,
    opening: [Vec<u8>; 2],
    closing: &'static [u8],
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Notices {
    pub(super) fn new(
        topic: String,
        config: &KafkaConfig,
        key_schema: Schema,
        value_schema: Schema,
    ) -> Self {
        let (opening, closing) = schema::json::around(config.format, &key_schema, &value_schema);
        Self {
            topic,
            format: config.format,
            key_schema,
            value_schema,
            opening,
            closing,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Of transactions, for `<prefix>.transaction`.
    pub(crate) fn transactions(prefix: &str, config: &KafkaConfig) -> Self {
        const SPACE: &str = "io.debezium.connector.common";
        let scalar = |name: &str, kind, optional| (name.to_owned(), Schema::scalar(kind, optional));
        let collection = Schema::structure(
            vec![
                scalar("data_collection", "string", false),
                scalar("event_count", "int64", false),
            ],
            "event.collection",
        );
        let collections = Shape::Array(Box::new(collection.version(1).optional()));
        let members = vec![
            scalar("status", "string", false),
            scalar("id", "string", false),
            scalar("event_count", "int64", true),
            (
                "data_collections".to_owned(),
                Schema::plain(collections, true),
            ),
            scalar("ts_ms", "int64", false),
        ];
        let key = vec![scalar("id", "string", false)];
        Self::new(
            format!("{prefix}.transaction"),
            config,
            Schema::structure(key, &format!("{SPACE}.TransactionMetadataKey")).version(1),
            Schema::structure(members, &format!("{SPACE}.TransactionMetadataValue")).version(1),
        )
    }

    /// Heartbeats, for `__debezium-heartbeat.<prefix>`.
    pub(crate) fn heartbeats(prefix: &str, config: &KafkaConfig) -> Self {
        const SPACE: &str = "io.debezium.connector.common";
        let name = vec![("serverName".to_owned(), Schema::scalar("string", false))];
        let time = vec![("ts_ms".to_owned(), Schema::scalar("int64", false))];
        Self::new(
            format!("__debezium-heartbeat.{prefix}"),
            config,
            Schema::structure(name, &format!("{SPACE}.ServerNameKey")).version(1),
            Schema::structure(time, &format!("{SPACE}.Heartbeat")).version(1),
        )
    }

    /// The format of keys and values.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Key and value as they were written last.
    pub(super) fn written(&self) -> (&[u8], &[u8]) {
        (&self.key, &self.value)
    }

    /// The topic that they go to.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The Avro schemas of keys and of values.
    pub(crate) fn avro_schemas(&self) -> (Option<AvroSchema>, AvroSchema) {
        let key = AvroSchema::of(&self.key_schema);
        (Some(key), AvroSchema::of(&self.value_schema))
    }

    /// Keys and values begin with these schemas' numbers.
    pub(crate) fn numbered(&mut self, key: Option<u32>, value: u32) {
        self.opening = schema::avro::opening(key, value);
    }

    /// Key and value of a transaction's begin, or of its end.
    pub(crate) fn transaction(&mut self, at: u64, told: &Told, end: bool) -> (&[u8], &[u8]) {
        match self.format {
            Format::Avro => self.write_transaction::<Avro>(at, told, end),
            Format::Json | Format::JsonWithSchema => self.write_transaction::<Json>(at, told, end),
        }
        (&self.key, &self.value)
    }

    fn write_transaction<W: Wire>(&mut self, at: u64, told: &Told, end: bool) {
        let place = if end { at } else { told.first_place };
        let (key, value) = self.begin();
        let id = |out: &mut Vec<u8>| match &told.id {
            TransactionId::Number(xid) => W::ascii(out, |out| {
                text::integer(out, *xid);
                out.push(b':');
                text::integer(out, place);
            }),
            TransactionId::Text(gtid) => W::string(out, gtid),
        };
        W::open(key);
        W::label(key, true, b"\"id\":");
        id(key);
        W::close(key);
        let out = value;
        W::open(out);
        W::label(out, true, b"\"status\":");
        W::string(out, if end { "END" } else { "BEGIN" });
        W::label(out, false, b"\"id\":");
        id(out);
        W::label(out, false, b"\"event_count\":");
        if end {
            W::some(out);
            W::integer(out, told.collections.values().sum::<u64>().cast_signed());
        } else {
            W::null(out);
        }
        W::label(out, false, b"\"data_collections\":");
        if end {
            W::some(out);
            W::begin(out, false, told.collections.len());
            for (index, (collection, count)) in told.collections.iter().enumerate() {
                W::item(out, index == 0);
                W::some(out);
                W::open(out);
                W::label(out, true, b"\"data_collection\":");
                W::string(out, collection);
                W::label(out, false, b"\"event_count\":");
                W::integer(out, count.cast_signed());
                W::close(out);
            }
            W::end(out, false);
        } else {
            W::null(out);
        }
        W::label(out, false, b"\"ts_ms\":");
        W::integer(out, told.commit_time.div_euclid(1000));
        W::close(out);
        self.end();
    }

    /// Key and value of a heartbeat at a time in milliseconds.
    pub(crate) fn heartbeat(&mut self, prefix: &str, millis: i64) -> (&[u8], &[u8]) {
        match self.format {
            Format::Avro => self.write_heartbeat::<Avro>(prefix, millis),
            Format::Json | Format::JsonWithSchema => self.write_heartbeat::<Json>(prefix, millis),
        }
        (&self.key, &self.value)
    }

    fn write_heartbeat<W: Wire>(&mut self, prefix: &str, millis: i64) {
        let (key, value) = self.begin();
        W::open(key);
        W::label(key, true, b"\"serverName\":");
        W::string(key, prefix);
        W::close(key);
        W::open(value);
        W::label(value, true, b"\"ts_ms\":");
        W::integer(value, millis);
        W::close(value);
        self.end();
    }

    /// Key and value, begun.
    pub(super) fn begin(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        self.key.clear();
        self.key.extend_from_slice(&self.opening[0]);
        self.value.clear();
        self.value.extend_from_slice(&self.opening[1]);
        (&mut self.key, &mut self.value)
    }

    pub(super) fn end(&mut self) {
        self.key.extend_from_slice(self.closing);
        self.value.extend_from_slice(self.closing);
    }
}
