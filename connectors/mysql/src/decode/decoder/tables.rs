//! What is known of each table, and the marks at which that is known anew.
//!
//! Invariant: a table that a snapshot's mark names is whole from there on, of the shape and the
//! definition that it has in the snapshot.

use std::sync::Arc;

use cdc_api::{ChangeEvent, Error, Result, TableId, TableName, TableSchema};

use super::Decoder;
use crate::decode::definition::{Defined, Definition, Described};
use crate::decode::shape;
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
        let described: Vec<(TableSchema, Defined)> =
            tables.iter().map(|table| self.described(table)).collect();
        let noted = described
            .iter()
            .map(|(shape, defined)| (&shape.name, defined));
        self.definitions.note(self.seq, noted)?;
        for ((shape, defined), snapshot) in described.into_iter().zip(tables) {
            let index = self.table(shape.name.clone());
            let table = &mut self.tables[index];
            let shape = match &table.known {
                Some(known) if shape.same_shape(known) => Arc::clone(known),
                known => {
                    let version = known.as_ref().map_or(1, |known| known.version + 1);
                    Arc::new(shape.with_version(version))
                }
            };
            // Given again by a later stream it is the same.
            let _ = snapshot.told.set(Arc::clone(&shape));
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

    /// A table of a snapshot, its columns with their identities.
    fn described(&self, snapshot: &Described) -> (TableSchema, Defined) {
        let index = self.by_name.get(&snapshot.shape.name);
        let table = index.map(|&index| &self.tables[index]);
        let known = table.and_then(|table| table.known.as_deref());
        let before = match table.and_then(|table| table.defined.as_ref()) {
            Some(Defined::Known(definition)) => Some(definition.as_ref()),
            _ => None,
        };
        let shape = shape::of_snapshot(&snapshot.shape, before, known, self.options, self.seq);
        let mut definition = Definition::clone(&snapshot.definition);
        for (column, told) in definition.columns.iter_mut().zip(&shape.columns) {
            column.id = told.id;
            // Until it was told: a stream that begins right before the mark finds it here.
            let seen = known.is_some_and(|it| it.columns.iter().any(|it| it.id == told.id));
            if let (Some(before), false) = (before, seen) {
                let before = before.columns.iter().find(|it| it.id == told.id);
                column.existing = before.and_then(|it| it.existing.clone());
            }
        }
        (shape, Defined::Known(Arc::new(definition)))
    }

    /// The captured tables whose next rows will be asked about.
    pub(crate) fn unread(&self) -> Vec<TableName> {
        let unread = self.tables.iter().filter(|table| {
            let captured = table.known.is_some() || table.defined.is_some();
            captured && matches!(table.state, State::Unknown)
        });
        unread.map(|table| table.name.clone()).collect()
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
