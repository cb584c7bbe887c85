//! What the lake asks of the place that it lies in: the seam at which another kind of storage,
//! or a fault in a test, comes in.
//!
//! Invariant: what `put` and `put_if_absent` name is there whole or not at all, also after a
//! crash; everything else is durable only once it is synced. Paths are relative to the lake.

pub(crate) mod local;

#[cfg(test)]
pub(crate) mod faulty;

use std::fs::File;
use std::io;

use cdc_api::Error;

/// A place for a lake. Calls block: they belong on a thread that may.
pub(crate) trait Storage: Send + Sync + 'static {
    /// A new file, with the folders above it.
    fn create(&self, path: &str) -> io::Result<Box<dyn StoredFile>>;
    /// An existing file, for reading.
    fn open(&self, path: &str) -> io::Result<File>;
    /// A whole small file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Writes a small file durably under a name that must not exist; `false` when it does.
    fn put_if_absent(&self, path: &str, content: &[u8]) -> io::Result<bool>;
    /// Writes or replaces a small file, durably.
    fn put(&self, path: &str, content: &[u8]) -> io::Result<()>;
    /// Whether there is a file of that name.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// Moves a file, making the folders above its new place.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file a second name; `Unsupported` where the storage has no such thing.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; one that is not there is no error.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes a folder with all in it; one that is not there is no error.
    fn remove_folder(&self, path: &str) -> io::Result<()>;
    /// Removes a folder if nothing is in it.
    fn remove_if_empty(&self, path: &str) -> io::Result<()>;
    /// What is in a folder; nothing when it is not there.
    fn list(&self, path: &str) -> io::Result<Vec<Listed>>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &str) -> io::Result<()>;
    /// Makes a folder hold these files (name, where each is now), and those that are not ours, in
    /// one atomic act; `Unsupported` where the storage cannot, nothing having changed then.
    fn replace_folder(&self, path: &str, files: &[(String, String)]) -> io::Result<()>;
    /// Takes the lake for this process; `None` while another has it. Freed when dropped.
    fn lock(&self) -> io::Result<Option<Lock>>;
}

/// A file being written.
pub(crate) trait StoredFile: io::Write + Send {
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name in the folder.
    pub(crate) name: String,
    /// Whether it is a folder itself.
    pub(crate) is_folder: bool,
}

/// Holds the lake for one process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Option<File>,
}

impl Lock {
    pub(crate) fn of_file(file: File) -> Self {
        Self { _file: Some(file) }
    }

    #[cfg(test)]
    pub(crate) fn unguarded() -> Self {
        Self { _file: None }
    }
}

/// A storage's error as the contract's, with the remedy where there is one.
pub(crate) fn failed(doing: impl std::fmt::Display, error: io::Error) -> Error {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let found = match error.kind() {
        StorageFull | QuotaExceeded => Error::transient("no space is left for the lake").hint(
            "free space on the disk of the lake's `url`, or raise its quota; replication goes on \
             by itself then",
        ),
        PermissionDenied => Error::auth("the lake's folder may not be written")
            .hint("give the daemon's user read and write access to the folder in the lake's `url`"),
        ReadOnlyFilesystem => Error::config("the lake's folder is on a read-only file system")
            .hint("mount it for writing, or set the lake's `url` to another folder"),
        _ => Error::transient(format!("the lake's storage failed: {error}")),
    };
    found.caused_by(error).context(doing.to_string())
}
