//! What the catalog says of all tables at once, for the backlog that a stream begins with.
//!
//! To look a table up at its first row costs the server more than a thousand rows do. One reading of
//! all tables costs little more than that of a few, and is as good for what was logged before it.
//!
//! Invariant: nothing is said about rows that were logged after the reading may have begun
//! ([`Listing::table`]), so that it is never older than they are. What changes the shape of a table
//! holds off those who write its rows until it can be read in the catalog: a reading that comes after
//! the rows knows the shape that they were written in, or a later one, as a look-up at the rows would.
//! After each statement about a table the stream asks again: it is then looked up by itself, for what
//! is said is said once.

use std::collections::HashMap;

use cdc_api::{Result, TableName};

use crate::catalog::{self, CatalogTable, Which};
use crate::connect::Session;
use crate::history;
use crate::position::file_number;

/// So many tables are looked up by themselves before all are read: a short backlog has few.
const ALONE: usize = 8;

/// Tables of one statement: what it gives is in memory until they are made of it.
const AT_ONCE: usize = 1_000;

/// A byte of the log: the file's number and the offset in it.
type Byte = (u64, u64);

/// The tables of one reading.
pub(super) struct Listing {
    /// What was logged before this was logged before the reading; before there is one, where the log
    /// ended when the stream began.
    upto: Byte,
    /// How many tables have been looked up by themselves.
    alone: usize,
    /// `None` before the reading.
    tables: Option<HashMap<TableName, CatalogTable>>,
    /// Whether foreign keys need not be looked at.
    logs_cascades: bool,
}

impl Listing {
    /// For a stream that begins now; nothing is read yet.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(super) async fn begin(session: &mut Session) -> Result<Self> {
        Ok(Self {
            upto: end(session).await?,
            alone: 0,
            tables: None,
            logs_cascades: false,
        })
    }

    /// Whether it is time to [read](Self::read), for a table that is asked for at the log's `place`: a
    /// file, and the byte in it.
    pub(super) fn is_due(&mut self, place: (&str, u64)) -> bool {
        if self.passes(place) || self.tables.is_some() {
            return false;
        }
        self.alone += 1;
        self.alone > ALONE
    }

    /// Reads the tables of these names.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(super) async fn read(&mut self, session: &mut Session, names: &[TableName]) -> Result<()> {
        self.upto = end(session).await?;
        self.logs_cascades = catalog::logs_cascades(session).await?;
        let mut tables = HashMap::with_capacity(names.len());
        for names in names.chunks(AT_ONCE) {
            let listed = catalog::listed(session, Which::Named(names)).await?;
            tables.extend(listed.into_iter().map(|it| (it.name.clone(), it)));
        }
        tracing::debug!(tables = tables.len(), "read the catalog for the backlog");
        self.tables = Some(tables);
        Ok(())
    }

    /// The table as it was at some time after the log's `place` was written, once. `None` where that has
    /// to be looked up.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(super) async fn table(
        &mut self,
        session: &mut Session,
        name: &TableName,
        place: (&str, u64),
    ) -> Result<Option<CatalogTable>> {
        if self.passes(place) {
            return Ok(None);
        }
        let Some(mut table) = self.tables.as_mut().and_then(|it| it.remove(name)) else {
            return Ok(None);
        };
        if !self.logs_cascades {
            table.cascade = catalog::cascade(session, name).await?;
        }
        Ok(Some(table))
    }

    /// The stream is at the log's `place`. Whether that is beyond what can be told, for which nothing is
    /// kept then.
    pub(super) fn passes(&mut self, (file, offset): (&str, u64)) -> bool {
        let passed = (file_number(file), offset) >= self.upto;
        if passed {
            self.tables = None;
        }
        passed
    }
}

/// Where the log ends. Without a log there is nothing before it.
async fn end(session: &mut Session) -> Result<Byte> {
    Ok(match history::status(session).await? {
        Some(row) => (file_number(row.text(0)), row.number(1)?),
        None => (0, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_what_was_logged_since_and_nothing_is_kept_for_it() {
        let mut listing = Listing {
            upto: (9, 500),
            alone: 0,
            tables: Some(HashMap::new()),
            logs_cascades: true,
        };
        for (place, passed) in [
            (("binlog.000008", 9_000), false),
            (("binlog.000009", 499), false),
            (("binlog.000009", 500), true),
            (("binlog.000010", 4), true),
        ] {
            assert_eq!(listing.passes(place), passed, "{place:?}");
            assert_eq!(listing.tables.is_none(), passed, "{place:?}");
        }
    }
}
