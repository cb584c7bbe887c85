//! The open batches of all tables, and when they are full.
//!
//! Invariant: the open batches together keep about [`BatchLimits::bytes`] at most, one huge row
//! aside, and none has more than [`BatchLimits::rows`] rows, one pair aside.

use cdc_api::{BatchLimits, ChangeBatch, Result};

use crate::rows::{Column, Rows};

/// Open batches, by the decoder's number of the table.
#[derive(Debug)]
pub struct Batches<C> {
    limits: BatchLimits,
    /// By table; those without rows are `None`.
    rows: Vec<Option<Rows<C>>>,
    /// Tables with rows, in the order of their first row.
    open: Vec<usize>,
    bytes: usize,
    half_full: bool,
    /// By table, rows of the last batch that was given because it was full: room for the next.
    room: Vec<usize>,
}

impl<C: Column> Batches<C> {
    /// No open batches.
    pub fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            rows: Vec::new(),
            open: Vec::new(),
            bytes: 0,
            half_full: false,
            room: Vec::new(),
        }
    }

    /// Appends a change to the table's rows, or to new ones with room for so many; see
    /// [`Rows::append`].
    ///
    /// # Errors
    /// Of `append`; the batch is to be closed then.
    #[inline]
    pub fn append<E>(
        &mut self,
        table: usize,
        new: impl FnOnce(usize) -> Rows<C>,
        append: impl FnOnce(&mut Rows<C>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.rows.len() <= table {
            self.rows.resize_with(table + 1, || None);
            self.room.resize(table + 1, 0);
        }
        let rows = match &mut self.rows[table] {
            Some(rows) => rows,
            empty => {
                self.open.push(table);
                empty.insert(new(self.room[table]))
            }
        };
        let before = rows.bytes();
        append(rows)?;
        self.bytes += rows.bytes() - before;
        self.half_full |= rows.len() * 2 >= self.limits.rows || self.bytes * 2 >= self.limits.bytes;
        Ok(())
    }

    /// Whether about half of a limit is reached: time to give everything at a commit.
    pub fn half_full(&self) -> bool {
        self.half_full
    }

    /// Whether a limit is reached: time to give everything.
    pub fn too_many_bytes(&self) -> bool {
        self.bytes >= self.limits.bytes
    }

    /// Whether a limit is reached: time to give the rows of one table.
    pub fn too_many_rows(&self, table: usize) -> bool {
        matches!(self.rows.get(table), Some(Some(rows)) if rows.len() >= self.limits.rows)
    }

    /// Takes the open batch of one table.
    ///
    /// # Errors
    /// As [`Rows::finish`].
    pub fn close(&mut self, table: usize) -> Result<Option<ChangeBatch>> {
        let Some(rows) = self.rows.get_mut(table).and_then(Option::take) else {
            return Ok(None);
        };
        self.open.retain(|open| *open != table);
        self.bytes = self.bytes.saturating_sub(rows.bytes());
        self.room[table] = self.room_after(&rows);
        rows.finish()
    }

    /// Takes all open batches, in the order of their first rows.
    ///
    /// # Errors
    /// As [`Rows::finish`].
    pub fn close_all(&mut self) -> Result<Vec<ChangeBatch>> {
        let mut batches = Vec::with_capacity(self.open.len());
        for table in std::mem::take(&mut self.open) {
            if let Some(rows) = self.rows[table].take() {
                self.room[table] = self.room_after(&rows);
                batches.extend(rows.finish()?);
            }
        }
        self.bytes = 0;
        self.half_full = false;
        Ok(batches)
    }

    /// Room is made ahead only under load: beside large batches there are large ones to come.
    fn room_after(&self, rows: &Rows<C>) -> usize {
        if self.half_full { rows.len() } else { 0 }
    }
}
