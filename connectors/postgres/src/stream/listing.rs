//! All tables as the catalog had them when the stream began, for the backlog that it begins with.
//!
//! What a Relation message leaves open is taken from the catalog, as it is after the message's transaction has ended
//! (see `attnums`). Looking each table up at its first row costs the server more than a thousand rows do. One reading
//! of all tables is as good for every transaction that it has seen, and is made anyway, to know the types that the
//! stream will meet.
//!
//! Invariant: nothing is said about a transaction that the reading may not have seen ([`Seen`]), and a table is not
//! looked up by itself before that can be seen ([`ended`]). What changes the shape
//! of a table holds off those who write its rows until it has ended: who has seen the rows of a transaction has seen
//! the shape that they were written in.

use std::collections::HashMap;
use std::time::Duration;

use cdc_api::{Error, Result};
use tokio::time::Instant;

use crate::catalog::{self, Listed, Which};
use crate::position::Lsn;
use crate::session::Session;
use crate::storage;

/// How long a transaction that was sent is waited for. No longer: it may itself wait for a standby that is gone, or is
/// this very stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long between two looks at it.
const STEP: Duration = Duration::from_millis(5);

/// The tables of one reading.
pub(super) struct Listing {
    seen: Seen,
    tables: HashMap<u32, Listed>,
}

impl Listing {
    /// Reads the catalog, and keeps the tables that are wanted.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn read(
        session: &mut Session,
        wanted: impl Fn(&Listed) -> bool,
    ) -> Result<Self> {
        // Before the view, so that all that commits before it has ended in the view, or is running there.
        let upto = storage::log_end(session).await?;
        session
            .query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let view = session.query_one("SELECT pg_current_snapshot()").await?;
        let tables = catalog::tables(session, Which::All).await?;
        session.query("COMMIT").await?;
        let tables = tables.into_iter().filter(wanted);
        Ok(Self {
            seen: Seen {
                upto,
                view: View::parse(view.text(0))?,
            },
            tables: tables.map(|it| (it.table.oid, it)).collect(),
        })
    }

    /// All that were kept.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Listed> {
        self.tables.values()
    }

    /// The table as it was at or after the end of the transaction `xid`, which commits at `commit`. `None` where this
    /// reading cannot tell, and where it has no such table.
    pub(super) fn table(&self, oid: u32, xid: u32, commit: Lsn) -> Option<&Listed> {
        self.tables.get(&oid).filter(|_| self.seen.has(xid, commit))
    }

    /// Whether it can tell nothing of what comes after `lsn`.
    pub(super) fn is_passed(&self, lsn: Lsn) -> bool {
        lsn >= self.seen.upto
    }
}

/// Waits until what the transaction `xid` has done can be read, for [`PATIENCE`] at most.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn ended(session: &mut Session, xid: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = session.query_one("SELECT pg_current_snapshot()").await?;
        if View::parse(view.text(0))?.shows(xid) || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Which transactions a reading has seen.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The log's end before the reading.
    upto: Lsn,
    view: View,
}

impl Seen {
    fn has(&self, xid: u32, commit: Lsn) -> bool {
        commit < self.upto && self.view.shows(xid)
    }
}

/// Which transactions had ended for who reads. A commit is in the log, and sent, before it is one of them: for a moment,
/// and for long where it waits for a standby.
#[derive(Debug, PartialEq, Eq)]
struct View {
    /// Those from this number on had not.
    next: u32,
    /// Nor had these.
    running: Vec<u32>,
}

impl View {
    /// Reads what `pg_current_snapshot()` gave.
    fn parse(text: &str) -> Result<Self> {
        // 32 bits without the epoch, as the log has them.
        let number = |text: &str| text.parse().ok().map(|it: u64| (it & 0xffff_ffff) as u32);
        let parsed = || {
            let mut parts = text.split(':').skip(1);
            let next = number(parts.next()?)?;
            let running = parts.next()?.split(',').filter(|it| !it.is_empty());
            Some(Self {
                next,
                running: running.map(number).collect::<Option<_>>()?,
            })
        };
        parsed().ok_or_else(|| Error::internal("a snapshot's text cannot be read"))
    }

    fn shows(&self, xid: u32) -> bool {
        // Numbers go round.
        let before_next = xid.wrapping_sub(self.next) >= 1 << 31;
        before_next && !self.running.contains(&xid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_counts_as_seen_only_where_it_had_ended_before_the_reading() {
        let view = View::parse("10:20:10,14").expect("a snapshot");
        let upto = Lsn(100);
        let seen = Seen { upto, view };
        for (xid, commit, has) in [
            (9, 50, true),
            (13, 99, true),
            (19, 99, true),
            // After the end of the log.
            (9, 100, false),
            // Its commit was in the log and not to be seen.
            (14, 50, false),
            (10, 50, false),
            (20, 99, false),
            (21, 99, false),
        ] {
            assert_eq!(seen.has(xid, Lsn(commit)), has, "{xid} at {commit}");
        }
    }

    #[test]
    fn numbers_of_transactions_go_round() {
        let view = View::parse("8589934590:8589934594:8589934591").expect("a snapshot");
        assert_eq!((view.next, &view.running[..]), (2, &[u32::MAX][..]));
        for (xid, has) in [
            (u32::MAX - 1, true),
            (u32::MAX, false),
            (0, true),
            (1, true),
            (2, false),
            (3, false),
        ] {
            assert_eq!(view.shows(xid), has, "{xid}");
        }
    }

    #[test]
    fn what_is_no_snapshot_is_an_error() {
        for text in ["", "1", "1:", "1:2", "1:x:", "1:2:3,x"] {
            assert!(View::parse(text).is_err(), "{text}");
        }
        let none = View::parse("5:5:").expect("nothing runs");
        assert!(none.running.is_empty() && none.shows(4));
    }
}
