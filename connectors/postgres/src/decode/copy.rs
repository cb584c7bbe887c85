//! COPY in binary, to record batches.
//!
//! Takes the bytes of CopyData messages cut anywhere: a row that is not whole yet waits for the
//! next piece. Invariant: rows are given whole and in order, and the end is known only by the
//! trailer: a copy cut short is an error. Section "Binary Format" of COPY in PostgreSQL's manual.

use std::sync::Arc;

use arrow::array::RecordBatch;
use cdc_api::{BatchLimits, Error, Result, TableSchema};
use cdc_database::rows::{Column as _, record_batch};

use crate::types::append::Appender;
use crate::types::{ColumnType, ValueError};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Reads one COPY. Its columns are the schema's, selected by [`ColumnType::copy_expression`].
#[derive(Debug)]
pub(crate) struct CopyDecoder {
    schema: Arc<TableSchema>,
    types: Vec<ColumnType>,
    columns: Vec<Column>,
    limits: BatchLimits,
    state: State,
    /// The beginning of a part whose rest has not come yet.
    carry: Vec<u8>,
    rows: usize,
    bytes: usize,
    /// Bytes of a row beside its values of varying length.
    width: usize,
}

#[derive(Debug)]
struct Column {
    appender: Appender,
    binary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Ended,
}

enum Part {
    /// Not whole: wait.
    Short,
    /// Taken, so many bytes.
    Taken(usize),
}

impl CopyDecoder {
    /// Reads rows of `schema`, whose columns have `types`.
    pub(crate) fn new(
        schema: Arc<TableSchema>,
        types: Vec<ColumnType>,
        limits: BatchLimits,
    ) -> Self {
        Self {
            columns: columns(&types, 0),
            width: types.iter().map(ColumnType::width).sum(),
            schema,
            types,
            limits,
            state: State::Header,
            carry: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes a piece of the copy. Returns whether a batch is full: [`Self::take`] it.
    ///
    /// # Errors
    /// `Data` when it is not a COPY in binary; `Unsupported`, of this table, when a value cannot
    /// be represented.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<bool> {
        if self.carry.is_empty() {
            let taken = self.take_parts(piece)?;
            self.carry.extend_from_slice(&piece[taken..]);
        } else {
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(piece);
            let taken = self.take_parts(&carry)?;
            carry.drain(..taken);
            self.carry = carry;
        }
        Ok(self.rows >= self.limits.rows || self.bytes >= self.limits.bytes)
    }

    /// The rows so far, or `None` if there is none.
    ///
    /// # Errors
    /// `Internal`, when schema and types are not the same.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        if rows == 0 {
            return Ok(None);
        }
        let mut done = std::mem::replace(&mut self.columns, columns(&self.types, rows));
        let mut appenders: Vec<Appender> = done.drain(..).map(|column| column.appender).collect();
        record_batch(&self.schema, &mut appenders, rows).map(Some)
    }

    /// The rows that are left, after the last piece.
    ///
    /// # Errors
    /// `Transient` when the copy was cut short.
    pub(crate) fn finish(mut self) -> Result<Option<RecordBatch>> {
        if self.state != State::Ended {
            return Err(Error::transient("the copy ended before its last row"));
        }
        self.take()
    }

    fn take_parts(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let part = match self.state {
                State::Header => self.header(rest)?,
                State::Rows => self.row(rest)?,
                State::Ended if rest.is_empty() => Part::Short,
                State::Ended => return Err(Error::data("the copy goes on after its end")),
            };
            match part {
                Part::Short => return Ok(taken),
                Part::Taken(count) => taken += count,
            }
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Part> {
        let known = bytes.len().min(SIGNATURE.len());
        if bytes[..known] != SIGNATURE[..known] {
            return Err(Error::data("the copy is not in binary format"));
        }
        let Some((flags, rest)) = bytes
            .get(SIGNATURE.len()..)
            .and_then(<[u8]>::split_first_chunk)
        else {
            return Ok(Part::Short);
        };
        // Bits 16 to 31 are critical; the only one that was ever given says that oids come along.
        if u32::from_be_bytes(*flags) >> 16 != 0 {
            return Err(Error::data(
                "the copy has critical flags that are not known",
            ));
        }
        let Some((length, rest)) = rest.split_first_chunk() else {
            return Ok(Part::Short);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if rest.len() < length {
            return Ok(Part::Short);
        }
        self.state = State::Rows;
        Ok(Part::Taken(SIGNATURE.len() + 8 + length))
    }

    fn row(&mut self, bytes: &[u8]) -> Result<Part> {
        let Some((count, fields)) = bytes.split_first_chunk() else {
            return Ok(Part::Short);
        };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            self.state = State::Ended;
            return Ok(Part::Taken(2));
        }
        if usize::try_from(count).ok() != Some(self.columns.len()) {
            return Err(Error::data(format!(
                "a copied row has {count} fields where {} were selected",
                self.columns.len()
            )));
        }
        // A row is taken only whole, so that nothing must be taken back.
        let mut rest = fields;
        for _ in 0..count {
            match next_field(&mut rest)? {
                Some(_) => {}
                None => return Ok(Part::Short),
            }
        }
        let length = bytes.len() - rest.len();
        let mut rest = fields;
        for column in &mut self.columns {
            let field = next_field(&mut rest)?.flatten();
            let appended = match field {
                None => {
                    column.appender.append_null();
                    Ok(())
                }
                Some(bytes) if column.binary => column.appender.append_binary(bytes),
                Some(bytes) => column.appender.append_text(bytes),
            };
            appended.map_err(|error| unsupported(&self.schema, error))?;
        }
        self.rows += 1;
        self.bytes += length + self.width;
        Ok(Part::Taken(length))
    }
}

/// Splits a field off: `None` if it is not whole, `Some(None)` for NULL.
fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Option<Option<&'a [u8]>>> {
    let Some((length, after)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if length == -1 {
        *rest = after;
        return Ok(Some(None));
    }
    let length =
        usize::try_from(length).map_err(|_| Error::data("a copied field has no length"))?;
    Ok(after.split_at_checked(length).map(|(field, after)| {
        *rest = after;
        Some(field)
    }))
}

fn unsupported(schema: &TableSchema, error: ValueError) -> Error {
    Error::unsupported(format!("{}: {}", schema.name, error.message()))
        .hint(error.hint())
        .for_table(schema.id)
}

fn columns(types: &[ColumnType], capacity: usize) -> Vec<Column> {
    types
        .iter()
        .map(|column| Column {
            appender: Appender::new(column, capacity),
            binary: column.reads_binary(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
