//! A warehouse sink: a DuckDB file that is kept equal to the source.
//!
//! What it promises. A commit is one DuckDB transaction: the rows of all tables, their schema
//! changes, and the checkpoint, so that after a crash the file holds one commit of the source,
//! whole, and names it. A reader sees a table only when all of it has been copied, and all tables
//! at the same commit. Values are stored exactly; what DuckDB has no type for is refused with its
//! table, and the others go on.
//!
//! In mode `upsert` a table has the source's columns and rows and no others, but for columns that
//! were dropped at the source: these stay, NULL in rows written since, unless `drop: true`. Mode
//! `soft_delete` keeps deleted rows under `_cdc_deleted`, also over a new copy of the table; mode
//! `append` is a change log; a new copy begins a new one, and the earlier stays beside it as
//! `_cdc_earlier_<copy>_<table>`. A table without a key is held as a
//! multiset of whole rows where the source sends whole old rows.
//!
//! What it does not promise. A copy that is not finished stands in its table's schema under the
//! reserved name `_cdc_copy_<id>`, where a listing of the tables shows it. One process at a time
//! can have a DuckDB file open: others read it when the daemon is stopped, or through
//! [`cdc_api::Reader`] while it runs.
//!
//! Code map: `sink` the contract · `session` what is staged, and the transaction · `fold`, `bag`
//! changes to outcomes, keyed and not · `apply` outcomes to the target · `shape`, `values`, `log`
//! rows laid out for it · `evolve`, `swap` schema changes, copies swapped in · `copy` chunks and
//! catch-up · `dialect` the engine's words · `bookkeeping` notes in the file · `database`,
//! `worker` connections and threads · `reader`, `compare`, `check` the rest.
//!
//! **Architecture invariant:** DuckDB is called on threads of ours only, never on the async
//! runtime's.

mod apply;
mod bag;
mod bookkeeping;
mod check;
mod compare;
mod config;
mod copy;
mod database;
mod dialect;
mod evolve;
mod fold;
mod log;
mod reader;
mod session;
mod shape;
mod sink;
mod swap;
#[cfg(test)]
mod tests;
mod values;
mod worker;

pub use config::{Keyless, Mode, Names, SchemaPolicy, WarehouseConfig};
pub use sink::Warehouse;
