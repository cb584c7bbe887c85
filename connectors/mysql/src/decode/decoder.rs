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
//! - What a statement makes of a table's definition is on disk before a `Commit` after it is given.
//!
//! Code map: `dispatch` what each event does · `transaction` where transactions begin and end ·
//! `tables` what is known of each table, marks · `rows` table maps and rows · `ddl` statements, `told` what is said of them ·
//! `report` what leaves, and in which order. Open batches are [`Batches`].
//!
//! Leaves to the caller when to flush, whether a table is wanted, and when a mark is due.

mod ddl;
mod dispatch;
mod report;
mod rows;
mod tables;
mod told;
mod transaction;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use cdc_api::{BatchLimits, ChangeEvent, Checkpoint, Error, Result, TableName, TableSchema};
use cdc_database::batches::Batches;

use super::definition::Defined;
use super::definition::kept::KeptDefinitions;
use super::event::{self, AnyGtid, kind};
use super::prepared::PreparedFiles;
use super::shape::Notes;
use super::table::Images;
use super::table_map::TableMap;
use crate::config::SchemaChanges;
use crate::position::{Gtids, Part, Place};
use crate::types::TypeOptions;
use crate::types::append::Appender;
use crate::types::charset::Collations;
use dispatch::Inner;
use rows::Mapped;
use tables::{State, Table};
use transaction::{Done, Open, begun};

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
    /// The definitions of tables so far, and where later ones are kept.
    pub(crate) definitions: (KeptDefinitions, BTreeMap<TableName, Defined>),
    /// Whether a table is one that may be captured, though it is not known: what a statement does to
    /// it must not be passed over in silence.
    pub(crate) wants: Box<dyn Fn(&TableName) -> bool + Send>,
    /// Which statements that change schemas are told.
    pub(crate) tells: SchemaChanges,
    /// Whether the server keeps tables' names in lower case, however statements write them.
    pub(crate) lower_names: bool,
    /// The server that the log is of, where it is not that of the place to start at.
    pub(crate) moved_to: Option<String>,
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
    open: Option<Open>,
    /// What is done of the transaction that comes first, and how many of its events there were.
    part: Option<Part>,
    counted: u64,
    tables: Vec<Table>,
    by_name: HashMap<TableName, usize>,
    /// Table maps by the numbers that the log uses.
    maps: HashMap<u64, Arc<Mapped>>,
    /// The table map that waits for its table to be looked up: its number, the rest, the table.
    asked: Option<(u64, TableMap, Box<[u8]>, usize)>,
    batches: Batches<Appender>,
    images: Images,
    events: VecDeque<ChangeEvent>,
    inner: Option<Inner>,
    inflated: Vec<u8>,
    prepared: PreparedFiles,
    definitions: KeptDefinitions,
    wants: Box<dyn Fn(&TableName) -> bool + Send>,
    tells: SchemaChanges,
    lower_names: bool,
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
            open: None,
            part: Part::of(&from.position),
            counted: 0,
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
            definitions: setup.definitions.0,
            wants: setup.wants,
            tells: setup.tells,
            lower_names: setup.lower_names,
        };
        for known in setup.known {
            let index = decoder.table(known.name.clone());
            decoder.tables[index].known = Some(known);
        }
        for (name, defined) in setup.definitions.1 {
            let index = decoder.table(name);
            let table = &mut decoder.tables[index];
            if let (Defined::Known(definition), None) = (&defined, &table.known) {
                // The engine has lost what it knew.
                table.known = definition.shape(&table.name, setup.options).ok();
            }
            table.defined = Some(defined);
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
            // Whatever stands between BEGIN and COMMIT counts, as it does for who counted first.
            self.counted += u64::from(self.open.as_ref().is_some_and(|open| open.explicit));
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
        index.is_some_and(|&index| {
            let table = &self.tables[index];
            table.known.is_some() || table.defined.is_some()
        })
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

    fn pending(&self) -> bool {
        !self.events.is_empty() || self.unfinished()
    }

    /// Whether there is still work in earlier events.
    fn unfinished(&self) -> bool {
        self.asked.is_some() || self.inner.is_some()
    }
}

#[cold]
fn unexpected(what: &str) -> Error {
    Error::data(format!("the log has {what}"))
}

#[cfg(test)]
mod tests;
