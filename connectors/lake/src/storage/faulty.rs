//! A local disk that fails on cue: at one operation, before or after doing it, once or for good.
//!
//! For good is what a crash looks like from here: nothing that follows has any effect.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::local::LocalDisk;
use super::{Listed, Lock, Storage, StoredFile};

/// How the operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not done, nor is anything after it.
    CrashBefore,
    /// It is done, and nothing after it.
    CrashAfter,
    /// It is not done; later ones are.
    OnceBefore,
    /// It is done and its answer is lost; later ones are done.
    OnceAfter,
    /// There is no space for it, nor for any later write.
    Full,
}

/// When to fail, shared with the test.
#[derive(Debug)]
pub(crate) struct Cue {
    fault: Fault,
    left: AtomicI64,
    dead: AtomicBool,
}

impl Cue {
    /// Fails the operation after `operations` others.
    pub(crate) fn after(operations: i64, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            fault,
            left: AtomicI64::new(operations),
            dead: AtomicBool::new(false),
        })
    }

    /// Whether the operation was reached.
    pub(crate) fn was_hit(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    /// Fails everything from here on: the process is gone.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// Ends the faults.
    pub(crate) fn clear(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }

    /// Does an operation, or fails it; `writes` needs space.
    fn run<T>(&self, writes: bool, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("killed"));
        }
        if self.fault == Fault::Full && !writes {
            return operation();
        }
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let failed = || Err(io::Error::other("on cue"));
        match (left, self.fault) {
            (1.., _) => operation(),
            (..=0, Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            (0, Fault::CrashAfter | Fault::OnceAfter) => {
                operation()?;
                failed()
            }
            (0, _) => failed(),
            (_, Fault::OnceBefore | Fault::OnceAfter) => operation(),
            _ => failed(),
        }
    }
}

/// The disk.
pub(crate) struct FaultyDisk {
    disk: LocalDisk,
    cue: Arc<Cue>,
    locks: bool,
}

impl FaultyDisk {
    pub(crate) fn new(root: PathBuf, cue: &Arc<Cue>) -> Self {
        Self {
            disk: LocalDisk::volatile(root),
            cue: Arc::clone(cue),
            locks: true,
        }
    }

    /// As on a shared file system that has no locks.
    pub(crate) fn without_locks(mut self) -> Self {
        self.locks = false;
        self
    }
}

struct FaultyFile {
    file: Box<dyn StoredFile>,
    cue: Arc<Cue>,
}

impl Write for FaultyFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let file = &mut self.file;
        self.cue.run(true, || file.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StoredFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.cue.run(true, || Ok(()))
    }
}

impl Storage for FaultyDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn StoredFile>> {
        let file = self.cue.run(true, || self.disk.create(path))?;
        let cue = Arc::clone(&self.cue);
        Ok(Box::new(FaultyFile { file, cue }))
    }

    fn open(&self, path: &str) -> io::Result<File> {
        self.cue.run(false, || self.disk.open(path))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.cue.run(false, || self.disk.read(path))
    }

    fn put_if_absent(&self, path: &str, content: &[u8]) -> io::Result<bool> {
        self.cue
            .run(true, || self.disk.put_if_absent(path, content))
    }

    fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        self.cue.run(true, || self.disk.put(path, content))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.cue.run(false, || self.disk.exists(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.cue.run(false, || self.disk.rename(from, to))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.cue.run(false, || self.disk.link(from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.cue.run(false, || self.disk.remove(path))
    }

    fn remove_folder(&self, path: &str) -> io::Result<()> {
        self.cue.run(false, || self.disk.remove_folder(path))
    }

    fn remove_if_empty(&self, path: &str) -> io::Result<()> {
        self.cue.run(false, || self.disk.remove_if_empty(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Listed>> {
        self.cue.run(false, || self.disk.list(path))
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.cue.run(false, || self.disk.sync_folder(path))
    }

    fn replace_folder(&self, path: &str, files: &[(String, String)]) -> io::Result<()> {
        self.cue.run(true, || self.disk.replace_folder(path, files))
    }

    fn lock(&self) -> io::Result<Option<Lock>> {
        if self.locks {
            self.disk.lock()
        } else {
            Ok(Some(Lock::unguarded()))
        }
    }
}
