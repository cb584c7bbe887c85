//! Places in the binlog, and the positions that the engine keeps for us.
//!
//! Invariant: a position always names the end of a transaction; what another has delivered of the next
//! one, it says beside that ([`Part`]). It holds everything that any way of
//! going on needs: the GTIDs up to there (where the server has them), the file and the offset, and
//! the server that the file is of.

pub(crate) mod mariadb;
pub(crate) mod mysql;

use std::fmt;

use cdc_api::{Error, Position, Result, TableId, TableName};
use serde::{Deserialize, Serialize};

pub(crate) use mariadb::MariaGtids;
pub(crate) use mysql::GtidSet;

/// The id of a table, made of its name: 63 bits of FNV-1a.
pub(crate) fn table_id(name: &TableName) -> TableId {
    let bytes = name.schema.bytes().chain([0xff]).chain(name.table.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    TableId(hash & (u64::MAX >> 1))
}

/// The transactions up to a place, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gtids {
    /// MySQL with GTIDs, possibly an empty set.
    MySql(GtidSet),
    /// MariaDB.
    Maria(MariaGtids),
    /// MySQL with `gtid_mode` off: only file and offset count.
    Off,
}

impl Gtids {
    /// Whether every transaction of `other` is in `self`; `None` where they cannot be compared.
    pub(crate) fn covers(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::MySql(mine), Self::MySql(theirs)) => Some(theirs.is_subset(mine)),
            (Self::Maria(mine), Self::Maria(theirs)) => Some(theirs.is_subset(mine)),
            _ => None,
        }
    }
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::Maria(gtids) => gtids.fmt(f),
            Self::Off => Ok(()),
        }
    }
}

/// A place between two transactions of a server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `@@server_uuid`; MariaDB: `@@server_uid` where it has one, else `server_id` in decimal.
    pub(crate) server: String,
    /// The transactions before it.
    pub(crate) gtids: Gtids,
    /// The log file's name, as the server says it.
    pub(crate) file: String,
    /// The byte in the file; beyond 4 GiB too.
    pub(crate) offset: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    kind: Kind,
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gtid: Option<String>,
    file: String,
    offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<Part>,
}

/// The first rows of the transaction that comes next, which somebody else has delivered: the
/// connector whose place was taken stopped in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Events of the transaction that are done, from its BEGIN on.
    pub(crate) events: u64,
    /// Rows that are done of the event that follows.
    pub(crate) rows: u64,
}

impl Part {
    /// What a position says of it; None where it begins at a transaction, as nearly always.
    pub(crate) fn of(position: &Position) -> Option<Self> {
        let stored: Stored = serde_json::from_str(position.as_str()).ok()?;
        stored.part
    }

    /// Of an event's rows those that are done; `event` were before it in its transaction.
    pub(crate) fn done(self, event: u64) -> u64 {
        match event.cmp(&self.events) {
            std::cmp::Ordering::Less => u64::MAX,
            std::cmp::Ordering::Equal => self.rows,
            std::cmp::Ordering::Greater => 0,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    MySql,
    MariaDb,
}

impl Place {
    /// Whether everything up to `other` is before `self`. By GTIDs where both have them, else by
    /// file and offset on the same server.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.gtids
            .covers(&other.gtids)
            .unwrap_or_else(|| self.file_place() >= other.file_place())
    }

    /// File number and offset, in the log's order.
    fn file_place(&self) -> (u64, u64) {
        (file_number(&self.file), self.offset)
    }

    /// The place on a scale of bytes, for lag figures: the file's number above 40 bits of offset.
    pub(crate) fn scale(&self) -> u64 {
        scale(&self.file, self.offset)
    }

    /// For the engine to keep.
    pub(crate) fn position(&self) -> Position {
        self.within(None)
    }

    /// The same, where `part` of the transaction that comes next is done already.
    pub(crate) fn within(&self, part: Option<Part>) -> Position {
        let stored = Stored {
            // Programs that do not know of parts must not take it for a whole one.
            v: if part.is_some() { 2 } else { 1 },
            kind: match self.gtids {
                Gtids::Maria(_) => Kind::MariaDb,
                _ => Kind::MySql,
            },
            server: self.server.clone(),
            gtid: match &self.gtids {
                Gtids::Off => None,
                gtids => Some(gtids.to_string()),
            },
            file: self.file.clone(),
            offset: self.offset,
            part,
        };
        // A structure of strings and numbers has a JSON form.
        Position::new(serde_json::to_string(&stored).unwrap_or_default())
    }

    /// Reads a position back.
    ///
    /// # Errors
    /// `Data` where it is not one of ours.
    pub(crate) fn read(position: &Position) -> Result<Self> {
        let stored: Stored = serde_json::from_str(position.as_str()).map_err(|error| {
            Error::data("the stored position is not one of MySQL or MariaDB").caused_by(error)
        })?;
        if stored.v != if stored.part.is_some() { 2 } else { 1 } {
            return Err(Error::data(format!(
                "the stored position has version {}, which this program does not know",
                stored.v
            ))
            .hint("run the version of cdc that wrote it, or a later one"));
        }
        let gtids = match (&stored.kind, &stored.gtid) {
            (Kind::MySql, None) => Gtids::Off,
            (Kind::MySql, Some(text)) => Gtids::MySql(text.parse()?),
            (Kind::MariaDb, text) => Gtids::Maria(text.as_deref().unwrap_or_default().parse()?),
        };
        Ok(Self {
            server: stored.server,
            gtids,
            file: stored.file,
            offset: stored.offset,
        })
    }
}

/// The number at the end of a log file's name: `binlog.000012`.
pub(crate) fn file_number(file: &str) -> u64 {
    file.rsplit('.')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// A place on a scale of bytes: for lag figures and for people, nothing is ordered by it.
pub(crate) fn scale(file: &str, offset: u64) -> u64 {
    file_number(file) << 40 | (offset & ((1 << 40) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(gtids: Gtids, file: &str, offset: u64) -> Place {
        Place {
            server: "3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned(),
            gtids,
            file: file.to_owned(),
            offset,
        }
    }

    #[test]
    fn a_position_survives_being_written_down() {
        for gtids in [
            Gtids::Off,
            Gtids::MySql(GtidSet::default()),
            Gtids::MySql(
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:tag:7"
                    .parse()
                    .expect("a set"),
            ),
            Gtids::Maria("0-1-100,5-2-18446744073709551615".parse().expect("a list")),
        ] {
            let place = place(gtids, "binlog.000002", 5 << 32);
            assert_eq!(Place::read(&place.position()).expect("ours"), place);
        }
    }

    #[test]
    fn a_part_of_a_transaction_survives_being_written_down() {
        let part = Part { events: 2, rows: 7 };
        let place = place(Gtids::Off, "binlog.000002", 4);
        let position = place.within(Some(part));
        assert_eq!(Part::of(&position), Some(part), "{position}");
        assert_eq!(Place::read(&position).expect("ours"), place);
        assert_eq!(Part::of(&place.position()), None);
        assert_eq!([1, 2, 3].map(|event| part.done(event)), [u64::MAX, 7, 0]);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"v":2,"kind":"mysql","server":"x","file":"b.1","offset":4}"#,
            r#"{"v":1,"kind":"mysql","server":"x","gtid":"x:1","file":"b.1","offset":4}"#,
            r#"{"v":1,"kind":"oracle","server":"x","file":"b.1","offset":4}"#,
        ] {
            assert!(Place::read(&Position::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn places_without_gtids_are_ordered_by_file_and_offset() {
        let at = |file, offset| place(Gtids::Off, file, offset);
        assert!(at("b.000010", 4).covers(&at("b.000009", 900)));
        assert!(at("b.999999", 4).covers(&at("b.999999", 4)));
        assert!(!at("b.999999", 4).covers(&at("b.1000000", 4)));
    }

    #[test]
    fn tables_are_told_apart_by_both_parts_of_their_names() {
        let id = |schema, table| table_id(&TableName::new(schema, table));
        assert_ne!(id("a", "bc"), id("ab", "c"));
        assert_eq!(id("a", "b"), id("a", "b"));
        assert!(id("shop", "orders").0 <= u64::MAX >> 1);
    }
}
