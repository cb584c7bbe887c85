//! Log entries of one table as a change batch.

use std::sync::Arc;

use arrow::buffer::BooleanBuffer;

use crate::{ChangeBatch, Notice, TransactionId, TransactionRun};

use super::transaction::{Change, RowChange, Transaction};
use super::{LOG_BYTES, Value, batch_of};

/// A row change in the log with its place in the order.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// Which of its changes; a [`Change::Row`].
    pub index: usize,
    /// The row's `seq`.
    pub seq: u64,
}

impl Logged {
    /// The change, or `None` when the index names no row.
    pub fn change(&self) -> Option<&RowChange> {
        match self.transaction.changes.get(self.index)? {
            Change::Row(change) => Some(change),
            _ => None,
        }
    }
}

/// The transaction's change `index` as a notice with that `seq`, or `None` where it is none.
pub fn notice(transaction: &Transaction, index: usize, seq: u64) -> Option<Arc<Notice>> {
    let Change::Notice(said) = transaction.changes.get(index)? else {
        return None;
    };
    Some(Arc::new(Notice {
        seq,
        offset: transaction.commit_offset - LOG_BYTES + index as u64,
        transaction: Some(TransactionRun {
            end: 1,
            id: TransactionId::Number(transaction.id),
            commit_offset: transaction.commit_offset,
            commit_time: transaction.commit_time,
            first_seq: seq.saturating_sub(index as u64),
        }),
        commit_time: transaction.commit_time,
        said: said.clone(),
    }))
}

/// The rows as one batch, or `None` if there is none. All are of one table and one shape.
pub fn change_batch(rows: &[Logged]) -> Option<ChangeBatch> {
    let changes: Vec<&RowChange> = rows.iter().filter_map(Logged::change).collect();
    let table = Arc::clone(&changes.first()?.table);
    // What is absent is null in the batch: whoever takes it for a value shows it at once.
    let blanked: Vec<Vec<Value>> = changes
        .iter()
        .map(|change| {
            change
                .row
                .iter()
                .zip(&change.absent)
                .map(|(value, &absent)| if absent { Value::Null } else { value.clone() })
                .collect()
        })
        .collect();
    let blanked: Vec<Option<&[Value]>> = blanked.iter().map(|row| Some(row.as_slice())).collect();
    let before: Vec<Option<&[Value]>> = changes
        .iter()
        .map(|change| change.before.as_ref().map(|row| row.as_slice()))
        .collect();
    let absent = (0..table.columns.len())
        .map(|column| {
            let bits: Vec<bool> = changes.iter().map(|change| change.absent[column]).collect();
            bits.contains(&true).then(|| BooleanBuffer::from(bits))
        })
        .collect::<Vec<_>>();
    let mut transactions: Vec<TransactionRun> = Vec::new();
    for (row, logged) in rows.iter().enumerate() {
        let end = u32::try_from(row + 1).unwrap_or(u32::MAX);
        let id = TransactionId::Number(logged.transaction.id);
        match transactions.last_mut() {
            Some(run) if run.id == id => run.end = end,
            _ => transactions.push(TransactionRun {
                end,
                id,
                commit_offset: logged.transaction.commit_offset,
                commit_time: logged.transaction.commit_time,
                first_seq: logged.seq.saturating_sub(logged.index as u64),
            }),
        }
    }
    Some(ChangeBatch {
        rows: batch_of(&table, &blanked),
        ops: changes
            .iter()
            .map(|c| c.op.code())
            .collect::<Vec<_>>()
            .into(),
        seq: rows.iter().map(|row| row.seq).collect::<Vec<_>>().into(),
        offset: rows
            .iter()
            .map(|row| row.transaction.commit_offset - LOG_BYTES + row.index as u64)
            .collect::<Vec<_>>()
            .into(),
        absent: if absent.iter().any(Option::is_some) {
            absent
        } else {
            Vec::new()
        },
        before: before
            .iter()
            .any(Option::is_some)
            .then(|| batch_of(&table, &before)),
        transactions,
        table,
    })
}
