//! The envelope's `source` block: where a change comes from.
//!
//! Invariant: what is the same for all rows of a transaction is written once, not once a row.

use std::collections::BTreeSet;

use cdc_api::{TableName, TransactionId, TransactionRun};

use super::{Connector, text};

/// What the source is, for every block.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) connector: Connector,
    /// The prefix of topics.
    pub(crate) name: String,
    /// The database; on MySQL it is the table's schema.
    pub(crate) database: String,
}

/// The commits that have been seen since the sink's last one, so that a block can name the one
/// before its own.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    offsets: BTreeSet<u64>,
}

impl Commits {
    /// The commit before `offset`, as far as it has been seen.
    pub(super) fn before(&mut self, offset: u64) -> Option<u64> {
        self.offsets.insert(offset);
        self.offsets.range(..offset).next_back().copied()
    }

    /// Everything up to this commit is done: no earlier one will be asked for.
    pub(crate) fn forget_before_last(&mut self) {
        if let Some(last) = self.offsets.pop_last() {
            self.offsets.clear();
            self.offsets.insert(last);
        }
    }
}

/// What differs from row to row.
#[derive(Clone, Copy)]
pub(super) struct Row {
    offset: Option<u64>,
}

impl Row {
    pub(super) fn at(offset: u64) -> Self {
        Self {
            // Existing rows have no place in the log.
            offset: (offset != 0).then_some(offset),
        }
    }

    pub(super) fn without_place() -> Self {
        Self { offset: None }
    }
}

/// Writes the blocks of one table.
pub(super) struct SourceBlock {
    connector: Connector,
    /// Up to the time, from `{"version"`.
    opening: Vec<u8>,
    /// `,"db":…,`.
    database: Vec<u8>,
    /// `,"schema":…,"table":…,`.
    table: Vec<u8>,
    /// All of the above with what the transaction adds, up to the row's own place.
    head: Vec<u8>,
    /// What follows `sequence`, up to the row's place again.
    middle: Vec<u8>,
    gtid: Vec<u8>,
}

impl SourceBlock {
    pub(super) fn new(origin: &Origin, table: &TableName) -> Self {
        let mut opening = b"{\"version\":".to_vec();
        text::string(&mut opening, env!("CARGO_PKG_VERSION"));
        opening.extend_from_slice(match origin.connector {
            Connector::Postgresql => b",\"connector\":\"postgresql\",\"name\":",
            Connector::Mysql => b",\"connector\":\"mysql\",\"name\":",
        });
        text::string(&mut opening, &origin.name);
        opening.extend_from_slice(b",\"ts_ms\":");
        let mut database = b",\"db\":".to_vec();
        let mut names = Vec::new();
        match origin.connector {
            Connector::Postgresql => {
                text::string(&mut database, &origin.database);
                names.extend_from_slice(b",\"schema\":");
                text::string(&mut names, &table.schema);
                names.extend_from_slice(b",\"table\":");
            }
            Connector::Mysql => {
                text::string(&mut database, &table.schema);
                names.extend_from_slice(b",\"table\":");
            }
        }
        text::string(&mut names, &table.table);
        Self {
            connector: origin.connector,
            opening,
            database,
            table: names,
            head: Vec::new(),
            middle: Vec::new(),
            gtid: Vec::new(),
        }
    }

    /// The rows that follow belong to this transaction; without one they are existing rows, read
    /// at about `now`.
    pub(super) fn transaction(
        &mut self,
        run: Option<&TransactionRun>,
        commits: &mut Commits,
        now: i64,
    ) {
        let time = run.map_or(now, |run| run.commit_time);
        let snapshot = if run.is_some() { "false" } else { "true" };
        let before = run.and_then(|run| commits.before(run.commit_offset));
        self.begin(time, snapshot, before, run.map(|run| &run.id));
    }

    /// A truncate follows, of which only the time is known.
    pub(super) fn truncate(&mut self, commit_time: i64) {
        self.begin(commit_time, "false", None, None);
    }

    fn begin(
        &mut self,
        time: i64,
        snapshot: &str,
        before: Option<u64>,
        id: Option<&TransactionId>,
    ) {
        let (head, middle) = (&mut self.head, &mut self.middle);
        head.clear();
        head.extend_from_slice(&self.opening);
        text::integer(head, time.div_euclid(1000));
        head.extend_from_slice(b",\"snapshot\":\"");
        head.extend_from_slice(snapshot.as_bytes());
        head.push(b'"');
        head.extend_from_slice(&self.database);
        middle.clear();
        middle.extend_from_slice(b",\"ts_us\":");
        text::integer(middle, time);
        middle.extend_from_slice(b",\"ts_ns\":");
        text::integer(middle, i128::from(time) * 1000);
        middle.extend_from_slice(&self.table);
        match self.connector {
            Connector::Postgresql => {
                head.extend_from_slice(b",\"sequence\":\"[");
                match before {
                    Some(before) => {
                        head.extend_from_slice(b"\\\"");
                        text::integer(head, before);
                        head.extend_from_slice(b"\\\",");
                    }
                    None => head.extend_from_slice(b"null,"),
                }
                middle.extend_from_slice(b",\"txId\":");
                match id {
                    Some(TransactionId::Number(xid)) => text::integer(middle, *xid),
                    _ => middle.extend_from_slice(b"null"),
                }
                middle.extend_from_slice(b",\"lsn\":");
            }
            Connector::Mysql => {
                head.extend_from_slice(b",\"sequence\":null");
                self.gtid.clear();
                match id {
                    Some(TransactionId::Text(gtid)) => text::string(&mut self.gtid, gtid),
                    _ => self.gtid.extend_from_slice(b"null"),
                }
            }
        }
    }

    /// Appends the block of one row.
    pub(super) fn write(&self, out: &mut Vec<u8>, row: Row) {
        out.extend_from_slice(&self.head);
        match self.connector {
            Connector::Postgresql => {
                match row.offset {
                    Some(offset) => {
                        out.extend_from_slice(b"\\\"");
                        text::integer(out, offset);
                        out.extend_from_slice(b"\\\"]\"");
                    }
                    None => out.extend_from_slice(b"null]\""),
                }
                out.extend_from_slice(&self.middle);
                match row.offset {
                    Some(offset) => text::integer(out, offset),
                    None => out.extend_from_slice(b"null"),
                }
                out.extend_from_slice(b",\"xmin\":null,\"origin\":null,\"origin_lsn\":null}");
            }
            Connector::Mysql => {
                out.extend_from_slice(&self.middle);
                out.extend_from_slice(b",\"server_id\":0,\"gtid\":");
                out.extend_from_slice(&self.gtid);
                out.extend_from_slice(b",\"file\":\"\",\"pos\":");
                text::integer(out, row.offset.unwrap_or(0));
                out.extend_from_slice(b",\"row\":0,\"thread\":null,\"query\":null}");
            }
        }
    }
}
