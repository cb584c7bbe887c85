//! What a sink that keeps nothing knows: one file of JSON, read when the sink is opened and replaced as a whole.
//!
//! Invariant: memory says what the file says, or less after a failed change, which the next opening mends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cdc_api::{Checkpoint, CopyId, Error, Result, TableSchema};
use serde::{Deserialize, Serialize};

/// The file's content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) joined: Vec<Joined>,
    pub(crate) copies: BTreeMap<CopyId, Copied>,
}

/// A table that came whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) copy: CopyId,
}

/// How far a copy is: finished chunks with their points, and its catch-up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Copied {
    pub(crate) chunks: BTreeMap<u32, u64>,
    pub(crate) caught_up: Option<u64>,
}

/// The file, shared by the sink and its copies.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    path: Arc<Path>,
    kept: Arc<Mutex<Kept>>,
}

impl Notes {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path: path.into(),
            kept: Arc::default(),
        }
    }

    pub(crate) fn exist(&self) -> bool {
        self.path.exists()
    }

    /// Looks at what is known.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Kept) -> Result<T>) -> Result<T> {
        look(&self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file; one that is not there says nothing.
    pub(crate) async fn read(&self) -> Result<()> {
        let notes = self.clone();
        offloaded(move || {
            let read = match fs::read(&notes.path) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                    Error::data(format!("{} is damaged", notes.path.display()))
                        .hint("remove the file: the tables are then copied anew")
                        .caused_by(error)
                })?,
                Err(error) if error.kind() == ErrorKind::NotFound => Kept::default(),
                Err(error) => return Err(unusable(&notes.path, error)),
            };
            *notes.kept.lock().unwrap_or_else(PoisonError::into_inner) = read;
            Ok(())
        })
        .await
    }

    /// Changes what is known, durably.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Kept) -> Result<()>) -> Result<()> {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))?;
        let notes = self.clone();
        offloaded(move || {
            // Held while the file is written, so that the file never goes back.
            let kept = notes.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = serde_json::to_vec(&*kept)
                .map_err(|error| Error::internal("the notes are no JSON").caused_by(error))?;
            let mut new = notes.path.to_path_buf().into_os_string();
            new.push(".new");
            let written = File::create(&new).and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_data()?;
                fs::rename(&new, &notes.path)
            });
            written.map_err(|error| unusable(&notes.path, error))
        })
        .await
    }

    /// Removes the file and says so.
    pub(crate) fn remove(&self) -> Result<Vec<String>> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(vec![format!("removed {}", self.path.display())]),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unusable(&self.path, error)),
        }
    }
}

async fn offloaded(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("writing the notes ended early").caused_by(error))?
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::transient(format!("cannot use {}: {error}", path.display()))
        .hint("see to it that the folder of the sink's `path` exists and that cdc may write there")
        .caused_by(error)
}
