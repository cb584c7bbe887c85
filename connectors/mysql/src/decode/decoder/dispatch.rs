//! What each event does, also those within an event and those that were kept from earlier.
//!
//! Invariant: an event of a kind that is not known stops the stream, unless the log says that it may
//! be passed over.

use cdc_api::{Error, Result};

use super::{Decoder, transaction::begun, unexpected};
use crate::decode::event::{self, Begun, Header, kind};
use crate::decode::payload::Payload;
use crate::decode::prepared::Kept;
use crate::decode::statement::Statement;

/// Events within an event, or kept from earlier.
pub(super) enum Inner {
    Payload(Box<Payload>),
    Prepared(Box<Kept>, Vec<u8>),
}

impl Decoder {
    /// Takes one of the events within an event.
    pub(super) fn step(&mut self, inner: Inner) -> Result<()> {
        match inner {
            Inner::Payload(mut payload) => match payload.next()? {
                None if self.open.is_some() => {
                    return Err(Error::data("a compressed transaction does not end"));
                }
                None => self.rest(),
                Some(packet) => {
                    let (header, body) = event::split(packet, false)?;
                    if header.kind == kind::TRANSACTION_PAYLOAD {
                        return Err(Error::data("a compressed transaction within another"));
                    }
                    self.apply(&header, body)?;
                    self.inner = Some(Inner::Payload(payload));
                }
            },
            Inner::Prepared(mut kept, xid) => match kept.next()? {
                None => {
                    let place = self.open_place();
                    self.prepared.decide(&xid, &place)?;
                    self.commit();
                    self.half_full()?;
                    self.rest();
                }
                Some((kind, body)) => {
                    if kind == kind::TABLE_MAP {
                        self.table_map(body)?;
                    } else {
                        self.rows(kind, body)?;
                    }
                    self.inner = Some(Inner::Prepared(kept, xid));
                }
            },
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, header: &Header, body: &[u8]) -> Result<()> {
        match header.kind {
            kind::TABLE_MAP => {
                if self.keep(header.kind, body)? {
                    return Ok(());
                }
                self.table_map(body)
            }
            kind::XID => self.end(),
            kind::QUERY => self.query(header, event::query(body)?),
            kind::MARIA_QUERY_COMPRESSED => {
                let query = event::query(body)?;
                let mut text = Vec::new();
                event::inflate(query.text, &mut text)?;
                let text = event::Query {
                    text: &text,
                    ..query
                };
                self.query(header, text)
            }
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIA_GTID => {
                match begun(header, body)? {
                    Some(begun) => self.begin(header, begun),
                    None => Ok(()),
                }
            }
            kind::TRANSACTION_PAYLOAD if self.part.is_some() => Err(Error::unsupported(
                "what was delivered of a compressed transaction cannot be counted",
            )
            .hint(
                "start the connector again, stop it when it has sent the transaction whole, and take it \
                 over with a new name and data_dir for this pipeline, and the topic_prefix as it is",
            )),
            kind::TRANSACTION_PAYLOAD => {
                self.inner = Some(Inner::Payload(Box::new(Payload::new(body)?)));
                Ok(())
            }
            kind::FORMAT_DESCRIPTION => {
                self.checksum = event::format_description(body)?;
                self.maps.clear();
                Ok(())
            }
            kind::ROTATE => {
                let (offset, file) = event::rotate(body)?;
                self.file = file.into();
                self.offset = offset;
                self.maps.clear();
                Ok(())
            }
            kind::XA_PREPARE => {
                let (one_phase, _) = event::xa_prepare(body)?;
                if one_phase && let Some(open) = &mut self.open {
                    // Kept for nothing: it commits at once.
                    if let Some(keeper) = open.keeper.take() {
                        let kept = keeper.read_back()?;
                        self.inner = Some(Inner::Prepared(Box::new(kept), Vec::new()));
                        return Ok(());
                    }
                }
                self.end()
            }
            kind::INCIDENT => self.fail_all(
                "the log says that changes are missing in it (INCIDENT)",
                "look into the server's error log",
            ),
            kind::BEGIN_LOAD_QUERY | kind::EXECUTE_LOAD_QUERY => self.statement_logged(),
            kind::MARIA_PARTIAL_ROW_DATA => Err(Error::unsupported(
                "the log holds rows in fragments, which this program cannot put together",
            )
            .hint(
                "SET GLOBAL binlog_row_event_fragment_threshold to its largest value; then cdc \
                 teardown, and start again: the tables are loaded anew",
            )),
            kind if event::rows_kind(kind).is_some() => {
                if self.keep(kind, body)? {
                    return Ok(());
                }
                self.rows(kind, body)
            }
            kind if event::is_silent(kind) || header.is_ignorable() => Ok(()),
            kind => Err(Error::unsupported(format!(
                "the log has an event of kind {kind}, which this program does not know"
            ))
            .hint("run a later version of cdc; its position is kept")),
        }
    }

    pub(super) fn query(&mut self, header: &Header, query: event::Query<'_>) -> Result<()> {
        match self.statement(&query) {
            Statement::Begin => {
                if self.open.is_none() {
                    let anonymous = Begun {
                        name: None,
                        commit_time: None,
                        length: None,
                        standalone: false,
                        prepares: None,
                        inert: false,
                    };
                    self.begin(header, anonymous)?;
                }
                if let Some(open) = &mut self.open {
                    open.explicit = true;
                }
                Ok(())
            }
            Statement::End => self.end(),
            Statement::Nothing => Ok(()),
            Statement::RollbackTo => self.fail_all(
                "part of a transaction with tables that cannot roll back was rolled back",
                "ALTER TABLE … ENGINE = InnoDB for tables of other engines",
            ),
            Statement::XaStart(xid) => {
                if let Some(open) = &mut self.open {
                    open.explicit = true;
                    self.prepare(&xid)?;
                }
                Ok(())
            }
            Statement::XaCommit(xid) => match self.prepared.read(&xid)? {
                Some(kept) => {
                    self.inner = Some(Inner::Prepared(Box::new(kept), xid));
                    Ok(())
                }
                None => {
                    self.fail_all(
                        "an XA transaction was committed that had been prepared before the start",
                        "XA RECOVER shows whether there are more",
                    )?;
                    self.end()
                }
            },
            Statement::XaRollback(xid) => {
                let place = self.open_place();
                self.prepared.decide(&xid, &place)?;
                self.end()
            }
            Statement::Rows if self.open.is_none() => Err(outside()),
            Statement::Rows => {
                self.statement_logged()?;
                self.statement_ends()
            }
            Statement::Ddl(effects) if self.open.is_none() && !effects.is_empty() => Err(outside()),
            Statement::Ddl(effects) => {
                self.seq += 1;
                if !self.open.as_ref().is_some_and(|open| open.inert) {
                    self.tell(&query, &effects)?;
                    for effect in effects {
                        self.effect(effect)?;
                    }
                }
                self.statement_ends()
            }
        }
    }
}

#[cold]
fn outside() -> Error {
    unexpected("a statement outside of a transaction")
}
