//! What a target holds of one table, applied row by row in the simplest way that is right: the
//! reference that everything faster is compared with.
//!
//! Invariant: a [`Content`] is a function of the changes applied to it, in their order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ChangeBatch, ColumnChange, Op, SchemaDiff, TableSchema};

use super::canonical::{self, Cell, Row};

/// What a target makes of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Rows replace earlier rows of the same key: the target's table is the source's table.
    Mirror,
    /// Every change is one more row, with `_cdc_op` and `_cdc_seq` beside the table's columns.
    Log,
}

/// One row of a change log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The row's place in the order.
    pub seq: u64,
    /// `read`, `insert`, `update`, `delete`, `truncate`.
    pub op: &'static str,
    /// The columns as sent; absent ones are NULL, as are those that a delete does not carry.
    pub row: Row,
}

/// Why a change could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// An unchanged column was not sent, and there is no row that holds it.
    NoBase,
    /// The change does not fit the rows that are there: something was lost or given twice.
    Conflict(String),
    /// The new shape cannot be followed.
    Shape(String),
}

/// A table's rows in a target.
#[derive(Debug, Clone)]
pub struct Content {
    table: Arc<TableSchema>,
    flavour: Flavour,
    keyed: BTreeMap<Row, Row>,
    bag: BTreeMap<Row, u64>,
    log: Vec<Entry>,
}

impl Content {
    /// An empty table.
    pub fn new(table: Arc<TableSchema>, flavour: Flavour) -> Self {
        Self {
            table,
            flavour,
            keyed: BTreeMap::new(),
            bag: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// The shape as last applied.
    pub fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// The change log; empty in a mirror.
    pub fn log(&self) -> &[Entry] {
        &self.log
    }

    /// The rows of the mirror, or what the log amounts to; sorted.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.keyed.values().cloned().collect();
        for (row, count) in &self.bag {
            rows.extend((0..*count).map(|_| row.clone()));
        }
        rows.sort();
        rows
    }

    /// Applies a batch. `exact`: every change must fit the rows that are there; otherwise rows may
    /// already be in a later state, as while a copy catches up over chunks of several snapshots.
    ///
    /// # Errors
    /// See [`Refusal`]; the content is then not to be used any more.
    pub fn apply(&mut self, batch: &ChangeBatch, exact: bool) -> Result<(), Refusal> {
        if !batch.table.same_shape(&self.table) {
            return Err(Refusal::Conflict(format!(
                "rows of shape version {} on a table of shape version {}",
                batch.table.version, self.table.version
            )));
        }
        let mut moved: Option<Row> = None;
        for index in 0..batch.len() {
            let op = batch.op(index);
            let sent = canonical::row(&batch.rows, index);
            if self.flavour == Flavour::Log {
                self.log.push(Entry {
                    seq: batch.seq[index],
                    op: op.name(),
                    row: sent.clone(),
                });
            }
            if self.table.key.is_empty() {
                self.apply_keyless(op, sent, exact)?;
                continue;
            }
            let key = self.key_of(&sent);
            if op.removes() {
                moved = self.keyed.remove(&key);
                if exact && moved.is_none() {
                    return Err(Refusal::Conflict(format!(
                        "{} of a row that is not there, seq {}",
                        op.name(),
                        batch.seq[index]
                    )));
                }
                continue;
            }
            let base = match op {
                Op::MoveIn => moved.take(),
                Op::Update => self.keyed.get(&key).cloned(),
                _ => None,
            };
            let there = self.keyed.contains_key(&key);
            if exact && there != (op == Op::Update) {
                return Err(Refusal::Conflict(format!(
                    "{op:?} of a row that {} there, seq {}",
                    if there { "is" } else { "is not" },
                    batch.seq[index]
                )));
            }
            let row = sent
                .into_iter()
                .enumerate()
                .map(|(column, cell)| {
                    if !batch.is_absent(column, index) {
                        return Ok(cell);
                    }
                    let base = base.as_ref().ok_or(Refusal::NoBase)?;
                    Ok(base[column].clone())
                })
                .collect::<Result<Row, Refusal>>()?;
            self.keyed.insert(key, row);
        }
        Ok(())
    }

    fn apply_keyless(&mut self, op: Op, row: Row, exact: bool) -> Result<(), Refusal> {
        if !op.removes() {
            *self.bag.entry(row).or_default() += 1;
            return Ok(());
        }
        match self.bag.get_mut(&row) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.bag.remove(&row);
            }
            None if exact => {
                return Err(Refusal::Conflict(
                    "delete of a row without a key that is not there".to_owned(),
                ));
            }
            None => {}
        }
        Ok(())
    }

    fn key_of(&self, row: &[Cell]) -> Row {
        self.table
            .key
            .iter()
            .map(|&index| row[index].clone())
            .collect()
    }

    /// Empties the table; a log gets one more entry, without values.
    pub fn truncate(&mut self, seq: u64) {
        self.keyed.clear();
        self.bag.clear();
        if self.flavour == Flavour::Log {
            self.log.push(Entry {
                seq,
                op: "truncate",
                row: vec![None; self.table.columns.len()],
            });
        }
    }

    /// Makes the rows fit another shape: columns are renamed, widened, added with the value of
    /// existing rows (NULL in a log) and dropped.
    ///
    /// # Errors
    /// [`Refusal::Shape`] for another key or a type that is not wider.
    pub fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<(), Refusal> {
        let diff = SchemaDiff::between(&self.table, table);
        if diff.key_changed {
            return Err(Refusal::Shape("the key changed".to_owned()));
        }
        for change in &diff.columns {
            if let ColumnChange::Retype { from, to, .. } = change
                && !widens(&from.data_type, &to.data_type)
            {
                return Err(Refusal::Shape(format!(
                    "column `{}` changed from {} to {}",
                    to.name, from.source_type, to.source_type
                )));
            }
        }
        let same = |a: &crate::Column, b: &crate::Column| match (a.id, b.id) {
            (Some(a), Some(b)) => a == b,
            _ => a.name == b.name,
        };
        let places: Vec<Option<usize>> = table
            .columns
            .iter()
            .map(|new| self.table.columns.iter().position(|old| same(old, new)))
            .collect();
        let existing: Row = table
            .columns
            .iter()
            .map(|column| {
                let value = column.existing.as_ref()?;
                canonical::cell(value.0.as_ref(), 0)
            })
            .collect();
        let fit = |row: &Row, added: bool| -> Row {
            places
                .iter()
                .zip(&existing)
                .map(|(place, existing)| match place {
                    Some(place) => row[*place].clone(),
                    None if added => existing.clone(),
                    None => None,
                })
                .collect()
        };
        for row in self.keyed.values_mut() {
            *row = fit(row, true);
        }
        self.bag = std::mem::take(&mut self.bag).into_iter().fold(
            BTreeMap::new(),
            |mut bag, (row, count)| {
                *bag.entry(fit(&row, true)).or_default() += count;
                bag
            },
        );
        for entry in &mut self.log {
            entry.row = fit(&entry.row, false);
        }
        self.table = Arc::clone(table);
        Ok(())
    }
}

fn widens(from: &arrow::datatypes::DataType, to: &arrow::datatypes::DataType) -> bool {
    from == to
        || (from.is_integer() && to.is_integer() && from.primitive_width() < to.primitive_width())
}
