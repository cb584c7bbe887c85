//! Logical messages as Debezium's records for `<prefix>.message`.
//!
//! Invariant: what is written are the members of the notice's schema, in its order. A message is of no
//! table: its source block names none.

use std::sync::Arc;

use cdc_api::{Notice, TableName};

use super::kind;
use super::notices::Notices;
use super::schema::{self, Schema};
use super::source::{Commits, Origin, Row, SourceBlock};
use super::value::{Now, Order, write_order};
use super::wire::{Avro, Json, Wire};
use crate::config::{Binary, Format, KafkaConfig};

/// Writes messages.
pub(crate) struct Messages {
    pub(crate) notices: Notices,
    source: SourceBlock,
    content: Binary,
    /// Where consumers are told of transactions: how its end names the messages.
    collection: Option<Arc<str>>,
}

impl Messages {
    pub(crate) fn new(origin: &Origin, config: &KafkaConfig) -> Self {
        const SPACE: &str = "io.debezium.connector.postgresql";
        let member = |name: &str, schema| (name.to_owned(), schema);
        let content = match config.binary {
            Binary::Bytes => "bytes",
            _ => "string",
        };
        let prefix = || member("prefix", Schema::scalar("string", true));
        let message = vec![prefix(), member("content", Schema::scalar(content, true))];
        let value = vec![
            member("op", Schema::scalar("string", false)),
            member("ts_ms", Schema::scalar("int64", true)),
            member("source", schema::source(origin.connector)),
            member("transaction", schema::transaction()),
            member(
                "message",
                Schema::structure(message, &format!("{SPACE}.Message")).version(1),
            ),
        ];
        let schema =
            |members, name: &str| Schema::structure(members, &format!("{SPACE}.{name}")).version(1);
        Self {
            notices: Notices::new(
                format!("{}.message", origin.name),
                config,
                schema(vec![prefix()], "MessageKey"),
                schema(value, "MessageValue"),
            ),
            source: SourceBlock::new(origin, &TableName::new("", "")),
            content: config.binary,
            collection: config.transaction_metadata.then(|| "message".into()),
        }
    }

    /// Key and value of a message with this prefix and content.
    pub(crate) fn message(
        &mut self,
        notice: &Notice,
        said: (&str, &[u8]),
        commits: &mut Commits,
    ) -> (&[u8], &[u8]) {
        match self.notices.format() {
            Format::Avro => self.write::<Avro>(notice, said, commits),
            Format::Json | Format::JsonWithSchema => self.write::<Json>(notice, said, commits),
        }
        self.notices.written()
    }

    fn write<W: Wire>(
        &mut self,
        notice: &Notice,
        (prefix, content): (&str, &[u8]),
        commits: &mut Commits,
    ) {
        self.source.notice::<W>(notice, commits);
        let order = self.order(notice, commits);
        let (key, out) = self.notices.begin();
        let prefix = |out: &mut Vec<u8>| {
            W::open(out);
            W::label(out, true, b"\"prefix\":");
            W::some(out);
            W::string(out, prefix);
        };
        prefix(key);
        W::close(key);
        W::open(out);
        W::label(out, true, b"\"op\":");
        W::string(out, "m");
        W::label(out, false, b"\"ts_ms\":");
        W::some(out);
        W::integer(out, Now::read::<W>().micros.div_euclid(1000));
        W::label(out, false, b"\"source\":");
        self.source.write::<W>(out, Row::at(notice.offset));
        W::label(out, false, b"\"transaction\":");
        write_order::<W>(out, &self.source, order, notice.offset);
        W::label(out, false, b"\"message\":");
        prefix(out);
        W::label(out, false, b"\"content\":");
        W::some(out);
        kind::write::bytes::<W>(out, content, self.content);
        W::close(out);
        W::close(out);
        self.notices.end();
    }

    /// The message's place in its transaction, where consumers are told; counts it.
    fn order(&self, notice: &Notice, commits: &mut Commits) -> Option<Order> {
        let (collection, run) = self.collection.as_ref().zip(notice.transaction.as_ref())?;
        commits.count(run, collection, 1, notice.offset);
        Some(Order {
            total: notice.seq.saturating_sub(run.first_seq) + 1,
            // Each is a collection of its own there.
            collection: 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use cdc_api::{Said, TransactionId, TransactionRun};

    use super::*;
    use crate::envelope::Connector;

    fn written(config: &KafkaConfig, transaction: Option<TransactionRun>) -> (Vec<u8>, Vec<u8>) {
        let origin = Origin {
            connector: Connector::Postgresql,
            name: "p".to_owned(),
            database: "d".to_owned(),
        };
        let content = b"\x00\xff\x80".to_vec();
        let notice = Notice {
            seq: 12,
            offset: 20,
            commit_time: 1_700_000_000_123_456,
            transaction,
            said: Said::Message {
                prefix: "app".to_owned(),
                content: content.clone(),
            },
        };
        let mut messages = Messages::new(&origin, config);
        let mut commits = Commits::default();
        commits.before(10);
        let (key, value) = messages.message(&notice, ("app", &content), &mut commits);
        (key.to_vec(), value.to_vec())
    }

    fn within() -> Option<TransactionRun> {
        Some(TransactionRun {
            end: 1,
            id: TransactionId::Number(5),
            commit_offset: 30,
            commit_time: 1_700_000_000_123_456,
            first_seq: 11,
        })
    }

    /// The text without the time of its making.
    fn text((key, value): (Vec<u8>, Vec<u8>)) -> String {
        let value = String::from_utf8(value).expect("text");
        let (before, after) = value.split_once("\"ts_ms\":").expect("the time");
        let after = &after[after.find(',').expect("more")..];
        let key = String::from_utf8(key).expect("text");
        format!("{key} {before}{after}")
    }

    const SOURCE: &str = r#""ts_ms":1700000000123,"snapshot":"false","db":"d","sequence":"#;

    #[test]
    fn a_message_is_as_debezium_writes_it() {
        let config = KafkaConfig {
            transaction_metadata: true,
            ..KafkaConfig::new("localhost:9092")
        };
        let version = env!("CARGO_PKG_VERSION");
        let times = r#""ts_us":1700000000123456,"ts_ns":1700000000123456000"#;
        let head = format!(
            r#"{{"prefix":"app"}} {{"op":"m",,"source":{{"version":"{version}","connector":"postgresql","name":"p",{SOURCE}"#
        );
        assert_eq!(
            text(written(&config, within())),
            format!(
                r#"{head}"[\"10\",\"20\"]",{times},"schema":"","table":"","txId":5,"lsn":20,"xmin":null,"origin":null,"origin_lsn":null}},"transaction":{{"id":"5:20","total_order":2,"data_collection_order":1}},"message":{{"prefix":"app","content":"AP+A"}}}}"#
            )
        );
        let hex = KafkaConfig {
            binary: Binary::Hex,
            ..config
        };
        assert_eq!(
            text(written(&hex, None)),
            format!(
                r#"{head}"[\"20\",\"20\"]",{times},"schema":"","table":"","txId":null,"lsn":20,"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"message":{{"prefix":"app","content":"00ff80"}}}}"#
            )
        );
    }

    #[test]
    fn in_avro_a_message_has_the_members_of_its_schema() {
        let config = KafkaConfig {
            format: Format::Avro,
            ..KafkaConfig::new("localhost:9092")
        };
        let (key, value) = written(&config, within());
        // The branch that has a value, and the text.
        assert_eq!(key, b"\x02\x06app");
        assert!(value.starts_with(b"\x02m\x02"), "{value:?}");
        // No transaction; the message with its prefix and its bytes.
        assert!(
            value.ends_with(b"\x00\x02\x06app\x02\x06\x00\xff\x80"),
            "{value:?}"
        );
    }
}
