//! The messages of `pgoutput`, protocol versions 1 to 4, read in place.
//!
//! Invariant: every length is checked against what is there; a message is taken whole or refused.
//! Only the fields of a tuple are read later, by [`Tuple::fields`], which checks them then.
//! Section "Logical Replication Message Formats" of PostgreSQL's manual.

mod reader;

use cdc_api::{Error, Result};

use reader::{Reader, truncated};

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// `B`.
    Begin {
        /// Where the commit record begins.
        final_lsn: u64,
        /// Microseconds since the Unix epoch.
        commit_time: i64,
        /// The transaction.
        xid: u32,
    },
    /// `C`.
    Commit(Committed),
    /// `O`.
    Origin,
    /// `R`.
    Relation(Relation<'a>),
    /// `Y`.
    Type,
    /// `I`.
    Insert {
        /// The table's oid.
        relation: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// `U`.
    Update {
        /// The table's oid.
        relation: u32,
        /// The old row or its key, where it was sent.
        old: Option<Old<'a>>,
        /// The row.
        new: Tuple<'a>,
    },
    /// `D`.
    Delete {
        /// The table's oid.
        relation: u32,
        /// The old row or its key.
        old: Old<'a>,
    },
    /// `T`.
    Truncate {
        /// The tables' oids.
        relations: Oids<'a>,
    },
    /// `M`.
    Logical {
        /// Whether it belongs to the transaction.
        transactional: bool,
        /// Who it is meant for.
        prefix: &'a [u8],
        /// What it says.
        content: &'a [u8],
    },
    /// `S`.
    StreamStart {
        /// The top transaction that the messages up to the stop belong to.
        xid: u32,
        /// Whether it is the transaction's first block.
        first: bool,
    },
    /// `E`.
    StreamStop,
    /// `c`.
    StreamCommit {
        /// The top transaction.
        xid: u32,
        /// Its commit.
        committed: Committed,
    },
    /// `A`.
    StreamAbort {
        /// The top transaction.
        xid: u32,
        /// The transaction that is gone: the top one, or one below it.
        subxid: u32,
    },
    /// `b`, `P`, `K`, `r`, `p`: two-phase commit.
    TwoPhase {
        /// Which of them.
        tag: u8,
    },
}

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Where the commit record begins.
    pub(crate) lsn: u64,
    /// Where it ends: the position after the transaction.
    pub(crate) end_lsn: u64,
    /// Microseconds since the Unix epoch.
    pub(crate) time: i64,
}

/// An old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Old<'a> {
    /// `K`: the replica identity's columns, all others null.
    Key(Tuple<'a>),
    /// `O`: the whole row.
    Full(Tuple<'a>),
}

impl<'a> Old<'a> {
    /// The values.
    pub(crate) fn tuple(self) -> Tuple<'a> {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => tuple,
        }
    }
}

/// A table, as the log knew it when the following rows were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relation<'a> {
    /// Its oid.
    pub(crate) oid: u32,
    /// Its schema; the wire's empty text for `pg_catalog` is written out.
    pub(crate) schema: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// `pg_class.relreplident`: `d`, `n`, `f` or `i`.
    pub(crate) identity: u8,
    count: u16,
    columns: &'a [u8],
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelationColumn<'a> {
    /// Whether it is part of the replica identity; under `FULL` all are.
    pub(crate) key: bool,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its type's oid.
    pub(crate) type_oid: u32,
    /// Its type's modifier, -1 for none.
    pub(crate) typmod: i32,
}

impl<'a> Relation<'a> {
    /// The columns, in the order of the tuples' fields.
    pub(crate) fn columns(&self) -> impl ExactSizeIterator<Item = RelationColumn<'a>> + use<'a> {
        let mut rest = Reader(self.columns);
        (0..self.count).map(move |_| {
            // Read whole once, when the message was parsed.
            rest.relation_column().unwrap_or(RelationColumn {
                key: false,
                name: "",
                type_oid: 0,
                typmod: -1,
            })
        })
    }
}

/// The fields of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple<'a> {
    count: u16,
    data: &'a [u8],
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// `n`.
    Null,
    /// `u`: an unchanged TOAST value, not sent.
    Unchanged,
    /// `t`.
    Text(&'a [u8]),
    /// `b`.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes on the wire.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The fields, in the order of the relation's columns.
    pub(crate) fn fields(&self) -> Fields<'a> {
        Fields {
            left: self.count,
            reader: Reader(self.data),
        }
    }
}

/// See [`Tuple::fields`].
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.reader.field())
    }
}

/// The tables of a [`Message::Truncate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oids<'a>(&'a [u8]);

impl<'a> Oids<'a> {
    /// Their oids.
    pub(crate) fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0
            .chunks_exact(4)
            .map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
    }
}

impl<'a> Message<'a> {
    /// Reads a message outside of a streamed block.
    ///
    /// # Errors
    /// `Data` when it is not a message of the protocol, whole and by itself.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self> {
        let (tag, rest) = body.split_first().ok_or_else(truncated)?;
        Self::parse_rest(*tag, Reader(rest))
    }

    fn parse_rest(tag: u8, mut reader: Reader<'a>) -> Result<Self> {
        let message = match tag {
            b'I' => {
                let relation = reader.u32()?;
                reader.tag(b'N')?;
                // The row is the rest: its fields are checked when they are read.
                return Ok(Self::Insert {
                    relation,
                    new: reader.last_tuple()?,
                });
            }
            b'U' => {
                let relation = reader.u32()?;
                let old = match reader.u8()? {
                    b'N' => None,
                    kind => {
                        let old = reader.old(kind)?;
                        reader.tag(b'N')?;
                        Some(old)
                    }
                };
                return Ok(Self::Update {
                    relation,
                    old,
                    new: reader.last_tuple()?,
                });
            }
            b'D' => {
                let relation = reader.u32()?;
                let kind = reader.u8()?;
                Self::Delete {
                    relation,
                    old: reader.old(kind)?,
                }
            }
            b'B' => Self::Begin {
                final_lsn: reader.u64()?,
                commit_time: reader.time()?,
                xid: reader.u32()?,
            },
            b'C' => {
                reader.u8()?;
                Self::Commit(reader.committed()?)
            }
            b'O' => {
                reader.u64()?;
                reader.text()?;
                Self::Origin
            }
            b'R' => Self::Relation(reader.relation()?),
            b'Y' => {
                reader.u32()?;
                reader.text()?;
                reader.text()?;
                Self::Type
            }
            b'T' => {
                let count = reader.u32()?;
                reader.u8()?;
                let bytes = usize::try_from(count)
                    .ok()
                    .and_then(|count| count.checked_mul(4))
                    .ok_or_else(truncated)?;
                Self::Truncate {
                    relations: Oids(reader.take(bytes)?),
                }
            }
            b'M' => {
                let transactional = reader.u8()? & 1 != 0;
                reader.u64()?;
                let prefix = reader.bytes_to_zero()?;
                let length = reader.length()?;
                Self::Logical {
                    transactional,
                    prefix,
                    content: reader.take(length)?,
                }
            }
            b'S' => Self::StreamStart {
                xid: reader.u32()?,
                first: reader.u8()? == 1,
            },
            b'E' => Self::StreamStop,
            b'c' => {
                let xid = reader.u32()?;
                reader.u8()?;
                Self::StreamCommit {
                    xid,
                    committed: reader.committed()?,
                }
            }
            b'A' => {
                let (xid, subxid) = (reader.u32()?, reader.u32()?);
                // Where and when it was aborted, under streaming = parallel.
                if !reader.0.is_empty() {
                    reader.take(16)?;
                }
                Self::StreamAbort { xid, subxid }
            }
            b'b' | b'P' | b'K' | b'r' | b'p' => {
                reader.two_phase(tag)?;
                Self::TwoPhase { tag }
            }
            tag => {
                return Err(Error::data(format!(
                    "the server sent a replication message of unknown kind {:?}",
                    char::from(tag)
                )));
            }
        };
        if reader.0.is_empty() {
            Ok(message)
        } else {
            Err(Error::data(format!(
                "a replication message of kind {:?} is longer than it should be",
                char::from(tag)
            )))
        }
    }
}

/// Where the transaction commits that this message, outside of a streamed block, takes up: of
/// `Begin` and `Stream Commit`. `None` for all others, broken ones too.
pub(crate) fn takes_up(body: &[u8]) -> Option<u64> {
    if !matches!(body.first(), Some(b'B' | b'c')) {
        return None;
    }
    match Message::parse(body) {
        Ok(Message::Begin { final_lsn, .. }) => Some(final_lsn),
        Ok(Message::StreamCommit { committed, .. }) => Some(committed.lsn),
        _ => None,
    }
}

/// Takes the transaction out of a message of a streamed block: kind, transaction, and the rest.
///
/// # Errors
/// `Data` when it is truncated.
pub(crate) fn split_streamed(body: &[u8]) -> Result<(u8, u32, &[u8])> {
    let (tag, rest) = body.split_first().ok_or_else(truncated)?;
    let mut reader = Reader(rest);
    let xid = reader.u32()?;
    Ok((*tag, xid, reader.0))
}

#[cfg(test)]
mod tests;
