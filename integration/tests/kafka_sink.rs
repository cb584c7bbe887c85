//! The Kafka sink by the contract's own suite, on a real broker: what a consumer of committed records makes
//! of the topics is what the suite asks for.

#[path = "kafka_sink/records.rs"]
mod records;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use cdc_api::testing::conformance::sink::{Flavour, Probe};
use cdc_api::{Checkpoint, Error, ErrorKind, Position, Result, Sink, TableId, TableSchema};
use cdc_integration::kafka;
use cdc_kafka::{Connector, Intervals, Kafka, KafkaConfig};

/// A sink with topics of its own on the broker that all tests share.
struct KafkaProbe {
    brokers: String,
    name: String,
    /// Shapes as they were seen, by version: a record says which it has.
    shapes: BTreeMap<(TableId, u32), TableSchema>,
}

impl KafkaProbe {
    fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            brokers: kafka::shared(),
            name: format!("p{number}"),
            shapes: BTreeMap::new(),
        }
    }

    fn config(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(self.brokers.clone());
        config.skipped_operations = Vec::new();
        config.change_headers = true;
        // The default form is not exact.
        config.intervals = Intervals::String;
        config
    }

    fn kafka(&self) -> Kafka {
        Kafka::new(
            self.config(),
            &self.name,
            "events",
            Connector::Postgresql,
            "shop",
        )
        .expect("a sink")
    }
}

#[async_trait]
impl Probe for KafkaProbe {
    fn flavour(&self) -> Flavour {
        Flavour::Log
    }

    fn sink(&mut self) -> Box<dyn Sink> {
        Box::new(self.kafka())
    }

    async fn read(
        &mut self,
        sink: &mut dyn Sink,
        table: &TableSchema,
    ) -> Result<Option<Vec<RecordBatch>>> {
        let joined = sink.joined().await?;
        let known = joined.iter().map(|it| it.table.as_ref()).chain([table]);
        for shape in known {
            self.shapes.insert((shape.id, shape.version), shape.clone());
        }
        let topic = records::topic(&self.name, table);
        let brokers = self.brokers.clone();
        let consumed = tokio::task::spawn_blocking(move || kafka::consume(&brokers, &topic))
            .await
            .expect("does not panic")
            .map_err(Error::transient)?;
        let consumed = consumed.unwrap_or_default();
        if consumed.is_empty() && joined.iter().all(|it| it.table.id != table.id) {
            return Ok(None);
        }
        Ok(Some(records::rows(&consumed, table, &self.shapes)))
    }
}

cdc_api::sink_conformance!(KafkaProbe::fresh);

fn at(seq: u64) -> Checkpoint {
    Checkpoint {
        position: Position::new(format!("{{\"v\":1,\"at\":{seq}}}")),
        seq,
        offset: seq,
        commit_time: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_who_opens_last_fences_the_other() {
    let probe = KafkaProbe::fresh();
    let mut first = probe.kafka();
    first.open().await.expect("opens");
    first.commit(&at(1)).await.expect("holds");
    let mut second = probe.kafka();
    second.open().await.expect("opens, too");
    assert_eq!(second.committed().await.expect("asked"), Some(at(1)));
    second.commit(&at(2)).await.expect("holds");
    let error = first.commit(&at(3)).await.expect_err("is fenced");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(error.hint_text().is_some(), "with the remedy");
    second.commit(&at(4)).await.expect("the second goes on");
    let mut third = probe.kafka();
    third.open().await.expect("opens");
    assert_eq!(third.committed().await.expect("asked"), Some(at(4)));
}

/// What was on its way when a transaction was given up leaves no gap that the next one stumbles over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_rolled_back_commits_at_once() {
    let probe = KafkaProbe::fresh();
    let mut sink = probe.kafka();
    sink.open().await.expect("opens");
    let table = Arc::new(records::a_table());
    let copy = cdc_api::CopyId(1);
    drop(sink.copy(&table, copy).await.expect("begins"));
    sink.join(&table, copy).await.expect("joins");
    sink.commit(&at(1)).await.expect("holds");
    for round in 1..=40 {
        let batch = records::inserts(&table, round * 200..round * 200 + 200);
        sink.write(&batch).await.expect("is taken");
        sink.rollback().await.expect("is given up");
        sink.write(&batch).await.expect("is taken again");
        let end = at(round * 200 + 199);
        sink.commit(&end).await.expect("holds the first time");
    }
    let topic = records::topic(&probe.name, &table);
    let brokers = probe.brokers.clone();
    let consumed = tokio::task::spawn_blocking(move || kafka::consume(&brokers, &topic))
        .await
        .expect("does not panic")
        .expect("the broker answers");
    assert_eq!(consumed.map_or(0, |it| it.len()), 40 * 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_teardown_leaves_the_tables_and_nothing_else() {
    let probe = KafkaProbe::fresh();
    let mut sink = probe.kafka();
    sink.open().await.expect("opens");
    sink.commit(&at(1)).await.expect("holds");
    let removed = sink.teardown().await.expect("is torn down");
    assert_eq!(removed.len(), 1, "{removed:?}");
    let mut sink = probe.kafka();
    sink.open().await.expect("opens on nothing");
    assert_eq!(sink.committed().await.expect("asked"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preflight_tells_a_broker_that_is_not_there() {
    let mut probe = KafkaProbe::fresh();
    let findings = probe.sink().check().await.expect("is made");
    assert!(
        findings
            .iter()
            .all(|it| it.severity == cdc_api::Severity::Ok),
        "{findings:?}"
    );
    let mut config = probe.config();
    config.brokers = "127.0.0.1:1".to_owned();
    config
        .properties
        .insert("socket.connection.setup.timeout.ms".into(), "1000".into());
    let mut sink =
        Kafka::new(config, "p", "events", Connector::Postgresql, "shop").expect("a sink");
    let findings = sink.check().await.expect("is made");
    let worst = findings
        .iter()
        .max_by_key(|it| it.severity)
        .expect("findings");
    assert_eq!(worst.severity, cdc_api::Severity::Error);
    assert!(worst.remedy.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_has_to_exist_and_does_not_stops_its_table() {
    let probe = KafkaProbe::fresh();
    let mut config = probe.config();
    config.topics.create = false;
    let mut sink =
        Kafka::new(config, &probe.name, "events", Connector::Postgresql, "shop").expect("a sink");
    sink.open().await.expect("opens");
    let table = Arc::new(records::a_table());
    let error = sink
        .copy(&table, cdc_api::CopyId(1))
        .await
        .err()
        .expect("is refused");
    assert_eq!(error.table(), Some(table.id), "{error}");
    let hint = error.hint_text().expect("with the remedy");
    assert!(hint.contains("kafka-topics.sh --create"), "{hint}");
}
