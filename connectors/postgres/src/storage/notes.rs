//! What is remembered of each table's storage, and when it counts as changed.
//!
//! A note per table, a small file each: the last reading that everything before was settled with,
//! later readings that are still in doubt, and the truncates that the log had since. Invariants:
//! a note is durable before anything that follows from it is told; a change between two readings
//! raises the table's generation, which is the place in the log of the later one; a truncate is
//! noted before the stream gives it, so that a restart after it knows of it.
//!
//! The catalog is ahead of the log. So where only a truncate in the log can explain a reading, the
//! verdict waits until the stream has decoded everything that the reading saw.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cdc_api::{Error, Generation, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::compare::{Unless, compare};
use super::{Sighting, Storage};
use crate::marks::Marks;
use crate::position::Lsn;
use crate::session::Session;

/// How long one look waits for the stream; what is in doubt after that is settled by a later look.
const PATIENCE: Duration = Duration::from_secs(20);

/// From so many files on they are made durable together.
const TOGETHER: usize = 16;

/// What is known of every table's storage.
pub(crate) struct Notes {
    folder: PathBuf,
    notes: Mutex<HashMap<u32, Note>>,
}

/// What is known of one table's storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// Where the log had got when the rows had last changed without it.
    generation: u64,
    /// What had changed.
    cause: String,
    /// In the order of the log; the first is settled.
    sightings: Vec<Sighting>,
    /// Truncates in the log: where they commit, and their transactions.
    truncates: Vec<(u64, u32)>,
}

/// What two readings come to.
enum Verdict {
    /// Every change of rows is in the log.
    Same,
    /// This is not.
    Changed(String),
    /// The stream has not come so far.
    Open,
}

impl Notes {
    /// Notes in `folder`, which is made when the first is written.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            notes: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, oid: u32) -> PathBuf {
        self.folder.join(format!("{oid}.json"))
    }

    /// Brings a table's note in from its file, if there is one.
    fn load<'a>(
        &self,
        notes: &'a mut HashMap<u32, Note>,
        oid: u32,
    ) -> Result<Option<&'a mut Note>> {
        let entry = match notes.entry(oid) {
            Entry::Occupied(known) => return Ok(Some(known.into_mut())),
            Entry::Vacant(entry) => entry,
        };
        let path = self.path(oid);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, error)),
        };
        Ok(match serde_json::from_slice::<Note>(&bytes) {
            Ok(note) if !note.sightings.is_empty() => Some(entry.insert(note)),
            // As if there were none: the table then counts as changed.
            _ => None,
        })
    }

    fn save(&self, oid: u32, note: &Note) -> Result<()> {
        self.save_all([(oid, note)].into_iter())
    }

    fn save_all<'a>(&self, notes: impl Iterator<Item = (u32, &'a Note)>) -> Result<()> {
        let mut files = Vec::new();
        for (oid, note) in notes {
            let bytes = serde_json::to_vec(note)
                .map_err(|error| Error::internal("cannot write a note").caused_by(error))?;
            files.push((self.path(oid), bytes));
        }
        write_durably(&self.folder, &files).map_err(|error| unusable(&self.folder, error))
    }

    /// Takes readings in.
    ///
    /// # Errors
    /// `Transient` when the notes cannot be written.
    pub(crate) fn see(&self, readings: impl IntoIterator<Item = (u32, Sighting)>) -> Result<()> {
        let mut notes = self.lock();
        let mut first = Vec::new();
        let mut changed = Vec::new();
        for (oid, sighting) in readings {
            match self.load(&mut notes, oid)? {
                None => first.push((oid, Note::new(sighting))),
                Some(note) => {
                    if note.see(sighting) {
                        changed.push(oid);
                    }
                }
            }
        }
        let changed = changed.iter().filter_map(|oid| notes.get_key_value(oid));
        let all = first.iter().map(|(oid, note)| (oid, note)).chain(changed);
        self.save_all(all.map(|(oid, note)| (*oid, note)))?;
        notes.extend(first);
        Ok(())
    }

    /// The log has a truncate of the table, by the transaction `xid` that commits at `lsn`.
    ///
    /// # Errors
    /// `Transient` when the note cannot be written.
    pub(crate) fn truncated(&self, oid: u32, lsn: Lsn, xid: u32) -> Result<()> {
        let mut notes = self.lock();
        let Some(note) = self.load(&mut notes, oid)? else {
            // The first reading will have seen it.
            return Ok(());
        };
        if note.truncates.contains(&(lsn.0, xid)) || note.sightings[0].surely_has(lsn.0, xid) {
            return Ok(());
        }
        note.truncates.push((lsn.0, xid));
        self.save(oid, note)
    }

    /// Forgets the tables that are not among `oids`.
    pub(crate) fn retain(&self, oids: &BTreeSet<u32>) {
        self.lock().retain(|oid, _| oids.contains(oid));
        let files = std::fs::read_dir(&self.folder);
        for file in files.into_iter().flatten().flatten() {
            let name = file.file_name();
            let oid = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if oid
                .and_then(|oid| oid.parse().ok())
                .is_some_and(|oid| !oids.contains(&oid))
            {
                // One that stays is only older than the next reading: the table counts as changed.
                let _ = std::fs::remove_file(file.path());
            }
        }
    }

    /// The generation of the table's rows, as far as it is settled.
    pub(crate) fn generation(&self, oid: u32) -> Option<Generation> {
        self.lock().get(&oid).map(|note| Generation {
            number: note.generation,
            cause: note.cause.clone(),
        })
    }

    /// The generation of rows read at `lsn`, when the storage was `storage`.
    pub(crate) fn generation_at(&self, oid: u32, lsn: Lsn, storage: &Storage) -> u64 {
        let notes = self.lock();
        let settled = notes.get(&oid).and_then(|note| note.sightings.first());
        settled
            .filter(|settled| settled.storage == *storage)
            .map_or(lsn.0, |settled| settled.lsn.max(lsn.0))
    }

    /// Settles what is in doubt, as far as the stream allows.
    ///
    /// # Errors
    /// When the server cannot be asked, or a note not be written.
    pub(crate) async fn settle(&self, session: &mut Session, marks: &Marks) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let doubtful = |(oid, note): (&u32, &Note)| (note.sightings.len() > 1).then_some(*oid);
        let doubtful: Vec<u32> = self.lock().iter().filter_map(doubtful).collect();
        for oid in doubtful {
            while let Some((before, after)) = self.oldest_doubt(oid) {
                let judge = Judge {
                    notes: self,
                    marks,
                    oid,
                    deadline,
                };
                let change = match judge.verdict(session, &before, &after).await? {
                    Verdict::Open => break,
                    Verdict::Same => None,
                    Verdict::Changed(what) => Some(what),
                };
                self.close(oid, (&before, &after), change)?;
            }
        }
        Ok(())
    }

    fn oldest_doubt(&self, oid: u32) -> Option<(Sighting, Sighting)> {
        let notes = self.lock();
        let sightings = &notes.get(&oid)?.sightings;
        Some((sightings.first()?.clone(), sightings.get(1)?.clone()))
    }

    /// Settles a reading, unless another has come in between meanwhile.
    fn close(
        &self,
        oid: u32,
        (before, after): (&Sighting, &Sighting),
        change: Option<String>,
    ) -> Result<()> {
        let mut notes = self.lock();
        let Some(note) = notes.get_mut(&oid) else {
            return Ok(());
        };
        if note.sightings.first() != Some(before) || note.sightings.get(1) != Some(after) {
            return Ok(());
        }
        note.sightings.remove(0);
        if let Some(cause) = change {
            note.generation = after.lsn;
            note.cause = cause;
        }
        note.settle();
        self.save(oid, note)
    }

    fn has_truncate(&self, oid: u32, xids: &BTreeSet<u32>) -> bool {
        let notes = self.lock();
        let mut truncates = notes.get(&oid).into_iter().flat_map(|note| &note.truncates);
        truncates.any(|(_, xid)| xids.contains(xid))
    }
}

impl Note {
    fn new(sighting: Sighting) -> Self {
        Self {
            generation: sighting.lsn,
            cause: "what it held before is not known".to_owned(),
            sightings: vec![sighting],
            truncates: Vec::new(),
        }
    }

    /// Takes a reading in. Whether that is to be remembered.
    fn see(&mut self, sighting: Sighting) -> bool {
        let place = self.sightings.partition_point(|it| it.lsn <= sighting.lsn);
        let last = place == self.sightings.len();
        match place
            .checked_sub(1)
            .map(|before| &mut self.sightings[before])
        {
            // Older than what is settled.
            None => return false,
            Some(before) if before.storage == sighting.storage => {
                if place == 1 && last {
                    *before = sighting;
                    self.settle();
                }
                return false;
            }
            Some(_) => {}
        }
        self.sightings.insert(place, sighting);
        true
    }

    /// Lets go of what the settled reading has seen.
    fn settle(&mut self) {
        if let Some(settled) = self.sightings.first() {
            self.truncates
                .retain(|(lsn, xid)| !settled.surely_has(*lsn, *xid));
        }
    }
}

/// Judges the readings of one table.
struct Judge<'a> {
    notes: &'a Notes,
    marks: &'a Marks,
    oid: u32,
    deadline: Instant,
}

impl Judge<'_> {
    async fn verdict(
        &self,
        session: &mut Session,
        before: &Sighting,
        after: &Sighting,
    ) -> Result<Verdict> {
        let mut open = false;
        for doubt in compare(before, after) {
            let mut dispelled = false;
            let mut waits = false;
            for unless in &doubt.unless {
                match unless {
                    Unless::Truncated(xids) => {
                        let lsn = Lsn(after.lsn);
                        dispelled |= self.notes.has_truncate(self.oid, xids)
                            || self.decoded(session, lsn).await?
                                && self.notes.has_truncate(self.oid, xids);
                        waits |= !self.marks.has_decoded(lsn);
                    }
                    Unless::Holds { leaf, older } => {
                        let older = format!("age(xmin) > age('{older}'::xid)");
                        dispelled |= self.holds(session, *leaf, &older).await? == Some(true);
                    }
                    Unless::HoldsNone { leaf, older } => {
                        let older: Vec<String> = older
                            .iter()
                            .map(|(xid, command)| {
                                format!(
                                    "age(xmin) > age('{xid}'::xid) \
                                     OR xmin = '{xid}' AND cmin::text::int8 < {command}"
                                )
                            })
                            .collect();
                        let older = older.join(" OR ");
                        dispelled |= self.holds(session, *leaf, &older).await? != Some(true);
                    }
                }
                if dispelled {
                    break;
                }
            }
            match (dispelled, waits) {
                (true, _) => {}
                (false, true) => open = true,
                (false, false) => return Ok(Verdict::Changed(doubt.what)),
            }
        }
        Ok(if open { Verdict::Open } else { Verdict::Same })
    }

    /// Whether the stream has decoded everything up to `lsn`, after waiting for it a while.
    async fn decoded(&self, session: &mut Session, lsn: Lsn) -> Result<bool> {
        if self.marks.has_begun() && !self.marks.has_decoded(lsn) {
            // The server sends only what it has flushed, and reading the catalog can write without
            // flushing: an empty message, committed, sees to that.
            session
                .query(
                    "BEGIN; SET LOCAL synchronous_commit = local; \
                     SELECT pg_logical_emit_message(true, 'cdc.look', ''); COMMIT",
                )
                .await?;
            // What is not there in time is settled later.
            let _ = tokio::time::timeout_at(self.deadline, self.marks.decoded(lsn)).await;
        }
        Ok(self.marks.has_decoded(lsn))
    }

    /// Whether the file holds such a row; `None` where it is gone.
    async fn holds(
        &self,
        session: &mut Session,
        leaf: u32,
        condition: &str,
    ) -> Result<Option<bool>> {
        let names = session
            .query(&format!(
                "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid = {leaf} \
                 FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.oid IN ({leaf}, {}) ORDER BY c.oid = {leaf} DESC",
                self.oid
            ))
            .await?;
        let Some((name, rest)) = names.split_first().filter(|(name, _)| name.is_true(1)) else {
            return Ok(None);
        };
        let exists = format!(
            "SELECT EXISTS (SELECT FROM ONLY {} WHERE {condition})",
            name.text(0)
        );
        let row = match (session.query_one(&exists).await, rest) {
            // The right to read a table is not that to read a partition of it by name.
            (Err(error), [root]) if error.kind() == cdc_api::ErrorKind::Auth => {
                let exists = format!(
                    "SELECT EXISTS (SELECT FROM {} WHERE tableoid = {leaf} AND ({condition}))",
                    root.text(0)
                );
                session.query_one(&exists).await?
            }
            (row, _) => row?,
        };
        Ok(Some(row.is_true(0)))
    }
}

/// Writes files, all of which are durable afterwards.
fn write_durably(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> std::io::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let new = |path: &Path| path.with_extension("new");
    for (path, bytes) in files {
        let mut file = std::fs::File::create(new(path))?;
        file.write_all(bytes)?;
        if files.len() < TOGETHER {
            file.sync_all()?;
        }
    }
    if files.len() >= TOGETHER {
        sync_together(folder, files.iter().map(|(path, _)| new(path)))?;
    }
    for (path, _) in files {
        std::fs::rename(new(path), path)?;
    }
    std::fs::File::open(folder)?.sync_all()
}

/// Makes many files of a folder durable: thousands by one call, where each would wait for the disk by itself.
fn sync_together(folder: &Path, files: impl Iterator<Item = PathBuf>) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        drop(files);
        Ok(rustix::fs::syncfs(std::fs::File::open(folder)?)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        for path in files {
            std::fs::File::open(path)?.sync_all()?;
        }
        Ok(())
    }
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::transient(format!("cannot use {}", path.display()))
        .hint("free space in the data directory, and see to it that cdc may write there")
        .caused_by(error)
}

#[cfg(test)]
mod tests;
