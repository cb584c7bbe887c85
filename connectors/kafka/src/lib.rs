//! Kafka: every change of a table as a record in its topic, in Debezium's envelope, so that
//! consumers of Debezium's topics can read them as they are.
//!
//! # What it guarantees (`delivery: exactly_once`)
//!
//! - **A commit is one Kafka transaction** over all tables; it holds whole source transactions and
//!   the checkpoint, as a record in the checkpoint topic. A consumer that reads committed records
//!   sees a commit whole or not at all, and no change twice: after a crash, or a commit whose
//!   answer was lost, the checkpoint is read back and tells which it was.
//! - A source transaction is never cut; a commit gathers transactions up to the sink's `max_rows`
//!   and `max_bytes`. A transaction that takes longer to send than `transaction_timeout_seconds`
//!   is refused by the broker, and the sink says so.
//! - **One daemon writes.** Opening the sink takes the transactional id over: the brokers refuse
//!   whoever had it before, and that one stops (`fenced`).
//! - **Order**: all changes of a key are in one partition, in the source's order. Records without
//!   a key (tables without one, truncates) are all in partition 0.
//! - **A table appears whole.** Its existing rows (`op: r`), and the changes made while they were
//!   read, wait in a topic of their own that nobody consumes, and are moved into the table's
//!   topic by the very transaction in which the table joins the stream. So no consumer sees half
//!   a copy, nor an existing row after a newer change of it; a copy that was interrupted leaves
//!   nothing behind. The price: existing rows are written twice, the sink's other tables wait
//!   while they are moved, and a table must be moved within `transaction_timeout_seconds`.
//! - When a table is copied anew (`cdc snapshot TABLE`), its rows come again as `r`, followed by
//!   the changes made since they were read, in one transaction. Where truncates are not left out
//!   (`skipped_operations: []`) a truncate with the header `cdc.copy` stands before them: with it,
//!   what a consumer has built by key is the source's content exactly. Without it, keys that were
//!   deleted while the table was not captured stay in what consumers have.
//!
//! With `delivery: at_least_once` there are no transactions: the checkpoint is written after the
//! brokers have the rows. Changes since the last checkpoint come again after an interruption, and
//! a second daemon is not fenced. `change_headers: true` lets consumers tell.
//!
//! # What lies where
//!
//! | topic | |
//! |---|---|
//! | `<prefix>.<schema>.<table>` | a table's records. Characters that Kafka does not take become `_`; two tables that would share a topic are refused |
//! | `<prefix>.transaction`, `__debezium-heartbeat.<prefix>` | begins and ends, heartbeats, where asked for |
//! | `<prefix>.message` | logical messages, where asked for |
//! | `<prefix>` | statements that change schemas, where asked for; partition 0 has them all, in their order |
//! | `outbox.event.<type>` | events of outbox tables |
//! | `<prefix>.dead_letter` | keys of records that are too large, where asked for |
//! | `__cdc.<pipeline>.<sink>` | one partition, compacted: checkpoint, joined tables, notes of copies |
//! | `__cdc.<pipeline>.<sink>.copy.<n>` | records of a table on its way in; removed when it has joined |
//!
//! # Records
//!
//! The key is the table's key as a structure, none where the table has none. The value is
//! Debezium's: see `envelope`. A delete is followed by a tombstone. A changed key is a delete with
//! header `__debezium.newkey`, a tombstone, and a create with header `__debezium.oldkey`; in a
//! table without a key it is one update.
//!
//! # Where it differs from Debezium
//!
//! - `source.version` is ours. `source.snapshot` of existing rows is always `"true"`, never
//!   `first` or `last`; they have neither `lsn` nor `txId`.
//! - `source.sequence` begins with the commit before the change's own as far as this sink has seen
//!   it since its last commit, else null.
//! - Of MySQL's source block `server_id` and `row` are 0, `file` is empty and `pos` is the place in
//!   the log as far as it is known; `gtid` is right.
//! - Columns of types that Debezium leaves out (boxes, composites, …) are there, as text.
//! - A column that may not be null is the type's zero in `before` where the source has not sent
//!   it, never the column's default. Schemas carry no defaults, and enums are plain text
//!   in them.
//! - A truncate's source has neither `lsn` nor `txId`. With `binary: base64_url_safe` a value that
//!   was not sent is the placeholder, where Debezium writes null.
//! - A delete in a table without a key is not followed by a tombstone, which would have none.
//! - An unchanged value of an array other than of integers, UUIDs or text stops its table; Debezium
//!   writes null.
//! - `total_order` has gaps where an event takes two numbers or is of a table that is not captured;
//!   the id of a transaction's end has the place at which its commit begins. Changes that come with a
//!   copy are in no transaction's count. Heartbeats come with commits.
//! - Of schema changes the source's time is the commit's; types have the catalog's names, the primary
//!   key is never another unique one, and comments and defaults are left out. There are none of
//!   existing tables.
//!
//! Code map: `sink` the contract's calls · `held` changes that wait for their commit · `core` the main
//! stream and the commit · `copy` tables on their way in · `session` what both share · `ledger` the checkpoint topic · `envelope` rows into
//! bytes · `route` where each goes · `notices` transactions and heartbeats · `registry` Avro's schemas ·
//! `topics` names and creation · `client` librdkafka, whose flush is a crate of its own, `flush` · `check`
//! preflight.

mod check;
mod client;
mod config;
mod copy;
mod core;
mod envelope;
mod held;
mod ledger;
mod notices;
mod registry;
mod route;
mod session;
mod sink;
mod topics;

pub use config::{
    Binary, Compression, Decimals, Delivery, Envelope, FlatConfig, Flattened, Format, Hstore,
    Intervals, KafkaConfig, Names, Operation, OutboxConfig, Oversized, Partitioner, Register,
    RegistryConfig, Subjects, Times, TopicsConfig, UnsignedBigint,
};
pub use envelope::Connector;
pub use sink::Kafka;
