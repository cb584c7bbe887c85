//! Bytes of the replication stream and of COPY, to change events and Arrow batches. Sans-IO.
//!
//! Code map: `pgoutput` the messages' grammar, without copying · `table` rows of one table under
//! construction · `decoder` from messages to [`cdc_api::ChangeEvent`]s: order, transactions,
//! batches, marks · `spool` transactions that arrive before they commit · `copy` COPY in binary.
//!
//! Invariant: bad input is an error, never a panic, and never a row.

pub(crate) mod copy;
pub(crate) mod decoder;
pub(crate) mod pgoutput;
pub(crate) mod spool;
pub(crate) mod table;

#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code, reason = "tests have more of it"))]
pub(crate) mod golden;
