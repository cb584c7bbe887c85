//! The replication slot: what keeps the server's log for us.
//!
//! Invariant: a slot that cannot continue exactly where a checkpoint ends is refused as lost log,
//! with the remedy, and never started.

use cdc_api::{Error, Result};
use postgres_protocol::escape::escape_literal;

use crate::position::Lsn;
use crate::session::Session;

/// A slot as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) plugin: String,
    pub(crate) database: String,
    pub(crate) active_pid: Option<i32>,
    /// Up to where the server may have forgotten transactions.
    pub(crate) confirmed: Option<Lsn>,
    /// Why the slot cannot be used any more.
    pub(crate) lost: Option<String>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub(crate) wal_status: String,
    /// Bytes of log that may still be written before the slot is in danger.
    pub(crate) safe_bytes: Option<i64>,
    /// Bytes of log that the server keeps for the slot.
    pub(crate) kept_bytes: Option<i64>,
}

/// Looks a slot up.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn find(session: &mut Session, name: &str) -> Result<Option<Slot>> {
    let reason = if session.version() >= 17_0000 {
        "invalidation_reason"
    } else {
        "CASE WHEN wal_status = 'lost' THEN 'wal_removed' END"
    };
    let rows = session
        .query(&format!(
            "SELECT coalesce(plugin, ''), coalesce(database, ''), active_pid, \
                    confirmed_flush_lsn, {reason}, coalesce(wal_status, ''), safe_wal_size, \
                    CASE WHEN NOT pg_is_in_recovery() THEN \
                      pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 END \
             FROM pg_replication_slots WHERE slot_name = {}",
            escape_literal(name)
        ))
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(Slot {
        name: name.to_owned(),
        plugin: row.text(0).to_owned(),
        database: row.text(1).to_owned(),
        active_pid: row.get(2).and_then(|pid| pid.parse().ok()),
        confirmed: row.get(3).map(str::parse).transpose()?,
        lost: row.get(4).map(str::to_owned),
        wal_status: row.text(5).to_owned(),
        safe_bytes: row.get(6).and_then(|bytes| bytes.parse().ok()),
        kept_bytes: row.get(7).and_then(|bytes| bytes.parse().ok()),
    }))
}

impl Slot {
    /// Whether the slot can be used for this database at all.
    ///
    /// # Errors
    /// `Config` where it is of another kind, `LogLost` where its log is gone.
    pub(crate) fn usable(&self, database: &str) -> Result<()> {
        let name = &self.name;
        if self.plugin != "pgoutput" || self.database != database {
            return Err(Error::config(format!(
                "the slot {name} belongs to plugin {:?} in database {:?}, not to pgoutput in \
                 {database:?}",
                self.plugin, self.database
            ))
            .hint("give the pipeline another name, or another slot: source.slot"));
        }
        if let Some(reason) = &self.lost {
            return Err(lost(
                name,
                &format!("the server has invalidated it ({reason})"),
            ));
        }
        if self.confirmed.is_none() {
            return Err(Error::transient(format!(
                "the slot {name} is still being created"
            )));
        }
        Ok(())
    }

    /// Whether the slot can continue right after `from`.
    ///
    /// # Errors
    /// As [`Self::usable`]; `LogLost` where the slot is ahead: it was recreated, or something
    /// else has read from it.
    pub(crate) fn continues(&self, database: &str, from: Lsn) -> Result<()> {
        self.usable(database)?;
        match self.confirmed {
            Some(confirmed) if confirmed > from => Err(lost(
                &self.name,
                &format!(
                    "it stands at {confirmed}, after the checkpoint at {from}: it was created \
                     anew, or something else has read from it"
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The log between the last checkpoint and now is gone.
pub(crate) fn lost(name: &str, why: &str) -> Error {
    Error::log_lost(format!("the slot {name} cannot continue: {why}")).hint(format!(
        "changes since the last checkpoint are missing; load the tables anew: cdc teardown, then \
         cdc run. Against a next time: ALTER SYSTEM SET max_slot_wal_keep_size = -1 (or larger), \
         and let nothing but this pipeline use the slot {name}"
    ))
}

/// Drops the slot if it is there.
///
/// # Errors
/// When the server refuses; `Transient` while a session still uses it.
pub(crate) async fn drop(session: &mut Session, name: &str) -> Result<bool> {
    let literal = escape_literal(name);
    let rows = session
        .query(&format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE slot_name = {literal} AND database = current_database()"
        ))
        .await?;
    Ok(!rows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            name: "cdc_shop".to_owned(),
            plugin: "pgoutput".to_owned(),
            database: "shop".to_owned(),
            active_pid: None,
            confirmed: Some(Lsn(100)),
            lost: None,
            wal_status: "reserved".to_owned(),
            safe_bytes: None,
            kept_bytes: Some(0),
        }
    }

    #[test]
    fn a_slot_at_or_before_the_checkpoint_continues() {
        slot().continues("shop", Lsn(100)).expect("at it");
        slot().continues("shop", Lsn(101)).expect("before it");
    }

    #[test]
    fn a_slot_that_is_ahead_lost_or_anothers_is_refused_with_a_remedy() {
        let ahead = slot().continues("shop", Lsn(99)).expect_err("ahead");
        assert_eq!(ahead.kind(), cdc_api::ErrorKind::LogLost);
        assert!(ahead.hint_text().is_some());
        let gone = Slot {
            lost: Some("wal_removed".to_owned()),
            ..slot()
        };
        let gone = gone.continues("shop", Lsn(100)).expect_err("lost");
        assert_eq!(gone.kind(), cdc_api::ErrorKind::LogLost);
        let other = slot().continues("other", Lsn(100)).expect_err("another's");
        assert_eq!(other.kind(), cdc_api::ErrorKind::Config);
    }
}
