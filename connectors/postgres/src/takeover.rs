//! Taking over where Debezium's connector for PostgreSQL has stopped.
//!
//! Owns its stored offset and the place that it names. Invariant: the place is right after the last
//! change that was sent, also within a transaction; an offset that is not of this log, or whose log
//! the slot does not keep, is refused before anything is stored. Leaves the passing over of what was
//! sent to the decoder.

use cdc_api::{Checkpoint, Error, ErrorKind, Finding, Result};
use cdc_database::debezium::Snapshots;
use serde::Deserialize;

use crate::position::{Log, Lsn, Part};
use crate::slot::Slot;

/// An offset as Debezium's connector for PostgreSQL stores it; of its fields those that count.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DebeziumOffset {
    /// The place of the last change that it has sent.
    pub lsn: u64,
    /// The end of the last transaction that it has sent whole; None before the first.
    #[serde(default)]
    pub lsn_commit: Option<u64>,
    /// The transaction of the last change.
    #[serde(default, rename = "txId")]
    pub transaction: Option<u32>,
    /// What was sent last: `BEGIN`, `INSERT`, `MESSAGE`, …
    #[serde(default, rename = "messageType")]
    pub last: Option<String>,
    /// How far its snapshots are.
    #[serde(flatten)]
    pub snapshots: Snapshots,
}

impl DebeziumOffset {
    /// Where to begin. The log ends at `end`.
    ///
    /// # Errors
    /// `Config` where the offset cannot be of this log or is within a snapshot; `LogLost` where the
    /// slot has let go of log that is needed.
    pub(crate) fn place(&self, (log, end): (&Log, Lsn), slot: &Slot) -> Result<Checkpoint> {
        self.snapshots.finished()?;
        // What commits before the last change was sent before it, for the order is that of commits.
        let start = Lsn(self.lsn.max(self.lsn_commit.unwrap_or(0)));
        if start > end {
            return Err(Error::config(format!(
                "source.debezium_offset: its place {start} is after the end of the server's log, {end}"
            ))
            .hint(
                "take the offset of the connector that reads this database: GET \
                 /connectors/NAME/offsets",
            ));
        }
        let confirmed = slot.confirmed.unwrap_or_default();
        if confirmed > start {
            return Err(Error::log_lost(format!(
                "source.debezium_offset: the slot {} stands at {confirmed}, after the offset's place \
                 {start}: the offset is old, or the slot is not the connector's",
                slot.name
            ))
            .hint(
                "set source.slot to the connector's slot.name; start the connector again, stop it when \
                 it has sent a change, and take the offset that it has then",
            ));
        }
        let part = self.transaction.map(|xid| Part {
            xid,
            upto: Lsn(match self.last.as_deref() {
                // The first change has the place of its transaction's begin, and a change that of the
                // logical message before it.
                Some("BEGIN" | "MESSAGE") => self.lsn.saturating_sub(1),
                _ => self.lsn,
            }),
        });
        Ok(Checkpoint {
            position: log.within(start, part),
            seq: 0,
            offset: start.0,
            commit_time: 0,
        })
    }

    /// What the preflight says of it.
    pub(crate) fn finding(&self, log: (&Log, Lsn), slot: Option<&Slot>, name: &str) -> Finding {
        const SUBJECT: &str = "debezium_offset";
        let Some(slot) = slot else {
            return Finding::from_error(SUBJECT, &no_slot(name));
        };
        match self.place(log, slot) {
            Ok(_) => {
                let within = match self.transaction {
                    Some(xid) => format!(", the last one sent of transaction {xid}"),
                    None => String::new(),
                };
                let place = Lsn(self.lsn);
                let message = format!(
                    "a new pipeline goes on after the change at {place}{within}, by the slot {name}; \
                     sinks with snapshot.initial: false take the tables without a copy"
                );
                Finding::ok(SUBJECT, message)
            }
            Err(error) if error.kind() == ErrorKind::LogLost => Finding::warning(
                SUBJECT,
                format!("{error}; or this pipeline has taken over already"),
                format!(
                    "where the pipeline has taken over, remove source.debezium_offset; else: {}",
                    error.hint_text().unwrap_or_default()
                ),
            ),
            Err(error) => Finding::from_error(SUBJECT, &error),
        }
    }
}

/// Nothing has kept the log since the connector stopped.
pub(crate) fn no_slot(name: &str) -> Error {
    Error::config(format!(
        "source.debezium_offset: there is no slot {name}, which would have kept the log since"
    ))
    .hint(
        "set source.slot to the connector's slot.name; if that is gone, leave source.debezium_offset and \
         snapshot.initial out, and the tables are copied",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Lsn = Lsn(1000);

    fn log() -> Log {
        Log {
            system: "1".to_owned(),
            timeline: 1,
        }
    }

    fn slot(confirmed: u64) -> Slot {
        Slot {
            name: "debezium".to_owned(),
            plugin: "pgoutput".to_owned(),
            database: "shop".to_owned(),
            active_pid: None,
            confirmed: Some(Lsn(confirmed)),
            lost: None,
            wal_status: "reserved".to_owned(),
            safe_bytes: None,
            kept_bytes: Some(0),
        }
    }

    fn offset(text: &str) -> DebeziumOffset {
        serde_json::from_str(text).expect("an offset")
    }

    fn begins(text: &str, confirmed: u64) -> Result<(u64, Option<Part>)> {
        let at = offset(text).place((&log(), END), &slot(confirmed))?;
        Ok((at.offset, Part::of(&at.position)))
    }

    #[test]
    fn the_place_is_after_the_last_change_that_was_sent() {
        // As version 3.6 stores it within a transaction, and at the end of one.
        let within = r#"{"lsn_proc":700,"messageType":"INSERT","lsn_commit":600,"lsn":700,"txId":5,
            "ts_usec":1}"#;
        let part = |upto| {
            Some(Part {
                xid: 5,
                upto: Lsn(upto),
            })
        };
        assert_eq!(begins(within, 600).expect("its"), (700, part(700)));
        for last in ["BEGIN", "MESSAGE"] {
            let before = within.replace("INSERT", last);
            assert_eq!(begins(&before, 600).expect("its"), (700, part(699)));
        }
        let whole = r#"{"lsn_proc":800,"lsn_commit":800,"lsn":700,"txId":5}"#;
        assert_eq!(begins(whole, 600).expect("its"), (800, part(700)));
        // Right after a snapshot.
        let first = r#"{"lsn":650,"txId":5,"snapshot":"INITIAL","snapshot_completed":true}"#;
        assert_eq!(begins(first, 600).expect("its"), (650, part(650)));
    }

    #[test]
    fn what_cannot_be_gone_on_from_is_refused_with_a_remedy() {
        let kind = |text: &str, confirmed| {
            let error = begins(text, confirmed).expect_err("is refused");
            assert!(error.hint_text().is_some(), "{error}");
            error.kind()
        };
        assert_eq!(kind(r#"{"lsn":1001}"#, 600), ErrorKind::Config);
        assert_eq!(
            kind(r#"{"lsn":700,"lsn_commit":600}"#, 701),
            ErrorKind::LogLost
        );
        let unfinished = r#"{"lsn":700,"snapshot":"INITIAL","snapshot_completed":false}"#;
        assert_eq!(kind(unfinished, 600), ErrorKind::Config);
    }

    #[test]
    fn the_preflight_says_what_will_be_done() {
        let offset = offset(r#"{"lsn":700,"lsn_commit":600,"txId":5}"#);
        let severity = |slot: Option<&Slot>| {
            let finding = offset.finding((&log(), END), slot, "debezium");
            (finding.severity, finding.remedy.is_some())
        };
        assert_eq!(severity(Some(&slot(600))), (cdc_api::Severity::Ok, false));
        // It may have been done already, which moves the slot on.
        assert_eq!(
            severity(Some(&slot(800))),
            (cdc_api::Severity::Warning, true)
        );
        assert_eq!(severity(None), (cdc_api::Severity::Error, true));
    }
}
