//! The brokers, by librdkafka: producing, and reading a partition to its end.
//!
//! Invariant: a call that waits ends, and says whether the brokers are gone or slow. What each of the
//! library's errors means here is `meaning`'s, what it reports meanwhile `reports`'s.

mod meaning;
mod reader;
mod reports;
mod served;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cdc_api::{Error, Result};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

pub(crate) use meaning::{meaning, of_topic};
pub(crate) use reader::Reader;
pub(crate) use reports::Reports;
use reports::{Seen, lock};
use served::Served;

/// How long one answer of the brokers may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// How long a producer waits until it asks whether any broker is there.
const DOUBT: Duration = Duration::from_secs(10);

/// How long it then looks for one; the sink is opened again where there is none.
const LOOK: Duration = Duration::from_secs(2);

/// How long the library waits by itself until it is asked how things are.
const SPELL: Duration = Duration::from_millis(500);

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
    pub(crate) fn init_transactions(&self, id: &str) -> Result<()> {
        self.inner.wake();
        self.inner
            .init_transactions(ANSWER)
            .map_err(|error| meaning::of_id(id, &error))
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
        let mut asked = start;
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
                    self.alive(&mut asked).map_err(Refused::Other)?;
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

    /// No record of this transaction was refused.
    fn taken(&self) -> Result<()> {
        let failed = lock(&self.seen).failed.clone();
        failed.map_or(Ok(()), |failed| {
            let error = KafkaError::MessageProduction(failed.code);
            let error = meaning::of_topic("sending records to", &failed.topic, &error);
            Err(self.cause(error))
        })
    }

    /// There is use in waiting on. `asked`: when that was last known, or when the wait began.
    fn alive(&self, asked: &mut Instant) -> Result<()> {
        self.taken()?;
        if asked.elapsed() < DOUBT {
            return Ok(());
        }
        // Nothing that the library tells by itself says so: an idle connection that was closed looks like a lost one.
        let answer = self.inner.client().fetch_metadata(None, LOOK);
        *asked = Instant::now();
        match answer {
            // Connected and slow: what is under way may still be taken.
            Ok(_) => Ok(()),
            Err(error) if !meaning::is_unreachable(&error) => Ok(()),
            Err(_) => {
                let why = lock(&self.seen).unreached.clone();
                Err(self.cause(meaning::unreachable("writing", why.as_deref())))
            }
        }
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
        let start = Instant::now();
        let mut asked = start;
        self.inner.wake();
        while !cdc_kafka_flush::flush(&self.inner, SPELL) {
            self.alive(&mut asked)?;
            if start.elapsed() > ANSWER * 2 {
                return Err(self.cause(meaning::silent("writing")));
            }
        }
        self.taken()
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

/// A header for one record.
pub(crate) fn header(headers: Option<OwnedHeaders>, name: &str, value: &[u8]) -> OwnedHeaders {
    headers.unwrap_or_default().insert(Header {
        key: name,
        value: Some(value),
    })
}
