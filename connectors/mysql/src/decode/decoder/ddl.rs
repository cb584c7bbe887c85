//! What statements do to captured tables.

use cdc_api::{ChangeEvent, Result};

use super::{Decoder, State};
use crate::decode::statement::Effect;

/// Why a statement in place of rows stops everything.
const STATEMENT: &str = "the log holds a statement in place of the rows that it changed";

impl Decoder {
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
            Effect::Altered(name, added) => self.altered(&name, added),
            Effect::Unlogged(name, what) => self.stop(
                &name,
                &format!("its rows were changed by {what}, which the log does not hold"),
            ),
            Effect::Dropped(name) => self.stop(&name, "it was dropped"),
            Effect::Renamed(from, to) => {
                self.stop(&from, "it was renamed")?;
                self.stop(&to, "another table was renamed to it")
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
                    .try_for_each(|name| self.stop(name, "its database was dropped"))
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

    /// The table, if it is captured and has not failed.
    fn concerned(&self, name: &cdc_api::TableName) -> Option<usize> {
        let index = *self.by_name.get(name)?;
        let table = &self.tables[index];
        let captured = match table.state {
            State::Captured(..) => true,
            State::Unknown => table.known.is_some(),
            State::Skipped | State::Broken(_) => false,
        };
        (captured && !table.failed).then_some(index)
    }

    /// The table's next rows may have another shape: it is looked up again.
    fn altered(
        &mut self,
        name: &cdc_api::TableName,
        added: Vec<crate::decode::statement::Added>,
    ) -> Result<()> {
        if let Some(&index) = self.by_name.get(name) {
            self.cut(index)?;
            let table = &mut self.tables[index];
            table.added.extend(added);
            table.state = State::Unknown;
        }
        Ok(())
    }

    fn stop(&mut self, name: &cdc_api::TableName, why: &str) -> Result<()> {
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
