//! A producer whose answers are served by a thread of its own.
//!
//! The library has one like it, whose thread asks ten times a second and spins through the last millisecond of each
//! time, since what is left of a deadline is cut to whole milliseconds: one percent of a core for each producer that
//! has nothing to do. Here the thread sleeps while nothing is under way, and whoever has work wakes it. Invariant: the
//! thread has ended when the producer is gone.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, Producer as _};

use super::Reports;

/// How long the thread waits for answers at a time, while there is work.
const WAIT: Duration = Duration::from_millis(50);

/// How long it sleeps where there is none; what the library reports of itself is looked at then.
const SLEEP: Duration = Duration::from_secs(1);

/// Reports that are looked at after each sleep.
const REPORTS: usize = 16;

/// A producer and its thread.
pub(super) struct Served {
    producer: Arc<BaseProducer<Reports>>,
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Signal {
    /// Something was asked for since the thread last looked.
    work: AtomicBool,
    over: AtomicBool,
}

impl Served {
    /// Starts both; nothing is connected yet.
    ///
    /// # Errors
    /// What the library says of the settings.
    pub(super) fn start(settings: &ClientConfig, reports: Reports) -> KafkaResult<Self> {
        let producer = Arc::new(BaseProducer::from_config_and_context(settings, reports)?);
        let signal = Arc::<Signal>::default();
        let (serving, told) = (Arc::clone(&producer), Arc::clone(&signal));
        let thread = Builder::new()
            .name("kafka-answers".to_owned())
            .spawn(move || serve(&serving, &told))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self {
            producer,
            signal,
            thread: Some(thread),
        })
    }

    /// Has answers served at once: to be called after a record was queued, and before a call that waits.
    pub(super) fn wake(&self) {
        // Of many records only the first in a while has to.
        if self.signal.work.load(Ordering::Relaxed) {
            return;
        }
        self.signal.work.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

fn serve(producer: &BaseProducer<Reports>, signal: &Signal) {
    while !signal.over.load(Ordering::Acquire) {
        if signal.work.swap(false, Ordering::AcqRel) || producer.in_flight_count() > 0 {
            producer.poll(WAIT);
        } else {
            std::thread::park_timeout(SLEEP);
            for _ in 0..REPORTS {
                producer.poll(Duration::ZERO);
            }
        }
    }
}

impl Deref for Served {
    type Target = BaseProducer<Reports>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.signal.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has nothing more to serve.
            let _ = thread.join();
        }
    }
}
