//! The journal's directory: file names, whose it is, and the durable mark.
//!
//! | file | |
//! |---|---|
//! | `identity.json` | format version, pipeline and source |
//! | `durable` | the durable mark: up to which byte of which segment fsync has succeeded |
//! | `GENERATION-INDEX.segment` | events from that index on |
//!
//! Invariant: the mark never claims more than fsync has confirmed. So a bad frame below it is
//! damage, and one above it is what a crash has left half written. The mark itself is not synced
//! each time: after a power failure it may claim less, never more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cdc_api::{Error, Result};
use serde::{Deserialize, Serialize};

use super::JournalIdentity;

/// 2: with notices. Format 1 has none, and is otherwise the same.
const FORMAT: u32 = 2;

/// Something that was durable is not as it was.
pub(super) fn damaged(path: &Path, offset: u64, what: &str) -> Error {
    let dir = path.parent().unwrap_or(path);
    Error::log_lost(format!(
        "the journal is damaged in {} at byte {offset}: {what}",
        path.display()
    ))
    .hint(remedy(dir))
}

/// A part of the journal is gone.
pub(super) fn missing(dir: &Path, what: &str) -> Error {
    Error::log_lost(format!(
        "the journal in {} has a gap: {what}",
        dir.display()
    ))
    .hint(remedy(dir))
}

fn remedy(dir: &Path) -> String {
    format!(
        "stop the daemon, move the directory {} away and start it again: the source is read again \
         from where the sinks are; where the source has let go of its log since, its own error \
         names what to copy again with `cdc snapshot`",
        dir.display()
    )
}

/// The disk cannot be read.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let text = format!("cannot read {}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound => missing(
            path.parent().unwrap_or(path),
            &format!("{} is not there", path.display()),
        ),
        ErrorKind::PermissionDenied => Error::config(text)
            .hint("give the daemon's user the right to read and write the files in `data_dir`"),
        _ => Error::transient(text).hint("look after the disk under `data_dir`"),
    }
    .caused_by(error)
}

/// The disk cannot be written; nothing is lost, and it is tried again.
pub(super) fn unwritable(path: &Path, error: io::Error) -> Error {
    let text = format!("cannot write {}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::transient(text).hint(
                "free space on the file system of `data_dir`, or set `journal.max_bytes` to less \
                 than it has: the source is read on as soon as there is room, nothing is lost",
            )
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::config(text)
            .hint("give the daemon's user the right to read and write the files in `data_dir`"),
        _ => Error::transient(text).hint("look after the disk under `data_dir`"),
    }
    .caused_by(error)
}

/// The path of a segment.
pub(super) fn segment_path(dir: &Path, generation: u64, first_index: u64) -> Arc<Path> {
    dir.join(format!("{generation:08}-{first_index:020}.segment"))
        .into()
}

/// A segment file by its name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) generation: u64,
    pub(super) first_index: u64,
    pub(super) path: Arc<Path>,
}

/// The segment files, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, error))? {
        let path = entry.map_err(|error| unreadable(dir, error))?.path();
        let numbers = path
            .extension()
            .filter(|extension| *extension == "segment")
            .and_then(|_| path.file_stem()?.to_str()?.split_once('-'))
            .and_then(|(generation, index)| Some((generation.parse().ok()?, index.parse().ok()?)));
        if let Some((generation, first_index)) = numbers {
            found.push(Found {
                generation,
                first_index,
                path: path.into(),
            });
        }
    }
    found.sort_by_key(|found| (found.generation, found.first_index));
    Ok(found)
}

#[derive(Serialize, Deserialize)]
struct StoredIdentity {
    format: u32,
    #[serde(flatten)]
    identity: JournalIdentity,
}

/// Creates the directory when missing, and sees to it that it is this pipeline's.
pub(super) fn claim(dir: &Path, identity: &JournalIdentity) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
    let path = dir.join("identity.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !segments(dir)?.is_empty() {
                return Err(missing(dir, "identity.json is not there"));
            }
            return write_identity(dir, &path, identity);
        }
        Err(error) => return Err(unreadable(&path, error)),
    };
    let stored: StoredIdentity = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(&path, 0, "not an identity").caused_by(error))?;
    if stored.format > FORMAT {
        return Err(Error::config(format!(
            "the journal in {} was written by a newer version (format {})",
            dir.display(),
            stored.format
        ))
        .hint("run the version that wrote it, or a later one"));
    }
    if stored.identity != *identity {
        let JournalIdentity { pipeline, source } = &stored.identity;
        return Err(Error::config(format!(
            "the journal in {} belongs to pipeline {pipeline} on source {source}, not to {} on {}",
            dir.display(),
            identity.pipeline,
            identity.source
        ))
        .hint(
            "set `data_dir` to this pipeline's own directory; if the pipeline is to begin anew, \
             move the old directory away",
        ));
    }
    if stored.format < FORMAT {
        // Before anything is written that earlier versions would take for a torn end.
        return write_identity(dir, &path, identity);
    }
    Ok(())
}

fn write_identity(dir: &Path, path: &Path, identity: &JournalIdentity) -> Result<()> {
    let text = serde_json::to_vec(&StoredIdentity {
        format: FORMAT,
        identity: identity.clone(),
    })
    .map_err(|error| Error::internal("cannot encode an identity").caused_by(error))?;
    let partial = dir.join("identity.json.partial");
    fs::write(&partial, text)
        .and_then(|()| File::open(&partial)?.sync_all())
        .and_then(|()| fs::rename(&partial, path))
        .and_then(|()| sync(dir))
        .map_err(|error| unwritable(path, error))
}

/// Makes the directory's entries durable.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// How far fsync has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) generation: u64,
    /// `first_index` of the segment.
    pub(super) segment: u64,
    /// The byte in it.
    pub(super) offset: u64,
}

/// The file that holds the mark.
pub(super) struct MarkFile {
    path: PathBuf,
    file: File,
}

impl MarkFile {
    const LENGTH: usize = 28;

    /// The stored mark; `None` when none was ever set.
    pub(super) fn read(dir: &Path) -> Result<Option<Mark>> {
        let path = dir.join("durable");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path, error)),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        if bytes.len() != Self::LENGTH || crc32c::crc32c(&bytes[..24]).to_le_bytes() != bytes[24..]
        {
            return Err(damaged(&path, 0, "not a durable mark"));
        }
        Ok(Some(Mark {
            generation: number(0),
            segment: number(8),
            offset: number(16),
        }))
    }

    /// Opens the file for writing, created without a mark when missing.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("durable");
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| unwritable(&path, error))?;
        sync(dir).map_err(|error| unwritable(dir, error))?;
        Ok(Self { path, file: opened })
    }

    /// Moves the mark. Within one sector and in place: a crash leaves the old or the new one.
    pub(super) fn set(&self, mark: Mark) -> Result<()> {
        let mut bytes = [0; Self::LENGTH];
        bytes[0..8].copy_from_slice(&mark.generation.to_le_bytes());
        bytes[8..16].copy_from_slice(&mark.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&mark.offset.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
        self.file
            .write_all_at(&bytes, 0)
            .map_err(|error| unwritable(&self.path, error))
    }

    /// Moves the mark, durably: needed before anything below it is cut off.
    pub(super) fn set_durably(&self, mark: Mark) -> Result<()> {
        self.set(mark)?;
        self.file
            .sync_data()
            .map_err(|error| unwritable(&self.path, error))
    }
}
