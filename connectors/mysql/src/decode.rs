//! Bytes of the binlog to change events and Arrow batches. Sans-IO, but for the files of prepared
//! transactions.
//!
//! Code map: `event` headers, checksums, the grammar of each event · `table_map` what a table map
//! says, and the column types it makes · `definition` what it does not say · `shape` the table's
//! shape, out of both · `table` rows of one table under construction · `statement` what a logged
//! statement does to tables · `payload` compressed transactions · `prepared` XA ·
//! `decoder` from events to [`cdc_api::ChangeEvent`]s: order, transactions, batches, marks.
//!
//! Invariant: bad input is an error, never a panic, and never a row.

pub(crate) mod decoder;
pub(crate) mod definition;
pub(crate) mod event;
pub(crate) mod payload;
pub(crate) mod prepared;
pub(crate) mod shape;
pub(crate) mod statement;
pub(crate) mod table;
pub(crate) mod table_map;

#[cfg(test)]
pub(crate) mod golden;
