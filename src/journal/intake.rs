//! What of a source's stream goes into the journal.
//!
//! Invariant: per table the appended rows rise in `seq`; no commit stands before rows that it does
//! not cover; a table's shape is in force before its rows. So a stream that was started again from
//! the last commit adds only what was not there yet.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use cdc_api::{ChangeEvent, Error, Result, TableId, TableSchema};

use super::event::Schemas;
use super::rows;

/// The state of the journal's end, as far as it decides what may follow.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// The last commit's `seq`: everything up to it is appended.
    floor: u64,
    /// The highest `seq` appended.
    highest: u64,
    /// The highest `seq` of a notice.
    notice: u64,
    /// The highest `seq` of each table that has rows after the last commit.
    tables: HashMap<TableId, u64>,
    schemas: Schemas,
    /// The shapes at the last commit of the tables that have changed since.
    before: HashMap<TableId, Option<Arc<TableSchema>>>,
}

impl Intake {
    /// A journal that ends with a commit.
    pub(super) fn new(seq: u64, schemas: Schemas) -> Self {
        Self {
            floor: seq,
            highest: seq,
            notice: seq,
            schemas,
            ..Self::default()
        }
    }

    /// The last commit's `seq`.
    pub(super) fn tail_seq(&self) -> u64 {
        self.floor
    }

    /// The tables' shapes at the last commit.
    pub(super) fn committed_schemas(&self) -> Vec<Arc<TableSchema>> {
        let mut schemas = self.schemas.clone();
        for (&table, before) in &self.before {
            match before {
                Some(schema) => schemas.insert(table, Arc::clone(schema)),
                None => schemas.remove(&table),
            };
        }
        schemas.into_values().collect()
    }

    /// The part of an event that is new, if any, after a schema that must precede it, if any.
    ///
    /// # Errors
    /// For what cannot be appended; nothing is changed then.
    pub(super) fn admit(
        &mut self,
        event: ChangeEvent,
    ) -> Result<(Option<Arc<TableSchema>>, Option<ChangeEvent>)> {
        match event {
            ChangeEvent::Schema(schema) => {
                let known = self.schemas.get(&schema.id);
                if known.is_some_and(|known| !supersedes(&schema, known)) {
                    return Ok((None, None));
                }
                self.force(&schema)?;
                Ok((None, Some(ChangeEvent::Schema(schema))))
            }
            ChangeEvent::Rows(batch) => {
                rows::validate(&batch)?;
                let table = batch.table.id;
                let Some(batch) = batch.after(self.reached(table)) else {
                    return Ok((None, None));
                };
                let known = self.schemas.get(&table);
                let missing = known.is_none_or(|known| !same(known, &batch.table));
                let schema = missing.then(|| Arc::clone(&batch.table));
                if let Some(schema) = &schema {
                    self.force(schema)?;
                }
                if let Some((_, last)) = batch.seq_range() {
                    self.tables.insert(table, last);
                    self.highest = self.highest.max(last);
                }
                Ok((schema, Some(ChangeEvent::Rows(batch))))
            }
            ChangeEvent::Truncate {
                ref tables, seq, ..
            } => {
                if tables.iter().all(|&table| self.reached(table) >= seq) {
                    return Ok((None, None));
                }
                for &table in tables {
                    self.tables.insert(table, seq);
                }
                self.highest = self.highest.max(seq);
                Ok((None, Some(event)))
            }
            ChangeEvent::Notice(ref notice) => {
                if notice.seq <= self.notice.max(self.floor) {
                    return Ok((None, None));
                }
                self.notice = notice.seq;
                self.highest = self.highest.max(notice.seq);
                Ok((None, Some(event)))
            }
            ChangeEvent::Failed { .. } => Ok((None, Some(event))),
            ChangeEvent::Commit(ref checkpoint) => {
                if checkpoint.seq < self.highest {
                    return Ok((None, None));
                }
                self.floor = checkpoint.seq;
                self.highest = checkpoint.seq;
                self.tables.clear();
                self.before.clear();
                Ok((None, Some(event)))
            }
            ChangeEvent::Mark { .. } => Err(Error::internal("marks are not for the journal")),
        }
    }

    /// Up to which `seq` the table's changes are appended.
    fn reached(&self, table: TableId) -> u64 {
        self.tables.get(&table).copied().unwrap_or(self.floor)
    }

    fn force(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        if let Some(column) = schema
            .columns
            .iter()
            .find(|column| !storable(&column.data_type))
        {
            return Err(Error::internal(format!(
                "the journal cannot hold columns of type {} ({})",
                column.data_type, column.source_type
            ))
            .for_table(schema.id));
        }
        let before = self.schemas.insert(schema.id, Arc::clone(schema));
        self.before.entry(schema.id).or_insert(before);
        Ok(())
    }
}

pub(super) fn same(a: &Arc<TableSchema>, b: &Arc<TableSchema>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Whether a schema that the source gives replaces the one in force. An older version comes only
/// from a stream that was started again, on its way to where it was.
fn supersedes(schema: &Arc<TableSchema>, known: &Arc<TableSchema>) -> bool {
    schema.version > known.version || schema.version == known.version && !same(schema, known)
}

/// Dictionaries would need frames of their own; no source makes them.
fn storable(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(..) => false,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => storable(field.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| storable(field.data_type())),
        DataType::Union(fields, _) => fields.iter().all(|(_, field)| storable(field.data_type())),
        DataType::RunEndEncoded(_, values) => storable(values.data_type()),
        _ => true,
    }
}
