//! The envelope's `source` block: where a change comes from.
//!
//! Invariant: what is the same for all rows of a transaction is written once, not once a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cdc_api::{Notice, TableName, TransactionId, TransactionRun};

use super::wire::Wire;
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
    /// By the place of their commit, the transactions that consumers are to be told of.
    told: BTreeMap<u64, Told>,
}

/// What is told of a transaction.
#[derive(Debug)]
pub(crate) struct Told {
    pub(super) id: TransactionId,
    pub(super) commit_time: i64,
    /// The place of its first event.
    pub(super) first_place: u64,
    /// Events by table.
    pub(super) collections: BTreeMap<Arc<str>, u64>,
}

impl Commits {
    /// The commit before `offset`, as far as it has been seen.
    pub(super) fn before(&mut self, offset: u64) -> Option<u64> {
        self.offsets.insert(offset);
        self.offsets.range(..offset).next_back().copied()
    }

    /// Some events of a transaction are of this table, the first of them at `place`.
    pub(super) fn count(
        &mut self,
        run: &TransactionRun,
        collection: &Arc<str>,
        events: u64,
        place: u64,
    ) {
        let told = self.told.entry(run.commit_offset).or_insert_with(|| Told {
            id: run.id.clone(),
            commit_time: run.commit_time,
            first_place: place,
            collections: BTreeMap::new(),
        });
        told.first_place = told.first_place.min(place);
        *told.collections.entry(Arc::clone(collection)).or_default() += events;
    }

    /// The transactions since the last commit, by the place of their own.
    pub(crate) fn told(&self) -> &BTreeMap<u64, Told> {
        &self.told
    }

    /// What has been counted since the last commit comes again.
    pub(crate) fn forget_told(&mut self) {
        self.told.clear();
    }

    /// Everything up to this commit is done: no earlier one will be asked for.
    pub(crate) fn forget_before_last(&mut self) {
        self.told.clear();
        if let Some(last) = self.offsets.pop_last() {
            self.offsets.clear();
            self.offsets.insert(last);
        }
    }
}

/// What differs from row to row.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) offset: Option<u64>,
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
    name: String,
    database: String,
    table: TableName,
    /// Whether it is of no table.
    nameless: bool,
    /// Of the transaction that the rows belong to.
    time: i64,
    snapshot: &'static str,
    before: Option<u64>,
    xid: Option<u64>,
    gtid: Option<Arc<str>>,
    /// The block up to what differs from row to row.
    head: Vec<u8>,
    /// What follows `sequence`, up to the row's place again.
    middle: Vec<u8>,
}

impl SourceBlock {
    pub(super) fn new(origin: &Origin, table: &TableName) -> Self {
        Self {
            connector: origin.connector,
            name: origin.name.clone(),
            database: match origin.connector {
                Connector::Postgresql => origin.database.clone(),
                Connector::Mysql => table.schema.clone(),
            },
            table: table.clone(),
            nameless: false,
            time: 0,
            snapshot: "false",
            before: None,
            xid: None,
            gtid: None,
            head: Vec::new(),
            middle: Vec::new(),
        }
    }

    /// Of a database.
    pub(super) fn of_database(origin: &Origin, database: &str) -> Self {
        Self {
            nameless: true,
            ..Self::new(origin, &TableName::new(database, ""))
        }
    }

    /// The rows that follow belong to this transaction; without one they are existing rows, read
    /// at about `now`.
    pub(super) fn transaction<W: Wire>(
        &mut self,
        run: Option<&TransactionRun>,
        commits: &mut Commits,
        now: i64,
    ) {
        self.time = run.map_or(now, |run| run.commit_time);
        self.snapshot = if run.is_some() { "false" } else { "true" };
        self.before = run.and_then(|run| commits.before(run.commit_offset));
        (self.xid, self.gtid) = match run.map(|run| &run.id) {
            Some(TransactionId::Number(xid)) => (Some(*xid), None),
            Some(TransactionId::Text(gtid)) => (None, Some(Arc::clone(gtid))),
            None => (None, None),
        };
        self.begin::<W>();
    }

    /// A notice follows. Outside of a transaction it is a commit by itself.
    pub(super) fn notice<W: Wire>(&mut self, notice: &Notice, commits: &mut Commits) {
        if let Some(run) = &notice.transaction {
            return self.transaction::<W>(Some(run), commits, 0);
        }
        commits.before(notice.offset);
        self.time = notice.commit_time;
        self.snapshot = "false";
        (self.before, self.xid, self.gtid) = (Some(notice.offset), None, None);
        self.begin::<W>();
    }

    /// A truncate follows, of which only the time is known.
    pub(super) fn truncate<W: Wire>(&mut self, commit_time: i64) {
        self.time = commit_time;
        self.snapshot = "false";
        (self.before, self.xid, self.gtid) = (None, None, None);
        self.begin::<W>();
    }

    fn begin<W: Wire>(&mut self) {
        let mut out = std::mem::take(&mut self.head);
        out.clear();
        W::open(&mut out);
        W::label(&mut out, true, b"\"version\":");
        W::string(&mut out, env!("CARGO_PKG_VERSION"));
        W::label(&mut out, false, b"\"connector\":");
        W::string(&mut out, self.connector());
        W::label(&mut out, false, b"\"name\":");
        W::string(&mut out, &self.name);
        W::label(&mut out, false, b"\"ts_ms\":");
        W::integer(&mut out, self.time.div_euclid(1000));
        W::label(&mut out, false, b"\"snapshot\":");
        W::some_by_default(&mut out);
        W::string(&mut out, self.snapshot);
        W::label(&mut out, false, b"\"db\":");
        W::string(&mut out, &self.database);
        W::label(&mut out, false, b"\"sequence\":");
        self.head = out;
        let mut out = std::mem::take(&mut self.middle);
        out.clear();
        W::label(&mut out, false, b"\"ts_us\":");
        W::some(&mut out);
        W::integer(&mut out, self.time);
        W::label(&mut out, false, b"\"ts_ns\":");
        W::some(&mut out);
        W::integer(&mut out, self.time.saturating_mul(1000));
        match self.connector {
            Connector::Postgresql => {
                W::label(&mut out, false, b"\"schema\":");
                W::string(&mut out, &self.table.schema);
                W::label(&mut out, false, b"\"table\":");
                W::string(&mut out, &self.table.table);
                W::label(&mut out, false, b"\"txId\":");
                long::<W>(&mut out, self.xid);
                W::label(&mut out, false, b"\"lsn\":");
            }
            Connector::Mysql => {
                W::label(&mut out, false, b"\"table\":");
                if self.nameless {
                    W::null(&mut out);
                } else {
                    W::some(&mut out);
                    W::string(&mut out, &self.table.table);
                }
                W::label(&mut out, false, b"\"server_id\":");
                W::integer(&mut out, 0);
                W::label(&mut out, false, b"\"gtid\":");
                self.gtid::<W>(&mut out);
                W::label(&mut out, false, b"\"file\":");
                W::string(&mut out, "");
                W::label(&mut out, false, b"\"pos\":");
            }
        }
        self.middle = out;
    }

    fn connector(&self) -> &'static str {
        match self.connector {
            Connector::Postgresql => "postgresql",
            Connector::Mysql => "mysql",
        }
    }

    fn gtid<W: Wire>(&self, out: &mut Vec<u8>) {
        match &self.gtid {
            Some(gtid) => {
                W::some(out);
                W::string(out, gtid);
            }
            None => W::null(out),
        }
    }

    /// The places of the commit before and of the row, as JSON in text.
    fn sequence<W: Wire>(&self, out: &mut Vec<u8>, row: Row) {
        if self.connector == Connector::Mysql {
            return W::null(out);
        }
        W::some(out);
        W::ascii(out, |out| {
            for (index, place) in [self.before, row.offset].into_iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                match place {
                    Some(place) => {
                        out.extend_from_slice(W::QUOTE);
                        text::integer(out, place);
                        out.extend_from_slice(W::QUOTE);
                    }
                    None => out.extend_from_slice(b"null"),
                }
            }
            out.push(b']');
        });
    }

    /// Appends the block of one row.
    pub(super) fn write<W: Wire>(&self, out: &mut Vec<u8>, row: Row) {
        out.extend_from_slice(&self.head);
        self.sequence::<W>(out, row);
        out.extend_from_slice(&self.middle);
        match self.connector {
            Connector::Postgresql => {
                long::<W>(out, row.offset);
                for label in ["\"xmin\":", "\"origin\":", "\"origin_lsn\":"] {
                    W::label(out, false, label.as_bytes());
                    W::null(out);
                }
            }
            Connector::Mysql => {
                W::integer(out, row.offset.unwrap_or(0).cast_signed());
                W::label(out, false, b"\"row\":");
                W::integer(out, 0);
                for label in ["\"thread\":", "\"query\":"] {
                    W::label(out, false, label.as_bytes());
                    W::null(out);
                }
            }
        }
        W::close(out);
    }

    /// Appends one member of the block, in a place that may have none.
    pub(super) fn member<W: Wire>(&self, out: &mut Vec<u8>, name: &str, row: Row) {
        let text = |out: &mut Vec<u8>, value: &str| {
            W::some(out);
            W::string(out, value);
        };
        let number = |out: &mut Vec<u8>, value: i64| {
            W::some(out);
            W::integer(out, value);
        };
        match (name, self.connector) {
            ("version", _) => text(out, env!("CARGO_PKG_VERSION")),
            ("connector", _) => text(out, self.connector()),
            ("name", _) => text(out, &self.name),
            ("ts_ms", _) => number(out, self.time.div_euclid(1000)),
            ("ts_us", _) => number(out, self.time),
            ("ts_ns", _) => number(out, self.time.saturating_mul(1000)),
            // Of a change it is the default, which a place of its own does not have.
            ("snapshot", _) if self.is_change() => W::null(out),
            ("snapshot", _) => text(out, self.snapshot),
            ("db", _) => text(out, &self.database),
            ("schema", Connector::Postgresql) => text(out, &self.table.schema),
            ("table", _) => text(out, &self.table.table),
            ("sequence", _) => self.sequence::<W>(out, row),
            ("txId", _) => long::<W>(out, self.xid),
            ("lsn", Connector::Postgresql) => long::<W>(out, row.offset),
            ("gtid", _) => self.gtid::<W>(out),
            ("pos", Connector::Mysql) => number(out, row.offset.unwrap_or(0).cast_signed()),
            ("file", Connector::Mysql) => text(out, ""),
            ("server_id" | "row", Connector::Mysql) => number(out, 0),
            _ => W::null(out),
        }
    }

    /// Appends the transaction's name as blocks and the transaction topic have it.
    pub(super) fn transaction_id<W: Wire>(&self, out: &mut Vec<u8>, place: u64) {
        match (self.xid, &self.gtid) {
            (Some(xid), _) => W::ascii(out, |out| {
                text::integer(out, xid);
                out.push(b':');
                text::integer(out, place);
            }),
            (None, Some(gtid)) => W::string(out, gtid),
            (None, None) => W::string(out, ""),
        }
    }

    /// Whether the rows are changes, and not existing rows.
    pub(super) fn is_change(&self) -> bool {
        self.snapshot == "false"
    }
}

fn long<W: Wire>(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        Some(value) => {
            W::some(out);
            W::integer(out, value.cast_signed());
        }
        None => W::null(out),
    }
}
