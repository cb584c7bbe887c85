//! MariaDB's GTIDs: `domain-server-sequence`, and the last one of each domain.
//!
//! Invariant: within a domain the sequence rises along the log (gtid_strict_mode sees to that, and
//! the stream checks it), so that the last one stands for all before it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cdc_api::{Error, Result};

/// One transaction's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MariaGtid {
    /// The domain, an order of its own.
    pub(crate) domain: u32,
    /// The server that gave the number.
    pub(crate) server: u32,
    /// Rises within the domain.
    pub(crate) sequence: u64,
}

impl fmt::Display for MariaGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl FromStr for MariaGtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Option<Vec<u64>> = text.trim().split('-').map(|it| it.parse().ok()).collect();
        parts
            .and_then(|parts| {
                let [domain, server, sequence] = <[u64; 3]>::try_from(parts).ok()?;
                Some(Self {
                    domain: domain.try_into().ok()?,
                    server: server.try_into().ok()?,
                    sequence,
                })
            })
            .ok_or_else(|| Error::data("not a GTID of MariaDB"))
    }
}

/// The last transaction of each domain; its text is as `gtid_current_pos`, by domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MariaGtids {
    last: BTreeMap<u32, MariaGtid>,
}

impl MariaGtids {
    /// Takes note of a transaction, the latest of its domain.
    pub(crate) fn add(&mut self, gtid: MariaGtid) {
        self.last.insert(gtid.domain, gtid);
    }

    /// The last one of a domain.
    pub(crate) fn of_domain(&self, domain: u32) -> Option<MariaGtid> {
        self.last.get(&domain).copied()
    }

    /// Whether `other` is as far in every domain, or further.
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.last.values().all(|mine| {
            other
                .of_domain(mine.domain)
                .is_some_and(|theirs| mine.sequence <= theirs.sequence)
        })
    }

    /// Those that `other` is not as far as.
    pub(crate) fn beyond(&self, other: &Self) -> Self {
        let mut beyond = self.clone();
        beyond.last.retain(|domain, mine| {
            let theirs = other.of_domain(*domain);
            theirs.is_none_or(|theirs| theirs.sequence < mine.sequence)
        });
        beyond
    }

    /// By domain.
    pub(crate) fn iter(&self) -> impl Iterator<Item = MariaGtid> {
        self.last.values().copied()
    }
}

impl fmt::Display for MariaGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.last.values().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            gtid.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for MariaGtids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut gtids = Self::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            gtids.add(part.parse()?);
        }
        Ok(gtids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gtids(text: &str) -> MariaGtids {
        text.parse().expect("a list")
    }

    #[test]
    fn each_domain_counts_for_itself() {
        let mine = gtids("0-1-10,7-1-3");
        assert_eq!(mine.to_string(), "0-1-10,7-1-3");
        assert!(gtids("0-2-10").is_subset(&mine));
        assert!(!gtids("0-1-11").is_subset(&mine));
        assert!(!gtids("3-1-1").is_subset(&mine));
        assert!(gtids("").is_subset(&mine));
        assert_eq!(mine.iter().count(), 2);
        assert_eq!(
            gtids("0-1-11,3-1-1,7-1-3").beyond(&mine),
            gtids("0-1-11,3-1-1")
        );
    }

    #[test]
    fn what_is_no_gtid_is_refused() {
        for text in ["1", "1-2", "1-2-3-4", "x-1-2", "4294967296-1-1", "-1-1-1"] {
            assert!(text.parse::<MariaGtids>().is_err(), "{text}");
        }
    }
}
