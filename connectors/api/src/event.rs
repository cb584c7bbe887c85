//! What a source's stream is made of.

use std::sync::Arc;

use crate::{ChangeBatch, Checkpoint, Notice, TableId, TableSchema};

/// One step of a source's stream, in log order.
///
/// A transaction may span any number of events: only the `Commit` after its rows makes them
/// count. A stream that is started again from a checkpoint yields the same rows, truncates, notices
/// and failures with the same `seq`; the cut into batches and commits may differ.
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
    /// What the log says beside the rows.
    Notice(Arc<Notice>),
    /// Everything before it is complete; may cover many transactions, or none (an idle advance:
    /// a later position, and the same `seq` unless numbers were left out).
    Commit(Checkpoint),
    /// The stream passes the point of a snapshot ([`crate::Snapshot::id`]) or of a
    /// [`crate::Source::mark`]: all changes that the snapshot can see have been given, and none
    /// of the later ones. The last `Commit` before it (or the checkpoint that the stream was
    /// started from) has the `seq` of that point: no row, truncate or failure stands between
    /// them. Not written to the journal.
    Mark {
        /// The snapshot's or the mark's id.
        id: u64,
    },
}
