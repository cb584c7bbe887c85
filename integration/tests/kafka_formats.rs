//! What records can look like beside the default: Avro with a schema registry, the row alone, transactions told,
//! outbox tables. Each beside Debezium's own engine with the same settings on the same database.

#[path = "kafka_formats/avro.rs"]
mod avro;
#[path = "kafka_formats/beside.rs"]
mod beside;
#[path = "kafka_formats/flat.rs"]
mod flat;
#[path = "kafka_formats/transactions.rs"]
mod transactions;
