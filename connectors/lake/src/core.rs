//! The sink itself, as blocking calls: what is open and what is pending; the commit is in `commit`.
//!
//! Invariants:
//! - A commit is one manifest entry. Its files are durable before it, and shown in the tables'
//!   folders after it.
//! - After a failure that may have left something half done, nothing goes on before
//!   [`Core::rollback`]; it reads the manifest back to learn whether the last entry was written.

mod commit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cdc_api::{ChangeBatch, Checkpoint, CopyId, Error, JoinedTable, Result, TableId, TableSchema};

use crate::copy::Notes;
use crate::current;
use crate::encode::Encoder;
use crate::evolve::next_shape;
use crate::layout;
use crate::manifest::{State, Table, log};
use crate::publish::{self, Lost};
use crate::site::{Site, draw};
use crate::storage::{Lock, failed};

/// The open lake and what is to be committed next.
pub(crate) struct Core {
    site: Arc<Site>,
    /// Names our entries.
    writer: String,
    lock: Option<Lock>,
    state: State,
    pending: Pending,
    /// Files of an entry whose outcome is not known: they stay until it is.
    undecided: Vec<String>,
    lost: Lost,
    failed: bool,
}

struct Pending {
    encoder: Encoder,
    /// Shapes that tables take on, in order.
    shapes: BTreeMap<TableId, Vec<Arc<TableSchema>>>,
    joins: BTreeMap<TableId, (Arc<TableSchema>, CopyId)>,
    leaving: BTreeSet<TableId>,
}

impl Pending {
    fn new(site: &Arc<Site>) -> Self {
        Self {
            encoder: Encoder::new(site),
            shapes: BTreeMap::new(),
            joins: BTreeMap::new(),
            leaving: BTreeSet::new(),
        }
    }
}

impl Core {
    pub(crate) fn new(site: &Arc<Site>) -> Self {
        Self {
            site: Arc::clone(site),
            writer: format!("{:016x}", draw()),
            lock: None,
            state: State::default(),
            pending: Pending::new(site),
            undecided: Vec::new(),
            lost: Lost::new(),
            failed: false,
        }
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        let fresh = self.lock.is_none();
        if fresh {
            let lock = self
                .site
                .storage
                .lock()
                .map_err(|error| failed("locking the lake", error))?;
            self.lock = Some(lock.ok_or_else(in_use)?);
        }
        let opened = self.recover(fresh);
        if opened.is_err() && fresh {
            self.lock = None;
        }
        opened
    }

    fn recover(&mut self, fresh: bool) -> Result<()> {
        self.pending = Pending::new(&self.site);
        self.state = State::default();
        if let Some(newest) = log::load(self.site.storage.as_ref())? {
            if newest.pipeline != self.site.pipeline {
                return Err(Error::config(format!(
                    "the lake belongs to the pipeline `{}`",
                    newest.pipeline
                ))
                .hint("set the lake's `url` to a folder of this pipeline's own"));
            }
            self.state = newest.state;
        }
        self.settle();
        self.show_all()?;
        if fresh {
            // Only then: within one process, copies that go on own files in staging.
            self.clean()?;
        }
        self.failed = false;
        Ok(())
    }

    /// Removes the files of an entry that was not written, as is known by now.
    fn settle(&mut self) {
        let names: BTreeSet<&str> = self.state.files().collect();
        self.undecided.retain(|file| !names.contains(file.as_str()));
        for file in self.undecided.drain(..) {
            if let Err(error) = self.site.storage.remove(&layout::staged(&file)) {
                tracing::debug!(file, %error, "leaving an unused file for the next start");
            }
        }
    }

    fn show_all(&mut self) -> Result<()> {
        self.lost = publish::publish_all(&self.site, &self.state)?;
        for (table, files) in &self.lost {
            tracing::error!(%table, files = files.len(), "files of the lake are gone");
        }
        current::show(&self.site, &self.state, |_| true)
    }

    /// Removes what a crash left: unfinished files, notes of copies that have joined.
    fn clean(&self) -> Result<()> {
        let storage = self.site.storage.as_ref();
        let doing = |error| failed("removing what a crash left", error);
        let mut noted = BTreeSet::new();
        for copy in Notes::all(storage)? {
            if self.state.tables.values().any(|table| table.copy == copy) {
                storage
                    .remove_folder(&layout::copy_folder(copy))
                    .map_err(doing)?;
            } else if let Some(notes) = Notes::load(storage, copy)? {
                noted.extend(notes.files().map(|file| layout::staged(&file.name)));
            } else {
                storage
                    .remove_folder(&layout::copy_folder(copy))
                    .map_err(doing)?;
            }
        }
        for listed in storage.list(layout::STAGED).map_err(doing)? {
            let path = format!("{}/{}", layout::STAGED, listed.name);
            if !noted.contains(&path) {
                storage.remove(&path).map_err(doing)?;
            }
        }
        storage.remove_folder(layout::TEMPORARY).map_err(doing)
    }

    pub(crate) fn committed(&mut self) -> Result<Option<Checkpoint>> {
        self.read_back()?;
        Ok(self.state.checkpoint.clone())
    }

    pub(crate) fn joined(&mut self) -> Result<Vec<JoinedTable>> {
        self.read_back()?;
        Ok(self
            .state
            .tables
            .values()
            .filter(|table| !table.left)
            .filter_map(|table| {
                Some(JoinedTable {
                    table: Arc::clone(table.shape()?),
                    copy: table.copy,
                })
            })
            .collect())
    }

    /// Reads the manifest, in which our last entry may have arrived though its answer was lost.
    fn read_back(&mut self) -> Result<()> {
        self.opened()?;
        let (state, writer) = log::load(self.site.storage.as_ref())?
            .map_or_else(Default::default, |newest| (newest.state, newest.writer));
        if state.number < self.state.number {
            return Err(Error::data("the lake's manifest has lost its newest entries").hint(
                "restore the folder `_cdc` of the lake from a backup, or move the lake's folder \
                 away: its tables are copied again then",
            ));
        }
        if state.number > self.state.number {
            if writer != self.writer {
                return Err(in_use_by_rival());
            }
            self.state = state;
            self.show_all()?;
        }
        self.settle();
        Ok(())
    }

    fn opened(&self) -> Result<()> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(Error::internal("the lake was not opened")),
        }
    }

    fn usable(&self) -> Result<()> {
        self.opened()?;
        if self.failed {
            // The engine's reaction to this kind is the one that is wanted.
            return Err(Error::transient(
                "an earlier error has left the lake half-way, until it is rolled back",
            ));
        }
        Ok(())
    }

    pub(crate) fn rollback(&mut self) -> Result<()> {
        self.pending = Pending::new(&self.site);
        self.read_back()?;
        if self.failed {
            self.show_all()?;
            self.failed = false;
        }
        Ok(())
    }

    pub(crate) fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        self.usable()?;
        // The engine tells shapes of all tables; those that are not here come with their copy.
        if self
            .state
            .tables
            .get(&table.id)
            .is_some_and(|table| !table.left)
        {
            self.shape_for(table)?;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        self.usable()?;
        let shape = self.shape_for(&batch.table)?;
        let written = self.pending.encoder.write(&shape, batch);
        self.note(written)
    }

    pub(crate) fn truncate(
        &mut self,
        table: &Arc<TableSchema>,
        seq: u64,
        commit_time: i64,
    ) -> Result<()> {
        self.usable()?;
        let shape = self.shape_for(table)?;
        let written = self.pending.encoder.truncate(&shape, seq, commit_time);
        self.note(written)
    }

    /// An error of one table has written nothing; any other has perhaps written half.
    fn note(&mut self, written: Result<()>) -> Result<()> {
        if let Err(error) = &written {
            self.failed |= error.table().is_none();
        }
        written
    }

    /// The shape in which a joined table's rows are written, with the change to it pending.
    fn shape_for(&mut self, table: &Arc<TableSchema>) -> Result<Arc<TableSchema>> {
        let id = table.id;
        let Some(joined) = self.state.tables.get(&id).filter(|table| !table.left) else {
            return Err(
                Error::internal(format!("{} has not joined the lake", table.name)).for_table(id),
            );
        };
        if let Some(lost) = self.lost.get(&id) {
            return Err(publish::lost_files(joined, id, lost));
        }
        let mut shapes = joined.shapes.clone();
        if let Some(pending) = self.pending.shapes.get(&id) {
            shapes.extend(pending.iter().cloned());
        }
        let current = shapes.last().map(Arc::clone);
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, table))
        {
            return Ok(Arc::clone(table));
        }
        let policy = self.site.config.schema_changes;
        match (next_shape(&shapes, table, policy)?, current) {
            (None, Some(current)) => Ok(current),
            (Some(next), _) => {
                self.folder_is_free(&next)?;
                self.pending
                    .shapes
                    .entry(id)
                    .or_default()
                    .push(Arc::clone(&next));
                Ok(next)
            }
            (None, None) => {
                Err(Error::internal(format!("{} has no shape", table.name)).for_table(id))
            }
        }
    }

    /// No other table keeps, or is about to have, the folder of this shape.
    fn folder_is_free(&self, shape: &TableSchema) -> Result<()> {
        let wanted = self.site.layout.folder(&shape.name);
        for (id, table) in &self.state.tables {
            let pending = self.pending.shapes.get(id).and_then(|shapes| shapes.last());
            let (folder, name) = match (pending, table.shape()) {
                (Some(next), _) => (self.site.layout.folder(&next.name), &next.name),
                (None, Some(shape)) => (table.folder.clone(), &shape.name),
                (None, None) => continue,
            };
            // A table of the very name that is to join is gone at the source.
            let joins = self.pending.joins.contains_key(&shape.id);
            let replaced = joins && (*name == shape.name || table.left);
            if *id != shape.id && folder == wanted && !replaced {
                if *name == shape.name {
                    return Err(Error::unsupported(format!(
                        "the lake folder `{wanted}` is that of the table that was called {name} before"
                    ))
                    .hint(format!("cdc snapshot {name}, and every other table that has stopped"))
                    .for_table(shape.id));
                }
                return Err(Error::unsupported(format!(
                    "{} would have the lake folder `{wanted}`, which {name} has",
                    shape.name
                ))
                .hint("set the lake's `layout` so that it tells the two apart: `{schema}/{table}`")
                .for_table(shape.id));
            }
        }
        Ok(())
    }

    pub(crate) fn discard_copies(&mut self, keep: &[CopyId]) -> Result<()> {
        self.opened()?;
        let storage = self.site.storage.as_ref();
        let doing = |error| failed("discarding a copy", error);
        let needed: BTreeSet<&str> = self.state.files().collect();
        for copy in Notes::all(storage)? {
            if keep.contains(&copy) {
                continue;
            }
            if let Some(notes) = Notes::load(storage, copy)? {
                for file in notes
                    .files()
                    .filter(|file| !needed.contains(file.name.as_str()))
                {
                    storage.remove(&layout::staged(&file.name)).map_err(doing)?;
                }
            }
            storage
                .remove_folder(&layout::copy_folder(copy))
                .map_err(doing)?;
        }
        Ok(())
    }

    /// Tables, for the choice of what to merge.
    pub(crate) fn tables(&self) -> &BTreeMap<TableId, Table> {
        &self.state.tables
    }

    pub(crate) fn teardown(&mut self) -> Result<Vec<String>> {
        self.opened()?;
        let storage = self.site.storage.as_ref();
        let doing = |error| failed("removing the lake's bookkeeping", error);
        let mut removed = Vec::new();
        self.pending = Pending::new(&self.site);
        for (path, what) in [
            (layout::MANIFEST, "the manifest"),
            (layout::COPIES, "unfinished copies"),
            (layout::STAGED, "unfinished files"),
            (layout::TEMPORARY, "temporary files"),
            (layout::QUERIES, "queries"),
        ] {
            if !storage.list(path).map_err(doing)?.is_empty() {
                removed.push(format!("{what} of the lake (`{path}`)"));
            }
            storage.remove_folder(path).map_err(doing)?;
        }
        storage
            .remove(&format!("{}/lock", layout::BOOKKEEPING))
            .map_err(doing)?;
        storage
            .remove_if_empty(layout::BOOKKEEPING)
            .map_err(doing)?;
        self.state = State::default();
        self.lost.clear();
        self.failed = false;
        self.lock = None;
        Ok(removed)
    }
}

fn in_use() -> Error {
    Error::transient("another process has the lake open")
        .hint("stop the other daemon, or set the `url` of one of the two to a folder of its own")
}

fn in_use_by_rival() -> Error {
    Error::fenced("another daemon writes to this lake")
        .hint("stop the other daemon, or set the `url` of one of the two to a folder of its own")
}
