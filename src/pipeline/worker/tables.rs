//! Which of a sink's tables is where.
//!
//! Invariant: what is joined is read back from the sink; the state database adds only why a table
//! stopped, and the plans of unfinished copies.

use std::sync::Arc;

use cdc_api::{CopyId, Error, ErrorKind, Result, TableId, TableName, TableSchema};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::adopt;
use super::super::board::{Meter, TableView};
use super::super::shared::Captured;
use super::Worker;
use crate::admin::status::{Problem, TableState as Shown};
use crate::state::{Phase, TableError, TableState};

/// A copy that somebody waits for: when this is dropped, its job lets it go.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) id: CopyId,
    _wanted: DropGuard,
}

impl UnderWay {
    /// With what tells the copy's job that nobody wants it any more.
    pub(super) fn new(id: CopyId) -> (Self, CancellationToken) {
        let unwanted = CancellationToken::new();
        let wanted = unwanted.clone().drop_guard();
        let copy = Self {
            id,
            _wanted: wanted,
        };
        (copy, unwanted)
    }
}

/// A table, as this sink has it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: TableName,
    /// The shape that the sink's table has, if the table is joined.
    joined: Option<Arc<TableSchema>>,
    /// Why it stopped.
    stop: Option<Stop>,
    /// Whether the sink still has to be told that it left.
    pub(super) leaving: bool,
    /// The copy that is under way.
    pub(super) copy: Option<UnderWay>,
    /// Whether the operator asked for a copy that has not begun.
    requested: bool,
    pub(super) phase: Phase,
    pub(super) meter: Option<Arc<Meter>>,
}

#[derive(Debug, Clone)]
struct Stop {
    /// Whether the source refuses the table: it is taken up as soon as that is mended.
    refused: bool,
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl Table {
    pub(super) fn new(name: TableName) -> Self {
        Self {
            name,
            joined: None,
            stop: None,
            leaving: false,
            copy: None,
            requested: false,
            phase: Phase::Pending,
            meter: None,
        }
    }

    /// Whether the table is whole and follows the stream.
    pub(super) fn is_joined(&self) -> bool {
        self.joined.is_some() && self.stop.is_none() && !self.leaving
    }

    /// Why the table stopped, if no copy is under way that brings it back.
    pub(super) fn stopped(&self) -> Option<Error> {
        let stop = self.stop.as_ref().filter(|_| self.copy.is_none())?;
        let error = Error::new(stop.kind, format!("table {}: {}", self.name, stop.message));
        Some(match &stop.hint {
            Some(hint) => error.hint(hint.as_str()),
            None => error,
        })
    }

    fn shown(&self) -> Shown {
        match (&self.copy, self.phase) {
            (Some(_), Phase::CatchingUp) => Shown::CatchingUp,
            (Some(_), Phase::Copying) => Shown::Copying,
            // A copy was asked for, whatever readers still see.
            (Some(_), Phase::Pending) => Shown::Pending,
            _ if self.stop.is_some() => Shown::Failed,
            _ if self.joined.is_some() => Shown::Streaming,
            _ => Shown::Pending,
        }
    }
}

impl Worker {
    /// Reads the joined tables back from the sink, and from the state database why others
    /// stopped.
    pub(super) async fn read_back_tables(&mut self) -> Result<()> {
        let joined = self.sink.joined().await?;
        let states = self.shared.state.tables(&self.name)?;
        // Known tables stay listed; what is known of them is read anew.
        for table in self.tables.values_mut() {
            table.joined = None;
            table.copy = None;
        }
        let copies: Vec<_> = joined.iter().map(|joined| joined.copy).collect();
        for joined in joined {
            let table = self
                .tables
                .entry(joined.table.id)
                .or_insert_with(|| Table::new(joined.table.name.clone()));
            table.joined = Some(joined.table);
            table.phase = Phase::Streaming;
        }
        for state in states {
            if state.copy.is_some_and(|copy| copies.contains(&copy)) {
                // It joined, and a crash came before that was noted here.
                self.note_joined(state.table)?;
                if let Some(table) = self.tables.get_mut(&state.table) {
                    table.stop = None;
                }
                continue;
            }
            let table = self
                .tables
                .entry(state.table)
                .or_insert_with(|| Table::new(state.name));
            table.requested = state.requested && state.schema.is_none();
            let Some(error) = state.error else { continue };
            table.leaving = table.joined.is_some();
            table.stop.get_or_insert(Stop {
                refused: state.failed_seq.is_none(),
                kind: ErrorKind::Data,
                message: error.message,
                hint: error.hint,
            });
        }
        self.show_tables();
        Ok(())
    }

    /// The shape that the sink's table has, if rows of this table are to be written to it.
    pub(super) fn routed(&self, table: TableId) -> Option<Arc<TableSchema>> {
        let table = self.tables.get(&table)?;
        if table.stop.is_some() || table.leaving {
            return None;
        }
        table.joined.clone()
    }

    /// The sink's table has this shape now.
    pub(super) fn set_schema(&mut self, schema: &Arc<TableSchema>) {
        if let Some(table) = self.tables.get_mut(&schema.id) {
            table.joined = Some(Arc::clone(schema));
            table.name = schema.name.clone();
        }
    }

    /// Writes down that a table's copy has joined: since when it was captured, and that no work
    /// on it is left.
    fn note_joined(&self, id: TableId) -> Result<()> {
        let state = &self.shared.state;
        let since = state.value(&self.captured_key("copying", id))?;
        state.set_value(&self.captured_key("captured", id), since.as_deref())?;
        let copied = state
            .table(&self.name, id)?
            .and_then(|copy| copy.generation);
        state.set_value(
            &self.captured_key("generation", id),
            copied.map(|generation| generation.to_string()).as_deref(),
        )?;
        state.remove_table(&self.name, id)
    }

    /// A copy has become the sink's table.
    pub(super) fn joined(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        let table = self
            .tables
            .entry(schema.id)
            .or_insert_with(|| Table::new(schema.name.clone()));
        table.joined = Some(Arc::clone(schema));
        table.stop = None;
        table.leaving = false;
        table.copy = None;
        table.phase = Phase::Streaming;
        self.note_joined(schema.id)?;
        self.show(schema.id);
        Ok(())
    }

    /// The table stops in this sink; the others go on.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub(super) fn stop_table(&mut self, id: TableId, error: &Error) -> Result<()> {
        self.stop_or_refuse(id, error, false)
    }

    fn stop_or_refuse(&mut self, id: TableId, error: &Error, refused: bool) -> Result<()> {
        let failed_seq = (!refused).then(|| self.seq());
        let table = self
            .tables
            .entry(id)
            .or_insert_with(|| Table::new(TableName::new("", id.to_string())));
        tracing::error!(sink = %self.name, table = %table.name, error = %error,
            hint = error.hint_text(), "table has stopped");
        table.leaving = table.joined.is_some();
        table.copy = None;
        table.phase = Phase::Failed;
        table.stop = Some(Stop {
            refused,
            kind: error.kind(),
            message: error.to_string(),
            hint: error.hint_text().map(ToOwned::to_owned),
        });
        let mut state = TableState::pending(id, table.name.clone());
        state.phase = Phase::Failed;
        state.failed_seq = failed_seq;
        state.error = Some(TableError {
            message: error.to_string(),
            hint: error.hint_text().map(ToOwned::to_owned),
        });
        self.shared.state.save_tables(&self.name, &[state])?;
        self.show(id);
        self.answer_reached();
        Ok(())
    }

    /// Tells the sink which tables stopped: part of the next commit.
    pub(super) async fn leave_stopped(&mut self) -> Result<()> {
        for (id, table) in &self.tables {
            if table.leaving {
                self.sink.leave(*id).await?;
            }
        }
        Ok(())
    }

    /// The sink knows which tables stopped.
    pub(super) fn left(&mut self) {
        for table in self.tables.values_mut().filter(|table| table.leaving) {
            table.leaving = false;
            table.joined = None;
        }
    }

    /// Takes up what discovery found: new tables are copied, refused ones stop, those that are
    /// gone leave.
    pub(super) async fn take_up(&mut self, captured: &Captured) -> Result<()> {
        if !captured.known {
            return Ok(());
        }
        let delivery = self.delivery.clone();
        let mut wanted = Vec::new();
        self.stop_interrupted(captured).await?;
        self.stop_outdated(captured).await?;
        for schema in captured.taken(&delivery) {
            let table = self
                .tables
                .entry(schema.id)
                .or_insert_with(|| Table::new(schema.name.clone()));
            table.name = schema.name.clone();
            if table.stop.as_ref().is_some_and(|stop| stop.refused) {
                // The log was without its changes: only a new copy makes it whole. Until that
                // has joined, the state database goes on to say so.
                table.stop = None;
                table.leaving = table.joined.is_some();
                table.requested = true;
                table.phase = Phase::Pending;
            }
            let missing = table.joined.is_none() && table.stop.is_none();
            if (missing || table.requested) && table.copy.is_none() {
                table.requested = false;
                wanted.push(Arc::clone(schema));
            }
        }
        for refused in &captured.refused {
            let taken = delivery
                .tables
                .as_ref()
                .is_none_or(|tables| tables.matches(&refused.name));
            let known = self
                .tables
                .get(&refused.id)
                .is_some_and(|table| table.stop.is_some());
            if taken && !known {
                let table = self
                    .tables
                    .entry(refused.id)
                    .or_insert_with(|| Table::new(refused.name.clone()));
                table.name = refused.name.clone();
                self.stop_or_refuse(refused.id, &refused.error, true)?;
            }
        }
        let gone: Vec<TableId> = self
            .tables
            .keys()
            .copied()
            .filter(|id| {
                !captured.taken(&delivery).any(|table| table.id == *id)
                    && !captured.refused.iter().any(|refused| refused.id == *id)
            })
            .collect();
        self.detach(&gone).await?;
        self.round = captured.round;
        self.copy_tables(wanted)?;
        self.show_tables();
        self.answer_reached();
        Ok(())
    }

    /// Tables that left the captured ones and came back, unseen by this worker: their changes in
    /// between are in no journal. What was joined before stops following the stream, a copy that
    /// was begun before begins again. Since when a copy has been captured is noted when it begins
    /// and, for the joined table, when it joins. Where the state database was lost there is no
    /// note, and what was missed meanwhile cannot be known: such a table counts as interrupted.
    async fn stop_interrupted(&mut self, captured: &Captured) -> Result<()> {
        for (id, since) in &captured.since {
            let Some(table) = self.tables.get(id) else {
                continue;
            };
            let (copying, joined) = (table.copy.is_some(), table.is_joined());
            if copying
                && self
                    .captured_since("copying", *id)?
                    .is_some_and(|at| at < *since)
            {
                tracing::warn!(sink = %self.name, table = %table.name,
                    "copy begins again: the table was not captured for a while");
                self.copy_again(*id).await?;
            }
            if !joined {
                continue;
            }
            match self.captured_since("captured", *id)? {
                Some(known) if known == *since => {}
                // The copy that is under way replaces it.
                _ if copying => {
                    if let Some(table) = self.tables.get_mut(id) {
                        table.leaving = true;
                    }
                }
                known => {
                    let why = match known {
                        Some(_) => "the table was not captured for a while",
                        None => "the state database is new: nothing tells of missed changes",
                    };
                    let error = Error::data(why).hint("nothing to do: it is copied anew");
                    self.stop_or_refuse(*id, &error, true)?;
                }
            }
        }
        Ok(())
    }

    /// Tables whose rows changed without the log since they were copied: joined ones stop, copies
    /// begin again.
    async fn stop_outdated(&mut self, captured: &Captured) -> Result<()> {
        for (id, generation) in &captured.generations {
            let Some(table) = self.tables.get(id) else {
                continue;
            };
            let (copying, joined) = (table.copy.is_some(), table.is_joined());
            let (name, number) = (table.name.clone(), generation.number);
            if copying {
                let copy = self.shared.state.table(&self.name, *id)?;
                let begun = copy.and_then(|copy| copy.generation);
                if begun.is_some_and(|begun| begun < number) {
                    tracing::warn!(sink = %self.name, table = %name, cause = %generation.cause,
                        "copy begins again: rows changed without the log");
                    self.copy_again(*id).await?;
                }
            }
            if !joined {
                continue;
            }
            match self.captured_since("generation", *id)? {
                Some(copied) if copied >= number => {}
                // Nothing says which rows were copied.
                None => self.shared.state.set_value(
                    &self.captured_key("generation", *id),
                    Some(&number.to_string()),
                )?,
                // The copy that is under way replaces it.
                Some(_) if copying => {
                    if let Some(table) = self.tables.get_mut(id) {
                        table.leaving = true;
                    }
                }
                Some(_) => {
                    let error = Error::data(format!(
                        "its rows changed in a way that the source's log does not carry: {}",
                        generation.cause
                    ))
                    .hint(format!("cdc snapshot {name}"));
                    self.stop_table(*id, &error)?;
                }
            }
        }
        Ok(())
    }

    fn captured_since(&self, what: &str, table: TableId) -> Result<Option<u64>> {
        let noted = self.shared.state.value(&self.captured_key(what, table))?;
        Ok(noted.and_then(|since| since.parse().ok()))
    }

    /// Where the state database notes since when a table's copy has been captured.
    pub(super) fn captured_key(&self, what: &str, table: TableId) -> String {
        adopt::key(&self.name, what, table)
    }

    /// Tables that are no longer captured (dropped, or no longer matching) leave; what the sink
    /// holds of them stays as it is.
    async fn detach(&mut self, gone: &[TableId]) -> Result<()> {
        for id in gone {
            let Some(table) = self.tables.remove(id) else {
                continue;
            };
            tracing::warn!(sink = %self.name, table = %table.name,
                "table is no longer captured: the sink keeps what it has of it");
            self.board.view().tables.remove(id);
            self.shared.state.remove_table(&self.name, *id)?;
            self.comparing.retain(|_, (table, _)| table != id);
            if table.joined.is_some() {
                self.sink.leave(*id).await?;
            }
        }
        Ok(())
    }

    /// Puts a table on the board.
    pub(super) fn show(&self, id: TableId) {
        let Some(table) = self.tables.get(&id) else {
            return;
        };
        let view = TableView {
            name: table.name.clone(),
            state: table.shown(),
            error: table.stop.as_ref().map(|stop| Problem {
                kind: stop.kind,
                message: stop.message.clone(),
                hint: stop.hint.clone(),
            }),
            meter: table.meter.clone(),
        };
        self.board.view().tables.insert(id, view);
    }

    fn show_tables(&self) {
        for id in self.tables.keys() {
            self.show(*id);
        }
    }
}
