//! XA transactions between PREPARE and COMMIT: their events, kept on disk by the transaction's name.
//!
//! A file is named after its XA transaction and a number, for a name may be used again. It holds the
//! place of the PREPARE; beside it, once the transaction is decided, a mark with that place.
//!
//! Invariants: when the position moves beyond a PREPARE its events are on disk (synced, renamed); a
//! file is removed only when a stream starts at or after the decision. A stream that starts before a
//! PREPARE drops its file, for it reads the events again: so the lowest number of a name is always
//! the transaction that is decided next.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use cdc_api::{Error, Position, Result};

use crate::position::Place;

const MAGIC: &[u8; 8] = b"cdcxa001";

/// The folder with the prepared transactions of one pipeline.
#[derive(Debug)]
pub(crate) struct PreparedFiles {
    folder: PathBuf,
    /// Those that were decided since the stream's start.
    decided: Vec<PathBuf>,
}

impl PreparedFiles {
    /// Takes the folder over for a stream that starts at `from`. The folder is made when it is
    /// needed.
    ///
    /// # Errors
    /// `Transient` where a file cannot be read or removed.
    pub(crate) fn open(folder: PathBuf, from: &Place) -> Result<Self> {
        let files = Self {
            folder,
            decided: Vec::new(),
        };
        for path in files.list()? {
            let stale = match prepared_at(&path) {
                Ok(place) => !from.covers(&place),
                // Cut off by a crash before its PREPARE counted.
                Err(_) => true,
            };
            let mark = decision(&path);
            let decided = match fs::read_to_string(&mark) {
                Ok(text) => Place::read(&Position::new(text)).is_ok_and(|it| from.covers(&it)),
                Err(_) => false,
            };
            if stale || decided {
                remove(&path)?;
            }
            if mark.exists() {
                remove(&mark)?;
            }
        }
        Ok(files)
    }

    fn list(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|it| it == "xa") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// The files of one name that are not decided yet, the lowest number first.
    fn of(&self, xid: &[u8]) -> Result<Vec<PathBuf>> {
        let stem = stem(xid);
        let mut paths = self.list()?;
        paths.retain(|path| {
            !self.decided.contains(path)
                && path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| name.starts_with(&stem))
        });
        Ok(paths)
    }

    /// Begins to keep a transaction that is prepared at `place`.
    ///
    /// # Errors
    /// `Transient` where the file cannot be made.
    pub(crate) fn begin(&mut self, xid: &[u8], place: &Place) -> Result<Keeper> {
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let stem = stem(xid);
        let last = self
            .list()?
            .iter()
            .filter_map(|path| {
                let name = path.file_stem()?.to_str()?.strip_prefix(&stem)?;
                name.parse::<u64>().ok()
            })
            .max();
        let number = last.map_or(0, |last| last + 1);
        let path = self.folder.join(format!("{stem}{number:08}.xa"));
        let part = path.with_extension("part");
        let mut keeper = Keeper {
            file: BufWriter::new(File::create(&part).map_err(failed)?),
            hash: crc32fast::Hasher::new(),
            part,
            path,
        };
        let position = place.position();
        keeper.write(MAGIC)?;
        keeper.block(position.as_str().as_bytes())?;
        keeper.block(xid)?;
        Ok(keeper)
    }

    /// The events of a transaction that commits; `None` where it is not known.
    ///
    /// # Errors
    /// `Transient` where the file cannot be read.
    pub(crate) fn read(&self, xid: &[u8]) -> Result<Option<Kept>> {
        match self.of(xid)?.first() {
            None => Ok(None),
            Some(path) => Ok(Some(Kept::open(path)?.0)),
        }
    }

    /// Takes note that a transaction was committed or rolled back at `place`.
    ///
    /// # Errors
    /// `Transient` where that cannot be written down.
    pub(crate) fn decide(&mut self, xid: &[u8], place: &Place) -> Result<()> {
        if let Some(path) = self.of(xid)?.into_iter().next() {
            fs::write(decision(&path), place.position().as_str()).map_err(failed)?;
            self.decided.push(path);
        }
        Ok(())
    }
}

/// The beginning of the names of an XA transaction's files.
fn stem(xid: &[u8]) -> String {
    let hash = |seed: u64| {
        xid.iter().fold(seed, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    format!(
        "{:016x}{:016x}-",
        hash(0xcbf2_9ce4_8422_2325),
        hash(0x8422_2325_cbf2_9ce4)
    )
}

fn decision(path: &Path) -> PathBuf {
    path.with_extension("decided")
}

fn prepared_at(path: &Path) -> Result<Place> {
    Ok(Kept::open(path)?.1)
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(failed)
}

/// A transaction that is being kept.
#[derive(Debug)]
pub(crate) struct Keeper {
    file: BufWriter<File>,
    hash: crc32fast::Hasher,
    part: PathBuf,
    path: PathBuf,
}

impl Keeper {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(failed)
    }

    fn block(&mut self, bytes: &[u8]) -> Result<()> {
        let length = u32::try_from(bytes.len())
            .map_err(|_| Error::data("an event is too long to be kept"))?;
        self.write(&length.to_le_bytes())?;
        self.write(bytes)
    }

    /// Keeps an event: its kind, its time, and its body.
    ///
    /// # Errors
    /// `Transient` where it cannot be written.
    pub(crate) fn push(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len() + 1)
            .map_err(|_| Error::data("an event is too long to be kept"))?;
        self.write(&length.to_le_bytes())?;
        self.write(&[kind])?;
        self.write(body)
    }

    /// Reads it at once, for it commits without having been prepared.
    ///
    /// # Errors
    /// `Transient` where it cannot be written.
    pub(crate) fn read_back(mut self) -> Result<Kept> {
        self.end()?;
        let kept = Kept::open(&self.part)?.0;
        fs::remove_file(&self.part).map_err(failed)?;
        Ok(kept)
    }

    fn end(&mut self) -> Result<()> {
        self.write(&0u32.to_le_bytes())?;
        let hash = self.hash.clone().finalize();
        self.file.write_all(&hash.to_le_bytes()).map_err(failed)?;
        self.file.flush().map_err(failed)
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// `Transient` where it cannot be written.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end()?;
        self.file.get_ref().sync_all().map_err(failed)?;
        fs::rename(&self.part, &self.path).map_err(failed)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed)?;
        }
        Ok(())
    }
}

/// A kept transaction's events, read one after another.
#[derive(Debug)]
pub(crate) struct Kept {
    file: BufReader<File>,
    hash: crc32fast::Hasher,
    event: Vec<u8>,
}

impl Kept {
    fn open(path: &Path) -> Result<(Self, Place)> {
        let file = File::open(path).map_err(failed)?;
        let mut kept = Self {
            file: BufReader::new(file),
            hash: crc32fast::Hasher::new(),
            event: Vec::new(),
        };
        let mut magic = [0; 8];
        kept.read(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged());
        }
        kept.block()?;
        let text = String::from_utf8(kept.event.clone()).map_err(|_| damaged())?;
        let place = Place::read(&Position::new(text))?;
        kept.block()?;
        Ok((kept, place))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).map_err(|_| damaged())?;
        self.hash.update(bytes);
        Ok(())
    }

    fn block(&mut self) -> Result<usize> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = u32::from_le_bytes(length);
        self.event.clear();
        let read = (&mut self.file)
            .take(u64::from(length))
            .read_to_end(&mut self.event)
            .map_err(failed)?;
        if read != length as usize {
            return Err(damaged());
        }
        self.hash.update(&self.event);
        Ok(read)
    }

    /// The next event's kind and body; `None` after the last.
    ///
    /// # Errors
    /// `LogLost` where the file was damaged.
    pub(crate) fn next(&mut self) -> Result<Option<(u8, &[u8])>> {
        if self.block()? == 0 {
            let mut stored = [0; 4];
            self.file.read_exact(&mut stored).map_err(|_| damaged())?;
            if u32::from_le_bytes(stored) != self.hash.clone().finalize() {
                return Err(damaged());
            }
            return Ok(None);
        }
        let (kind, body) = self.event.split_first().ok_or_else(damaged)?;
        Ok(Some((*kind, body)))
    }
}

fn failed(error: io::Error) -> Error {
    Error::transient("cannot keep the events of a prepared XA transaction")
        .hint("check space and rights of the data directory")
        .caused_by(error)
}

fn damaged() -> Error {
    Error::log_lost("the kept events of a prepared XA transaction are damaged")
        .hint("cdc teardown, then start again: the tables are loaded anew")
}
