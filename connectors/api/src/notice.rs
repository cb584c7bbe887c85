//! What a source's log says that is no row of a table: messages that applications write into it, and
//! statements that change schemas.
//!
//! Invariant: a notice stands among the rows of all tables as a batch of one row would: before its
//! `Commit`, behind the one before.

use serde::{Deserialize, Serialize};

use crate::{TableName, TransactionRun};

/// Something the log says beside the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its place in the order. What a statement does otherwise, a truncate or a failure, has the same
    /// one and follows it; no other notice has it.
    pub seq: u64,
    /// Its place in the source's log, on the scale of [`crate::Checkpoint::offset`].
    pub offset: u64,
    /// The transaction that it is part of, as that of a batch of one row. `None` for one that was
    /// written outside of any: it counts whatever becomes of the transaction around it.
    pub transaction: Option<TransactionRun>,
    /// When its transaction committed, else the last one before it; microseconds since the Unix
    /// epoch, 0 where none was seen yet.
    pub commit_time: i64,
    /// What it says.
    pub said: Said,
}

/// What a notice says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// A logical message (PostgreSQL: `pg_logical_emit_message`).
    Message {
        /// Whom it is meant for, as its writer says.
        prefix: String,
        /// Any bytes.
        #[serde(skip)]
        content: Vec<u8>,
    },
    /// What one statement changed, in its order (MySQL: DDL); never empty.
    Schema(Vec<SchemaChange>),
}

/// What a statement did to one table, or to a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// The database that is concerned.
    pub database: String,
    /// The statement as the log has it; of one that names several tables the part about this one.
    pub statement: String,
    /// The table; `None` where it is the database itself that was changed.
    pub table: Option<ChangedTable>,
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedTable {
    /// What was done.
    pub change: TableChange,
    /// Its name, afterwards.
    pub name: TableName,
    /// What it is afterwards; `None` where that is not known for certain, and for a table that is gone.
    pub definition: Option<TableDefinition>,
}

/// What was done to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableChange {
    /// It was made.
    Create,
    /// It was altered.
    Alter,
    /// It had this name before; it may have been altered as well.
    Rename(TableName),
    /// It is gone.
    Drop,
    /// It is what it was: an index was made or dropped, or the table was there already.
    Other,
}

/// A table as a statement leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// The character set of columns that are made without one, where it is known.
    pub charset: Option<String>,
    /// Names of the primary key's columns, in key order.
    pub key: Vec<String>,
    /// In their order.
    pub columns: Vec<ColumnDefinition>,
}

/// A column as a statement leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type with modifiers, in the catalog's own spelling: `decimal(10,2) unsigned`.
    pub source_type: String,
    /// Its character set, where it has one.
    pub charset: Option<String>,
    /// Whether it admits NULL; `None` where that is not known.
    pub nullable: Option<bool>,
    /// Whether the server numbers its rows; `None` where that is not known.
    pub auto_increment: Option<bool>,
}

impl Notice {
    /// Bytes that it keeps in memory beside its own size, nearly.
    pub fn bytes(&self) -> usize {
        match &self.said {
            Said::Message { content, .. } => content.len(),
            Said::Schema(changes) => changes.iter().map(SchemaChange::bytes).sum(),
        }
    }
}

impl SchemaChange {
    fn bytes(&self) -> usize {
        let definition = self.table.as_ref().and_then(|it| it.definition.as_ref());
        256 + self.statement.len() + definition.map_or(0, |it| 256 * it.columns.len())
    }
}
