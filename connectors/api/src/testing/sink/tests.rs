//! The reference sink sees breaches, and a killed handle loses only what was not committed.

use super::*;
use crate::testing::database::{Database, column};
use crate::testing::trace::Trace;
use crate::{ChangeBatch, TableName};
use arrow::datatypes::DataType;

fn table() -> Arc<TableSchema> {
    Arc::new(TableSchema::new(
        TableId(1),
        TableName::new("shop", "t"),
        1,
        vec![column(1, "id", DataType::Int64)],
        vec![0],
        Identity::Key,
    ))
}

fn checkpoint(seq: u64) -> Checkpoint {
    Checkpoint {
        position: Database::position(1),
        seq,
        offset: 0,
        commit_time: 0,
    }
}

#[tokio::test]
async fn rows_of_a_table_that_is_not_joined_are_a_breach() {
    let trace = Trace::new();
    let target = MemoryTarget::new("t", Flavour::Mirror, 1, None, &trace);
    let mut sink = target.sink();
    sink.open().await.expect("no faults");
    sink.committed().await.expect("no faults");
    let rows = arrow::array::RecordBatch::try_new(
        Arc::clone(table().arrow()),
        vec![Arc::new(arrow::array::Int64Array::from(vec![1]))],
    )
    .expect("fits");
    let batch = ChangeBatch::of_snapshot(table(), rows, 1, 1);
    assert!(sink.write(&batch).await.is_err());
    assert!(
        trace.violations()[0].contains("not joined"),
        "{:?}",
        trace.violations()
    );
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_the_commit_there() {
    let trace = Trace::new();
    let target = MemoryTarget::new("t", Flavour::Mirror, 1, None, &trace);
    let mut sink = target.sink();
    sink.open().await.expect("no faults");
    assert_eq!(sink.committed().await.expect("no faults"), None);
    let mut outcomes = std::collections::BTreeSet::new();
    for seq in 1..100 {
        target.set_faults(SinkFaults {
            rejected: 200,
            answer_lost: 200,
            ..SinkFaults::default()
        });
        let answer = sink.commit(&checkpoint(seq)).await;
        target.set_faults(SinkFaults::default());
        if answer.is_err() {
            sink.rollback().await.expect("no faults");
        }
        let there = sink.committed().await.expect("no faults") == Some(checkpoint(seq));
        outcomes.insert((answer.is_ok(), there));
    }
    assert_eq!(
        outcomes.into_iter().collect::<Vec<_>>(),
        [(false, false), (false, true), (true, true)]
    );
    assert_eq!(trace.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_call_after_an_error_without_a_rollback_is_a_breach() {
    let trace = Trace::new();
    let target = MemoryTarget::new("t", Flavour::Log, 1, None, &trace);
    let mut sink = target.sink();
    sink.open().await.expect("no faults");
    sink.committed().await.expect("no faults");
    target.set_faults(SinkFaults {
        rejected: 1000,
        ..SinkFaults::default()
    });
    assert!(sink.commit(&checkpoint(1)).await.is_err());
    target.set_faults(SinkFaults::default());
    assert!(sink.commit(&checkpoint(1)).await.is_err());
    assert!(trace.violations()[0].contains("without a rollback"));
}
