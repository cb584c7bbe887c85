//! A lake in a folder of the local disk.
//!
//! Small files are written aside, synced, and renamed into place without replacing; a folder's
//! files are exchanged by building the new folder beside it and swapping the two names
//! (`RENAME_EXCHANGE`).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};

use super::{Listed, Lock, Storage, StoredFile};
use crate::layout;

/// A folder of the local disk.
#[derive(Debug)]
pub(crate) struct LocalDisk {
    root: PathBuf,
    /// Whether content is made durable: always, but in tests that only simulate crashes.
    syncs: bool,
}

/// Tells this process's temporary names apart.
static TEMPORARIES: AtomicU64 = AtomicU64::new(0);

impl LocalDisk {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, syncs: true }
    }

    #[cfg(test)]
    pub(crate) fn volatile(root: PathBuf) -> Self {
        Self { root, syncs: false }
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        if self.syncs {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if !parent.is_dir() => fs::create_dir_all(parent),
            _ => Ok(()),
        }
    }

    fn temporary(&self) -> io::Result<PathBuf> {
        let number = TEMPORARIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = self.path(layout::TEMPORARY).join(name);
        self.parent(&path)?;
        Ok(path)
    }

    /// Writes a small file aside and moves it into place by `publish`.
    fn put_by(
        &self,
        path: &str,
        content: &[u8],
        publish: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.path(path);
        self.parent(&path)?;
        let temporary = self.temporary()?;
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(content)?;
            if self.syncs {
                file.sync_all()?;
            }
            publish(&temporary, &path)
        })();
        if written.is_err() {
            // Best effort: what stays is removed at the next start.
            let _ = fs::remove_file(&temporary);
            return written;
        }
        path.parent().map_or(Ok(()), |parent| self.sync(parent))
    }
}

impl Storage for LocalDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn StoredFile>> {
        let path = self.path(path);
        self.parent(&path)?;
        Ok(Box::new(
            OpenOptions::new().write(true).create_new(true).open(path)?,
        ))
    }

    fn open(&self, path: &str) -> io::Result<File> {
        File::open(self.path(path))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(path))
    }

    fn put_if_absent(&self, path: &str, content: &[u8]) -> io::Result<bool> {
        let put = self.put_by(path, content, |from, to| {
            match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Err(error) if cannot(&error.into()) => {
                    fs::hard_link(from, to)?;
                    fs::remove_file(from)
                }
                other => Ok(other?),
            }
        });
        match put {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            put => put.map(|()| true),
        }
    }

    fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        self.put_by(path, content, |from, to| fs::rename(from, to))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.path(path).try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.path(to);
        self.parent(&to)?;
        fs::rename(self.path(from), to)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.path(to);
        self.parent(&to)?;
        match fs::hard_link(self.path(from), to) {
            Err(error) if cannot(&error) => Err(io::ErrorKind::Unsupported.into()),
            other => other,
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.path(path)))
    }

    fn remove_folder(&self, path: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(self.path(path)))
    }

    fn remove_if_empty(&self, path: &str) -> io::Result<()> {
        match absent_is_fine(fs::remove_dir(self.path(path))) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<Listed>> {
        let entries = match fs::read_dir(self.path(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                let is_folder = entry.file_type()?.is_dir();
                listed.push(Listed { name, is_folder });
            }
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        absent_is_fine(self.sync(&self.path(path)))
    }

    fn replace_folder(&self, path: &str, files: &[(String, String)]) -> io::Result<()> {
        let folder = self.path(path);
        self.parent(&folder)?;
        let aside = self.temporary()?;
        fs::create_dir(&aside)?;
        let replaced = (|| {
            let mut names = BTreeSet::new();
            for (name, from) in files {
                fs::hard_link(self.path(from), aside.join(name))?;
                names.insert(name.as_str());
            }
            let present = self.list(path)?;
            for foreign in present.iter().filter(|it| !layout::is_data_file(&it.name)) {
                if foreign.is_folder {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                if !names.contains(foreign.name.as_str()) {
                    fs::hard_link(folder.join(&foreign.name), aside.join(&foreign.name))?;
                }
            }
            self.sync(&aside)?;
            if !folder.is_dir() {
                return fs::rename(&aside, &folder);
            }
            rustix::fs::renameat_with(CWD, &aside, CWD, &folder, RenameFlags::EXCHANGE)?;
            Ok(())
        })();
        // Either what was being built or what was replaced; every file in it has another name or
        // is not wanted. What stays is removed at the next start.
        let _ = fs::remove_dir_all(&aside);
        match replaced {
            Err(error) if cannot(&error) => Err(io::ErrorKind::Unsupported.into()),
            other => other,
        }
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        let path = self.path(layout::BOOKKEEPING).join("lock");
        self.parent(&path)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock::of_file(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl StoredFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether the file system has no such operation, as opposed to having failed at it. (Links where
/// there are none are `PermissionDenied`.)
fn cannot(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, InvalidInput, PermissionDenied, Unsupported};
    matches!(
        error.kind(),
        CrossesDevices | InvalidInput | PermissionDenied | Unsupported
    )
}
