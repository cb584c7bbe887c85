//! Places in PostgreSQL's log, and the positions that the engine keeps for us.
//!
//! Invariant: a position always names the end of a transaction (or a place where none was in
//! flight), together with the server and timeline that it counts on: an LSN alone says nothing.

use std::fmt;
use std::str::FromStr;

use cdc_api::{Error, Position, Result};
use serde::{Deserialize, Serialize};

/// A byte of the log (log sequence number); shown as PostgreSQL shows it, `16/B374D848`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(pub(crate) u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.split_once('/')
            .and_then(|(high, low)| {
                let high = u64::from(u32::from_str_radix(high, 16).ok()?);
                let low = u64::from(u32::from_str_radix(low, 16).ok()?);
                Some(Self(high << 32 | low))
            })
            .ok_or_else(|| Error::data(format!("{text:?} is not a log position of PostgreSQL")))
    }
}

/// The first changes of a transaction, which somebody else has delivered: the connector whose
/// place was taken stopped in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The transaction.
    pub(crate) xid: u32,
    /// The place of the last change that is done.
    pub(crate) upto: Lsn,
}

impl Part {
    /// What a position says of it; None where it begins at a transaction, as nearly always.
    pub(crate) fn of(position: &Position) -> Option<Self> {
        #[derive(Deserialize)]
        struct Stored {
            part: StoredPart,
        }
        #[derive(Deserialize)]
        struct StoredPart {
            xid: u32,
            upto: String,
        }
        let Stored { part } = serde_json::from_str(position.as_str()).ok()?;
        Some(Self {
            xid: part.xid,
            upto: part.upto.parse().ok()?,
        })
    }
}

/// The log that positions count on: which server, on which timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    /// `system_identifier` of the cluster.
    pub(crate) system: String,
    /// The timeline, which changes when a standby is promoted or a backup restored.
    pub(crate) timeline: u32,
}

impl Log {
    /// The position `lsn` of this log, for the engine to keep.
    pub(crate) fn at(&self, lsn: Lsn) -> Position {
        Position::new(format!(
            r#"{{"v":1,"lsn":"{lsn}","system":"{}","timeline":{}}}"#,
            self.system, self.timeline
        ))
    }

    /// The same, where `part` of the transaction that comes next is done already. Its version is
    /// another one: programs that do not know of parts must not take it for a whole one.
    pub(crate) fn within(&self, lsn: Lsn, part: Option<Part>) -> Position {
        let Some(Part { xid, upto }) = part else {
            return self.at(lsn);
        };
        Position::new(format!(
            r#"{{"v":2,"lsn":"{lsn}","system":"{}","timeline":{},"part":{{"xid":{xid},"upto":"{upto}"}}}}"#,
            self.system, self.timeline
        ))
    }

    /// Reads a position back.
    ///
    /// # Errors
    /// `Data` where it is not one of ours.
    pub(crate) fn read(position: &Position) -> Result<(Self, Lsn)> {
        #[derive(Deserialize)]
        struct Stored {
            v: u32,
            lsn: String,
            system: String,
            timeline: u32,
            part: Option<serde::de::IgnoredAny>,
        }
        let stored: Stored = serde_json::from_str(position.as_str()).map_err(|error| {
            Error::data("the stored position is not one of PostgreSQL").caused_by(error)
        })?;
        if stored.v != if stored.part.is_some() { 2 } else { 1 } {
            return Err(Error::data(format!(
                "the stored position has version {}, which this program does not know",
                stored.v
            ))
            .hint("run the version of cdc that wrote it, or a later one"));
        }
        let log = Self {
            system: stored.system,
            timeline: stored.timeline,
        };
        Ok((log, stored.lsn.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_being_written_down() {
        let log = Log {
            system: "7312345678901234567".to_owned(),
            timeline: 3,
        };
        let position = log.at(Lsn(0x16_B374_D848));
        assert!(position.as_str().contains("16/B374D848"), "{position}");
        let (read, lsn) = Log::read(&position).expect("ours");
        assert_eq!((read, lsn), (log, Lsn(0x16_B374_D848)));
    }

    #[test]
    fn a_part_of_a_transaction_survives_being_written_down() {
        let log = Log {
            system: "1".to_owned(),
            timeline: 1,
        };
        let part = Part {
            xid: 7,
            upto: Lsn(0x1_0000_0002),
        };
        let position = log.within(Lsn(3), Some(part));
        assert_eq!(Part::of(&position), Some(part), "{position}");
        assert_eq!(Log::read(&position).expect("ours"), (log.clone(), Lsn(3)));
        assert_eq!(Part::of(&log.within(Lsn(3), None)), None);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in ["", "{}", r#"{"v":2,"lsn":"0/1","system":"1","timeline":1}"#] {
            assert!(Log::read(&Position::new(text)).is_err(), "{text}");
        }
        for text in ["", "1", "x/1", "1/100000000", "-1/1"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
