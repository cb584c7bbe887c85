//! Taking over where Debezium's connector for MySQL has stopped.
//!
//! Owns its stored offset and the place that it names. Invariant: the place is right after the last
//! row that was sent, also within a transaction; an offset that is not of this log is refused before
//! anything is stored. Leaves the passing over of what was sent to the decoder. MariaDB's connector
//! counts otherwise, and is refused.

use cdc_api::{Error, ErrorKind, Finding, Result};
use cdc_database::debezium::Snapshots;
use serde::Deserialize;

use crate::connect::Session;
use crate::history;
use crate::position::{Gtids, Part, Place};

/// An offset as Debezium's connector for MySQL stores it; of its fields those that count.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DebeziumOffset {
    /// The log's file in which its last transaction begins.
    pub file: String,
    /// Where it begins there.
    pub pos: u64,
    /// The transactions before that one, where the server has GTIDs.
    #[serde(default)]
    pub gtids: Option<String>,
    /// Events of that transaction that it has sent whole.
    #[serde(default)]
    pub event: u64,
    /// Rows of the next event that it has sent.
    #[serde(default)]
    pub row: u64,
    /// How far its snapshots are.
    #[serde(flatten)]
    pub snapshots: Snapshots,
}

impl DebeziumOffset {
    /// Where to begin, and what is done of the transaction there.
    ///
    /// # Errors
    /// `Config` where the offset cannot be of this server, is within a snapshot, or the log does not
    /// name columns; `LogLost` where the log does not reach back to it.
    pub(crate) async fn place(&self, session: &mut Session) -> Result<(Place, Option<Part>)> {
        self.snapshots.finished()?;
        let found = self.at(history::end(session).await?)?;
        let metadata = session.variable("binlog_row_metadata").await?;
        if metadata.as_deref() != Some("FULL") {
            return Err(Error::config(
                "source.debezium_offset: the log does not name columns, which are then known only since \
                 a copy: binlog_row_metadata is not FULL",
            )
            .hint(
                "SET PERSIST binlog_row_metadata = FULL; then start the connector again, stop it when it \
                 has sent a change, and take the offset that it has then",
            ));
        }
        history::verify(session, &found.0)
            .await
            .map_err(|error| error.context("source.debezium_offset"))?;
        Ok(found)
    }

    /// The same on a server whose log ends at `end`.
    fn at(&self, end: Place) -> Result<(Place, Option<Part>)> {
        let gtids = match (&end.gtids, &self.gtids) {
            (Gtids::MySql(_), Some(gtids)) => Gtids::MySql(gtids.parse()?),
            (Gtids::Off, None) => Gtids::Off,
            (Gtids::Maria(_), _) => {
                return Err(Error::config(
                    "source.debezium_offset: MariaDB's connector cannot be taken over",
                )
                .hint("leave source.debezium_offset and snapshot.initial out, and the tables are copied"));
            }
            (Gtids::MySql(_), None) | (Gtids::Off, Some(_)) => {
                return Err(Error::config(
                    "source.debezium_offset: gtid_mode was changed since the connector stopped",
                )
                .hint(
                    "start the connector again, stop it when it has sent a change, and take the offset \
                     that it has then",
                ));
            }
        };
        let place = Place {
            gtids,
            file: self.file.clone(),
            offset: self.pos,
            ..end
        };
        let part = Part {
            events: self.event,
            rows: self.row,
        };
        Ok((
            place,
            Some(part).filter(|part| part.events > 0 || part.rows > 0),
        ))
    }

    /// What the preflight says of it.
    pub(crate) async fn finding(&self, session: &mut Session) -> Finding {
        const SUBJECT: &str = "debezium_offset";
        match self.place(session).await {
            Ok((place, part)) => {
                let within = match part {
                    Some(part) => format!(
                        " within a transaction, {} events and {} rows of the next were sent",
                        part.events, part.rows
                    ),
                    None => String::new(),
                };
                let message = format!(
                    "a new pipeline goes on at {}:{}{within}; sinks with snapshot.initial: false take \
                     the tables without a copy",
                    place.file, place.offset
                );
                Finding::ok(SUBJECT, message)
            }
            Err(error) if error.kind() == ErrorKind::LogLost => Finding::warning(
                SUBJECT,
                format!("{error}; or this pipeline has taken over already"),
                "where the pipeline has taken over, remove source.debezium_offset; else leave \
                 snapshot.initial out, too, and the tables are copied",
            ),
            Err(error) => Finding::from_error(SUBJECT, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(gtids: Gtids) -> Place {
        Place {
            server: "3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned(),
            gtids,
            file: "binlog.000003".to_owned(),
            offset: 9000,
        }
    }

    fn by_name(set: &str) -> Gtids {
        Gtids::MySql(set.parse().expect("a set"))
    }

    fn offset(text: &str) -> DebeziumOffset {
        serde_json::from_str(text).expect("an offset")
    }

    #[test]
    fn the_place_is_the_transaction_with_what_was_sent_of_it() {
        const SET: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-41";
        let found = offset(
            r#"{"transaction_id":null,"ts_sec":1,"file":"binlog.000002","pos":1570,
                "gtids":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-41","server_id":1,"event":2,"row":1}"#,
        );
        let (place, part) = found
            .at(end(by_name("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-50")))
            .expect("its");
        assert_eq!(place.gtids, by_name(SET));
        assert_eq!((place.file.as_str(), place.offset), ("binlog.000002", 1570));
        assert_eq!(part, Some(Part { events: 2, rows: 1 }));
        let between = offset(r#"{"file":"binlog.000002","pos":1570}"#);
        let (place, part) = between.at(end(Gtids::Off)).expect("its");
        assert_eq!((place.offset, part), (1570, None));
    }

    #[test]
    fn what_counts_otherwise_is_refused() {
        let named = offset(r#"{"file":"binlog.000002","pos":4,"gtids":""}"#);
        let unnamed = offset(r#"{"file":"binlog.000002","pos":4}"#);
        for (offset, gtids) in [
            (&named, Gtids::Off),
            (&unnamed, by_name("")),
            (&named, Gtids::Maria("0-1-5".parse().expect("GTIDs"))),
        ] {
            let error = offset.at(end(gtids)).expect_err("is refused");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.hint_text().is_some());
        }
    }
}
