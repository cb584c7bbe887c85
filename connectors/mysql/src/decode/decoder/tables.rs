//! What is known of each table, and the marks at which that is known anew.
//!
//! Invariant: a table that a snapshot's mark names is whole from there on, of the shape and the
//! definition that it has in the snapshot.

use std::sync::Arc;

use cdc_api::{ChangeEvent, Error, Result, TableId, TableName, TableSchema};

use super::Decoder;
use crate::decode::definition::{Defined, Described};
use crate::decode::statement::Added;
use crate::decode::table::TableVersion;
use crate::position::table_id;

/// What is known of a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: TableName,
    pub(super) id: TableId,
    pub(super) state: State,
    /// The shape so far.
    pub(super) known: Option<Arc<TableSchema>>,
    /// What it is where table maps do not say it.
    pub(super) defined: Option<Defined>,
    /// Columns that were added since, by the log.
    pub(super) added: Vec<Added>,
    /// Whether values that did not fit a new type of their column were cut since.
    pub(super) cut: bool,
    /// Whether its rows are passed over since one could not be represented.
    pub(super) failed: bool,
    /// The shape that the engine was told last, if the rows to come have it.
    pub(super) announced: Option<Arc<TableSchema>>,
}

/// How its rows are read.
#[derive(Debug)]
pub(super) enum State {
    /// To be looked up with its next table map.
    Unknown,
    /// Not captured.
    Skipped,
    /// Captured: the table map without its number, and what it makes.
    Captured(Box<[u8]>, Arc<TableVersion>),
    /// Captured, and not readable: the table map that could not be read.
    Broken(Box<[u8]>),
}

impl Decoder {
    /// Gives what was committed, and then the mark. `tables` are those of a snapshot that holds
    /// everything up to here, as they are in it: they are whole again if they had failed, and
    /// columns that come later were added. The shapes are given too, and committed, and their
    /// definitions kept, so that a later stream knows what its first statement about a table
    /// changes. Not inside a transaction.
    ///
    /// # Errors
    /// `Internal` inside a transaction; `Transient` when the definitions cannot be kept.
    pub(crate) fn mark(&mut self, id: u64, tables: &[Described]) -> Result<()> {
        if self.in_flight() {
            return Err(Error::internal("a mark inside a transaction"));
        }
        if self.done.number > self.reported {
            self.close_all()?;
        }
        self.events.push_back(ChangeEvent::Mark { id });
        let defined: Vec<Defined> = tables
            .iter()
            .map(|table| Defined::Known(Arc::clone(&table.definition)))
            .collect();
        let names = tables.iter().map(|table| &table.shape.name);
        self.definitions.note(self.seq, names.zip(&defined))?;
        for (Described { shape, .. }, defined) in tables.iter().zip(defined) {
            let index = self.table(shape.name.clone());
            let table = &mut self.tables[index];
            let shape = match &table.known {
                None => Arc::clone(shape),
                Some(known) if shape.same_shape(known) => Arc::clone(known),
                Some(known) => Arc::new(TableSchema::clone(shape).with_version(known.version + 1)),
            };
            table.failed = false;
            table.added.clear();
            table.cut = false;
            table.state = State::Unknown;
            table.defined = Some(defined);
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

    pub(super) fn table(&mut self, name: TableName) -> usize {
        if let Some(&index) = self.by_name.get(&name) {
            return index;
        }
        let index = self.tables.len();
        self.tables.push(Table {
            id: table_id(&name),
            name: name.clone(),
            state: State::Unknown,
            known: None,
            defined: None,
            added: Vec::new(),
            cut: false,
            failed: false,
            announced: None,
        });
        self.by_name.insert(name, index);
        index
    }
}
