//! The parts that messages are made of. Every length is checked against what is left.

use cdc_api::{Error, Result};

use super::{Committed, Field, Old, Relation, RelationColumn, Tuple};

/// Microseconds from the Unix epoch to 2000-01-01, the server's own epoch.
const EPOCH: i64 = 946_684_800_000_000;

#[cold]
pub(super) fn truncated() -> Error {
    Error::data("a replication message is truncated")
}

/// What is left of a message.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Microseconds since the Unix epoch.
    pub(super) fn time(&mut self) -> Result<i64> {
        let micros = i64::from_be_bytes(self.array()?);
        Ok(micros.saturating_add(EPOCH))
    }

    #[inline]
    pub(super) fn length(&mut self) -> Result<usize> {
        let length = i32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| truncated())
    }

    pub(super) fn tag(&mut self, wanted: u8) -> Result<()> {
        match self.u8()? {
            tag if tag == wanted => Ok(()),
            tag => Err(unexpected(tag)),
        }
    }

    pub(super) fn bytes_to_zero(&mut self) -> Result<&'a [u8]> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(truncated)?;
        let text = self.take(end)?;
        self.u8()?;
        Ok(text)
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes_to_zero()?)
            .map_err(|_| Error::data("a name in a replication message is not UTF-8"))
    }

    pub(super) fn committed(&mut self) -> Result<Committed> {
        Ok(Committed {
            lsn: self.u64()?,
            end_lsn: self.u64()?,
            time: self.time()?,
        })
    }

    pub(super) fn relation(&mut self) -> Result<Relation<'a>> {
        let oid = self.u32()?;
        let schema = match self.text()? {
            "" => "pg_catalog",
            schema => schema,
        };
        let name = self.text()?;
        let identity = self.u8()?;
        let count = self.u16()?;
        let columns = self.0;
        for _ in 0..count {
            self.relation_column()?;
        }
        Ok(Relation {
            oid,
            schema,
            name,
            identity,
            count,
            columns,
        })
    }

    pub(super) fn relation_column(&mut self) -> Result<RelationColumn<'a>> {
        Ok(RelationColumn {
            key: self.u8()? & 1 != 0,
            name: self.text()?,
            type_oid: self.u32()?,
            typmod: i32::from_be_bytes(self.array()?),
        })
    }

    pub(super) fn last_tuple(&mut self) -> Result<Tuple<'a>> {
        Ok(Tuple {
            count: self.u16()?,
            data: self.0,
        })
    }

    pub(super) fn old(&mut self, kind: u8) -> Result<Old<'a>> {
        let count = self.u16()?;
        let data = self.0;
        for _ in 0..count {
            self.field()?;
        }
        let tuple = Tuple {
            count,
            data: &data[..data.len() - self.0.len()],
        };
        match kind {
            b'K' => Ok(Old::Key(tuple)),
            b'O' => Ok(Old::Full(tuple)),
            kind => Err(unexpected(kind)),
        }
    }

    #[inline]
    pub(super) fn field(&mut self) -> Result<Field<'a>> {
        match self.u8()? {
            b't' => {
                let length = self.length()?;
                self.take(length).map(Field::Text)
            }
            b'b' => {
                let length = self.length()?;
                self.take(length).map(Field::Binary)
            }
            b'n' => Ok(Field::Null),
            b'u' => Ok(Field::Unchanged),
            kind => Err(unexpected(kind)),
        }
    }

    /// Commits in two phases: flags, places, times, transaction and its name.
    pub(super) fn two_phase(&mut self, tag: u8) -> Result<()> {
        let fixed = match tag {
            b'b' => 8 + 8 + 8 + 4,
            b'r' => 1 + 8 + 8 + 8 + 8 + 4,
            _ => 1 + 8 + 8 + 8 + 4,
        };
        self.take(fixed)?;
        self.bytes_to_zero()?;
        Ok(())
    }
}

#[cold]
fn unexpected(kind: u8) -> Error {
    Error::data(format!(
        "a replication message has a part of unknown kind {:?}",
        char::from(kind)
    ))
}
