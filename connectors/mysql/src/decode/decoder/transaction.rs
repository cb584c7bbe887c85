//! Transactions: where they begin and end, and the place behind the last one.
//!
//! Invariant: a name that has been there does not come again. The place moves behind a transaction
//! only when it has ended, whole.

use std::sync::Arc;

use cdc_api::{Error, Result, TransactionId};

use super::{Decoder, unexpected};
use crate::decode::event::{self, AnyGtid, Begun, Header, kind};
use crate::decode::prepared::Keeper;
use crate::decode::table::Transaction;
use crate::position::{Gtids, Place, scale};

/// Where everything before is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    /// Rises with each transaction and each step of an idle log.
    pub(super) number: u64,
    pub(super) seq: u64,
    pub(super) time: i64,
    pub(super) file: Arc<str>,
    pub(super) offset: u64,
}

/// A transaction that has begun.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) name: Option<AnyGtid>,
    pub(super) transaction: Transaction,
    /// MariaDB: it ends with its one statement.
    pub(super) standalone: bool,
    /// It began with BEGIN, or with a GTID of MariaDB: statements do not end it.
    pub(super) explicit: bool,
    /// MariaDB: its statement does nothing yet, or nothing at all.
    pub(super) inert: bool,
    /// It is prepared, not committed: where its events are kept.
    pub(super) keeper: Option<Keeper>,
}

impl Decoder {
    /// Counts an event of the file: headers have the low 32 bits of its end.
    pub(super) fn move_on(&mut self, header: &Header) {
        let low = u64::from(header.end);
        let mut end = (self.offset & !0xffff_ffff) | low;
        if end < self.offset {
            end += 1 << 32;
        }
        self.offset = end;
    }

    /// The place of an idle log, between transactions. A dump that goes by names begins with the
    /// head of a file whose transactions it then passes over: that is no place to go back to.
    pub(super) fn rest(&mut self) {
        if self.moved_to.is_none()
            && scale(&self.file, self.offset) > scale(&self.done.file, self.done.offset)
        {
            self.move_done();
        }
    }

    /// All that was read is complete.
    pub(super) fn move_done(&mut self) {
        self.done.file = Arc::clone(&self.file);
        self.done.offset = self.offset;
        self.done.number += 1;
    }

    pub(super) fn begin(&mut self, header: &Header, begun: Begun) -> Result<()> {
        if self.open.is_some() {
            return Err(unexpected("a transaction inside a transaction"));
        }
        self.unseen(begun.name.as_ref())?;
        let start = self.offset.saturating_sub(u64::from(header.size));
        let maria = matches!(begun.name, Some(AnyGtid::Maria(_)));
        let time = begun
            .commit_time
            .unwrap_or_else(|| i64::from(header.time) * 1_000_000);
        let begin = scale(&self.file, start);
        let id: Arc<str> = match &begun.name {
            Some(name) => name.to_string().into(),
            None => format!("{}:{start}", self.file).into(),
        };
        self.open = Some(Open {
            transaction: Transaction {
                id: TransactionId::Text(id),
                commit_offset: begin + begun.length.unwrap_or(0),
                commit_time: time,
                first_seq: self.seq + 1,
            },
            name: begun.name,
            standalone: begun.standalone,
            explicit: maria && !begun.standalone,
            inert: begun.inert,
            keeper: None,
        });
        if let Some(xid) = begun.prepares {
            self.prepare(&xid)?;
        }
        if self.maps.len() > 4096 {
            self.maps.clear();
        }
        Ok(())
    }

    /// Refuses a name that has been there: the server's history is another one.
    pub(super) fn unseen(&self, name: Option<&AnyGtid>) -> Result<()> {
        let seen = match (&self.gtids, name) {
            (Gtids::MySql(set), Some(AnyGtid::MySql(gtid))) => set.contains(gtid),
            (Gtids::Maria(last), Some(AnyGtid::Maria(gtid))) => last
                .of_domain(gtid.domain)
                .is_some_and(|last| gtid.sequence <= last.sequence),
            (Gtids::Off, None) => false,
            (Gtids::Off, Some(_)) | (_, None) => {
                return Err(Error::config(
                    "gtid_mode was changed: the log and the stored position count differently",
                )
                .hint("set gtid_mode back to what it was, or cdc teardown and start again"));
            }
            _ => {
                return Err(Error::log_lost("the log is of another kind of server")
                    .hint("cdc teardown, then start again: the tables are loaded anew"));
            }
        };
        match (seen, name) {
            (true, Some(name)) => Err(Error::log_lost(format!(
                "the transaction {name} comes again: the server gives numbers a second time"
            ))
            .hint(
                "the log was reset or the server restored: cdc teardown, then start again; on \
                 MariaDB SET GLOBAL gtid_strict_mode = ON",
            )),
            _ => Ok(()),
        }
    }

    /// The events of the open transaction are kept until it is decided.
    pub(super) fn prepare(&mut self, xid: &[u8]) -> Result<()> {
        let place = self.open_place();
        let keeper = self.prepared.begin(xid, &place)?;
        if let Some(open) = &mut self.open {
            open.keeper = Some(keeper);
        }
        Ok(())
    }

    /// Keeps an event of a transaction that is being prepared. False where it is none.
    pub(super) fn keep(&mut self, kind: u8, body: &[u8]) -> Result<bool> {
        match self.open.as_mut().and_then(|open| open.keeper.as_mut()) {
            None => Ok(false),
            Some(keeper) => {
                keeper.push(kind, body)?;
                Ok(true)
            }
        }
    }

    /// The place after the open transaction, named by it alone.
    pub(super) fn open_place(&self) -> Place {
        let name = self.open.as_ref().and_then(|open| open.name.as_ref());
        let gtids = match (&self.gtids, name) {
            (Gtids::MySql(_), Some(AnyGtid::MySql(gtid))) => {
                let mut set = crate::position::GtidSet::default();
                set.add(gtid);
                Gtids::MySql(set)
            }
            (Gtids::Maria(_), Some(AnyGtid::Maria(gtid))) => {
                let mut last = crate::position::MariaGtids::default();
                last.add(*gtid);
                Gtids::Maria(last)
            }
            _ => Gtids::Off,
        };
        Place {
            server: self.server.clone(),
            gtids,
            file: self.file.to_string(),
            offset: self.offset,
        }
    }

    /// The open transaction ends, committed or prepared.
    pub(super) fn end(&mut self) -> Result<()> {
        let open = self
            .open
            .as_mut()
            .ok_or_else(|| unexpected("a commit outside of a transaction"))?;
        if let Some(keeper) = open.keeper.take() {
            keeper.finish()?;
        }
        self.commit();
        self.half_full()
    }

    pub(super) fn commit(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        match (&mut self.gtids, &open.name) {
            (Gtids::MySql(set), Some(AnyGtid::MySql(gtid))) => set.add(gtid),
            (Gtids::Maria(last), Some(AnyGtid::Maria(gtid))) => last.add(*gtid),
            _ => {}
        }
        if let Some(server) = self.moved_to.take() {
            self.server = server;
        }
        (self.part, self.counted) = (None, 0);
        self.done.seq = self.seq;
        self.done.time = open.transaction.commit_time;
        self.move_done();
    }

    pub(super) fn half_full(&mut self) -> Result<()> {
        match self.batches.half_full() {
            true => self.close_all(),
            false => Ok(()),
        }
    }

    /// A statement that is a transaction by itself ends it.
    pub(super) fn statement_ends(&mut self) -> Result<()> {
        match &self.open {
            Some(open) if !open.explicit || open.standalone => self.end(),
            _ => Ok(()),
        }
    }
}

/// What begins with an event of these kinds.
pub(super) fn begun(header: &Header, body: &[u8]) -> Result<Option<Begun>> {
    Ok(Some(match header.kind {
        kind::GTID | kind::ANONYMOUS_GTID => event::gtid(header.kind, body)?,
        kind::GTID_TAGGED => event::tagged_gtid(body)?,
        kind::MARIA_GTID => event::maria_gtid(header, body)?,
        _ => return Ok(None),
    }))
}
