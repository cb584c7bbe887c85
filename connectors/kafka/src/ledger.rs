//! The checkpoint topic: what the target holds of this pipeline, read back from it.
//!
//! One partition, compacted. `checkpoint` is the last checkpoint, written in the very transaction
//! of its rows; `table/<id>` a table that has joined, `owner` who opened the sink last, `copy/<id>`
//! a copy under way, `copy/<id>/chunk/<n>` a finished chunk of it and `copy/<id>/catch-up` how far
//! its catch-up is durable.
//!
//! Invariant: what is read is committed, and its writers are fenced first, so that nothing older
//! can follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::{Checkpoint, CopyId, Error, Result, TableId, TableSchema};
use rdkafka::message::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::Reader;

/// A table that has joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joined {
    /// Its shape as last applied.
    pub(crate) table: Arc<TableSchema>,
    /// The copy that it came from.
    pub(crate) copy: CopyId,
}

/// Some records in a copy's topic, all from one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The writer: a random number.
    pub(crate) writer: u64,
    /// Its records count up to here.
    pub(crate) records: u64,
}

/// A finished chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkNote {
    /// The point at which it was read.
    pub(crate) seq: u64,
    /// Its records.
    pub(crate) part: Part,
}

/// How far a catch-up is durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CatchUpNote {
    /// Everything up to here.
    pub(crate) seq: u64,
    /// The shape that it has reached.
    pub(crate) table: Arc<TableSchema>,
    /// Its records, one part for each time that it was taken up.
    pub(crate) parts: Vec<Part>,
}

/// A copy under way.
#[derive(Debug, Clone)]
pub(crate) struct CopyNotes {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) chunks: BTreeMap<u32, ChunkNote>,
    pub(crate) catch_up: Option<CatchUpNote>,
}

impl CopyNotes {
    pub(crate) fn begun(table: &Arc<TableSchema>) -> Self {
        Self {
            table: Arc::clone(table),
            chunks: BTreeMap::new(),
            catch_up: None,
        }
    }

    /// The parts that count, in any order: chunks stand before the catch-up in the topic.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        let chunks = self.chunks.values().map(|note| &note.part);
        chunks.chain(self.catch_up.iter().flat_map(|note| &note.parts))
    }

    /// The shape that it has reached.
    pub(crate) fn shape(&self) -> &Arc<TableSchema> {
        self.catch_up
            .as_ref()
            .map_or(&self.table, |note| &note.table)
    }

    /// The keys of everything noted about it.
    pub(crate) fn keys(&self, copy: CopyId) -> Vec<String> {
        let mut keys = vec![copy_key(copy), catch_up_key(copy)];
        keys.extend(self.chunks.keys().map(|index| chunk_key(copy, *index)));
        keys
    }
}

/// Everything that the topic says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) tables: BTreeMap<TableId, Joined>,
    pub(crate) copies: BTreeMap<CopyId, CopyNotes>,
    pub(crate) owner: Option<String>,
}

pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const OWNER: &str = "owner";

pub(crate) fn table_key(table: TableId) -> String {
    format!("table/{table}")
}

pub(crate) fn copy_key(copy: CopyId) -> String {
    format!("copy/{}", copy.0)
}

pub(crate) fn chunk_key(copy: CopyId, index: u32) -> String {
    format!("copy/{}/chunk/{index}", copy.0)
}

pub(crate) fn catch_up_key(copy: CopyId) -> String {
    format!("copy/{}/catch-up", copy.0)
}

/// A record's value.
pub(crate) fn value(of: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(of)
        .map_err(|error| Error::internal("a note cannot be written").caused_by(error))
}

impl Ledger {
    /// Reads the topic from its beginning to its end.
    pub(crate) fn read(reader: &Reader, topic: &str) -> Result<Self> {
        let mut newest: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        reader.read(topic, 0, |message| {
            let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else {
                return Ok(());
            };
            match message.payload() {
                Some(value) => newest.insert(key.to_owned(), value.to_vec()),
                None => newest.remove(key),
            };
            Ok(())
        })?;
        let mut ledger = Self::default();
        // In the order of keys: a copy's own note comes before those that follow it.
        for (key, value) in &newest {
            ledger.take(key, value).map_err(|error| {
                error
                    .context(format!("reading checkpoint topic {topic}"))
                    .hint(
                        "run the version of cdc that wrote it, or a later one; or set \
                     `checkpoint_topic` to another, and all tables are copied anew",
                    )
            })?;
        }
        Ok(ledger)
    }

    fn take(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let parts: Vec<&str> = key.split('/').collect();
        match parts.as_slice() {
            [CHECKPOINT] => self.checkpoint = Some(parse(value)?),
            [OWNER] => self.owner = Some(parse(value)?),
            ["table", id] => {
                self.tables.insert(TableId(number(id)?), parse(value)?);
            }
            ["copy", id] => {
                let table: Arc<TableSchema> = parse(value)?;
                self.copies
                    .insert(CopyId(number(id)?), CopyNotes::begun(&table));
            }
            ["copy", id, "chunk", index] => {
                let index = u32::try_from(number(index)?)
                    .map_err(|_| Error::data("a chunk has no number"))?;
                if let Some(copy) = self.copies.get_mut(&CopyId(number(id)?)) {
                    copy.chunks.insert(index, parse(value)?);
                }
            }
            ["copy", id, "catch-up"] => {
                if let Some(copy) = self.copies.get_mut(&CopyId(number(id)?)) {
                    copy.catch_up = Some(parse(value)?);
                }
            }
            _ => return Err(Error::data("a record is not known")),
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .map_err(|_| Error::data("a record's key has no number"))
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T> {
    serde_json::from_slice(value)
        .map_err(|error| Error::data("a record cannot be read").caused_by(error))
}
