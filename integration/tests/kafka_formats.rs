//! What records can look like beside the default: Avro with a schema registry, the row alone, transactions told,
//! outbox tables, dead letters. Most beside Debezium's own engine with the same settings on the same database.

#[path = "kafka_formats/avro.rs"]
mod avro;
#[path = "kafka_formats/beside.rs"]
mod beside;
#[path = "kafka_formats/flat.rs"]
mod flat;
#[path = "kafka_formats/outbox.rs"]
mod outbox;
#[path = "kafka_formats/oversized.rs"]
mod oversized;
#[path = "kafka_formats/partitions.rs"]
mod partitions;
#[path = "kafka_formats/transactions.rs"]
mod transactions;
