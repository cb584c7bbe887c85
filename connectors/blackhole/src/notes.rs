//! What a sink that keeps nothing knows: a file of lines, each a change in JSON, read when the sink is opened.
//!
//! A change costs its own line, whatever else is known: with thousands of tables, too. Invariants: memory says what the
//! file says, or more after a failed write, which makes the next one write the whole file anew; a later line without its
//! end was not written whole, and says nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cdc_api::{Checkpoint, CopyId, Error, Result, TableId, TableSchema};
use serde::{Deserialize, Serialize};

/// The file is written anew when changes take as much as this, and as what it was begun with.
const GROWN: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// What is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) joined: BTreeMap<TableId, Joined>,
    pub(crate) copies: BTreeMap<CopyId, Copied>,
}

/// A change of what is known, which counts as a whole: a line of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Their copies are over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) joined: Vec<Joined>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<TableId>,
    /// Where they are now; those without a place are given up.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) copies: BTreeMap<CopyId, Option<Copied>>,
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

impl Kept {
    fn apply(&mut self, change: Change) {
        if change.checkpoint.is_some() {
            self.checkpoint = change.checkpoint;
        }
        for joined in change.joined {
            self.copies.remove(&joined.copy);
            self.joined.insert(joined.table.id, joined);
        }
        for table in change.left {
            self.joined.remove(&table);
        }
        for (copy, copied) in change.copies {
            match copied {
                Some(copied) => self.copies.insert(copy, copied),
                None => self.copies.remove(&copy),
            };
        }
    }

    /// All of it as one change.
    fn whole(&self) -> Change {
        let copies = self.copies.iter();
        Change {
            checkpoint: self.checkpoint.clone(),
            joined: self.joined.values().cloned().collect(),
            left: Vec::new(),
            copies: copies
                .map(|(copy, copied)| (*copy, Some(copied.clone())))
                .collect(),
        }
    }
}

/// What is known, and how much of that the file has.
#[derive(Debug, Default)]
struct State {
    kept: Kept,
    /// Lines that the file does not have yet.
    unwritten: Vec<u8>,
    /// Where lines go; `None`: the whole file is to be written anew.
    file: Option<File>,
    /// Bytes that may be written before the file is written anew.
    room: usize,
}

/// The file, shared by the sink and its copies.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    path: Arc<Path>,
    state: Arc<Mutex<State>>,
}

impl Notes {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path: path.into(),
            state: Arc::default(),
        }
    }

    pub(crate) fn exist(&self) -> bool {
        self.path.exists()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is known.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Kept) -> Result<T>) -> Result<T> {
        look(&self.lock().kept)
    }

    /// Reads the file; one that is not there says nothing.
    pub(crate) async fn read(&self) -> Result<()> {
        let notes = self.clone();
        offloaded(move || {
            let bytes = match fs::read(&notes.path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(unusable(&notes.path, error)),
            };
            let mut kept = Kept::default();
            // The first line came with the file.
            for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
                if number > 0 && !line.ends_with(b"\n") {
                    break;
                }
                let change = serde_json::from_slice(line).map_err(|error| {
                    Error::data(format!("{} is damaged", notes.path.display()))
                        .hint("remove the file: the tables are then copied anew")
                        .caused_by(error)
                })?;
                kept.apply(change);
            }
            *notes.lock() = State {
                kept,
                ..State::default()
            };
            Ok(())
        })
        .await
    }

    /// Changes what is known, durably.
    pub(crate) async fn change(&self, change: impl FnOnce(&Kept) -> Result<Change>) -> Result<()> {
        {
            let mut state = self.lock();
            let change = change(&state.kept)?;
            let line = line(&change)?;
            state.unwritten.extend_from_slice(&line);
            state.kept.apply(change);
        }
        let notes = self.clone();
        // Lines go into the file in the order in which they were applied, whoever writes them.
        offloaded(move || notes.lock().write(&notes.path)).await
    }

    /// Removes the file and says so.
    pub(crate) fn remove(&self) -> Result<Vec<String>> {
        self.lock().file = None;
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(vec![format!("removed {}", self.path.display())]),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unusable(&self.path, error)),
        }
    }
}

impl State {
    /// Makes everything known durable.
    fn write(&mut self, path: &Path) -> Result<()> {
        // What a failed write leaves behind is not written behind.
        let file = self.file.take();
        let lines = std::mem::take(&mut self.unwritten);
        let (file, room) = match file {
            Some(file) if lines.is_empty() => (file, self.room),
            Some(mut file) if lines.len() <= self.room => {
                file.write_all(&lines)
                    .and_then(|()| file.sync_data())
                    .map_err(|error| unusable(path, error))?;
                (file, self.room - lines.len())
            }
            _ => {
                let whole = line(&self.kept.whole())?;
                let file = replace(path, &whole).map_err(|error| unusable(path, error))?;
                (file, GROWN.max(whole.len()))
            }
        };
        (self.file, self.room) = (Some(file), room);
        Ok(())
    }
}

/// Replaces the file as a whole; gives it, to be written on.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<File> {
    let mut new = path.to_path_buf().into_os_string();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    Ok(file)
}

fn line(change: &Change) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(change)
        .map_err(|error| Error::internal("the notes are no JSON").caused_by(error))?;
    line.push(b'\n');
    Ok(line)
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
