//! A table on its way into Kafka: its records wait, encoded, in a topic of their own that no
//! consumer knows, until the table joins.
//!
//! A record's key there says which writer it is from, which of that writer's records it is, and
//! whether it has a key; then comes the key. Invariant: records count only as far as a note in the
//! checkpoint topic says, and a note is written after the brokers have what it counts; so what a
//! dropped chunk or a crash has left in the topic means nothing.

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    ChangeBatch, ChunkWriter, CopyId, CopyProgress, Error, Result, TableCopy, TableId, TableName,
    TableSchema,
};
use cdc_blocking::Offload;
use rdkafka::message::{BorrowedMessage, Headers, Message, OwnedHeaders};

use crate::client::{Outgoing, Producer, header};
use crate::envelope::{Commits, Record, TableEncoder};
use crate::ledger::{CatchUpNote, ChunkNote, CopyNotes, Part};
use crate::route::{Parcel, Place, TOPIC, too_large};
use crate::session::Session;

/// A copy in progress.
pub(crate) struct KafkaCopy {
    session: Arc<Session>,
    copy: CopyId,
    table: Arc<TableSchema>,
    catch_up: Offload<CatchUp>,
}

impl KafkaCopy {
    /// Begins or resumes; blocks.
    pub(crate) fn begin(
        session: &Arc<Session>,
        table: &Arc<TableSchema>,
        copy: CopyId,
    ) -> Result<Self> {
        // The table's own topic and encoder: what they refuse is told before anything is read.
        let (_, _) = session.encoder(table)?;
        let notes = session.begin_copy(table, copy)?;
        if notes.catch_up.is_none() && !notes.table.same_shape(table) {
            return Err(changed(&table.name, table.id));
        }
        let shape = Arc::clone(notes.shape());
        let parts = notes.catch_up.map_or_else(Vec::new, |note| note.parts);
        Ok(Self {
            session: Arc::clone(session),
            copy,
            table: Arc::clone(table),
            catch_up: Offload::new(CatchUp {
                waiting: Waiting::new(session, copy),
                session: Arc::clone(session),
                copy,
                shape,
                parts,
                failed: false,
            }),
        })
    }
}

fn changed(name: &TableName, id: TableId) -> Error {
    Error::log_lost(format!("{name} has changed its shape while it was copied"))
        .hint(format!("cdc snapshot {name}"))
        .for_table(id)
}

#[async_trait]
impl TableCopy for KafkaCopy {
    async fn progress(&mut self) -> Result<CopyProgress> {
        let notes = self.session.copy(self.copy);
        Ok(
            notes.map_or_else(CopyProgress::default, |notes| CopyProgress {
                chunks: notes
                    .chunks
                    .iter()
                    .map(|(index, note)| (*index, note.seq))
                    .collect(),
                caught_up: notes.catch_up.map(|note| note.seq),
            }),
        )
    }

    async fn chunk(&mut self, index: u32) -> Result<Box<dyn ChunkWriter>> {
        Ok(Box::new(KafkaChunk {
            chunk: Offload::new(Chunk {
                waiting: Waiting::new(&self.session, self.copy),
                session: Arc::clone(&self.session),
                copy: self.copy,
                index,
                table: Arc::clone(&self.table),
            }),
        }))
    }

    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let table = Arc::clone(table);
        self.catch_up.run(move |it| it.follow(&table)).await
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        self.catch_up.run(move |it| it.write(&batch)).await
    }

    async fn truncate(&mut self, seq: u64, commit_time: i64) -> Result<()> {
        self.catch_up
            .run(move |it| it.truncate(seq, commit_time))
            .await
    }

    async fn commit(&mut self, seq: u64) -> Result<()> {
        self.catch_up.run(move |it| it.commit(seq)).await
    }
}

/// The changes that follow a copy's rows.
struct CatchUp {
    session: Arc<Session>,
    copy: CopyId,
    shape: Arc<TableSchema>,
    parts: Vec<Part>,
    waiting: Waiting,
    failed: bool,
}

impl CatchUp {
    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal(format!(
                "the copy of {} goes on after an error without being resumed",
                self.shape.name
            ))
            .for_table(self.shape.id));
        }
        Ok(())
    }

    fn follow(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.usable()?;
        if cdc_api::SchemaDiff::between(&self.shape, table).key_changed {
            return Err(changed(&table.name, table.id));
        }
        self.shape = Arc::clone(table);
        Ok(())
    }

    fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        if !Arc::ptr_eq(&self.shape, &batch.table) {
            self.follow(&batch.table)?;
        }
        self.usable()?;
        let written = self.waiting.write(batch);
        self.failed |= written.is_err();
        written
    }

    fn truncate(&mut self, seq: u64, commit_time: i64) -> Result<()> {
        self.usable()?;
        let written = self.waiting.truncate(&self.shape, seq, commit_time);
        self.failed |= written.is_err();
        written
    }

    fn commit(&mut self, seq: u64) -> Result<()> {
        self.usable()?;
        self.failed = true;
        let part = self.waiting.flush()?;
        self.parts.retain(|it| it.writer != part.writer);
        if part.records > 0 {
            self.parts.push(part);
        }
        let note = CatchUpNote {
            seq,
            table: Arc::clone(&self.shape),
            parts: self.parts.clone(),
        };
        self.session.caught_up(self.copy, note)?;
        self.failed = false;
        Ok(())
    }
}

struct KafkaChunk {
    chunk: Offload<Chunk>,
}

#[async_trait]
impl ChunkWriter for KafkaChunk {
    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        self.chunk.run(move |it| it.write(&batch)).await
    }

    async fn finish(mut self: Box<Self>, seq: u64) -> Result<()> {
        self.chunk.run(move |it| it.finish(seq)).await
    }
}

/// One chunk being written.
struct Chunk {
    session: Arc<Session>,
    copy: CopyId,
    index: u32,
    table: Arc<TableSchema>,
    waiting: Waiting,
}

impl Chunk {
    fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        if !self.table.same_shape(&batch.table) {
            return Err(changed(&self.table.name, self.table.id));
        }
        self.waiting.write(batch)
    }

    fn finish(&mut self, seq: u64) -> Result<()> {
        let part = self.waiting.flush()?;
        self.one_point(seq)?;
        self.session
            .chunk_finished(self.copy, self.index, ChunkNote { seq, part })
    }

    /// Rows without a key cannot be told from the changes that brought them, so their chunks must
    /// all be of one consistent point.
    fn one_point(&self, seq: u64) -> Result<()> {
        let notes = self.session.copy(self.copy);
        let other = notes.is_some_and(|notes| notes.chunks.values().any(|note| note.seq != seq));
        if self.table.key.is_empty() && other {
            return Err(Error::log_lost(format!(
                "{} has no key, so that its copy cannot go on at another point",
                self.table.name
            ))
            .hint(format!("cdc snapshot {}", self.table.name))
            .for_table(self.table.id));
        }
        Ok(())
    }
}

/// Writes records into a copy's topic, under a writer's number of its own.
struct Waiting {
    session: Arc<Session>,
    topic: String,
    writer: u64,
    records: u64,
    /// While there are records on their way.
    producer: Option<Producer>,
    encoder: Option<(TableEncoder, Place)>,
    commits: Commits,
    key: Vec<u8>,
}

impl Waiting {
    fn new(session: &Arc<Session>, copy: CopyId) -> Self {
        Self {
            session: Arc::clone(session),
            topic: session.site.copy_topic(copy),
            writer: random(),
            records: 0,
            producer: None,
            encoder: None,
            commits: Commits::default(),
            key: Vec::new(),
        }
    }

    fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.with_encoder(&batch.table, |encoder, commits, take| {
            encoder.encode(batch, commits, take)
        })
    }

    fn truncate(&mut self, table: &Arc<TableSchema>, seq: u64, commit_time: i64) -> Result<()> {
        self.with_encoder(table, |encoder, _, take| {
            encoder.truncate(seq, commit_time, take)
        })
    }

    fn with_encoder(
        &mut self,
        table: &Arc<TableSchema>,
        work: impl FnOnce(
            &mut TableEncoder,
            &mut Commits,
            &mut dyn FnMut(Record<'_>) -> Result<()>,
        ) -> Result<()>,
    ) -> Result<()> {
        let (mut encoder, place) = match self.encoder.take() {
            Some(known) if Arc::ptr_eq(known.0.table(), table) => known,
            _ => self.session.encoder(table)?,
        };
        if self.producer.is_none() {
            self.producer = Some(self.session.lend()?);
        }
        let Some(producer) = &self.producer else {
            return Err(Error::internal("a copy has no producer"));
        };
        let (topic, writer, key) = (&self.topic, self.writer, &mut self.key);
        let records = &mut self.records;
        let site = &self.session.site;
        let own = encoder.topic().to_owned();
        let written = work(&mut encoder, &mut self.commits, &mut |record| {
            let parcel = Parcel::new(&record, site.config.change_headers);
            let parcel = parcel.fitting(site, table, &own, record.seq, place.limit)?;
            let headers = match parcel.topic {
                Some(topic) => Some(header(parcel.headers, TOPIC, topic.as_bytes())),
                None => parcel.headers,
            };
            frame(key, writer, *records, parcel.key);
            let sent = producer.send(Outgoing {
                topic,
                partition: Some(0),
                key: Some(key),
                value: parcel.value,
                headers,
            });
            sent.map_err(|refused| too_large(refused, table))?;
            *records += 1;
            Ok(())
        });
        self.commits.forget_before_last();
        self.encoder = Some((encoder, place));
        written
    }

    /// Waits until the brokers have everything, and says what counts.
    fn flush(&mut self) -> Result<Part> {
        if let Some(producer) = self.producer.take() {
            producer.flush()?;
            self.session.give_back(producer);
        }
        Ok(Part {
            writer: self.writer,
            records: self.records,
        })
    }
}

/// A number that no other writer has.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's maps are keyed at random, which saves a dependency.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

const FRAME: usize = 17;

fn frame(out: &mut Vec<u8>, writer: u64, record: u64, key: Option<&[u8]>) {
    out.clear();
    out.extend_from_slice(&writer.to_le_bytes());
    out.extend_from_slice(&record.to_le_bytes());
    out.push(u8::from(key.is_some()));
    out.extend_from_slice(key.unwrap_or_default());
}

/// A record that was read back from a copy's topic: its place and its key.
struct Framed<'a> {
    writer: u64,
    record: u64,
    key: Option<&'a [u8]>,
}

fn unframe(bytes: &[u8]) -> Option<Framed<'_>> {
    let (frame, key) = bytes.split_at_checked(FRAME)?;
    Some(Framed {
        writer: u64::from_le_bytes(frame[..8].try_into().ok()?),
        record: u64::from_le_bytes(frame[8..16].try_into().ok()?),
        key: (frame[16] == 1).then_some(key),
    })
}

/// Gives every record of a copy that counts to `take`, in order.
pub(crate) fn replay(
    session: &Session,
    copy: CopyId,
    notes: &CopyNotes,
    mut take: impl FnMut(Parcel<'_>) -> Result<()>,
) -> Result<()> {
    let parts: std::collections::HashMap<u64, u64> = notes
        .parts()
        .map(|part| (part.writer, part.records))
        .collect();
    let wanted: u64 = parts.values().sum();
    if wanted == 0 {
        return Ok(());
    }
    let mut found = 0;
    // Records of one writer are numbered: what came twice is passed over.
    let mut next: std::collections::HashMap<u64, u64> = std::collections::HashMap::new();
    let reader = session
        .copies
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    reader.read(&session.site.copy_topic(copy), 0, |message| {
        let Some(framed) = message.key().and_then(unframe) else {
            return Ok(());
        };
        let Some(records) = parts.get(&framed.writer) else {
            return Ok(());
        };
        let expected = next.entry(framed.writer).or_default();
        if framed.record >= *records || framed.record != *expected {
            return Ok(());
        }
        *expected += 1;
        found += 1;
        let (topic, headers) = headers_from(message);
        take(Parcel {
            topic: topic.as_deref(),
            key: framed.key,
            value: message.payload(),
            headers,
        })
    })?;
    if found == wanted {
        return Ok(());
    }
    let table = notes.shape();
    Err(Error::log_lost(format!(
        "topic {} holds {found} of {wanted} records of the copy of {}",
        session.site.copy_topic(copy),
        table.name
    ))
    .hint(format!("cdc snapshot {}", table.name))
    .for_table(table.id))
}

/// The topic that a record names itself, and its other headers.
fn headers_from(message: &BorrowedMessage<'_>) -> (Option<String>, Option<OwnedHeaders>) {
    let (mut topic, mut headers) = (None, None);
    for it in message.headers().into_iter().flat_map(Headers::iter) {
        let value = it.value.unwrap_or_default();
        if it.key == TOPIC {
            topic = Some(String::from_utf8_lossy(value).into_owned());
        } else {
            headers = Some(header(headers, it.key, value));
        }
    }
    (topic, headers)
}
