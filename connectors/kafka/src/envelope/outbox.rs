//! Rows of an outbox table as the events that they hold, as Debezium's `EventRouter` routes them:
//! one record for each row that is inserted, in the topic that the row names, its payload being the
//! value.
//!
//! Invariant: what an event says is in its row alone; updates and deletes of rows are housekeeping,
//! and no events.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use cdc_api::{ChangeBatch, Error, Op, Result, TableSchema};

use super::kind::Kind;
use super::kind::write::{binary, utf8};
use super::wire::Json;
use super::{Connector, Headers, Record, Take};
use crate::config::{KafkaConfig, Operation};

/// Writes the events of one outbox table.
pub(super) struct Outbox {
    prefix: String,
    route: Column,
    key: Column,
    payload: Column,
    /// Columns that stand in headers, by the headers' names.
    headers: Vec<(String, Column)>,
    topic: String,
    text: Vec<u8>,
    value: Vec<u8>,
    buffer: Headers,
}

struct Column {
    index: usize,
    kind: Kind,
}

impl Outbox {
    /// What the settings say, if they say that the table is one.
    ///
    /// # Errors
    /// Of the table, where a column is not there.
    pub(super) fn new(
        table: &Arc<TableSchema>,
        connector: Connector,
        config: &KafkaConfig,
    ) -> Result<Option<Self>> {
        let settings = &config.outbox;
        let selection = settings.selection()?;
        if !selection.is_some_and(|tables| tables.matches(&table.name)) {
            return Ok(None);
        }
        let column = |name: &str, setting: &str| {
            let index = table.columns.iter().position(|it| it.name == name);
            let found = index.and_then(|index| {
                let kind = Kind::of(&table.columns[index], connector, config)?;
                Some(Column { index, kind })
            });
            found.ok_or_else(|| {
                Error::unsupported(format!("{} has no column `{name}`", table.name))
                    .hint(format!(
                        "set `outbox.{setting}` of the sink to the column's name, then cdc snapshot {}",
                        table.name
                    ))
                    .for_table(table.id)
            })
        };
        let mut headers = vec![("id".to_owned(), column(&settings.id, "id")?)];
        for (name, header) in &settings.headers {
            headers.push((header.clone(), column(name, "headers")?));
        }
        Ok(Some(Self {
            prefix: settings.topic_prefix.clone(),
            route: column(&settings.route_by, "route_by")?,
            key: column(&settings.key, "key")?,
            payload: column(&settings.payload, "payload")?,
            headers,
            topic: String::new(),
            text: Vec::new(),
            value: Vec::new(),
            buffer: Headers::default(),
        }))
    }

    /// Writes the events of a batch, in order.
    ///
    /// # Errors
    /// Those of `take`; of the table, where an event has no topic.
    pub(super) fn encode(
        &mut self,
        batch: &ChangeBatch,
        config: &KafkaConfig,
        take: Take<'_>,
    ) -> Result<()> {
        for row in 0..batch.len() {
            let wanted = match batch.op(row) {
                Op::Insert => !config.skips(Operation::Create),
                Op::Read => !config.skips(Operation::Read),
                _ => false,
            };
            if wanted {
                self.event(batch, row, take)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, batch: &ChangeBatch, row: usize, take: Take<'_>) -> Result<()> {
        let table = &batch.table;
        self.text.clear();
        if !plain(&mut self.text, &self.route, &batch.rows, row) || self.text.is_empty() {
            let name = &table.columns[self.route.index].name;
            return Err(Error::data(format!(
                "a row of {} has nothing in column `{name}`, which names its topic",
                table.name
            ))
            .hint(format!(
                "ALTER TABLE {} ALTER COLUMN \"{name}\" SET NOT NULL, then cdc snapshot {}",
                table.name.quoted(),
                table.name
            ))
            .for_table(table.id));
        }
        self.topic.clear();
        self.topic.push_str(&self.prefix);
        let routed = String::from_utf8_lossy(&self.text);
        self.topic.extend(routed.chars().map(crate::topics::letter));
        self.buffer.clear();
        for (name, column) in &self.headers {
            self.buffer.push(name, |out| {
                plain(out, column, &batch.rows, row);
            });
        }
        self.text.clear();
        let keyed = plain(&mut self.text, &self.key, &batch.rows, row);
        self.value.clear();
        let filled = plain(&mut self.value, &self.payload, &batch.rows, row);
        take(Record {
            topic: Some(&self.topic),
            key: keyed.then_some(self.text.as_slice()),
            value: filled.then_some(self.value.as_slice()),
            headers: &self.buffer,
            seq: batch.seq[row],
            version: table.version,
        })
    }
}

/// Appends a value as it is: text and bytes themselves, all else as in JSON without quotes. False
/// where there is none.
fn plain(out: &mut Vec<u8>, column: &Column, rows: &RecordBatch, row: usize) -> bool {
    let array: &ArrayRef = rows.column(column.index);
    if array.is_null(row) {
        return false;
    }
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => {
            out.extend_from_slice(utf8(array, row).as_bytes());
        }
        DataType::Binary | DataType::LargeBinary => out.extend_from_slice(binary(array, row)),
        _ => {
            let start = out.len();
            // JSON has a place for every value.
            let written = column.kind.write_in::<Json>(out, false, array, row);
            debug_assert!(written.is_ok());
            if out.get(start) == Some(&b'"') {
                out.pop();
                out.remove(start);
            }
        }
    }
    true
}
