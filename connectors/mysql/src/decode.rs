//! Bytes of the binlog to change events and Arrow batches. Sans-IO.
//!
//! Invariant: bad input is an error, never a panic, and never a row.
