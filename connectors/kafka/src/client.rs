//! The brokers, by librdkafka: producing, reading a partition to its end, and what each of its
//! errors means here.
//!
//! Invariant: an error says neither a value nor a setting: librdkafka's own text about settings is
//! not passed on.

mod served;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cdc_api::{Error, ErrorKind, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use served::Served;

/// How long one answer of the brokers may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// How long a producer waits where no broker is there; the sink is then opened again.
const OUT_OF_REACH: Duration = Duration::from_secs(10);

/// Where a client's log lines and failed deliveries go.
#[derive(Default)]
pub(crate) struct Reports {
    seen: Arc<Mutex<Seen>>,
}

/// What became of a producer's records.
#[derive(Default)]
struct Seen {
    /// The first that failed in this transaction.
    failed: Option<Failed>,
    /// Whether the last connection has gone, and no record was taken since.
    out_of_reach: bool,
    /// Why a connection was refused, where only the operator can mend that.
    refused: Option<Refusal>,
}

/// Why a broker, or we, refused a connection.
#[derive(Clone, Copy)]
enum Refusal {
    Credentials,
    Certificate,
    Tls,
}

impl Refusal {
    /// What the library's text says; the text itself is not passed on.
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<Self> {
        match code? {
            RDKafkaErrorCode::Authentication => Some(Self::Credentials),
            RDKafkaErrorCode::SSL if reason.contains("verify") => Some(Self::Certificate),
            RDKafkaErrorCode::SSL => Some(Self::Tls),
            _ => None,
        }
    }

    fn error(self, doing: &str) -> Error {
        match self {
            Self::Credentials => {
                meaning(doing, &KafkaError::Global(RDKafkaErrorCode::Authentication))
            }
            Self::Certificate => Error::auth(format!(
                "{doing}: the broker's certificate cannot be verified"
            ))
            .hint(
                "set `ssl.ca.location` in `properties` to the authority that signed it, and use \
                 the names in `brokers` and in the brokers' advertised.listeners that it is for",
            ),
            Self::Tls => Error::config(format!("{doing}: the TLS handshake fails")).hint(
                "set `security.protocol` in `properties` to what the broker's listener speaks",
            ),
        }
    }
}

/// A record that no broker took.
#[derive(Clone)]
struct Failed {
    code: RDKafkaErrorCode,
    topic: String,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // Why a transaction can only be aborted: later calls tell no more than that.
            RDKafkaLogLevel::Error if facility == "TXNERR" => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            lock(&self.seen).out_of_reach = true;
        }
        if let Some(refusal) = Refusal::of(error.rdkafka_error_code(), reason) {
            lock(&self.seen).refused = Some(refusal);
        }
    }
}

impl ConsumerContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        let mut seen = lock(&self.seen);
        match delivered {
            Ok(_) => seen.out_of_reach = false,
            // Of a transaction that was aborted: that is told when the next one has begun, too.
            Err((
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight,
                ),
                _,
            )) => {}
            Err((error, message)) => {
                seen.failed.get_or_insert_with(|| Failed {
                    code: error
                        .rdkafka_error_code()
                        .unwrap_or(RDKafkaErrorCode::Unknown),
                    topic: message.topic().to_owned(),
                });
            }
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends records. Blocks; not for async workers.
pub(crate) struct Producer {
    inner: Served,
    seen: Arc<Mutex<Seen>>,
}

/// A record to send.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    /// None: as the key says.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Option<OwnedHeaders>,
}

/// Why a record was not sent.
pub(crate) enum Refused {
    /// It is larger than the brokers, or our own settings, let it be.
    TooLarge,
    Other(Error),
}

impl Producer {
    /// A producer with these settings; nothing is connected yet.
    pub(crate) fn new(settings: &ClientConfig) -> Result<Self> {
        let seen = Arc::<Mutex<Seen>>::default();
        let reports = Reports {
            seen: Arc::clone(&seen),
        };
        let inner = Served::start(settings, reports)
            .map_err(|error| meaning("starting a producer", &error))?;
        Ok(Self { inner, seen })
    }

    /// Takes the transactional id over: whoever had it is fenced, and what it left open is ended.
    pub(crate) fn init_transactions(&self) -> Result<()> {
        self.inner.wake();
        self.inner
            .init_transactions(ANSWER)
            .map_err(|error| meaning("taking the transactional id", &error))
    }

    pub(crate) fn begin(&self) -> Result<()> {
        // Whether the brokers are there does not change by it.
        lock(&self.seen).failed = None;
        self.inner
            .begin_transaction()
            .map_err(|error| self.cause(meaning("beginning a transaction", &error)))
    }

    /// Queues a record; waits while the queue is full.
    pub(crate) fn send(&self, record: Outgoing<'_>) -> Result<(), Refused> {
        let mut next = BaseRecord::<[u8], [u8], ()>::to(record.topic);
        next.partition = record.partition;
        next.key = record.key;
        next.payload = record.value;
        next.headers = record.headers;
        let start = Instant::now();
        loop {
            let (error, back) = match self.inner.send(next) {
                Ok(()) => {
                    self.inner.wake();
                    return Ok(());
                }
                Err(refused) => refused,
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) if start.elapsed() < ANSWER * 4 => {
                    self.alive(start).map_err(Refused::Other)?;
                    std::thread::sleep(Duration::from_millis(1));
                    next = back;
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => return Err(Refused::TooLarge),
                _ => {
                    let error = meaning("sending records", &error);
                    return Err(Refused::Other(self.cause(error)));
                }
            }
        }
    }

    /// There is use in waiting on, having waited since `start`.
    fn alive(&self, start: Instant) -> Result<()> {
        let seen = lock(&self.seen);
        if let Some(failed) = &seen.failed {
            let error = meaning(
                &format!("sending records to topic {}", failed.topic),
                &KafkaError::MessageProduction(failed.code),
            );
            return Err(self.cause(error));
        }
        // An idle connection that was closed looks the same, and comes back when it is needed.
        if seen.out_of_reach && start.elapsed() > OUT_OF_REACH {
            return Err(self.cause(out_of_reach()));
        }
        Ok(())
    }

    /// The topic whose record was too large for its broker, if that is what failed.
    pub(crate) fn too_large_for(&self) -> Option<String> {
        let seen = lock(&self.seen);
        seen.failed
            .as_ref()
            .filter(|failed| failed.code == RDKafkaErrorCode::MessageSizeTooLarge)
            .map(|failed| failed.topic.clone())
    }

    /// Waits until the brokers have all that was sent.
    pub(crate) fn flush(&self) -> Result<()> {
        // The library's own flush looks every 100 ms only; its polling thread serves the answers.
        let start = Instant::now();
        while self.inner.in_flight_count() > 0 {
            self.alive(start)?;
            if start.elapsed() > ANSWER * 2 {
                let error = Error::transient("waiting for the brokers: they do not answer");
                return Err(self.cause(error));
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        self.alive(start)
    }

    /// Commits the transaction. After an error the outcome is unknown.
    pub(crate) fn commit(&self) -> Result<()> {
        self.flush()?;
        self.inner.wake();
        self.inner
            .commit_transaction(ANSWER)
            .map_err(|error| self.cause(meaning("committing a transaction", &error)))
    }

    /// Once a producer is of no more use (it is fenced), that is what lies behind every other error.
    fn cause(&self, error: Error) -> Error {
        match self.inner.client().fatal_error() {
            Some((code, _)) => meaning("writing", &KafkaError::Global(code)),
            None => error,
        }
    }

    /// Gives the transaction up. After an error the producer is of no more use.
    pub(crate) fn abort(&self) -> Result<()> {
        // Records that the brokers have not answered for are dropped by an abort, but not their
        // sequence numbers: the next transaction would fail for the gap. So they are sent first.
        self.flush()?;
        self.inner.wake();
        self.inner
            .abort_transaction(ANSWER)
            .map_err(|error| meaning("aborting a transaction", &error))
    }
}

/// A reader of single partitions, in no group.
pub(crate) struct Reader {
    consumer: BaseConsumer<Reports>,
    seen: Arc<Mutex<Seen>>,
}

impl Reader {
    /// A reader; `committed`: of committed records only.
    pub(crate) fn new(settings: &ClientConfig, committed: bool) -> Result<Self> {
        let mut settings = settings.clone();
        settings
            .set("group.id", "cdc")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384")
            // Otherwise a queue that was full once is filled again a second later.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "5")
            .set(
                "isolation.level",
                if committed {
                    "read_committed"
                } else {
                    "read_uncommitted"
                },
            );
        let seen = Arc::<Mutex<Seen>>::default();
        let consumer: BaseConsumer<Reports> = settings
            .create_with_context(Reports {
                seen: Arc::clone(&seen),
            })
            .map_err(|error| meaning("starting a reader", &error))?;
        Ok(Self { consumer, seen })
    }

    /// Asks the brokers. What they refuse is told at once; that none is there, after `patience`.
    fn ask<T>(
        &self,
        doing: &str,
        patience: Duration,
        call: impl Fn(Duration) -> rdkafka::error::KafkaResult<T>,
    ) -> Result<T> {
        let start = Instant::now();
        self.listen();
        lock(&self.seen).refused = None;
        loop {
            let error = match call(Duration::from_secs(5)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            self.listen();
            if let Some(refusal) = lock(&self.seen).refused {
                return Err(refusal.error(doing));
            }
            if !is_passing(&error) || start.elapsed() > patience {
                return Err(meaning(doing, &error));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Serves the library's reports, and its wish for a token (OAUTHBEARER), which only polling
    /// does. Nothing is assigned: no record is lost by it.
    fn listen(&self) {
        // A poll that has served a report looks the same as one that found none.
        for _ in 0..64 {
            let _ = self.consumer.poll(Duration::ZERO);
        }
    }

    /// The topic's partitions; none where there is no such topic.
    pub(crate) fn partitions(&self, topic: &str) -> Result<Option<usize>> {
        let metadata = self.ask("asking the brokers", ANSWER, |patience| {
            self.consumer.fetch_metadata(Some(topic), patience)
        })?;
        let Some(found) = metadata.topics().iter().find(|it| it.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(found.partitions().len()).filter(|count| *count > 0)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Ok(None)
            }
            Some(code) => Err(meaning(
                &format!("asking for topic {topic}"),
                &KafkaError::MetadataFetch(code),
            )),
        }
    }

    /// Every topic whose name begins so.
    pub(crate) fn topics(&self, prefix: &str) -> Result<Vec<String>> {
        let metadata = self.ask("asking the brokers", ANSWER, |patience| {
            self.consumer.fetch_metadata(None, patience)
        })?;
        let names = metadata.topics().iter().map(|it| it.name());
        Ok(names
            .filter(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .collect())
    }

    /// How many brokers there are.
    pub(crate) fn brokers(&self) -> Result<usize> {
        let metadata = self.ask("asking the brokers", ANSWER / 3, |patience| {
            self.consumer.fetch_metadata(Some("__cdc"), patience)
        })?;
        Ok(metadata.brokers().len())
    }

    /// Whether a partition was ever written to.
    pub(crate) fn is_empty(&self, topic: &str, partition: i32) -> Result<bool> {
        // A topic that was just made is not known everywhere yet: that passes.
        let (_, high) = self.ask("asking for a partition's end", ANSWER, |patience| {
            self.consumer.fetch_watermarks(topic, partition, patience)
        })?;
        Ok(high == 0)
    }

    /// Gives every record of a partition to `take`, from its beginning to its present end.
    pub(crate) fn read(
        &self,
        topic: &str,
        partition: i32,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<()> {
        // Who asks for a topic first is told of it at once, who reads it unasked half a second later.
        self.partitions(topic)?;
        let mut assignment = TopicPartitionList::new();
        // A number where "the beginning" is meant: the library asks the brokers for that, but only
        // half a second after a topic was first heard of. What was removed there is passed over.
        assignment
            .add_partition_offset(topic, partition, Offset::Offset(0))
            .and_then(|()| self.consumer.assign(&assignment))
            .map_err(|error| meaning("reading a partition", &error))?;
        let mut heard = Instant::now();
        loop {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    take(&message)?;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    return self
                        .consumer
                        .unassign()
                        .map_err(|error| meaning("reading a partition", &error));
                }
                Some(Err(error)) if is_passing(&error) && heard.elapsed() < ANSWER => {}
                Some(Err(error)) => {
                    return Err(meaning(&format!("reading topic {topic}"), &error));
                }
                None if heard.elapsed() < ANSWER => {}
                None => {
                    return Err(Error::transient(format!(
                        "reading topic {topic}: the brokers do not answer"
                    )));
                }
            }
        }
    }
}

fn out_of_reach() -> Error {
    Error::transient("no broker can be reached")
        .hint("start the brokers; if they run, correct `brokers` of the sink")
}

fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// A header for one record.
pub(crate) fn header(headers: Option<OwnedHeaders>, name: &str, value: &[u8]) -> OwnedHeaders {
    headers.unwrap_or_default().insert(Header {
        key: name,
        value: Some(value),
    })
}

/// The error that a failure of librdkafka means here.
pub(crate) fn meaning(doing: &str, error: &KafkaError) -> Error {
    use RDKafkaErrorCode as Code;
    let (code, said) = match error {
        KafkaError::Transaction(inner) => (inner.code(), inner.string()),
        KafkaError::AdminOp(code) => (*code, code.to_string()),
        other => match other.rdkafka_error_code() {
            Some(code) => (code, code.to_string()),
            None => (Code::Unknown, "the client refused".to_owned()),
        },
    };
    let kind = match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => ErrorKind::Fenced,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Auth,
        Code::UnsupportedSASLMechanism | Code::InvalidTransactionTimeout => ErrorKind::Config,
        _ => ErrorKind::Transient,
    };
    let error = Error::new(kind, format!("{doing}: {}", lower(&said)));
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => error.hint(
            "stop the other daemon of this pipeline, or give this sink a `transactional_id` of \
             its own",
        ),
        Code::InvalidTransactionTimeout => error.hint(
            "lower `transaction_timeout_seconds`, or raise the broker's \
             transaction.max.timeout.ms",
        ),
        Code::TopicAuthorizationFailed => error.hint(
            "allow the daemon's user to Create, Describe, Read and Write the topics of its prefix \
             and of `checkpoint_topic`",
        ),
        Code::TransactionalIdAuthorizationFailed => error.hint(
            "allow the daemon's user to Describe and Write the sink's `transactional_id`, and that \
             id with `.copies` behind it",
        ),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            error.hint("set `sasl.username` and `sasl.password` in `properties`")
        }
        _ => error,
    }
}

fn lower(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + characters.as_str()
    })
}
