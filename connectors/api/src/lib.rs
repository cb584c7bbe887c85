//! The contract between the daemon and its connectors.
//!
//! A [`Source`] turns a database's log into [`ChangeEvent`]s: columnar [`ChangeBatch`]es, schema
//! changes, truncates and commits, in the log's order, each row numbered by `seq`. A [`Sink`]
//! keeps a target equal to the source: it stores the [`Checkpoint`] of what it holds *with* the
//! data. The engine between them never looks into a [`Position`]; it compares `seq` alone.
//!
//! Code map: [`batch`] rows · [`schema`] tables and their diffs · [`position`] checkpoints ·
//! [`event`] what a stream is made of, [`notice`] beside the rows · [`source`] and [`sink`] the two traits ·
//! [`selection`] table patterns · [`error`] kinds of failure and the reaction to each ·
//! `testing` (feature) a scripted source, a faulty sink and the conformance suites.
//!
//! **Architecture invariant:** this crate has no runtime and no database client.

pub mod batch;
pub mod error;
pub mod event;
pub mod notice;
pub mod position;
pub mod schema;
pub mod selection;
pub mod sink;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;

pub use batch::{ChangeBatch, Op, TransactionId, TransactionRun};
pub use error::{Error, ErrorKind, Result};
pub use event::ChangeEvent;
pub use notice::{
    ChangedTable, ColumnDefinition, Notice, Said, SchemaChange, TableChange, TableDefinition,
};
pub use position::{Checkpoint, Position};
pub use schema::diff::{ColumnChange, SchemaDiff};
pub use schema::{Column, ExistingValue, Identity, TableId, TableName, TableSchema};
pub use selection::TableSelection;
pub use sink::{
    Capabilities, ChunkWriter, CopyId, CopyProgress, Difference, JoinedTable, Reader, Sink,
    TableCopy,
};
pub use source::{
    BatchLimits, BatchReader, ChangeStream, Chunk, Finding, FoundTable, Generation, Severity,
    Snapshot, Source, SourceIdentity, StreamProgress, TableSize,
};
