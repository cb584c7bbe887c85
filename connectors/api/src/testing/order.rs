//! What a stream promises of its order ([`ChangeEvent`]), checked event by event: for tests that feed
//! a decoder what no database would send.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{ChangeEvent, TableId, TableSchema};

/// What a stream has given so far.
#[derive(Debug, Default)]
pub struct Order {
    shapes: HashMap<TableId, Arc<TableSchema>>,
    /// The highest number that was given.
    highest: u64,
    /// The last commit's position and number.
    last: Option<(String, u64)>,
}

impl Order {
    /// Takes the stream's next event.
    ///
    /// # Panics
    /// Where it cannot follow those before it.
    pub fn check(&mut self, event: &ChangeEvent) {
        let committed = self.last.as_ref().map_or(0, |last| last.1);
        match event {
            ChangeEvent::Schema(table) => {
                self.shapes.insert(table.id, Arc::clone(table));
            }
            ChangeEvent::Rows(batch) => {
                let told = self.shapes.get(&batch.table.id);
                assert_eq!(
                    told,
                    Some(&batch.table),
                    "rows of a shape that was not told"
                );
                assert!(batch.seq.is_sorted(), "rows that are out of order");
                let (first, last) = batch.seq_range().expect("no batch is empty");
                assert!(first > committed, "rows after their commit");
                assert_eq!(batch.rows.num_rows(), batch.len());
                assert_eq!(
                    batch.transactions.last().map(|run| run.end as usize),
                    Some(batch.len()),
                    "rows of no transaction"
                );
                self.highest = self.highest.max(last);
            }
            ChangeEvent::Truncate { seq, .. } => {
                assert!(*seq > committed, "a truncate after its commit");
                self.highest = self.highest.max(*seq);
            }
            ChangeEvent::Notice(notice) => {
                assert!(notice.seq > committed, "a notice after its commit");
                self.highest = self.highest.max(notice.seq);
            }
            // From the next row on, which need not come.
            ChangeEvent::Failed { seq, .. } => {
                assert!(*seq > committed, "a failure after its commit");
            }
            ChangeEvent::Commit(checkpoint) => {
                assert!(checkpoint.seq >= self.highest, "a commit before its rows");
                assert!(checkpoint.seq >= committed, "commits that are out of order");
                self.last = Some((checkpoint.position.as_str().to_owned(), checkpoint.seq));
            }
            ChangeEvent::Mark { .. } => {}
        }
    }

    /// The last commit's position and number.
    pub fn last(self) -> Option<(String, u64)> {
        self.last
    }
}
