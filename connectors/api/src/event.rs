//! What a source's stream is made of.

use std::sync::Arc;

use crate::{ChangeBatch, Checkpoint, TableId, TableSchema};

/// One step of a source's stream, in log order.
///
/// A transaction may span any number of events: only the `Commit` after its rows makes them
/// count. A stream that is started again from a checkpoint yields the same rows, truncates and
/// failures with the same `seq`; the cut into batches and commits may differ.
#[derive(Debug, Clone)]
pub enum ChangeEvent {
    /// The table has this shape from here on. Precedes the first batch that uses it; may come
    /// again without a change. Takes no `seq`.
    Schema(Arc<TableSchema>),
    /// Row changes.
    Rows(ChangeBatch),
    /// The tables are empty from here on.
    Truncate {
        /// The tables, emptied by one statement.
        tables: Vec<TableId>,
        /// The truncate's own place in the order.
        seq: u64,
        /// When it committed, microseconds since the Unix epoch.
        commit_time: i64,
    },
    /// The source can no longer give this table's changes truly; the table stops here in every
    /// sink, the others go on.
    Failed {
        /// The table.
        table: TableId,
        /// The place in the order from which the table is not to be trusted.
        seq: u64,
        /// What happened, without user data.
        message: String,
        /// The statement or setting that mends it.
        hint: String,
    },
    /// Everything before it is complete; may cover many transactions, or none (an idle advance:
    /// the same `seq`, a later position).
    Commit(Checkpoint),
    /// All changes that the snapshot `snapshot` (see [`crate::Snapshot::id`]) can see have been
    /// given; all later ones it cannot. Always directly after a `Commit`, whose `seq` is the
    /// snapshot's consistent point. Not written to the journal.
    Mark {
        /// The snapshot's id.
        snapshot: u64,
    },
}
