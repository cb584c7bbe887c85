//! Changes of one version of a table, appended to its rows.
//!
//! A row image is cut into spans first, then appended value by value to Arrow builders, which [`Rows`]
//! keeps. Rows that are passed over are cut by the same code, so that numbers depend on the log alone.
//! Leaves order and limits to `decoder`.

use std::sync::Arc;

use cdc_api::{Error, Identity, Op, Result, TableSchema, TransactionId, TransactionRun};
use cdc_database::rows::{Column, Rows};

use super::event::{RowsEvent, RowsKind};
use crate::types::append::{Appender, Form};
use crate::types::{ColumnType, ValueError};
use crate::wire::{Short, Wire};

/// Where a value lies in an event's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// The image does not have the column.
    Absent,
    /// NULL.
    Null,
    /// A value, from one byte up to another.
    Value(usize, usize),
    /// A JSON value as the difference to the one before.
    Difference,
}

/// How rows of a table are cut: by column, and which columns are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cutter {
    forms: Vec<Form>,
    json: Vec<bool>,
}

/// A row's two images, cut.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// The only one, or an update's old one.
    pub(crate) first: Vec<Span>,
    /// An update's new one.
    pub(crate) second: Vec<Span>,
}

impl Cutter {
    /// A cutter for columns of these forms; `None` where a type is not known.
    pub(crate) fn new(columns: &[super::table_map::MapColumn]) -> Option<Self> {
        Some(Self {
            forms: columns.iter().map(|it| it.form).collect::<Option<_>>()?,
            json: columns.iter().map(|it| it.is_json()).collect(),
        })
    }

    /// Columns.
    pub(crate) fn width(&self) -> usize {
        self.forms.len()
    }

    /// Cuts the next row off `rest`, which lies in `event.rows`.
    ///
    /// # Errors
    /// Where a row ends too early.
    #[inline]
    pub(crate) fn cut(
        &self,
        event: &RowsEvent<'_>,
        rest: &mut Wire<'_>,
        images: &mut Images,
    ) -> Result<(), Short> {
        let all = event.rows.len();
        self.image(event.present, rest, all, None, &mut images.first)?;
        match event.kind {
            RowsKind::Write | RowsKind::Delete => {}
            RowsKind::Update => {
                self.image(event.after, rest, all, None, &mut images.second)?;
            }
            RowsKind::PartialUpdate => {
                let options = rest.count()?;
                let mut partial: &[u8] = &[];
                if options & 1 != 0 {
                    let count = self.json.iter().filter(|json| **json).count();
                    partial = rest.take(count.div_ceil(8))?;
                }
                self.image(event.after, rest, all, Some(partial), &mut images.second)?;
            }
        }
        Ok(())
    }

    /// Cuts one image. `partial` has a bit for each JSON column whose value is a difference.
    #[inline]
    fn image(
        &self,
        present: &[u8],
        rest: &mut Wire<'_>,
        all: usize,
        partial: Option<&[u8]>,
        spans: &mut Vec<Span>,
    ) -> Result<(), Short> {
        spans.clear();
        let count: u32 = present.iter().map(|byte| byte.count_ones()).sum();
        let nulls = rest.take((count as usize).div_ceil(8))?;
        let mut place = 0;
        let mut json = 0;
        for (index, form) in self.forms.iter().enumerate() {
            let difference = match partial {
                Some(bits) if self.json[index] => {
                    json += 1;
                    bit(bits, json - 1)
                }
                _ => false,
            };
            if !bit(present, index) {
                spans.push(Span::Absent);
                continue;
            }
            let null = bit(nulls, place);
            place += 1;
            if null {
                spans.push(Span::Null);
                continue;
            }
            let value = form.take(rest)?;
            let end = all - rest.0.len();
            spans.push(match difference {
                true => Span::Difference,
                false => Span::Value(end - value.len(), end),
            });
        }
        Ok(())
    }
}

#[inline]
fn bit(bits: &[u8], place: usize) -> bool {
    bits.get(place / 8)
        .is_some_and(|byte| byte >> (place % 8) & 1 == 1)
}

/// Whether every one of `count` bits is set.
pub(crate) fn all_set(bits: &[u8], count: usize) -> bool {
    (0..count).all(|place| bit(bits, place))
}

/// Whether the bits of all these places are set.
pub(crate) fn has(bits: &[u8], mut places: impl Iterator<Item = usize>) -> bool {
    places.all(|place| bit(bits, place))
}

/// How one version of a table is read from the log: the columns of the log are those of the schema,
/// in the same order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableVersion {
    schema: Arc<TableSchema>,
    types: Vec<ColumnType>,
    forms: Vec<Form>,
    /// Bytes of a row beside its values of varying length.
    width: usize,
}

impl TableVersion {
    /// The table `schema`, whose columns have `types` and lie in `forms`.
    ///
    /// # Errors
    /// `Internal` where their numbers differ.
    pub(crate) fn new(
        schema: Arc<TableSchema>,
        types: Vec<ColumnType>,
        forms: Vec<Form>,
    ) -> Result<Self> {
        if types.len() != schema.columns.len() || forms.len() != types.len() {
            return Err(Error::internal("a table needs one type for each column"));
        }
        // Op, number and place come with every row.
        let width = types.iter().map(ColumnType::width).sum::<usize>() + 17;
        Ok(Self {
            schema,
            types,
            forms,
            width,
        })
    }

    /// The table's shape.
    pub(crate) fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// The same with another schema of the same columns.
    pub(crate) fn with_schema(&self, schema: Arc<TableSchema>) -> Self {
        Self {
            schema,
            ..self.clone()
        }
    }
}

/// The transaction that a row belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Its name.
    pub(crate) id: TransactionId,
    /// Where it commits, on the scale of bytes; where that is not told, where it begins.
    pub(crate) commit_offset: u64,
    /// Microseconds since the Unix epoch.
    pub(crate) commit_time: i64,
    /// The first number that it takes.
    pub(crate) first_seq: u64,
}

impl Transaction {
    /// What is said of it beside a number of its rows.
    pub(crate) fn run(&self, rows: u32) -> TransactionRun {
        TransactionRun {
            end: rows,
            id: self.id.clone(),
            commit_offset: self.commit_offset,
            commit_time: self.commit_time,
            first_seq: self.first_seq,
        }
    }
}

/// A change of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowChange<'a> {
    /// What it does.
    pub(crate) kind: RowsKind,
    /// The event's rows, which the spans lie in.
    pub(crate) bytes: &'a [u8],
    /// The row's images.
    pub(crate) images: &'a Images,
}

/// How many numbers of the total order a change takes: two for an update, whether or not it turns
/// out to move the key.
pub(crate) fn numbers(kind: RowsKind) -> u64 {
    match kind {
        RowsKind::Write | RowsKind::Delete => 1,
        RowsKind::Update | RowsKind::PartialUpdate => 2,
    }
}

/// What to make of values that an image leaves out.
#[derive(Clone, Copy)]
enum Lacking<'a> {
    /// The row must be whole.
    Refused,
    /// They are null, without meaning: a delete of a row that is known by its key.
    Null,
    /// They are taken from the old image, where it has them, and else marked absent.
    Old(&'a [Span]),
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
    #[inline]
    pub(crate) fn append(
        &self,
        rows: &mut Rows<Appender>,
        change: RowChange<'_>,
        transaction: &Transaction,
        seq: u64,
        offset: u64,
    ) -> Result<(), ValueError> {
        let run = || transaction.run(0);
        rows.append(transaction.commit_offset, run, |rows| {
            self.append_change(rows, change, seq, offset)
        })
    }

    #[inline]
    fn append_change(
        &self,
        rows: &mut Rows<Appender>,
        change: RowChange<'_>,
        seq: u64,
        offset: u64,
    ) -> Result<(), ValueError> {
        let RowChange {
            kind,
            bytes,
            images,
        } = change;
        let by_key = self.schema.identity == Identity::Key;
        let gone = match by_key {
            true => Lacking::Null,
            false => Lacking::Refused,
        };
        let (first, second) = (images.first.as_slice(), images.second.as_slice());
        match kind {
            RowsKind::Write => {
                self.append_row(rows, bytes, first, Lacking::Refused)?;
                rows.end_row(Op::Insert, seq, offset);
            }
            RowsKind::Delete => {
                self.append_row(rows, bytes, first, gone)?;
                rows.end_row(Op::Delete, seq, offset);
            }
            RowsKind::Update | RowsKind::PartialUpdate => {
                if self.moves(bytes, first, second) {
                    self.append_row(rows, bytes, first, gone)?;
                    rows.end_row(Op::MoveOut, seq - 1, offset);
                    self.append_row(rows, bytes, second, Lacking::Old(first))?;
                    rows.end_row(Op::MoveIn, seq, offset);
                } else {
                    self.append_row(rows, bytes, second, Lacking::Old(first))?;
                    if !by_key {
                        self.append_before(rows, bytes, first)?;
                    }
                    rows.end_row(Op::Update, seq, offset);
                }
            }
        }
        Ok(())
    }

    /// Whether an update gives the row another key, or, without a key, is one of whole rows.
    #[inline]
    fn moves(&self, bytes: &[u8], old: &[Span], new: &[Span]) -> bool {
        let key = &self.schema.key;
        let value = |span: &Span| match *span {
            Span::Value(start, end) => bytes.get(start..end),
            _ => None,
        };
        key.is_empty()
            || key.iter().any(|&index| {
                new[index] != Span::Absent && value(&old[index]) != value(&new[index])
            })
    }

    #[inline]
    fn append_row(
        &self,
        rows: &mut Rows<Appender>,
        bytes: &[u8],
        spans: &[Span],
        lacking: Lacking<'_>,
    ) -> Result<(), ValueError> {
        let mut size = 0;
        let (columns, mut absent) = rows.next_row();
        for (index, column) in columns.iter_mut().enumerate() {
            let mut span = spans[index];
            if span == Span::Absent {
                match lacking {
                    Lacking::Refused => return Err(ValueError::Missing),
                    Lacking::Null => span = Span::Null,
                    Lacking::Old(old) => span = old[index],
                }
            }
            match span {
                Span::Value(start, end) => {
                    let value = bytes.get(start..end).ok_or(ValueError::Malformed)?;
                    size += value.len();
                    column.append_logged(self.forms[index], value)?;
                }
                Span::Null => column.append_null(),
                Span::Absent => {
                    column.append_null();
                    absent.mark(index);
                }
                Span::Difference => return Err(ValueError::Partial),
            }
        }
        rows.add_bytes(size, self.width);
        Ok(())
    }

    fn append_before(
        &self,
        rows: &mut Rows<Appender>,
        bytes: &[u8],
        spans: &[Span],
    ) -> Result<(), ValueError> {
        let mut size = 0;
        let columns = rows.old_row(|| self.columns(0));
        for (index, column) in columns.iter_mut().enumerate() {
            match spans[index] {
                Span::Value(start, end) => {
                    let value = bytes.get(start..end).ok_or(ValueError::Malformed)?;
                    size += value.len();
                    column.append_logged(self.forms[index], value)?;
                }
                Span::Null => column.append_null(),
                Span::Absent => return Err(ValueError::Missing),
                Span::Difference => return Err(ValueError::Partial),
            }
        }
        rows.add_old_bytes(size);
        Ok(())
    }
}
