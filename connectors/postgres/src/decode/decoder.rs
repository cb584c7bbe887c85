//! From messages to change events: order, transactions, batches.
//!
//! The caller feeds messages and drains [`Decoder::next`] after each; where that asks for a
//! table, it looks the table up and [answers](Decoder::answer).
//!
//! Invariants:
//! - `seq` is a function of the log alone (see [`RowChange::numbers`]): rows of tables that are
//!   not captured, or that have failed, take their numbers too.
//! - A `Commit` follows every row up to it and no later one: where an open batch reaches into the
//!   next transaction, it is cut at the commit first.
//! - A transaction that commits before the start is passed over; its table descriptions are not,
//!   for the server gives them once.
//! - Of a value that cannot be represented only its table hears: it fails, and its later rows are
//!   passed over until it is in a snapshot again.
//!
//! Leaves to the caller when to flush, what a table looks like, and when a mark is due.

mod logical;
mod report;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cdc_api::{BatchLimits, ChangeEvent, Checkpoint, Error, Result, TableId, TableSchema};
use cdc_database::batches::Batches;

use super::pgoutput::{Committed, Message, Oids, Relation, split_streamed};
use super::spool::{Replay, Spool, SpoolFiles};
use super::table::{RowChange, RowError, TableVersion, Transaction};
use crate::position::{Log, Lsn, Part};
use crate::types::append::Appender;
pub(crate) use logical::Prefixes;

/// What [`Decoder::next`] gives.
#[derive(Debug)]
pub(crate) enum Step {
    /// An event for the engine.
    Event(ChangeEvent),
    /// Look this table up and call [`Decoder::answer`].
    Describe(RelationBody),
}

/// A `Relation` message, kept until its table is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationBody(Vec<u8>);

impl RelationBody {
    /// What it says.
    ///
    /// # Errors
    /// None but for defects: the message was read before.
    pub(crate) fn relation(&self) -> Result<Relation<'_>> {
        match Message::parse(&self.0)? {
            Message::Relation(relation) => Ok(relation),
            _ => Err(Error::internal("not the description of a table")),
        }
    }
}

/// What is known of a table.
#[derive(Debug)]
struct Table {
    oid: u32,
    state: State,
    /// Whether its rows are passed over since one could not be represented.
    failed: bool,
    /// The shape that the engine was told last, if the rows to come have it.
    announced: Option<Arc<TableSchema>>,
}

#[derive(Debug)]
enum State {
    /// Described by the server, to be looked up with its first row.
    Described(RelationBody),
    /// Not captured when it was looked up; to be looked up again when a snapshot has it.
    Skipped(RelationBody),
    /// Captured.
    Captured(Arc<TableVersion>),
}

/// Where everything before is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    lsn: u64,
    seq: u64,
    time: i64,
}

/// See the module.
pub(crate) struct Decoder {
    log: Log,
    start: u64,
    seq: u64,
    committed: Place,
    reported: Place,
    transaction: Option<Transaction>,
    /// What is done of the transaction that comes first, if that is it.
    part: Option<Part>,
    messages: Prefixes,
    tables: Vec<Table>,
    by_oid: HashMap<u32, usize>,
    /// The table of the last row: mostly that of the next.
    last: (u32, usize),
    batches: Batches<Appender>,
    events: VecDeque<ChangeEvent>,
    /// A message that waits for its table to be looked up.
    held: Option<(u64, Vec<u8>)>,
    /// The table that the caller was asked for.
    asked: Option<usize>,
    /// The transaction of the streamed block that is open.
    block: Option<u32>,
    spools: HashMap<u32, Spool>,
    spool_files: SpoolFiles,
    replay: Option<(Replay, Committed)>,
}

impl Decoder {
    /// Starts after `from`, whose position is `start` of `log`: the first row change has `seq`
    /// `from.seq + 1`, or one more where it brings its old row without moving its key.
    pub(crate) fn new(
        log: Log,
        start: Lsn,
        from: &Checkpoint,
        limits: BatchLimits,
        spool_files: SpoolFiles,
    ) -> Self {
        let place = Place {
            lsn: start.0,
            seq: from.seq,
            time: from.commit_time,
        };
        Self {
            log,
            start: start.0,
            seq: from.seq,
            committed: place,
            reported: place,
            transaction: None,
            part: Part::of(&from.position),
            messages: Prefixes::default(),
            tables: Vec::new(),
            by_oid: HashMap::new(),
            last: (0, usize::MAX),
            batches: Batches::new(limits),
            events: VecDeque::new(),
            held: None,
            asked: None,
            block: None,
            spools: HashMap::new(),
            spool_files,
            replay: None,
        }
    }

    /// Takes a message that comes from `lsn` of the log. Returns whether [`Self::next`] is to be
    /// drained before the next message.
    ///
    /// # Errors
    /// `Data` when the stream breaks the protocol; `Transient` when a spool cannot be written.
    /// The decoder is of no use after an error.
    pub(crate) fn message(&mut self, lsn: Lsn, body: &[u8]) -> Result<bool> {
        if self.unfinished() {
            return Err(Error::internal("a message before the last one was drained"));
        }
        match self.block {
            None => self.apply(lsn.0, body)?,
            Some(top) => self.keep(top, lsn.0, body)?,
        }
        Ok(self.pending())
    }

    /// The server has sent everything that commits before `end`. Moves an idle position forward,
    /// as [`Self::flush`] then reports.
    pub(crate) fn keepalive(&mut self, end: Lsn) {
        if !self.in_flight() && end.0 > self.committed.lsn {
            self.committed.lsn = end.0;
        }
    }

    /// Whether a transaction, or a block of one, has begun and not ended: no place for a mark.
    pub(crate) fn in_flight(&self) -> bool {
        self.transaction.is_some() || self.block.is_some() || self.unfinished()
    }

    /// The transaction that the last event is of and where it commits, while it is open.
    pub(crate) fn transaction(&self) -> Option<(u32, Lsn)> {
        let open = self.transaction.as_ref()?;
        Some((open.xid, Lsn(open.commit_lsn)))
    }

    /// Everything up to here has been read, of the last transaction or keepalive.
    pub(crate) fn committed(&self) -> Lsn {
        Lsn(self.committed.lsn)
    }

    /// Gives what has been committed and not yet reported: when there is no input, or rows have
    /// waited long enough. Returns as [`Self::message`].
    ///
    /// # Errors
    /// `Internal`.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        if self.committed.lsn > self.reported.lsn {
            self.close_all()?;
        }
        Ok(self.pending())
    }

    /// Gives what was committed, and then the mark. `tables` are those of a snapshot that holds
    /// everything up to here: they are whole again if they had failed, and captured from here on
    /// if they had not been wanted before, which the server does not know of. Not inside a
    /// transaction.
    ///
    /// # Errors
    /// `Internal` inside a transaction.
    pub(crate) fn mark(&mut self, id: u64, tables: &[TableId]) -> Result<()> {
        if self.in_flight() {
            return Err(Error::internal("a mark inside a transaction"));
        }
        self.close_all()?;
        self.events.push_back(ChangeEvent::Mark { id });
        for table in &mut self.tables {
            if tables.contains(&TableId(u64::from(table.oid))) {
                table.failed = false;
                table.announced = None;
                if let State::Skipped(body) = &table.state {
                    table.state = State::Described(body.clone());
                }
            }
        }
        Ok(())
    }

    /// The next event or question, or `None` when a message is wanted. An asked question is not
    /// asked again: answer it first.
    ///
    /// # Errors
    /// As [`Self::message`].
    pub(crate) fn next(&mut self) -> Result<Option<Step>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(Step::Event(event)));
            }
            if let Some(index) = self.asked {
                let State::Described(body) = &self.tables[index].state else {
                    return Err(Error::internal("asked for a table that is known"));
                };
                return Ok(Some(Step::Describe(body.clone())));
            }
            if let Some((lsn, body)) = self.held.take() {
                self.apply(lsn, &body)?;
                continue;
            }
            let Some((mut replay, committed)) = self.replay.take() else {
                return Ok(None);
            };
            match replay.next()? {
                None => self.commit(committed)?,
                // A description may have been sent in a part that was rolled back, and is not
                // sent again.
                Some(kept) if kept.aborted && kept.body.first() != Some(&b'R') => {
                    self.replay = Some((replay, committed));
                }
                Some(kept) => {
                    self.apply(kept.lsn, kept.body)?;
                    self.replay = Some((replay, committed));
                }
            }
        }
    }

    /// Answers [`Step::Describe`]: the table's version, `None` where it is not captured, or why
    /// it cannot be. Every error stops this table alone; one that passes by itself is the
    /// caller's to try again.
    ///
    /// # Errors
    /// `Internal`, when nothing was asked.
    pub(crate) fn answer(&mut self, version: Result<Option<TableVersion>>) -> Result<()> {
        let index = self
            .asked
            .take()
            .ok_or_else(|| Error::internal("an answer to no question"))?;
        match version {
            Ok(Some(version)) => {
                let table = &mut self.tables[index];
                let same = table.announced.as_ref() == Some(version.schema());
                table.state = State::Captured(Arc::new(version));
                if !same {
                    table.announced = None;
                    self.cut(index)?;
                }
            }
            Ok(None) => {
                self.skip(index);
                self.cut(index)?;
            }
            Err(error) => {
                self.skip(index);
                let hint = error.hint_text().unwrap_or_default().to_owned();
                self.fail(index, self.seq + 1, error.to_string(), hint)?;
            }
        }
        Ok(())
    }

    fn skip(&mut self, index: usize) {
        let table = &mut self.tables[index];
        table.announced = None;
        if let State::Described(body) = &table.state {
            table.state = State::Skipped(body.clone());
        }
    }

    fn pending(&self) -> bool {
        !self.events.is_empty() || self.unfinished()
    }

    /// Whether there is still work in earlier messages.
    fn unfinished(&self) -> bool {
        self.asked.is_some() || self.held.is_some() || self.replay.is_some()
    }

    fn apply(&mut self, lsn: u64, body: &[u8]) -> Result<()> {
        match Message::parse(body)? {
            Message::Insert { relation, new } => {
                self.row(lsn, body, relation, RowChange::Insert(new))
            }
            Message::Update { relation, old, new } => {
                self.row(lsn, body, relation, RowChange::Update(old, new))
            }
            Message::Delete { relation, old } => {
                self.row(lsn, body, relation, RowChange::Delete(old))
            }
            Message::Begin {
                final_lsn,
                commit_time,
                xid,
            } => self.begin(Transaction {
                xid,
                commit_lsn: final_lsn,
                commit_time,
                first_seq: self.seq + 1,
                known: final_lsn < self.start,
            }),
            Message::Commit(committed) => self.commit(committed),
            Message::Relation(relation) => {
                let oid = relation.oid;
                let described = State::Described(RelationBody(body.to_vec()));
                match self.find(oid) {
                    Some(index) => self.tables[index].state = described,
                    None => {
                        self.by_oid.insert(oid, self.tables.len());
                        self.tables.push(Table {
                            oid,
                            state: described,
                            failed: false,
                            announced: None,
                        });
                    }
                }
                Ok(())
            }
            Message::Truncate { relations } => self.truncate(lsn, body, relations),
            Message::Origin | Message::Type => Ok(()),
            Message::Logical {
                transactional,
                prefix,
                content,
            } => self.logical(lsn, transactional, (prefix, content)),
            Message::StreamStart { xid, first } => {
                if self.transaction.is_some() {
                    return Err(unexpected("a streamed block inside a transaction"));
                }
                if first {
                    self.spools.insert(xid, Spool::default());
                }
                self.block = Some(xid);
                Ok(())
            }
            Message::StreamCommit { xid, committed } => {
                let spool = self.spools.remove(&xid).ok_or_else(|| {
                    unexpected("the commit of a streamed transaction that did not begin")
                })?;
                self.begin(Transaction {
                    xid,
                    commit_lsn: committed.lsn,
                    commit_time: committed.time,
                    first_seq: self.seq + 1,
                    known: committed.lsn < self.start,
                })?;
                self.replay = Some((spool.replay()?, committed));
                Ok(())
            }
            Message::StreamAbort { xid, subxid } => {
                if xid == subxid {
                    self.spools.remove(&xid);
                } else if let Some(spool) = self.spools.get_mut(&xid) {
                    spool.abort(subxid);
                }
                Ok(())
            }
            Message::StreamStop => Err(unexpected("the end of a block that did not begin")),
            Message::TwoPhase { .. } => Err(Error::unsupported(
                "the stream has two-phase commits, which were not asked for",
            )
            .hint("use a replication slot without two_phase")),
        }
    }

    /// Keeps a message of a streamed block until its transaction commits.
    fn keep(&mut self, top: u32, lsn: u64, body: &[u8]) -> Result<()> {
        match body.first() {
            Some(b'E') => self.block = None,
            Some(b'M') if self.messages.is_empty() => {}
            Some(b'R' | b'I' | b'U' | b'D' | b'T' | b'M') => {
                let (tag, xid, rest) = split_streamed(body)?;
                self.spools
                    .get_mut(&top)
                    .ok_or_else(|| {
                        unexpected("a later block of a streamed transaction that did not begin")
                    })?
                    .push(lsn, xid, tag, rest, &self.spool_files)?;
            }
            Some(b'Y' | b'O') => {}
            _ => return Err(unexpected("a foreign message in a streamed block")),
        }
        Ok(())
    }

    fn begin(&mut self, transaction: Transaction) -> Result<()> {
        if self.transaction.is_some() {
            return Err(unexpected("a transaction inside a transaction"));
        }
        self.transaction = Some(transaction);
        Ok(())
    }

    fn commit(&mut self, committed: Committed) -> Result<()> {
        let transaction = self
            .transaction
            .take()
            .ok_or_else(|| unexpected("a commit outside of a transaction"))?;
        if transaction.known {
            return Ok(());
        }
        // Only the first transaction that has anything for us can be the one; empty ones are told
        // of by older servers.
        if self.seq > self.committed.seq
            || self.part.is_some_and(|part| part.xid == transaction.xid)
        {
            self.part = None;
        }
        self.committed = Place {
            lsn: committed.end_lsn.max(self.committed.lsn),
            seq: self.seq,
            time: committed.time,
        };
        if self.batches.half_full() {
            self.close_all()?;
        }
        Ok(())
    }

    /// Whether a change was delivered before we took over.
    #[inline]
    fn is_done(&self, xid: u32, lsn: u64) -> bool {
        self.part
            .is_some_and(|part| part.xid == xid && lsn <= part.upto.0)
    }

    #[inline]
    fn find(&mut self, oid: u32) -> Option<usize> {
        if self.last.0 == oid && self.last.1 != usize::MAX {
            return Some(self.last.1);
        }
        let index = *self.by_oid.get(&oid)?;
        self.last = (oid, index);
        Some(index)
    }

    /// The table of a change, or `None` if the change has to wait until it is looked up.
    #[inline]
    fn table(&mut self, lsn: u64, body: &[u8], oid: u32) -> Result<Option<usize>> {
        let index = self
            .find(oid)
            .ok_or_else(|| unexpected("a change of a table that was not described"))?;
        if matches!(self.tables[index].state, State::Described(_)) {
            self.asked = Some(index);
            self.held = Some((lsn, body.to_vec()));
            return Ok(None);
        }
        Ok(Some(index))
    }

    fn row(&mut self, lsn: u64, body: &[u8], oid: u32, change: RowChange<'_>) -> Result<()> {
        let transaction = self
            .transaction
            .ok_or_else(|| unexpected("a change outside of a transaction"))?;
        if transaction.known || self.is_done(transaction.xid, lsn) {
            return Ok(());
        }
        let Some(index) = self.table(lsn, body, oid)? else {
            return Ok(());
        };
        let first = self.seq + 1;
        self.seq += change.numbers();
        let table = &mut self.tables[index];
        let State::Captured(version) = &table.state else {
            return Ok(());
        };
        if table.failed {
            return Ok(());
        }
        if table.announced.is_none() {
            let schema = Arc::clone(version.schema());
            table.announced = Some(Arc::clone(&schema));
            self.report_rows()?;
            self.events.push_back(ChangeEvent::Schema(schema));
        }
        let State::Captured(version) = &self.tables[index].state else {
            return Ok(());
        };
        let seq = self.seq;
        let appended = self.batches.append(
            index,
            |room| version.rows(room),
            |rows| version.append(rows, change, transaction, seq, lsn),
        );
        match appended {
            Ok(()) => {}
            Err(RowError::Stream(error)) => return Err(error),
            Err(RowError::Value(value)) => {
                let message = format!("{}: {}", version.schema().name, value.message());
                return self.fail(index, first, message, value.hint().to_owned());
            }
        }
        if self.batches.too_many_bytes() {
            self.close_all()
        } else if self.batches.too_many_rows(index) {
            self.cut(index)
        } else {
            Ok(())
        }
    }

    fn truncate(&mut self, lsn: u64, body: &[u8], relations: Oids<'_>) -> Result<()> {
        let transaction = self
            .transaction
            .ok_or_else(|| unexpected("a change outside of a transaction"))?;
        if transaction.known || self.is_done(transaction.xid, lsn) {
            return Ok(());
        }
        let mut emptied = Vec::new();
        for oid in relations.iter() {
            let Some(index) = self.table(lsn, body, oid)? else {
                return Ok(());
            };
            let table = &self.tables[index];
            if matches!(table.state, State::Captured(_)) && !table.failed {
                emptied.push(index);
            }
        }
        self.seq += 1;
        if emptied.is_empty() {
            return Ok(());
        }
        for &index in &emptied {
            self.cut(index)?;
        }
        // Also when none of the tables had open rows.
        self.report_rows()?;
        self.events.push_back(ChangeEvent::Truncate {
            tables: emptied
                .iter()
                .map(|&index| TableId(u64::from(self.tables[index].oid)))
                .collect(),
            seq: self.seq,
            commit_time: transaction.commit_time,
        });
        Ok(())
    }
}

#[cold]
fn unexpected(what: &str) -> Error {
    Error::data(format!("the replication stream has {what}"))
}

#[cfg(test)]
mod tests;
