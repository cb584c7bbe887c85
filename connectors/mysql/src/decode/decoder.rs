//! From events to change events: order, transactions, batches.
//!
//! The caller feeds events and drains [`Decoder::next`] after each; where that asks for a table, it
//! looks the table up and [answers](Decoder::answer).
//!
//! Invariants:
//! - `seq` is a function of the log alone: a row takes one number, an update two, a statement of DDL
//!   one; rows of tables that are not captured, or that have failed, take theirs too.
//! - A `Commit` follows every row up to it and no later one: where an open batch reaches into the
//!   next transaction, it is cut at the commit first.
//! - The position of a `Commit` lies between two transactions, also where it is given within one.
//! - Of a value that cannot be represented only its table hears: it fails, and its later rows are
//!   passed over until it is in a snapshot again.
//!
//! Leaves to the caller when to flush, whether a table is wanted, and when a mark is due.

mod batches;
mod ddl;
mod report;
mod rows;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cdc_api::{
    BatchLimits, ChangeEvent, Checkpoint, Error, Result, TableId, TableName, TableSchema,
    TransactionId,
};

use super::event::{self, AnyGtid, Begun, Header, kind};
use super::payload::Payload;
use super::prepared::{Keeper, Kept, PreparedFiles};
use super::shape::Notes;
use super::statement::{self, Added, Statement};
use super::table::{Images, TableVersion, Transaction};
use super::table_map::TableMap;
use crate::position::{Gtids, Place, scale, table_id};
use crate::types::TypeOptions;
use crate::types::charset::Collations;
use batches::Batches;
use rows::Mapped;

/// What [`Decoder::next`] gives.
#[derive(Debug)]
pub(crate) enum Step {
    /// An event for the engine.
    Event(ChangeEvent),
    /// Look this table up and call [`Decoder::answer`].
    Describe(TableName),
}

/// What is known of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Not captured.
    Skipped,
    /// Captured; what the catalog says of it now, if it still has it.
    Captured(Option<Notes>),
    /// It was captured, and can be no longer: why, and what mends it.
    Refused(String, String),
}

/// What a decoder is made with, beside the place to start at.
pub(crate) struct Setup {
    /// The tables' shapes so far.
    pub(crate) known: Vec<Arc<TableSchema>>,
    /// How large batches may grow.
    pub(crate) limits: BatchLimits,
    /// The server's collations.
    pub(crate) collations: Collations,
    /// The configuration's choices.
    pub(crate) options: TypeOptions,
    /// Whether events have a checksum until the log says so itself.
    pub(crate) checksum: bool,
    /// The prepared XA transactions of this pipeline.
    pub(crate) prepared: PreparedFiles,
    /// The server that the log is of, where it is not that of the place to start at.
    pub(crate) moved_to: Option<String>,
}

#[derive(Debug)]
struct Table {
    name: TableName,
    id: TableId,
    state: State,
    /// The shape so far.
    known: Option<Arc<TableSchema>>,
    /// Columns that were added since, by the log.
    added: Vec<Added>,
    /// Whether its rows are passed over since one could not be represented.
    failed: bool,
    /// The shape that the engine was told last, if the rows to come have it.
    announced: Option<Arc<TableSchema>>,
}

#[derive(Debug)]
enum State {
    /// To be looked up with its next table map.
    Unknown,
    /// Not captured.
    Skipped,
    /// Captured: the table map without its number, and what it makes.
    Captured(Box<[u8]>, Arc<TableVersion>),
    /// Captured, and not readable: the table map that could not be read.
    Broken(Box<[u8]>),
}

/// Where everything before is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Done {
    /// Rises with each transaction and each step of an idle log.
    number: u64,
    seq: u64,
    time: i64,
    file: Arc<str>,
    offset: u64,
}

/// A transaction that has begun.
#[derive(Debug)]
struct Open {
    name: Option<AnyGtid>,
    transaction: Transaction,
    /// MariaDB: it ends with its one statement.
    standalone: bool,
    /// It began with BEGIN, or with a GTID of MariaDB: statements do not end it.
    explicit: bool,
    /// It is prepared, not committed: where its events are kept.
    keeper: Option<Keeper>,
}

/// Events within an event, or kept from earlier.
enum Inner {
    Payload(Box<Payload>),
    Prepared(Box<Kept>, Vec<u8>),
}

/// See the module.
pub(crate) struct Decoder {
    /// The server that the last place is of.
    server: String,
    /// The server that later places are of: its files are no places until a transaction has ended.
    moved_to: Option<String>,
    /// All transactions up to the last one that has ended.
    gtids: Gtids,
    file: Arc<str>,
    /// Where the last event ended.
    offset: u64,
    checksum: bool,
    collations: Collations,
    options: TypeOptions,
    seq: u64,
    done: Done,
    reported: u64,
    /// The `seq` of the last report.
    reported_seq: u64,
    open: Option<Open>,
    tables: Vec<Table>,
    by_name: HashMap<TableName, usize>,
    /// Table maps by the numbers that the log uses.
    maps: HashMap<u64, Arc<Mapped>>,
    /// The table map that waits for its table to be looked up: its number, the rest, the table.
    asked: Option<(u64, TableMap, Box<[u8]>, usize)>,
    batches: Batches,
    images: Images,
    events: VecDeque<ChangeEvent>,
    inner: Option<Inner>,
    inflated: Vec<u8>,
    prepared: PreparedFiles,
}

impl Decoder {
    /// Starts after `from`, whose position is `place`.
    pub(crate) fn new(place: Place, from: &Checkpoint, setup: Setup) -> Self {
        let file: Arc<str> = place.file.into();
        let mut decoder = Self {
            server: place.server,
            moved_to: setup.moved_to,
            gtids: place.gtids,
            file: Arc::clone(&file),
            offset: place.offset,
            checksum: setup.checksum,
            collations: setup.collations,
            options: setup.options,
            seq: from.seq,
            done: Done {
                number: 0,
                seq: from.seq,
                time: from.commit_time,
                file,
                offset: place.offset,
            },
            reported: 0,
            reported_seq: from.seq,
            open: None,
            tables: Vec::new(),
            by_name: HashMap::new(),
            maps: HashMap::new(),
            asked: None,
            batches: Batches::new(setup.limits),
            images: Images::default(),
            events: VecDeque::new(),
            inner: None,
            inflated: Vec::new(),
            prepared: setup.prepared,
        };
        for known in setup.known {
            let index = decoder.table(known.name.clone());
            decoder.tables[index].known = Some(known);
        }
        decoder
    }

    /// Takes an event, header and checksum included. Returns whether [`Self::next`] is to be
    /// drained before the next event.
    ///
    /// # Errors
    /// `Data` when the log breaks its format; `Unsupported` for what is not known; `LogLost`;
    /// `Transient` when an XA transaction cannot be kept. The decoder is of no use after an error.
    pub(crate) fn event(&mut self, packet: &[u8]) -> Result<bool> {
        if self.unfinished() {
            return Err(Error::internal("an event before the last one was drained"));
        }
        let (header, body) = event::split(packet, self.checksum)?;
        if !header.is_artificial() {
            self.move_on(&header);
        }
        self.apply(&header, body)?;
        if self.open.is_none() && self.inner.is_none() && !header.is_artificial() {
            self.rest();
        }
        Ok(self.pending())
    }

    /// What the transaction is called that this event begins, and where it begins; `None` where it
    /// begins none.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub(crate) fn begins(&self, packet: &[u8]) -> Result<Option<Option<AnyGtid>>> {
        let header = event::peek(packet)?;
        if !matches!(
            header.kind,
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIA_GTID
        ) {
            return Ok(None);
        }
        let (header, body) = event::split(packet, self.checksum)?;
        Ok(begun(&header, body)?.map(|begun| begun.name))
    }

    /// Whether the table has been captured: its rows must not be passed over in silence.
    pub(crate) fn knows(&self, name: &TableName) -> bool {
        let index = self.by_name.get(name);
        index.is_some_and(|&index| self.tables[index].known.is_some())
    }

    /// Whether a transaction has begun and not ended: no place for a mark.
    pub(crate) fn in_flight(&self) -> bool {
        self.open.is_some() || self.unfinished()
    }

    /// The file and the place in it up to which everything has been read.
    pub(crate) fn read(&self) -> (&str, u64) {
        (&self.file, self.offset)
    }

    /// Gives what has been committed and not yet reported: when there is no input, or rows have
    /// waited long enough. Returns as [`Self::event`].
    ///
    /// # Errors
    /// `Internal`.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        if self.done.number > self.reported {
            self.close_all()?;
        }
        Ok(self.pending())
    }

    /// Gives what was committed, and then the mark. `tables` are those of a snapshot that holds
    /// everything up to here, as they are in it: they are whole again if they had failed, and
    /// columns that come later were added. The shapes are given too, and committed, so that a later
    /// stream knows what its first statement about a table changes. Not inside a transaction.
    ///
    /// # Errors
    /// `Internal` inside a transaction.
    pub(crate) fn mark(&mut self, id: u64, tables: &[Arc<TableSchema>]) -> Result<()> {
        if self.in_flight() {
            return Err(Error::internal("a mark inside a transaction"));
        }
        if self.done.number > self.reported {
            self.close_all()?;
        }
        self.events.push_back(ChangeEvent::Mark { id });
        for shape in tables {
            let index = self.table(shape.name.clone());
            let table = &mut self.tables[index];
            let shape = match &table.known {
                None => Arc::clone(shape),
                Some(known) if shape.same_shape(known) => Arc::clone(known),
                Some(known) => Arc::new(TableSchema::clone(shape).with_version(known.version + 1)),
            };
            table.failed = false;
            table.added.clear();
            table.state = State::Unknown;
            table.known = Some(Arc::clone(&shape));
            table.announced = Some(Arc::clone(&shape));
            self.events.push_back(ChangeEvent::Schema(shape));
        }
        if !tables.is_empty() {
            self.report();
        }
        self.maps.clear();
        Ok(())
    }

    /// The next event or question, or `None` when input is wanted. An asked question is not asked
    /// again: answer it first.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub(crate) fn next(&mut self) -> Result<Option<Step>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(Step::Event(event)));
            }
            if let Some((_, map, _, _)) = &self.asked {
                return Ok(Some(Step::Describe(map.name.clone())));
            }
            match self.inner.take() {
                None => return Ok(None),
                Some(inner) => self.step(inner)?,
            }
        }
    }

    /// Takes one of the events within an event.
    fn step(&mut self, inner: Inner) -> Result<()> {
        match inner {
            Inner::Payload(mut payload) => match payload.next()? {
                None if self.open.is_some() => {
                    return Err(Error::data("a compressed transaction does not end"));
                }
                None => self.rest(),
                Some(packet) => {
                    let (header, body) = event::split(packet, false)?;
                    if header.kind == kind::TRANSACTION_PAYLOAD {
                        return Err(Error::data("a compressed transaction within another"));
                    }
                    self.apply(&header, body)?;
                    self.inner = Some(Inner::Payload(payload));
                }
            },
            Inner::Prepared(mut kept, xid) => match kept.next()? {
                None => {
                    let place = self.open_place();
                    self.prepared.decide(&xid, &place)?;
                    self.commit();
                    self.half_full()?;
                    self.rest();
                }
                Some((kind, body)) => {
                    if kind == kind::TABLE_MAP {
                        self.table_map(body)?;
                    } else {
                        self.rows(kind, body)?;
                    }
                    self.inner = Some(Inner::Prepared(kept, xid));
                }
            },
        }
        Ok(())
    }

    fn pending(&self) -> bool {
        !self.events.is_empty() || self.unfinished()
    }

    /// Whether there is still work in earlier events.
    fn unfinished(&self) -> bool {
        self.asked.is_some() || self.inner.is_some()
    }

    /// Counts an event of the file: headers have the low 32 bits of its end.
    fn move_on(&mut self, header: &Header) {
        let low = u64::from(header.end);
        let mut end = (self.offset & !0xffff_ffff) | low;
        if end < self.offset {
            end += 1 << 32;
        }
        self.offset = end;
    }

    /// The place of an idle log, between transactions. A dump that goes by names begins with the
    /// head of a file whose transactions it then passes over: that is no place to go back to.
    fn rest(&mut self) {
        if self.moved_to.is_none()
            && scale(&self.file, self.offset) > scale(&self.done.file, self.done.offset)
        {
            self.move_done();
        }
    }

    /// All that was read is complete.
    fn move_done(&mut self) {
        self.done.file = Arc::clone(&self.file);
        self.done.offset = self.offset;
        self.done.number += 1;
    }

    fn apply(&mut self, header: &Header, body: &[u8]) -> Result<()> {
        match header.kind {
            kind::TABLE_MAP => {
                if self.keep(header.kind, body)? {
                    return Ok(());
                }
                self.table_map(body)
            }
            kind::XID => self.end(),
            kind::QUERY => self.query(header, event::query(body)?),
            kind::MARIA_QUERY_COMPRESSED => {
                let query = event::query(body)?;
                let mut text = Vec::new();
                event::inflate(query.text, &mut text)?;
                let text = event::Query {
                    text: &text,
                    ..query
                };
                self.query(header, text)
            }
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIA_GTID => {
                match begun(header, body)? {
                    Some(begun) => self.begin(header, begun),
                    None => Ok(()),
                }
            }
            kind::TRANSACTION_PAYLOAD => {
                self.inner = Some(Inner::Payload(Box::new(Payload::new(body)?)));
                Ok(())
            }
            kind::FORMAT_DESCRIPTION => {
                self.checksum = event::format_description(body)?;
                self.maps.clear();
                Ok(())
            }
            kind::ROTATE => {
                let (offset, file) = event::rotate(body)?;
                self.file = file.into();
                self.offset = offset;
                self.maps.clear();
                Ok(())
            }
            kind::XA_PREPARE => {
                let (one_phase, _) = event::xa_prepare(body)?;
                if one_phase && let Some(open) = &mut self.open {
                    // Kept for nothing: it commits at once.
                    if let Some(keeper) = open.keeper.take() {
                        let kept = keeper.read_back()?;
                        self.inner = Some(Inner::Prepared(Box::new(kept), Vec::new()));
                        return Ok(());
                    }
                }
                self.end()
            }
            kind::INCIDENT => self.fail_all(
                "the log says that changes are missing in it (INCIDENT)",
                "look into the server's error log",
            ),
            kind::BEGIN_LOAD_QUERY | kind::EXECUTE_LOAD_QUERY => self.statement_logged(),
            kind::MARIA_PARTIAL_ROW_DATA => Err(Error::unsupported(
                "the log holds rows in fragments, which this program cannot put together",
            )
            .hint(
                "SET GLOBAL binlog_row_event_fragment_threshold to its largest value; then cdc \
                 teardown, and start again: the tables are loaded anew",
            )),
            kind if event::rows_kind(kind).is_some() => {
                if self.keep(kind, body)? {
                    return Ok(());
                }
                self.rows(kind, body)
            }
            kind if event::is_silent(kind) || header.is_ignorable() => Ok(()),
            kind => Err(Error::unsupported(format!(
                "the log has an event of kind {kind}, which this program does not know"
            ))
            .hint("run a later version of cdc; its position is kept")),
        }
    }

    fn begin(&mut self, header: &Header, begun: Begun) -> Result<()> {
        if self.open.is_some() {
            return Err(unexpected("a transaction inside a transaction"));
        }
        self.unseen(begun.name.as_ref())?;
        let start = self.offset.saturating_sub(u64::from(header.size));
        let maria = matches!(begun.name, Some(AnyGtid::Maria(_)));
        let time = begun
            .commit_time
            .unwrap_or_else(|| i64::from(header.time) * 1_000_000);
        let begin = scale(&self.file, start);
        let id: Arc<str> = match &begun.name {
            Some(name) => name.to_string().into(),
            None => format!("{}:{start}", self.file).into(),
        };
        self.open = Some(Open {
            transaction: Transaction {
                id: TransactionId::Text(id),
                commit_offset: begin + begun.length.unwrap_or(0),
                commit_time: time,
            },
            name: begun.name,
            standalone: begun.standalone,
            explicit: maria && !begun.standalone,
            keeper: None,
        });
        if let Some(xid) = begun.prepares {
            self.prepare(&xid)?;
        }
        if self.maps.len() > 4096 {
            self.maps.clear();
        }
        Ok(())
    }

    /// Refuses a name that has been there: the server's history is another one.
    fn unseen(&self, name: Option<&AnyGtid>) -> Result<()> {
        let seen = match (&self.gtids, name) {
            (Gtids::MySql(set), Some(AnyGtid::MySql(gtid))) => set.contains(gtid),
            (Gtids::Maria(last), Some(AnyGtid::Maria(gtid))) => last
                .of_domain(gtid.domain)
                .is_some_and(|last| gtid.sequence <= last.sequence),
            (Gtids::Off, None) => false,
            (Gtids::Off, Some(_)) | (_, None) => {
                return Err(Error::config(
                    "gtid_mode was changed: the log and the stored position count differently",
                )
                .hint("set gtid_mode back to what it was, or cdc teardown and start again"));
            }
            _ => {
                return Err(Error::log_lost("the log is of another kind of server")
                    .hint("cdc teardown, then start again: the tables are loaded anew"));
            }
        };
        match (seen, name) {
            (true, Some(name)) => Err(Error::log_lost(format!(
                "the transaction {name} comes again: the server gives numbers a second time"
            ))
            .hint(
                "the log was reset or the server restored: cdc teardown, then start again; on \
                 MariaDB SET GLOBAL gtid_strict_mode = ON",
            )),
            _ => Ok(()),
        }
    }

    /// The events of the open transaction are kept until it is decided.
    fn prepare(&mut self, xid: &[u8]) -> Result<()> {
        let place = self.open_place();
        let keeper = self.prepared.begin(xid, &place)?;
        if let Some(open) = &mut self.open {
            open.keeper = Some(keeper);
        }
        Ok(())
    }

    /// Keeps an event of a transaction that is being prepared. False where it is none.
    fn keep(&mut self, kind: u8, body: &[u8]) -> Result<bool> {
        match self.open.as_mut().and_then(|open| open.keeper.as_mut()) {
            None => Ok(false),
            Some(keeper) => {
                keeper.push(kind, body)?;
                Ok(true)
            }
        }
    }

    /// The place after the open transaction, named by it alone.
    fn open_place(&self) -> Place {
        let name = self.open.as_ref().and_then(|open| open.name.as_ref());
        let gtids = match (&self.gtids, name) {
            (Gtids::MySql(_), Some(AnyGtid::MySql(gtid))) => {
                let mut set = crate::position::GtidSet::default();
                set.add(gtid);
                Gtids::MySql(set)
            }
            (Gtids::Maria(_), Some(AnyGtid::Maria(gtid))) => {
                let mut last = crate::position::MariaGtids::default();
                last.add(*gtid);
                Gtids::Maria(last)
            }
            _ => Gtids::Off,
        };
        Place {
            server: self.server.clone(),
            gtids,
            file: self.file.to_string(),
            offset: self.offset,
        }
    }

    /// The open transaction ends, committed or prepared.
    fn end(&mut self) -> Result<()> {
        let open = self
            .open
            .as_mut()
            .ok_or_else(|| unexpected("a commit outside of a transaction"))?;
        if let Some(keeper) = open.keeper.take() {
            keeper.finish()?;
        }
        self.commit();
        self.half_full()
    }

    fn commit(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        match (&mut self.gtids, &open.name) {
            (Gtids::MySql(set), Some(AnyGtid::MySql(gtid))) => set.add(gtid),
            (Gtids::Maria(last), Some(AnyGtid::Maria(gtid))) => last.add(*gtid),
            _ => {}
        }
        if let Some(server) = self.moved_to.take() {
            self.server = server;
        }
        self.done.seq = self.seq;
        self.done.time = open.transaction.commit_time;
        self.move_done();
    }

    fn half_full(&mut self) -> Result<()> {
        match self.batches.half_full() {
            true => self.close_all(),
            false => Ok(()),
        }
    }

    fn query(&mut self, header: &Header, query: event::Query<'_>) -> Result<()> {
        let schema = String::from_utf8_lossy(query.schema);
        match statement::read(query.text, &schema) {
            Statement::Begin => {
                if self.open.is_none() {
                    let anonymous = Begun {
                        name: None,
                        commit_time: None,
                        length: None,
                        standalone: false,
                        prepares: None,
                    };
                    self.begin(header, anonymous)?;
                }
                if let Some(open) = &mut self.open {
                    open.explicit = true;
                }
                Ok(())
            }
            Statement::End => self.end(),
            Statement::Nothing => Ok(()),
            Statement::RollbackTo => self.fail_all(
                "part of a transaction with tables that cannot roll back was rolled back",
                "ALTER TABLE … ENGINE = InnoDB for tables of other engines",
            ),
            Statement::XaStart(xid) => {
                if let Some(open) = &mut self.open {
                    open.explicit = true;
                    self.prepare(&xid)?;
                }
                Ok(())
            }
            Statement::XaCommit(xid) => match self.prepared.read(&xid)? {
                Some(kept) => {
                    self.inner = Some(Inner::Prepared(Box::new(kept), xid));
                    Ok(())
                }
                None => {
                    self.fail_all(
                        "an XA transaction was committed that had been prepared before the start",
                        "XA RECOVER shows whether there are more",
                    )?;
                    self.end()
                }
            },
            Statement::XaRollback(xid) => {
                let place = self.open_place();
                self.prepared.decide(&xid, &place)?;
                self.end()
            }
            Statement::Rows => {
                self.statement_logged()?;
                self.statement_ends()
            }
            Statement::Ddl(effects) => {
                self.seq += 1;
                for effect in effects {
                    self.effect(effect)?;
                }
                self.statement_ends()
            }
        }
    }

    /// A statement that is a transaction by itself ends it.
    fn statement_ends(&mut self) -> Result<()> {
        match &self.open {
            Some(open) if !open.explicit || open.standalone => self.end(),
            _ => Ok(()),
        }
    }

    fn table(&mut self, name: TableName) -> usize {
        if let Some(&index) = self.by_name.get(&name) {
            return index;
        }
        let index = self.tables.len();
        self.tables.push(Table {
            id: table_id(&name),
            name: name.clone(),
            state: State::Unknown,
            known: None,
            added: Vec::new(),
            failed: false,
            announced: None,
        });
        self.by_name.insert(name, index);
        index
    }
}

fn begun(header: &Header, body: &[u8]) -> Result<Option<Begun>> {
    Ok(Some(match header.kind {
        kind::GTID | kind::ANONYMOUS_GTID => event::gtid(header.kind, body)?,
        kind::GTID_TAGGED => event::tagged_gtid(body)?,
        kind::MARIA_GTID => event::maria_gtid(header, body)?,
        _ => return Ok(None),
    }))
}

#[cold]
fn unexpected(what: &str) -> Error {
    Error::data(format!("the log has {what}"))
}

#[cfg(test)]
mod tests;
