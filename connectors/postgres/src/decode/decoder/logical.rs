//! Logical messages: which are wanted, and where they stand.
//!
//! Invariant: where any are wanted, every message but our own takes a number, so that numbers depend on
//! the log alone and not on which prefixes are chosen; where none are wanted, none does. A message
//! outside of a transaction is a commit by itself, at its own place.

use std::sync::Arc;

use cdc_api::{ChangeEvent, Notice, Result, Said, TransactionId, TransactionRun};

use super::{Decoder, unexpected};

/// What the messages begin with that this program writes itself.
const OWN: &[u8] = b"cdc.";

/// Whose messages are wanted: prefixes, or their beginnings before an asterisk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prefixes(Vec<String>);

impl Prefixes {
    /// As the configuration says them.
    pub(crate) fn new(prefixes: &[String]) -> Self {
        Self(prefixes.to_vec())
    }

    /// Whether none is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, prefix: &str) -> bool {
        self.0.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => prefix.starts_with(beginning),
            None => prefix == wanted,
        })
    }
}

impl Decoder {
    /// Gives messages, too.
    pub(crate) fn with_messages(self, messages: Prefixes) -> Self {
        Self { messages, ..self }
    }

    /// A message that comes from `lsn` of the log, where it ends.
    pub(super) fn logical(
        &mut self,
        lsn: u64,
        transactional: bool,
        (prefix, content): (&[u8], &[u8]),
    ) -> Result<()> {
        if self.messages.is_empty() || prefix.starts_with(OWN) {
            return Ok(());
        }
        let transaction = match (transactional, self.transaction) {
            (true, None) => return Err(unexpected("a message outside of its transaction")),
            (true, Some(transaction)) => {
                // Its place is its end, that of a row its beginning.
                if transaction.known || self.is_done(transaction.xid, lsn.saturating_sub(1)) {
                    return Ok(());
                }
                Some(transaction)
            }
            (false, Some(_)) => {
                return Err(unexpected("a message of no transaction inside of one"));
            }
            (false, None) if lsn <= self.start => return Ok(()),
            (false, None) => None,
        };
        self.seq += 1;
        let prefix = String::from_utf8_lossy(prefix);
        if self.messages.has(&prefix) {
            self.report_rows()?;
            self.events.push_back(ChangeEvent::Notice(Arc::new(Notice {
                seq: self.seq,
                offset: lsn,
                transaction: transaction.map(|transaction| TransactionRun {
                    end: 1,
                    id: TransactionId::Number(u64::from(transaction.xid)),
                    commit_offset: transaction.commit_lsn,
                    commit_time: transaction.commit_time,
                    first_seq: transaction.first_seq,
                }),
                commit_time: transaction.map_or(self.committed.time, |it| it.commit_time),
                said: Said::Message {
                    prefix: prefix.into_owned(),
                    content: content.to_vec(),
                },
            })));
        }
        if transaction.is_none() {
            self.committed.lsn = self.committed.lsn.max(lsn);
            self.committed.seq = self.seq;
        }
        Ok(())
    }
}
