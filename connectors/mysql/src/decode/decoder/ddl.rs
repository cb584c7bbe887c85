//! What statements do to captured tables.

use std::borrow::Cow;
use std::sync::Arc;

use cdc_api::{ChangeEvent, Result, TableName};

use super::{Decoder, State};
use crate::decode::definition::Defined;
use crate::decode::definition::change::{Change, renamed};
use crate::decode::event::Query;
use crate::decode::shape;
use crate::decode::statement::{self, Alteration, Effect, Session, Statement};
use crate::position::Gtids;

/// Why a statement in place of rows stops everything.
const STATEMENT: &str = "the log holds a statement in place of the rows that it changed";

/// Whether a conversion is to a character set that has not all characters.
fn loses_characters(change: &Change) -> bool {
    matches!(change, Change::Convert(name) if !name.starts_with("utf"))
}

/// Why an `ALTER TABLE` is not followed.
enum Unfollowed {
    /// The definition is not known after it: where the log says the shape itself, that may not matter.
    Shape(String),
    /// Older rows hold what nobody can know.
    Rows(String),
}

/// A statement as it was written.
pub(super) struct Written<'a> {
    pub(super) text: Cow<'a, str>,
    schema: Cow<'a, str>,
    strict: bool,
    doubtful: bool,
}

impl Decoder {
    /// What a statement does.
    pub(super) fn statement(&self, query: &Query<'_>) -> Statement {
        let written = self.written(query);
        statement::read(written.text.as_bytes(), &self.session(&written))
    }

    /// A statement's text, and what it was run under.
    pub(super) fn written<'a>(&self, query: &Query<'a>) -> Written<'a> {
        const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
        const STRICT: u64 = 1 << 21 | 1 << 22;
        let (mode, collation) = query.written_under();
        let mut written = Written {
            text: String::from_utf8_lossy(query.text),
            schema: String::from_utf8_lossy(query.schema),
            strict: mode & STRICT != 0,
            doubtful: mode & NO_BACKSLASH_ESCAPES != 0 && query.text.contains(&b'\\'),
        };
        if query.text.is_ascii() {
            return written;
        }
        let charset = collation.and_then(|it| self.collations.charset(it).ok()?);
        let mut text = String::new();
        match charset {
            Some(charset) if charset.decode(query.text, &mut text).is_ok() => {
                written.text = text.into();
            }
            _ => {
                written.doubtful |= charset.is_some() || std::str::from_utf8(query.text).is_err();
            }
        }
        written
    }

    /// What the statement's meaning depends on.
    pub(super) fn session<'a>(&self, written: &'a Written<'_>) -> Session<'a> {
        Session {
            schema: &written.schema,
            maria: matches!(self.gtids, Gtids::Maria(_)),
            lower_names: self.lower_names,
            strict: written.strict,
            doubtful: written.doubtful,
        }
    }

    /// A statement that changed rows was logged as such.
    pub(super) fn statement_logged(&mut self) -> Result<()> {
        self.fail_all(
            STATEMENT,
            "SET PERSIST binlog_format = ROW (MariaDB: SET GLOBAL, and in its option file); also in \
             sessions that set it themselves",
        )
    }

    /// Stops every captured table: which ones are concerned nobody can say.
    pub(super) fn fail_all(&mut self, message: &str, hint: &str) -> Result<()> {
        self.seq += 1;
        for index in 0..self.tables.len() {
            let table = &self.tables[index];
            let captured = match table.state {
                State::Captured(..) | State::Broken(_) => true,
                State::Unknown => table.known.is_some(),
                State::Skipped => false,
            };
            if captured {
                let hint = format!("{hint}; then cdc snapshot {}", table.name);
                let message = format!("{}: {message}", table.name);
                self.fail(index, self.seq, message, hint)?;
            }
        }
        Ok(())
    }

    /// One effect of a statement, whose number is `self.seq`.
    pub(super) fn effect(&mut self, effect: Effect) -> Result<()> {
        match effect {
            Effect::Created(name) => self.altered(&name, Vec::new()),
            Effect::Database(_) => Ok(()),
            Effect::Altered(name, alteration) => {
                let followed = self.redefine(&name, &alteration)?;
                let Some(index) = self.concerned(&name) else {
                    return self.altered(&name, alteration.added);
                };
                if self.tables[index].known.is_none() {
                    return self.stop(&name, "it was altered, and what it was before is not known");
                }
                let changes = alteration.changes.as_deref().unwrap_or_default();
                if alteration.cuts && changes.iter().any(loses_characters) {
                    return self.stop(
                        &name,
                        "its text was converted under an sql_mode that replaces characters which the \
                         new character set has not",
                    );
                }
                match followed {
                    Ok(()) => {
                        for added in &mut self.tables[index].added {
                            added.name = renamed(&added.name, changes).unwrap_or_default();
                        }
                    }
                    Err(Unfollowed::Rows(why)) => return self.stop(&name, &why),
                    Err(Unfollowed::Shape(why)) if alteration.renames => {
                        return self.stop(&name, &format!("a column was renamed, and {why}"));
                    }
                    Err(Unfollowed::Shape(why)) if self.converts_members(index, changes) => {
                        return self.stop(&name, &why);
                    }
                    Err(Unfollowed::Shape(_)) => self.tables[index].cut |= alteration.cuts,
                }
                self.altered(&name, alteration.added)
            }
            Effect::Unlogged(name, what) => self.stop(
                &name,
                &format!("its rows were changed by {what}, which the log does not hold"),
            ),
            Effect::Dropped(name) => self.gone(&name, "it was dropped"),
            Effect::Renamed(from, to) => {
                self.gone(&from, "it was renamed")?;
                self.gone(&to, "another table was renamed to it")
            }
            Effect::DroppedSchema(schema) => {
                let names: Vec<_> = self
                    .tables
                    .iter()
                    .map(|table| table.name.clone())
                    .filter(|name| name.schema == schema)
                    .collect();
                names
                    .iter()
                    .try_for_each(|name| self.gone(name, "its database was dropped"))
            }
            Effect::Truncated(name) => {
                let Some(index) = self.concerned(&name) else {
                    return Ok(());
                };
                self.cut(index)?;
                // Also when the table had no open rows.
                self.report_rows()?;
                let commit_time = match &self.open {
                    Some(open) => open.transaction.commit_time,
                    None => self.done.time,
                };
                self.events.push_back(ChangeEvent::Truncate {
                    tables: vec![self.tables[index].id],
                    seq: self.seq,
                    commit_time,
                });
                Ok(())
            }
        }
    }

    /// The table, if it is captured, or may be, and has not failed.
    fn concerned(&mut self, name: &TableName) -> Option<usize> {
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None if (self.wants)(name) => self.table(name.clone()),
            None => return None,
        };
        let table = &self.tables[index];
        let captured = match table.state {
            State::Captured(..) => true,
            State::Unknown => table.known.is_some() || (self.wants)(name),
            State::Skipped | State::Broken(_) => false,
        };
        (captured && !table.failed).then_some(index)
    }

    /// The table's next rows may have another shape: it is looked up again.
    fn altered(&mut self, name: &TableName, added: Vec<statement::Added>) -> Result<()> {
        if let Some(&index) = self.by_name.get(name) {
            self.cut(index)?;
            let table = &mut self.tables[index];
            table.added.extend(added);
            table.state = State::Unknown;
        }
        Ok(())
    }

    /// What becomes of the table's definition. Inside, why the table is not known by it, or why its
    /// older rows are not.
    fn redefine(
        &mut self,
        name: &TableName,
        alteration: &Alteration,
    ) -> Result<Result<(), Unfollowed>> {
        let unknown = || Unfollowed::Shape("its definition was not known before".to_owned());
        let Some(&index) = self.by_name.get(name) else {
            return Ok(Err(unknown()));
        };
        let Some(Defined::Known(definition)) = &self.tables[index].defined else {
            return Ok(Err(unknown()));
        };
        let definition = Arc::clone(definition);
        let after = match &alteration.changes {
            Some(changes) if changes.is_empty() => return Ok(Ok(())),
            Some(changes) => definition.after(changes, self.seq),
            None => Err("a statement altered it that is not understood".to_owned()),
        };
        match after {
            Ok(after) => {
                let rows = shape::altered(&definition, &after, alteration.cuts, name, self.options);
                // Of columns without identity nobody knows which of the sinks' columns they were.
                let anonymous =
                    alteration.renames && definition.columns.iter().any(|it| it.id.is_none());
                self.define(index, Defined::Known(Arc::new(after)))?;
                Ok(match rows {
                    Err(why) => Err(Unfollowed::Rows(why.message().to_owned())),
                    Ok(()) if anonymous => Err(unknown()),
                    Ok(()) => Ok(()),
                })
            }
            Err(why) => {
                self.define(index, Defined::Lost(why.clone()))?;
                Ok(Err(Unfollowed::Shape(why)))
            }
        }
    }

    /// Whether a conversion may have given the table's members other texts: MySQL 9.7 takes the bytes
    /// of members for text of the new character set.
    fn converts_members(&self, index: usize, changes: &[Change]) -> bool {
        let listed = |column: &cdc_api::Column| {
            column.source_type.starts_with("enum(") || column.source_type.starts_with("set(")
        };
        let known = self.tables[index].known.as_ref();
        matches!(self.gtids, Gtids::MySql(_) | Gtids::Off)
            && changes.iter().any(|it| matches!(it, Change::Convert(_)))
            && known.is_some_and(|known| known.columns.iter().any(listed))
    }

    /// Keeps what a table is from here on.
    fn define(&mut self, index: usize, defined: Defined) -> Result<()> {
        let table = &mut self.tables[index];
        self.definitions.note(self.seq, [(&table.name, &defined)])?;
        table.defined = Some(defined);
        Ok(())
    }

    /// The table is another one from here on, or none.
    fn gone(&mut self, name: &TableName, why: &str) -> Result<()> {
        if let Some(&index) = self.by_name.get(name)
            && matches!(self.tables[index].defined, Some(Defined::Known(_)))
        {
            self.define(index, Defined::Lost(why.to_owned()))?;
        }
        self.stop(name, why)
    }

    fn stop(&mut self, name: &TableName, why: &str) -> Result<()> {
        if let Some(index) = self.concerned(name) {
            let message = format!("{name}: {why}");
            self.fail(index, self.seq, message, format!("cdc snapshot {name}"))?;
        }
        if let Some(&index) = self.by_name.get(name) {
            self.tables[index].state = State::Unknown;
        }
        Ok(())
    }
}
