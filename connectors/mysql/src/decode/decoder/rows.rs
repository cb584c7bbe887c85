//! Table maps and the rows that follow them.

use std::sync::Arc;

use cdc_api::{ChangeEvent, Error, Identity, Result, TableSchema};

use super::{Answer, Decoder, State, unexpected};
use crate::decode::definition::Defined;
use crate::decode::event::{self, NO_TABLE, RowsEvent, RowsKind};
use crate::decode::shape::{self, Context};
use crate::decode::table::{Cutter, RowChange, TableVersion, all_set, has, numbers};
use crate::decode::table_map::{self, TableMap};
use crate::types::ValueError;
use crate::wire::Wire;

/// A table map as rows need it.
#[derive(Debug)]
pub(super) struct Mapped {
    /// Everything but its number and flags.
    essence: Box<[u8]>,
    /// `None` where a type is not known: then nobody can say where a row ends.
    cutter: Option<Cutter>,
    /// How long values are is not said: only who knows the table can tell where a row ends.
    old_times: bool,
    table: usize,
}

impl Decoder {
    /// Takes note of a table map, and asks for the table where it is not known in this shape.
    pub(super) fn table_map(&mut self, body: &[u8]) -> Result<()> {
        let number = table_map::number(body)?;
        let essence = body.get(8..).unwrap_or_default();
        if let Some(mapped) = self.maps.get(&number)
            && *mapped.essence == *essence
            && !matches!(self.tables[mapped.table].state, State::Unknown)
        {
            return Ok(());
        }
        let map = TableMap::parse(body)?;
        let index = self.table(map.name.clone());
        let same = match &self.tables[index].state {
            State::Unknown => false,
            State::Skipped => true,
            State::Captured(known, _) | State::Broken(known) => **known == *essence,
        };
        if same {
            self.map(number, &map, essence.into(), index);
        } else {
            self.asked = Some((number, map, essence.into(), index));
        }
        Ok(())
    }

    fn map(&mut self, number: u64, map: &TableMap, essence: Box<[u8]>, table: usize) {
        let mapped = Mapped {
            essence,
            cutter: Cutter::new(&map.columns),
            old_times: map.has_old_times(),
            table,
        };
        self.maps.insert(number, Arc::new(mapped));
    }

    /// Answers [`super::Step::Describe`].
    ///
    /// # Errors
    /// `Internal`, when nothing was asked.
    pub(crate) fn answer(&mut self, answer: &Answer) -> Result<()> {
        let (number, map, essence, index) = self
            .asked
            .take()
            .ok_or_else(|| Error::internal("an answer to no question"))?;
        let notes = match answer {
            Answer::Skipped => {
                self.cut(index)?;
                self.tables[index].state = State::Skipped;
                self.tables[index].announced = None;
                self.map(number, &map, essence, index);
                return Ok(());
            }
            Answer::Refused(message, hint) => {
                self.cut(index)?;
                let table = &mut self.tables[index];
                table.state = State::Broken(essence.clone());
                table.announced = None;
                self.fail(index, self.seq + 1, message.clone(), hint.clone())?;
                self.map(number, &map, essence, index);
                return Ok(());
            }
            Answer::Captured(notes) => notes.as_ref(),
        };
        let table = &self.tables[index];
        let version = shape::version(
            &map,
            &Context {
                name: &table.name,
                collations: &self.collations,
                options: self.options,
                notes,
                known: table.known.as_ref(),
                added: &table.added,
                cut: table.cut,
                defined: match &table.defined {
                    None => {
                        Err("the table has not been in a snapshot since the log says so little")
                    }
                    Some(Defined::Known(definition)) => Ok(definition),
                    Some(Defined::Lost(why)) => Err(why),
                },
                seq: self.seq,
            },
        );
        match version {
            Ok(version) => {
                let table = &mut self.tables[index];
                let same = table.announced.as_ref() == Some(version.schema());
                table.known = Some(Arc::clone(version.schema()));
                table.added.clear();
                table.cut = false;
                table.state = State::Captured(essence.clone(), Arc::new(version));
                if !same {
                    table.announced = None;
                    self.cut(index)?;
                }
            }
            Err(error) => {
                self.cut(index)?;
                let table = &mut self.tables[index];
                table.state = State::Broken(essence.clone());
                table.announced = None;
                let message = format!("{}: {error}", table.name);
                let hint = error.hint_text().unwrap_or_default().to_owned();
                self.fail(index, self.seq + 1, message, hint)?;
            }
        }
        self.map(number, &map, essence, index);
        Ok(())
    }

    /// The rows of one event.
    pub(super) fn rows(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let Some((rows_kind, second, compressed)) = event::rows_kind(kind) else {
            return Err(Error::internal("not an event with rows"));
        };
        let event = event::rows(rows_kind, second, body)?;
        if self.open.is_none() {
            return Err(unexpected("rows outside of a transaction"));
        }
        if event.table == NO_TABLE && event.rows.is_empty() {
            return Ok(());
        }
        if !compressed {
            return self.cut_rows(event);
        }
        let mut inflated = std::mem::take(&mut self.inflated);
        inflated.clear();
        let result = event::inflate(event.rows, &mut inflated).and_then(|()| {
            self.cut_rows(RowsEvent {
                rows: &inflated,
                ..event
            })
        });
        if inflated.capacity() <= 1 << 20 {
            self.inflated = inflated;
        }
        result
    }

    fn cut_rows(&mut self, event: RowsEvent<'_>) -> Result<()> {
        let mapped = self
            .maps
            .get(&event.table)
            .ok_or_else(|| unexpected("rows of a table that was not described"))?;
        let mapped = Arc::clone(mapped);
        let index = mapped.table;
        let Some(cutter) = &mapped.cutter else {
            // Its table has failed already, if it is captured.
            self.seq += 1;
            return Ok(());
        };
        if event.columns != cutter.width() {
            return Err(unexpected("rows of another width than their table"));
        }
        let mut version = self.captured(index);
        if let Some(captured) = &version {
            version = self.fit(index, Arc::clone(captured), &event)?;
        }
        // Of these an event takes so many numbers as it has bytes, whether or not it can be cut.
        let end = mapped.old_times.then(|| self.seq + event.rows.len() as u64);
        if let (Some(end), None) = (end, &version) {
            self.seq = end;
            return Ok(());
        }
        let transaction = match &self.open {
            Some(open) => open.transaction.clone(),
            None => return Err(unexpected("rows outside of a transaction")),
        };
        let offset = crate::position::scale(&self.file, self.offset);
        let step = numbers(event.kind);
        let mut images = std::mem::take(&mut self.images);
        let mut rest = Wire(event.rows);
        let mut done = self.part.map_or(0, |part| part.done(self.counted));
        while !rest.is_empty() {
            let left = rest.0.len();
            cutter.cut(&event, &mut rest, &mut images)?;
            if rest.0.len() == left {
                return Err(unexpected("rows without bytes"));
            }
            let first = self.seq + 1;
            self.seq += step;
            if done > 0 {
                done -= 1;
                continue;
            }
            let Some(captured) = &version else {
                continue;
            };
            self.announce(index, captured)?;
            let change = RowChange {
                kind: event.kind,
                bytes: event.rows,
                images: &images,
            };
            let seq = self.seq;
            let appended = self.batches.append(
                index,
                |room| captured.rows(room),
                |rows| captured.append(rows, change, &transaction, seq, offset),
            );
            match appended {
                Ok(()) => {}
                Err(value) => {
                    self.refuse(index, first, captured.schema(), value)?;
                    version = None;
                    continue;
                }
            }
            if self.batches.too_many_bytes() {
                self.close_all()?;
            } else if self.batches.too_many_rows(index) {
                self.cut(index)?;
            }
        }
        self.images = images;
        if let Some(end) = end {
            self.seq = end;
        }
        Ok(())
    }

    /// The version to read rows by; `None` where they are passed over.
    fn captured(&self, index: usize) -> Option<Arc<TableVersion>> {
        let table = &self.tables[index];
        match &table.state {
            State::Captured(_, version) if !table.failed => Some(Arc::clone(version)),
            _ => None,
        }
    }

    fn announce(&mut self, index: usize, version: &TableVersion) -> Result<()> {
        if self.tables[index].announced.is_none() {
            let schema = Arc::clone(version.schema());
            self.tables[index].announced = Some(Arc::clone(&schema));
            self.report_rows()?;
            self.events.push_back(ChangeEvent::Schema(schema));
        }
        Ok(())
    }

    fn refuse(
        &mut self,
        index: usize,
        seq: u64,
        schema: &TableSchema,
        value: ValueError,
    ) -> Result<()> {
        let message = format!("{}: {}", schema.name, value.message());
        self.fail(index, seq, message, value.hint().to_owned())
    }

    /// What old images must hold: whole rows, or else the key; then the table's rows are known by
    /// it from here on. `None` where the table has stopped, or its rows are not wanted.
    fn fit(
        &mut self,
        index: usize,
        version: Arc<TableVersion>,
        event: &RowsEvent<'_>,
    ) -> Result<Option<Arc<TableVersion>>> {
        let whole = all_set(event.present, event.columns);
        let schema = version.schema();
        if event.kind != RowsKind::Write && schema.identity == Identity::None {
            return Ok(None);
        }
        if whole {
            return Ok(Some(version));
        }
        let by_key = event.kind != RowsKind::Write
            && !schema.key.is_empty()
            && has(event.present, schema.key.iter().copied());
        if !by_key {
            self.refuse(index, self.seq + 1, schema, ValueError::Missing)?;
            return Ok(None);
        }
        if schema.identity == Identity::Key {
            return Ok(Some(version));
        }
        let shape = TableSchema::new(
            schema.id,
            schema.name.clone(),
            schema.version + 1,
            schema.columns.clone(),
            schema.key.clone(),
            Identity::Key,
        );
        let version = Arc::new(version.with_schema(Arc::new(shape)));
        self.cut(index)?;
        let table = &mut self.tables[index];
        table.known = Some(Arc::clone(version.schema()));
        table.announced = None;
        if let State::Captured(_, current) = &mut table.state {
            *current = Arc::clone(&version);
        }
        Ok(Some(version))
    }
}
