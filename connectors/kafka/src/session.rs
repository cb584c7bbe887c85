//! What one opening of the sink shares between the main stream and the copies beside it: names,
//! topics, and the notes about copies.
//!
//! Invariant: notes are written by a producer that the next opening fences, and the memory of them
//! changes after the brokers have them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cdc_api::{CopyId, Error, Result, TableSchema};

use crate::client::{Outgoing, Producer, Reader, Refused};
use crate::config::{Delivery, KafkaConfig, Oversized};
use crate::envelope::{Origin, TableEncoder};
use crate::ledger::{self, CatchUpNote, ChunkNote, CopyNotes};
use crate::registry::Registry;
use crate::route::{self, Place};
use crate::topics::{self, Purpose, Topics};

/// How long a producer is kept that nobody wants.
const SPARE: Duration = Duration::from_secs(20);

/// What does not change while the process runs.
pub(crate) struct Site {
    pub(crate) config: Arc<KafkaConfig>,
    pub(crate) origin: Origin,
    pub(crate) transactional_id: String,
    pub(crate) checkpoint_topic: String,
    /// Where records go that are larger than one may be, if they are to go anywhere.
    pub(crate) dead_letter_topic: String,
    /// Where records are Avro.
    pub(crate) registry: Option<Registry>,
}

impl Site {
    pub(crate) fn transactional(&self) -> bool {
        self.config.delivery == Delivery::ExactlyOnce
    }

    /// A producer of this id; whoever had it before is fenced.
    pub(crate) fn producer(&self, id: &str) -> Result<Producer> {
        let mut settings = self.config.producer();
        if !self.transactional() {
            return Producer::new(&settings);
        }
        let timeout = u64::from(self.config.transaction_timeout_seconds) * 1000;
        settings
            .set("transactional.id", id)
            .set("transaction.timeout.ms", timeout.to_string());
        let producer = Producer::new(&settings)?;
        producer.init_transactions(id)?;
        Ok(producer)
    }

    pub(crate) fn reader(&self, committed: bool) -> Result<Reader> {
        Reader::new(&self.config.client(), committed)
    }

    /// The topic in which a copy's records wait.
    pub(crate) fn copy_topic(&self, copy: CopyId) -> String {
        format!("{}.copy.{}", self.checkpoint_topic, copy.0)
    }
}

/// One opening of the sink.
pub(crate) struct Session {
    pub(crate) site: Arc<Site>,
    pub(crate) topics: Topics,
    pub(crate) reader: Mutex<Reader>,
    /// Reads copies back, which may take long.
    pub(crate) copies: Mutex<Reader>,
    /// Producers of copies' records that have nothing to do, since when: a new one takes half a
    /// second until it may send.
    spare: Mutex<Vec<(Instant, Producer)>>,
    notes: Mutex<Notes>,
}

struct Notes {
    producer: Producer,
    copies: BTreeMap<CopyId, CopyNotes>,
    failed: bool,
}

impl Session {
    pub(crate) fn new(
        site: &Arc<Site>,
        topics: Topics,
        (reader, copies_reader): (Reader, Reader),
        producer: Producer,
        copies: BTreeMap<CopyId, CopyNotes>,
    ) -> Self {
        Self {
            site: Arc::clone(site),
            topics,
            reader: Mutex::new(reader),
            copies: Mutex::new(copies_reader),
            spare: Mutex::default(),
            notes: Mutex::new(Notes {
                producer,
                copies,
                failed: false,
            }),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An encoder for this shape, its topic being there, and what the topic takes.
    pub(crate) fn encoder(&self, table: &Arc<TableSchema>) -> Result<(TableEncoder, Place)> {
        let (origin, config) = (&self.site.origin, &self.site.config);
        let topic = topics::name(&origin.name, &table.name);
        let mut encoder = TableEncoder::new(table, topic, origin, config)?;
        if encoder.is_outbox() {
            let limit = route::limit(config, encoder.topic(), None)?;
            let partitions = 1;
            return Ok((encoder, Place { partitions, limit }));
        }
        let partitions = self.topics.of_table(&self.reader(), table)?;
        if let Some(registry) = &self.site.registry {
            registry.number(&mut encoder)?;
        }
        let diverts = config.on_oversized == Oversized::DeadLetter;
        let own = diverts
            .then(|| self.topics.limit(encoder.topic()))
            .flatten();
        let limit = route::limit(config, encoder.topic(), own)
            .map_err(|error| error.for_table(table.id))?;
        Ok((encoder, Place { partitions, limit }))
    }

    /// The partitions of a topic that records name themselves, there from now on.
    pub(crate) fn topic_by_name(&self, topic: &str) -> Result<usize> {
        if *topic == self.site.dead_letter_topic {
            self.topic_of_notices(topic)?;
        }
        self.topics.of_name(&self.reader(), topic)
    }

    /// Sees to it that a topic for records of no table is there.
    pub(crate) fn topic_of_notices(&self, topic: &str) -> Result<()> {
        self.topics.of_notices(&self.reader(), topic)
    }

    /// A producer for a copy's records, which nobody else uses meanwhile.
    pub(crate) fn lend(&self) -> Result<Producer> {
        match self.spare().pop() {
            Some((_, producer)) => Ok(producer),
            None => Producer::new(&self.site.config.producer()),
        }
    }

    /// Takes a producer back, all of whose records the brokers have.
    pub(crate) fn give_back(&self, producer: Producer) {
        self.spare().push((Instant::now(), producer));
    }

    /// Lets producers go that nobody has wanted for a while.
    pub(crate) fn tidy(&self) {
        self.spare().retain(|(since, _)| since.elapsed() < SPARE);
    }

    fn spare(&self) -> MutexGuard<'_, Vec<(Instant, Producer)>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is noted about a copy.
    pub(crate) fn copy(&self, copy: CopyId) -> Option<CopyNotes> {
        self.notes().copies.get(&copy).cloned()
    }

    pub(crate) fn copies(&self) -> Vec<CopyId> {
        self.notes().copies.keys().copied().collect()
    }

    /// Begins a copy, or takes up what is noted of it.
    pub(crate) fn begin_copy(&self, table: &Arc<TableSchema>, copy: CopyId) -> Result<CopyNotes> {
        if let Some(notes) = self.copy(copy) {
            return Ok(notes);
        }
        let topic = self.site.copy_topic(copy);
        self.topics.ensure(&topic, &Purpose::Copy)?;
        let begun = CopyNotes::begun(table);
        let record = (ledger::copy_key(copy), Some(ledger::value(table)?));
        self.put(&[record], |copies| {
            copies.insert(copy, begun.clone());
        })?;
        Ok(begun)
    }

    pub(crate) fn chunk_finished(&self, copy: CopyId, index: u32, note: ChunkNote) -> Result<()> {
        self.is_wanted(copy)?;
        let record = (ledger::chunk_key(copy, index), Some(ledger::value(&note)?));
        self.put(&[record], |copies| {
            if let Some(notes) = copies.get_mut(&copy) {
                notes.chunks.insert(index, note);
            }
        })
    }

    pub(crate) fn caught_up(&self, copy: CopyId, note: CatchUpNote) -> Result<()> {
        self.is_wanted(copy)?;
        let record = (ledger::catch_up_key(copy), Some(ledger::value(&note)?));
        self.put(&[record], |copies| {
            if let Some(notes) = copies.get_mut(&copy) {
                notes.catch_up = Some(note);
            }
        })
    }

    fn is_wanted(&self, copy: CopyId) -> Result<()> {
        match self.copy(copy) {
            Some(_) => Ok(()),
            None => Err(Error::transient("the copy was discarded")),
        }
    }

    /// Forgets a copy and removes its topic.
    pub(crate) fn discard(&self, copy: CopyId) -> Result<()> {
        if let Some(notes) = self.copy(copy) {
            let records: Vec<_> = notes
                .keys(copy)
                .into_iter()
                .map(|key| (key, None))
                .collect();
            self.put(&records, |copies| {
                copies.remove(&copy);
            })?;
        }
        self.topics.delete(&self.site.copy_topic(copy))
    }

    /// Removes the topics of copies that nothing is noted of.
    pub(crate) fn remove_strays(&self) -> Result<()> {
        let prefix = format!("{}.copy.", self.site.checkpoint_topic);
        let kept: Vec<String> = self
            .copies()
            .into_iter()
            .map(|copy| self.site.copy_topic(copy))
            .collect();
        let topics = self.reader().topics(&prefix)?;
        for topic in topics.iter().filter(|topic| !kept.contains(topic)) {
            self.topics.delete(topic)?;
        }
        Ok(())
    }

    /// Writes notes in one transaction, then changes the memory of them.
    fn put(
        &self,
        records: &[(String, Option<Vec<u8>>)],
        change: impl FnOnce(&mut BTreeMap<CopyId, CopyNotes>),
    ) -> Result<()> {
        let mut notes = self.notes();
        if notes.failed {
            return Err(Error::transient(
                "notes of copies cannot be written until the sink is opened again",
            ));
        }
        notes.failed = true;
        let transactional = self.site.transactional();
        if transactional {
            notes.producer.begin()?;
        }
        for (key, value) in records {
            send_note(
                &notes.producer,
                &self.site.checkpoint_topic,
                key,
                value.as_deref(),
            )?;
        }
        if transactional {
            notes.producer.commit()?;
        } else {
            notes.producer.flush()?;
        }
        notes.failed = false;
        change(&mut notes.copies);
        Ok(())
    }
}

/// Queues a record for the checkpoint topic.
pub(crate) fn send_note(
    producer: &Producer,
    topic: &str,
    key: &str,
    value: Option<&[u8]>,
) -> Result<()> {
    let sent = producer.send(Outgoing {
        topic,
        partition: Some(0),
        key: Some(key.as_bytes()),
        value,
        headers: None,
    });
    sent.map_err(|refused| match refused {
        Refused::TooLarge => Error::config(format!("a note is too large for topic {topic}"))
            .hint("raise `message.max.bytes` in `properties`, and max.message.bytes of the topic"),
        Refused::Other(error) => error,
    })
}
