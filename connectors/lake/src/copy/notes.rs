//! The notes of a copy: what of it is durable.
//!
//! Invariant: a note is written whole, after the files that it names were synced.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::{CopyId, CopyProgress, Error, Result, TableSchema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::manifest::DataFile;
use crate::storage::{Storage, failed};

/// What is durable of a copy.
pub(crate) struct Notes {
    begun: Begun,
    pub(super) chunks: BTreeMap<u32, ChunkNote>,
    pub(super) catch_up: Option<CatchUpNote>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) shapes: Vec<Arc<TableSchema>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ChunkNote {
    pub(super) index: u32,
    pub(super) seq: u64,
    pub(super) files: Vec<DataFile>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CatchUpNote {
    pub(super) seq: u64,
    pub(super) shapes: Vec<Arc<TableSchema>>,
    pub(super) files: Vec<DataFile>,
}

impl Notes {
    /// The copies that have notes.
    pub(crate) fn all(storage: &dyn Storage) -> Result<Vec<CopyId>> {
        let listed = storage
            .list(layout::COPIES)
            .map_err(|error| failed("listing copies", error))?;
        Ok(listed
            .iter()
            .filter_map(|it| it.name.parse().ok().map(CopyId))
            .collect())
    }

    /// The notes of a copy; `None` when it was not begun.
    pub(crate) fn load(storage: &dyn Storage, copy: CopyId) -> Result<Option<Self>> {
        let folder = layout::copy_folder(copy);
        let Some(begun) = read(storage, &format!("{folder}/copy.json"))? else {
            return Ok(None);
        };
        let mut chunks = BTreeMap::new();
        let listed = storage
            .list(&folder)
            .map_err(|error| failed("listing a copy's notes", error))?;
        for name in listed
            .iter()
            .map(|it| &it.name)
            .filter(|name| name.starts_with("chunk-"))
        {
            if let Some(note) = read::<ChunkNote>(storage, &format!("{folder}/{name}"))? {
                chunks.insert(note.index, note);
            }
        }
        Ok(Some(Self {
            begun,
            chunks,
            catch_up: read(storage, &format!("{folder}/catch-up.json"))?,
        }))
    }

    /// The shapes that the files have, oldest first.
    pub(crate) fn shapes(&self) -> &[Arc<TableSchema>] {
        match &self.catch_up {
            Some(note) => &note.shapes,
            None => &self.begun.shapes,
        }
    }

    /// All files of the copy.
    pub(crate) fn files(&self) -> impl Iterator<Item = &DataFile> {
        let chunks = self.chunks.values().flat_map(|note| &note.files);
        chunks.chain(self.catch_up.iter().flat_map(|note| &note.files))
    }

    /// The highest `seq` that a row of the copy has.
    pub(crate) fn last_seq(&self) -> u64 {
        self.files().map(|file| file.last_seq).max().unwrap_or(0)
    }

    pub(super) fn progress(&self) -> CopyProgress {
        CopyProgress {
            chunks: self
                .chunks
                .values()
                .map(|note| (note.index, note.seq))
                .collect(),
            caught_up: self.catch_up.as_ref().map(|note| note.seq),
        }
    }
}

fn read<T: DeserializeOwned>(storage: &dyn Storage, path: &str) -> Result<Option<T>> {
    match storage.read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(format!("reading `{path}`"), error)),
        Ok(content) => serde_json::from_slice(&content).map(Some).map_err(|error| {
            Error::data(format!("the lake's note `{path}` is damaged"))
                .caused_by(error)
                .hint("stop the daemon, remove the folder of that note, and start again: the copy begins anew")
        }),
    }
}

/// Writes a note durably, in place of the one that was.
pub(super) fn put<T: Serialize>(storage: &dyn Storage, path: &str, note: &T) -> Result<()> {
    let content = serde_json::to_vec(note)
        .map_err(|error| Error::internal("a note cannot be written").caused_by(error))?;
    storage
        .put(path, &content)
        .map_err(|error| failed(format!("writing `{path}`"), error))
}
