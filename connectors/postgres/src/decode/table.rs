//! Changes of one version of a table, appended to its rows.
//!
//! Rows go field by field from the wire into Arrow builders, which [`Rows`] keeps. Leaves order and
//! limits to `decoder`.

mod version;

use std::iter::zip;

use cdc_api::{Error, Identity, Op, Result, TransactionId, TransactionRun};
use cdc_database::rows::{Column, Rows};

use super::pgoutput::{Field, Old, Tuple};
use crate::types::ValueError;
use crate::types::append::Appender;
pub(crate) use version::TableVersion;

/// Why a row was not taken.
#[derive(Debug)]
pub(crate) enum RowError {
    /// The stream cannot be read on.
    Stream(Error),
    /// A value cannot be represented: the table is to stop.
    Value(ValueError),
}

impl From<Error> for RowError {
    fn from(error: Error) -> Self {
        Self::Stream(error)
    }
}

impl From<ValueError> for RowError {
    fn from(error: ValueError) -> Self {
        Self::Value(error)
    }
}

/// A change of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowChange<'a> {
    /// A new row.
    Insert(Tuple<'a>),
    /// A changed row, with its old one or the old key where that was sent.
    Update(Option<Old<'a>>, Tuple<'a>),
    /// A removed row.
    Delete(Old<'a>),
}

impl RowChange<'_> {
    /// How many numbers of the total order the change takes: two for an update that brings its
    /// old row, whether or not it turns out to move the key. So numbers depend on the log alone,
    /// not on which tables are captured, nor on what the catalog says of their keys today.
    pub(crate) fn numbers(&self) -> u64 {
        match self {
            Self::Update(Some(_), _) => 2,
            _ => 1,
        }
    }
}

/// What to make of values that a row leaves out because they did not change.
#[derive(Debug, Clone, Copy)]
enum Lacking<'a> {
    /// The row should be whole.
    Nothing,
    /// They are marked absent.
    Absent,
    /// They are taken from the whole old row.
    Taken(Tuple<'a>),
}

/// The transaction that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Its number.
    pub(crate) xid: u32,
    /// Where its commit record begins.
    pub(crate) commit_lsn: u64,
    /// Microseconds since the Unix epoch.
    pub(crate) commit_time: i64,
    /// The first number that it takes.
    pub(crate) first_seq: u64,
    /// Whether it is known from before the start.
    pub(crate) known: bool,
}

impl TableVersion {
    /// No rows yet, with room for `capacity` of them.
    pub(crate) fn rows(&self, capacity: usize) -> Rows<Appender> {
        Rows::new(&self.schema, self.columns(capacity), capacity)
    }

    fn columns(&self, capacity: usize) -> Vec<Appender> {
        self.types
            .iter()
            .map(|column| Appender::new(column, capacity))
            .collect()
    }

    /// Appends the rows of a change whose last number is `seq`.
    ///
    /// # Errors
    /// Nothing is appended then.
    pub(crate) fn append(
        &self,
        rows: &mut Rows<Appender>,
        change: RowChange<'_>,
        transaction: Transaction,
        seq: u64,
        offset: u64,
    ) -> Result<(), RowError> {
        let run = || TransactionRun {
            end: 0,
            id: TransactionId::Number(u64::from(transaction.xid)),
            commit_offset: transaction.commit_lsn,
            commit_time: transaction.commit_time,
            first_seq: transaction.first_seq,
        };
        rows.append(transaction.commit_lsn, run, |rows| {
            self.append_change(rows, change, seq, offset)
        })
    }

    fn append_change(
        &self,
        rows: &mut Rows<Appender>,
        change: RowChange<'_>,
        seq: u64,
        offset: u64,
    ) -> Result<(), RowError> {
        match change {
            RowChange::Insert(new) => {
                self.append_row(rows, new, Lacking::Nothing)?;
                rows.end_row(Op::Insert, seq, offset);
            }
            RowChange::Delete(old) => {
                self.append_row(rows, old.tuple(), Lacking::Nothing)?;
                rows.end_row(Op::Delete, seq, offset);
            }
            RowChange::Update(None, new) => {
                self.append_row(rows, new, Lacking::Absent)?;
                rows.end_row(Op::Update, seq, offset);
            }
            RowChange::Update(Some(old), new) => {
                let lacking = match old {
                    Old::Key(_) => Lacking::Absent,
                    Old::Full(whole) => Lacking::Taken(whole),
                };
                if self.moves(old.tuple(), new)? {
                    self.append_row(rows, old.tuple(), Lacking::Nothing)?;
                    rows.end_row(Op::MoveOut, seq - 1, offset);
                    self.append_row(rows, new, lacking)?;
                    rows.end_row(Op::MoveIn, seq, offset);
                } else {
                    self.append_row(rows, new, lacking)?;
                    if let Old::Full(old) = old
                        && self.schema.identity == Identity::Full
                    {
                        self.append_before(rows, old)?;
                    }
                    rows.end_row(Op::Update, seq, offset);
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn append_row(
        &self,
        rows: &mut Rows<Appender>,
        row: Tuple<'_>,
        lacking: Lacking<'_>,
    ) -> Result<(), RowError> {
        self.check_width(row)?;
        let mut old = match lacking {
            Lacking::Taken(whole) => {
                self.check_width(whole)?;
                Some(whole.fields())
            }
            Lacking::Absent | Lacking::Nothing => None,
        };
        let (columns, mut absent) = rows.next_row();
        for (field, place) in zip(row.fields(), &self.fields) {
            let mut field = field?;
            if let Some(old) = old.as_mut().and_then(Iterator::next) {
                let old = old?;
                if field == Field::Unchanged {
                    field = old;
                }
            }
            let Some(index) = place.column else {
                continue;
            };
            let column = &mut columns[index];
            match field {
                Field::Text(text) => column.append_text(text)?,
                Field::Binary(bytes) => column.append_binary(bytes)?,
                Field::Null => column.append_null(),
                Field::Unchanged if matches!(lacking, Lacking::Nothing) => {
                    return Err(ValueError::Missing.into());
                }
                Field::Unchanged => {
                    column.append_null();
                    absent.mark(index);
                }
            }
        }
        for &index in &self.unsent {
            columns[index].append_null();
        }
        rows.add_bytes(row.bytes(), self.width);
        Ok(())
    }

    fn append_before(&self, rows: &mut Rows<Appender>, old: Tuple<'_>) -> Result<(), RowError> {
        let columns = rows.old_row(|| self.columns(0));
        for (field, place) in zip(old.fields(), &self.fields) {
            let field = field?;
            let Some(index) = place.column else {
                continue;
            };
            let column = &mut columns[index];
            match field {
                Field::Text(text) => column.append_text(text)?,
                Field::Binary(bytes) => column.append_binary(bytes)?,
                Field::Null => column.append_null(),
                Field::Unchanged => return Err(ValueError::Missing.into()),
            }
        }
        for &index in &self.unsent {
            columns[index].append_null();
        }
        rows.add_old_bytes(old.bytes());
        Ok(())
    }
}
