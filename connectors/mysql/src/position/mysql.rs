//! MySQL's GTID sets: intervals of numbers by server uuid and tag (8.3 and later), with holes.
//!
//! Invariant: intervals are half open, not empty, sorted and apart from each other, so that equal
//! sets have equal structures and one text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cdc_api::{Error, Result};

/// Who gave a transaction its number: a server's uuid and, from 8.3 on, a tag (empty: none).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tsid {
    /// The uuid.
    pub(crate) uuid: Uuid,
    /// In lower case, at most 32 characters.
    pub(crate) tag: String,
}

/// A server's uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl Uuid {
    fn parse(text: &str) -> Option<Self> {
        let hex: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        if hex.len() != 32 || !hex.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut uuid = [0; 16];
        for (byte, pair) in uuid.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(uuid))
    }
}

/// One transaction's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gtid {
    /// Whose number it is.
    pub(crate) tsid: Tsid,
    /// From 1 on.
    pub(crate) number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.tsid.uuid)?;
        if !self.tsid.tag.is_empty() {
            write!(f, "{}:", self.tsid.tag)?;
        }
        self.number.fmt(f)
    }
}

/// A set of GTIDs; its text is as the server's `gtid_executed` without line breaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GtidSet {
    sets: BTreeMap<Tsid, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Adds one transaction.
    pub(crate) fn add(&mut self, gtid: &Gtid) {
        match self.sets.get_mut(&gtid.tsid) {
            Some(intervals) => insert(intervals, gtid.number, gtid.number.saturating_add(1)),
            None => {
                let interval = (gtid.number, gtid.number.saturating_add(1));
                self.sets.insert(gtid.tsid.clone(), vec![interval]);
            }
        }
    }

    /// Adds the numbers from `start` up to but not with `end`.
    pub(crate) fn add_interval(&mut self, tsid: &Tsid, start: u64, end: u64) {
        if start < end {
            insert(self.sets.entry(tsid.clone()).or_default(), start, end);
        }
    }

    /// Whether the transaction is in it.
    pub(crate) fn contains(&self, gtid: &Gtid) -> bool {
        self.sets
            .get(&gtid.tsid)
            .is_some_and(|intervals| within(intervals, gtid.number, gtid.number.saturating_add(1)))
    }

    /// Whether every transaction of it is in `other`.
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.sets.iter().all(|(tsid, mine)| {
            let theirs = other.sets.get(tsid).map_or(&[][..], Vec::as_slice);
            mine.iter().all(|&(start, end)| within(theirs, start, end))
        })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The set as COM_BINLOG_DUMP_GTID carries it: of the old form where no tag is in it, which
    /// every server reads.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let tagged = self.sets.keys().any(|tsid| !tsid.tag.is_empty());
        let mut bytes = Vec::new();
        let count = self.sets.len() as u64;
        // The tagged form (1) stands in the highest byte and, for old readers to fail on, in the
        // lowest one too.
        let head = if tagged {
            1 << 56 | count << 8 | 1
        } else {
            count
        };
        bytes.extend_from_slice(&head.to_le_bytes());
        for (tsid, intervals) in &self.sets {
            bytes.extend_from_slice(&tsid.uuid.0);
            if tagged {
                // A variable-length integer of one byte: its lowest bit says that no more follow.
                bytes.push(u8::try_from(tsid.tag.len() << 1).unwrap_or(0));
                bytes.extend_from_slice(tsid.tag.as_bytes());
            }
            bytes.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
            for (start, end) in intervals {
                bytes.extend_from_slice(&start.to_le_bytes());
                bytes.extend_from_slice(&end.to_le_bytes());
            }
        }
        bytes
    }
}

fn within(intervals: &[(u64, u64)], start: u64, end: u64) -> bool {
    let place = intervals.partition_point(|interval| interval.0 <= start);
    place > 0 && end <= intervals[place - 1].1
}

/// Adds an interval that is not empty, joining what it touches.
fn insert(intervals: &mut Vec<(u64, u64)>, start: u64, end: u64) {
    // The common case: the next number of the last interval.
    if let Some(last) = intervals.last_mut()
        && last.0 <= start
        && start <= last.1
    {
        last.1 = last.1.max(end);
        return;
    }
    let first = intervals.partition_point(|interval| interval.1 < start);
    let after = intervals.partition_point(|interval| interval.0 <= end);
    let mut joined = (start, end);
    if let Some(touched) = intervals.get(first..after)
        && let (Some(low), Some(high)) = (touched.first(), touched.last())
    {
        joined = (joined.0.min(low.0), joined.1.max(high.1));
    }
    intervals.splice(first..after.max(first), [joined]);
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uuid = None;
        for (tsid, intervals) in &self.sets {
            if uuid != Some(tsid.uuid) {
                if uuid.is_some() {
                    f.write_str(",")?;
                }
                uuid = Some(tsid.uuid);
                tsid.uuid.fmt(f)?;
            }
            if !tsid.tag.is_empty() {
                write!(f, ":{}", tsid.tag)?;
            }
            for (start, end) in intervals {
                if end - start == 1 {
                    write!(f, ":{start}")?;
                } else {
                    write!(f, ":{start}-{}", end - 1)?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::data("not a set of GTIDs of MySQL");
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let mut pieces = part.split(':').map(str::trim);
            let uuid = pieces.next().and_then(Uuid::parse).ok_or_else(wrong)?;
            let mut tsid = Tsid {
                uuid,
                tag: String::new(),
            };
            for piece in pieces {
                if piece.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                    tsid.tag = piece.to_ascii_lowercase();
                    continue;
                }
                let (start, last) = piece.split_once('-').unwrap_or((piece, piece));
                let start: u64 = start.trim().parse().map_err(|_| wrong())?;
                let last: u64 = last.trim().parse().map_err(|_| wrong())?;
                if start == 0 || last < start || last == u64::MAX {
                    return Err(wrong());
                }
                set.add_interval(&tsid, start, last + 1);
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().expect("a set")
    }

    #[test]
    fn texts_are_read_and_written_as_the_server_does() {
        for text in [
            "",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:9-12",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3:blue:1-2:4:green:8,\
             4e11fa47-71ca-11e1-9e33-c80aa9429562:1",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:tag_1:1",
        ] {
            assert_eq!(set(text).to_string(), text);
        }
        assert_eq!(
            set(&format!("{A}:1-3,\n{A}:4-5:7")).to_string(),
            format!("{A}:1-5:7")
        );
        for text in [
            "x",
            ":1",
            "3e11fa47:1",
            &format!("{A}:0"),
            &format!("{A}:3-1"),
        ] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_hole_is_not_covered() {
        let mine = set(&format!("{A}:1-5:7-9"));
        assert!(set(&format!("{A}:2-4:8")).is_subset(&mine));
        assert!(!set(&format!("{A}:5-7")).is_subset(&mine));
        assert!(!set(&format!("{A}:tag:1")).is_subset(&mine));
        assert!(GtidSet::default().is_subset(&mine));
    }

    proptest! {
        #[test]
        fn sets_are_as_sets_of_numbers(
            numbers in prop::collection::vec(1u64..40, 0..60),
            more in prop::collection::vec(1u64..40, 0..20),
        ) {
            let tsid = Tsid { uuid: Uuid([7; 16]), tag: String::new() };
            let build = |numbers: &[u64]| {
                let mut set = GtidSet::default();
                for &number in numbers {
                    set.add(&Gtid { tsid: tsid.clone(), number });
                }
                set
            };
            let (set, other) = (build(&numbers), build(&more));
            let model: BTreeSet<u64> = numbers.iter().copied().collect();
            let model_more: BTreeSet<u64> = more.iter().copied().collect();
            for number in 0..42 {
                let gtid = Gtid { tsid: tsid.clone(), number };
                prop_assert_eq!(set.contains(&gtid), model.contains(&number));
            }
            prop_assert_eq!(other.is_subset(&set), model_more.is_subset(&model));
            prop_assert_eq!(&set.to_string().parse::<GtidSet>().expect("ours"), &set);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f:,\\- _x]{0,80}") {
            let _ = text.parse::<GtidSet>();
        }
    }
}
