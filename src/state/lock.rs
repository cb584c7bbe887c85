//! The lock of a data directory: a file `lock`, held by the operating system's own file lock for
//! as long as the process lives, with the holder's pid in it.
//!
//! Invariant: the lock ends with the process, however that ends; a `lock` file that is left over
//! locks nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use cdc_api::{Error, Result};

pub(super) struct DirectoryLock {
    // Closing the file releases the lock.
    _file: File,
}

impl DirectoryLock {
    /// Creates the directory when missing, and locks it.
    ///
    /// # Errors
    /// `Config` when it cannot be used or is locked.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let unusable = |error: std::io::Error| {
            Error::config(format!(
                "cannot use the data directory {}: {error}",
                dir.display()
            ))
            .hint(
                "set `data_dir` to a directory on a local disk that the daemon's user can write to",
            )
            .caused_by(error)
        };
        fs::create_dir_all(dir).map_err(unusable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("lock"))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(dir, &mut file)),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

fn held(dir: &Path, file: &mut File) -> Error {
    let mut pid = String::new();
    // The pid is a courtesy: without it the refusal stands all the same.
    let _ = file.read_to_string(&mut pid);
    let holder = match pid.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    };
    Error::config(format!(
        "the data directory {} is in use by {holder}",
        dir.display()
    ))
    .hint(format!(
        "stop {holder}, or give each pipeline a `data_dir` of its own"
    ))
}
