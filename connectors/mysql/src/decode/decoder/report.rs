//! What leaves the decoder: rows, commits, failures, in an order that holds the contract of
//! [`ChangeEvent::Commit`].

use cdc_api::{ChangeEvent, Checkpoint, Result};

use super::Decoder;
use crate::position::{Place, scale};

impl Decoder {
    /// Stops a table, from `seq` on.
    pub(super) fn fail(
        &mut self,
        index: usize,
        seq: u64,
        message: String,
        hint: String,
    ) -> Result<()> {
        self.cut(index)?;
        self.report_rows()?;
        let table = &mut self.tables[index];
        if !std::mem::replace(&mut table.failed, true) {
            self.events.push_back(ChangeEvent::Failed {
                table: table.id,
                seq,
                message,
                hint,
            });
        }
        Ok(())
    }

    /// Gives the rows of one table.
    pub(super) fn cut(&mut self, index: usize) -> Result<()> {
        self.report_rows()?;
        if let Some(batch) = self.batches.close(index)? {
            self.events.push_back(ChangeEvent::Rows(batch));
        }
        Ok(())
    }

    /// Reports the last commit, or the last step of an idle log, before anything of the open
    /// transaction is given: reported later it would count what is not committed yet.
    pub(super) fn report_rows(&mut self) -> Result<()> {
        if self.open.is_some() && self.done.number > self.reported {
            self.close_all()?;
        }
        Ok(())
    }

    /// Gives all open rows, and the last commit if it was not reported: after the rows up to it,
    /// before those of the open transaction.
    pub(super) fn close_all(&mut self) -> Result<()> {
        let batches = self.batches.close_all()?;
        if self.done.number <= self.reported {
            self.events
                .extend(batches.into_iter().map(ChangeEvent::Rows));
            return Ok(());
        }
        let seq = self.done.seq;
        let mut later = Vec::new();
        for batch in batches {
            if self.open.is_some() {
                later.extend(batch.clone().after(seq).map(ChangeEvent::Rows));
            }
            self.events.extend(batch.up_to(seq).map(ChangeEvent::Rows));
        }
        self.report();
        self.events.extend(later);
        Ok(())
    }

    /// Gives the last commit, again if need be.
    pub(super) fn report(&mut self) {
        self.reported = self.done.number;
        let place = Place {
            server: self.server.clone(),
            // Of the transaction that is open they know nothing yet.
            gtids: self.gtids.clone(),
            file: self.done.file.to_string(),
            offset: self.done.offset,
        };
        self.events.push_back(ChangeEvent::Commit(Checkpoint {
            position: place.within(self.part),
            seq: self.done.seq,
            offset: scale(&self.done.file, self.done.offset),
            commit_time: self.done.time,
        }));
    }
}
