//! librdkafka alone: what it takes to write records into Kafka of which somebody else has made the values.
//!
//! It takes the first records of a topic that the daemon has filled and sends as many as the daemon had to, again and
//! again the same ones, in one transaction and as the daemon would: idempotent, compressed with LZ4, into a topic of one
//! partition. So it is the floor of the daemon's way into this broker on this machine; nothing is read, decoded,
//! journaled, encoded, or committed in between.

use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka;
use crate::measure::Cost;

/// How many records are taken from the topic.
const SAMPLE: usize = 50_000;

/// How long the broker may be silent.
const SILENCE: Duration = Duration::from_secs(60);

type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Runs this program again, as [`produce`]: so that it is measured like the others.
///
/// # Errors
///
/// What it says when it fails.
pub(super) fn run(brokers: &str, topic: &str, count: u64) -> Result<Cost, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args(["produce", brokers, topic, &count.to_string()]);
    let output = command.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

/// Sends `count` records like the first ones of `topic`, and tells what sending them took.
///
/// # Errors
///
/// What the broker or the library says.
pub fn produce(brokers: &str, topic: &str, count: usize) -> Result<Cost, String> {
    let sample = sample(brokers, topic)?;
    let again = format!("{topic}.again");
    // Makes the topic.
    kafka::produce(brokers, &[(again.clone(), None, Some("{}"))]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", &again)
        .set("compression.type", "lz4")
        .set("delivery.report.only.error", "true")
        .set("queue.buffering.max.kbytes", "65536")
        .create()
        .map_err(|e| e.to_string())?;
    let said = |error: KafkaError| error.to_string();
    producer.init_transactions(SILENCE).map_err(said)?;
    let own = || Cost::of(std::process::id()).ok_or("this process is not to be seen");
    let (before, start) = (own()?, Instant::now());
    producer.begin_transaction().map_err(said)?;
    for (key, value) in sample.iter().cycle().take(count) {
        let mut record = BaseRecord::<[u8], [u8]>::to(&again).partition(0);
        record.key = key.as_deref();
        record.payload = value.as_deref();
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.to_string());
            }
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
    producer.commit_transaction(SILENCE).map_err(said)?;
    let mut cost = own()?;
    cost.cpu_seconds -= before.cpu_seconds;
    cost.wall_seconds = start.elapsed().as_secs_f64();
    Ok(cost)
}

/// The first committed records of a topic's first partition.
fn sample(brokers: &str, topic: &str) -> Result<Vec<Pair>, String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "sample")
        .set("enable.partition.eof", "true")
        .create()
        .map_err(|e| e.to_string())?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Offset(0))
        .map_err(|e| e.to_string())?;
    consumer.assign(&from).map_err(|e| e.to_string())?;
    let mut records = Vec::new();
    while records.len() < SAMPLE {
        match consumer.poll(SILENCE) {
            Some(Ok(message)) => {
                let part = |of: Option<&[u8]>| of.map(<[u8]>::to_vec);
                records.push((part(message.key()), part(message.payload())));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err(format!("{topic}: the broker does not answer")),
        }
    }
    if records.is_empty() {
        return Err(format!("{topic} is empty"));
    }
    Ok(records)
}
