//! What of the events from a cursor's place on the cursor yields.
//!
//! A cursor begins at a segment, that is at or before its start: events up to the start are passed
//! over, batches that it lies within are cut. Of the schemas passed over each one is given before
//! the first event that needs it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cdc_api::{ChangeEvent, TableId, TableSchema};

use super::intake::same;

/// The filter of one cursor.
#[derive(Debug)]
pub(super) struct Filter {
    after: u64,
    /// No commit with the start's `seq`, or a later one, has come yet.
    seeking: bool,
    known: BTreeMap<TableId, Known>,
}

#[derive(Debug)]
struct Known {
    schema: Arc<TableSchema>,
    given: bool,
}

impl Filter {
    /// A filter for a cursor after `after`; not `seeking`: it begins exactly there.
    pub(super) fn new(after: u64, seeking: bool) -> Self {
        Self {
            after,
            seeking,
            known: BTreeMap::new(),
        }
    }

    /// Rows up to here are never yielded.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// Learns a shape in force where the cursor begins.
    pub(super) fn learn(&mut self, schema: Arc<TableSchema>) {
        let given = false;
        self.known.insert(schema.id, Known { schema, given });
    }

    /// Puts what the cursor yields for the next event, if anything, into `out`.
    pub(super) fn pass(&mut self, event: Arc<ChangeEvent>, out: &mut VecDeque<Arc<ChangeEvent>>) {
        match &*event {
            ChangeEvent::Schema(schema) if self.seeking => self.learn(Arc::clone(schema)),
            ChangeEvent::Schema(schema) => self.give(schema, out),
            ChangeEvent::Rows(batch) => match batch.seq_range() {
                Some((first, last)) if last > self.after => {
                    self.give(&batch.table, out);
                    if first > self.after {
                        out.push_back(event);
                    } else if let Some(rest) = batch.clone().after(self.after) {
                        out.push_back(Arc::new(ChangeEvent::Rows(rest)));
                    }
                }
                _ => {}
            },
            ChangeEvent::Truncate { tables, seq, .. } => {
                if *seq > self.after {
                    for table in tables {
                        if let Some(known) = self.known.get(table) {
                            let schema = Arc::clone(&known.schema);
                            self.give(&schema, out);
                        }
                    }
                    out.push_back(event);
                }
            }
            ChangeEvent::Notice(notice) => {
                if notice.seq > self.after {
                    out.push_back(event);
                }
            }
            ChangeEvent::Failed { seq, .. } => {
                if !self.seeking || *seq > self.after {
                    out.push_back(event);
                }
            }
            ChangeEvent::Commit(checkpoint) => {
                let reached = checkpoint.seq >= self.after;
                let is_start = self.seeking && checkpoint.seq == self.after;
                if reached && !is_start {
                    out.push_back(Arc::clone(&event));
                }
                if reached {
                    self.seeking = false;
                }
            }
            ChangeEvent::Mark { .. } => {}
        }
    }

    /// Gives a schema unless the cursor has given it last for its table.
    fn give(&mut self, schema: &Arc<TableSchema>, out: &mut VecDeque<Arc<ChangeEvent>>) {
        let known = self.known.get(&schema.id);
        if !known.is_some_and(|known| known.given && same(&known.schema, schema)) {
            out.push_back(Arc::new(ChangeEvent::Schema(Arc::clone(schema))));
        }
        let known = Known {
            schema: Arc::clone(schema),
            given: true,
        };
        self.known.insert(schema.id, known);
    }
}
