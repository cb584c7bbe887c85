//! `cdc` replicates a database into warehouses and lakes: existing rows and every later change,
//! whole transactions only, exactly, through crashes.
//!
//! ## Bird's-eye view
//!
//! ```text
//! source ──► change batches (Arrow) ──► journal ──► a worker per sink ──► sink
//!    ▲                                     │              │
//!    └──────────── acknowledge ◄───────────┴── checkpoints, read back from the sinks
//! ```
//!
//! A **source** decodes the database's log straight into columns and numbers every row change by
//! `seq`. The **journal** keeps them on local disk, so that each sink goes at its own pace. A
//! **worker** gathers whole transactions and applies them as one commit, with the checkpoint.
//! Existing rows are copied beside the stream, chunk by chunk, into a table that nobody sees;
//! it replays its changes since and is swapped in by the very commit at which it is equal.
//!
//! ## Code map
//!
//! - [`cli`] the commands; [`cli::output`] alone writes to stdout and stderr.
//! - [`config`] the YAML file: load, `${ENV}`, validation, errors with lines.
//! - [`daemon`] from a configuration to a running pipeline.
//! - [`demo`] the whole product on one machine, with a proof at its end.
//! - [`registry`] the only file that names connector crates.
//! - [`pipeline`] the engine: capture, workers, copies, commands, status.
//! - [`journal`] segments, cursors, retention. [`state`] the data directory: lock, plans, failures.
//! - [`watch`] values that tasks wait on, in an order that a simulation can repeat.
//! - [`admin`] the Unix socket and the TCP listener. [`metrics`] every metric name, once.
//! - `connectors/api` the contract; `connectors/database` what sources that are databases share on
//!   the way to their servers and back, `connectors/blocking` what sinks share whose work blocks;
//!   `connectors/*` sources and sinks, which know neither this crate nor each other.
//! - `src/arenas` how many arenas the C library's allocator keeps: what threads hand over stays small.
//!
//! ## Invariants
//!
//! 1. Acknowledge only after the chosen durability: every sink's commit and the journal's fsync,
//!    or the journal's fsync alone (`pipeline::acknowledge`).
//! 2. A batch never crosses a schema change, a truncate or a table (`cdc_api::batch`).
//! 3. A restart from a checkpoint yields the same rows with the same `seq` (`cdc_api::source`).
//! 4. Snapshot rows order below any later change to the same key; a table streams to a sink only
//!    after its copy and catch-up are complete in that sink (`pipeline::job`, `catch_up`).
//! 5. Every queue is bounded; backpressure reaches the source's socket, and the replication
//!    session stays alive under it (`pipeline::capture`).
//! 6. A sink's checkpoint never names a position whose rows are not durable in it.
//! 7. Loss of log, slot, journal or server identity is an error with a remedy.
//! 8. Absent is not NULL: an unchanged column never overwrites a value.
//! 9. A table can be read in a transactional sink only whole, and at that sink's checkpoint.
//! 10. User data never reaches a log line or an error message; secrets never do.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod journal;
pub mod metrics;
pub mod pipeline;
pub mod registry;
pub mod state;
pub mod watch;
