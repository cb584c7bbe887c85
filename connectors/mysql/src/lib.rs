//! MySQL (8.0 and later) and MariaDB (10.6 and later) as sources: the binlog as a replica reads it,
//! existing rows by the binary protocol.
//!
//! Code map: `wire` bytes of the protocol and the log, checked reads · `position` GTID sets, places
//! in the log · `types` what a column becomes, and the builders that both paths append into ·
//! `decode` binlog events to change events, sans-IO · `connect` URL, TLS and the session on which
//! all is asked: authentication, plain SQL, rows, raw packets for dumps · `refusal` the server's
//! errors and what mends them · `stream` the running stream · `marks` places that the stream is to
//! announce · `config`, `catalog`, `check`, `snapshot`, `source` what the engine asks of the server.
//!
//! A table's [`cdc_api::TableId`] is made of its name (`position::table_id`): neither server has a
//! lasting identity that both the log and the catalog tell. So a table that is dropped, or that
//! another one is renamed to, stops until it is copied anew.
//!
//! **Architecture invariant:** `decode` and `types` know neither sockets nor clocks. A value's Arrow
//! form depends on the column's type and the value alone, whichever way it came.

mod catalog;
mod check;
mod config;
mod connect;
mod decode;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod history;
mod marks;
mod position;
mod refusal;
mod snapshot;
mod source;
mod stream;
mod takeover;
mod types;
mod wire;

pub use config::{MysqlConfig, SchemaChanges, SnapshotLock};
pub use source::MysqlSource;
pub use takeover::DebeziumOffset;
pub use types::{TypeOptions, ZeroDates};
