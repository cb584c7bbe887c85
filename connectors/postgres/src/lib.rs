//! PostgreSQL as a source (13 and later): logical replication by `pgoutput`, existing rows by
//! COPY in binary under an exported snapshot.
//!
//! Code map: `connect` URL, TLS · `session` start-up, authentication, plain
//! SQL, COPY · `refusal` the server's errors and what mends them · `replication` the replication
//! grammar, reading in gulps, feedback · `catalog` tables, columns, types · `storage` changes of
//! rows that the log does not carry · `position` places in the log · `types`, `decode` bytes to
//! Arrow, sans-IO.
//!
//! **Architecture invariant:** `decode` and `types` know neither sockets nor clocks; everything
//! else knows no Arrow array. Between them stand `catalog`'s plain structures.

mod catalog;
mod check;
mod config;
mod connect;
mod decode;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod marks;
mod position;
mod publication;
mod refusal;
mod replication;
mod session;
mod slot;
mod snapshot;
mod source;
mod storage;
mod stream;
mod takeover;
mod types;

pub use config::{ColumnChoice, Manage, PostgresConfig};
pub use source::PostgresSource;
pub use takeover::DebeziumOffset;
pub use types::{ArrayOption, NotANumber, NumericOption, TypeOptions};
