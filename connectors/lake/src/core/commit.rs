//! The commit: what is pending becomes one manifest entry, and then visible.
//!
//! Invariant: between the first step and the last the core counts as failed, so that nothing goes on
//! from a commit whose outcome is not known.

use std::collections::BTreeSet;
use std::sync::Arc;

use cdc_api::{Checkpoint, CopyId, Error, Result, TableId, TableSchema};

use super::{Core, Pending};
use crate::compact::Merged;
use crate::copy::Notes;
use crate::current;
use crate::encode::Finished;
use crate::evolve::next_shape;
use crate::layout;
use crate::manifest::{Change, Entry, FORMAT, log};
use crate::publish;
use crate::rows;
use crate::storage::failed;

impl Core {
    pub(crate) fn join(&mut self, table: &Arc<TableSchema>, copy: CopyId) -> Result<()> {
        self.usable()?;
        rows::check_names(table)?;
        if Notes::load(self.site.storage.as_ref(), copy)?.is_none() {
            return Err(Error::internal(format!(
                "copy {} of {} is not in the lake",
                copy.0, table.name
            ))
            .for_table(table.id));
        }
        self.pending
            .joins
            .insert(table.id, (Arc::clone(table), copy));
        let free = self.folder_is_free(table);
        if free.is_err() {
            self.pending.joins.remove(&table.id);
        }
        free
    }

    pub(crate) fn leave(&mut self, table: TableId) -> Result<()> {
        self.usable()?;
        self.pending.leaving.insert(table);
        Ok(())
    }

    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.usable()?;
        self.failed = true;
        let finished = self.pending.encoder.finish()?;
        let mut changes = Vec::new();
        for (id, shapes) in &self.pending.shapes {
            // A join brings its own shapes, and the rows up to the checkpoint.
            if !self.pending.joins.contains_key(id) {
                changes.extend(shapes.iter().map(|shape| Change::Shape {
                    folder: self.site.layout.folder(&shape.name),
                    shape: Arc::clone(shape),
                }));
            }
        }
        for (table, copy) in self.pending.joins.values() {
            changes.push(self.join_change(table, *copy, checkpoint)?);
        }
        let mut added = Vec::new();
        for it in finished {
            if !self.pending.joins.contains_key(&it.table) {
                changes.push(Change::Add {
                    table: it.table,
                    file: it.file.clone(),
                });
                added.push(it);
            }
        }
        changes.extend(
            self.pending
                .leaving
                .iter()
                .filter(|id| self.state.tables.contains_key(*id))
                .filter(|id| !self.pending.joins.contains_key(*id))
                .map(|id| Change::Leave { table: *id }),
        );
        let idle = changes.is_empty() && self.state.checkpoint.as_ref() == Some(checkpoint);
        if !idle {
            self.enter(Some(checkpoint.clone()), changes, added)?;
        }
        for (_, copy) in self.pending.joins.values() {
            self.site
                .storage
                .remove_folder(&layout::copy_folder(*copy))
                .map_err(|error| failed("removing a joined copy's notes", error))?;
        }
        self.pending = Pending::new(&self.site);
        self.failed = false;
        Ok(())
    }

    fn join_change(
        &self,
        table: &Arc<TableSchema>,
        copy: CopyId,
        checkpoint: &Checkpoint,
    ) -> Result<Change> {
        let notes = Notes::load(self.site.storage.as_ref(), copy)?.ok_or_else(|| {
            Error::internal(format!("copy {} of {} has gone", copy.0, table.name))
                .for_table(table.id)
        })?;
        if notes.last_seq() > checkpoint.seq {
            return Err(Error::internal(format!(
                "copy {} of {} is ahead of the commit that it is to join at",
                copy.0, table.name
            ))
            .for_table(table.id));
        }
        let mut shapes = notes.shapes().to_vec();
        if let Some(next) = next_shape(&shapes, table, self.site.config.schema_changes)? {
            shapes.push(next);
        }
        Ok(Change::Join {
            copy,
            folder: self.site.layout.folder(&table.name),
            files: notes.files().cloned().collect(),
            shapes,
            keep: self.site.config.keep_snapshots,
        })
    }

    /// Writes the next manifest entry: the one step at which a commit happens.
    fn enter(
        &mut self,
        checkpoint: Option<Checkpoint>,
        changes: Vec<Change>,
        files: Vec<Finished>,
    ) -> Result<()> {
        let site = Arc::clone(&self.site);
        let storage = site.storage.as_ref();
        if !changes.is_empty() {
            storage
                .sync_folder(layout::STAGED)
                .map_err(|error| failed("syncing the staging folder", error))?;
        }
        let number = self.state.number + 1;
        let mut entry = Entry {
            format: FORMAT,
            number,
            writer: self.writer.clone(),
            pipeline: self.site.pipeline.clone(),
            checkpoint,
            changes,
            state: None,
        };
        let mut next = self.state.clone();
        next.apply(&entry);
        let before = self.state.whole;
        let whole = number == 1 || number - before >= log::WHOLE_EVERY;
        if whole {
            next.whole = number;
            entry.state = Some(Box::new(next.clone()));
        }
        for it in files {
            self.undecided.push(it.file.name);
            it.staged.keep();
        }
        log::append(storage, &entry)?;
        self.state = next;
        self.settle();
        let lost = publish::publish_entry(&self.site, &self.state, &entry)?;
        for change in &entry.changes {
            if let Change::Join { .. } = change {
                change.table().map(|id| self.lost.remove(&id));
            }
        }
        self.lost.extend(lost);
        self.write_queries(&entry)?;
        if whole {
            log::prune(storage, before)?;
        }
        Ok(())
    }

    /// Writes the statements that read the tables as they are now, where the entry calls for
    /// others than those that are there.
    fn write_queries(&self, entry: &Entry) -> Result<()> {
        // Which columns the files have changes with the first files of a shape.
        let added: BTreeSet<&str> = entry
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Add { file, .. } => Some(file.name.as_str()),
                _ => None,
            })
            .collect();
        let concerns = |change: &Change| match change {
            Change::Shape { .. } | Change::Join { .. } => true,
            Change::Add { table, file } => self.state.tables.get(table).is_some_and(|table| {
                let others = table
                    .files
                    .iter()
                    .filter(|it| !added.contains(it.name.as_str()));
                !others.map(|it| it.shape).any(|shape| shape == file.shape)
            }),
            Change::Leave { .. } | Change::Merge { .. } => false,
        };
        let tables: BTreeSet<TableId> = entry
            .changes
            .iter()
            .filter(|change| concerns(change))
            .filter_map(Change::table)
            .collect();
        current::show(&self.site, &self.state, |table| tables.contains(&table))
    }

    /// Puts merged files in the place of several, if the lake still holds them.
    pub(crate) fn merge(&mut self, merged: Merged) -> Result<()> {
        self.usable()?;
        let holds = self.state.tables.get(&merged.table).is_some_and(|table| {
            merged
                .removed
                .iter()
                .all(|name| table.files.iter().any(|file| file.name == *name))
        });
        if !holds {
            return Ok(());
        }
        self.failed = true;
        let change = Change::Merge {
            table: merged.table,
            removed: merged.removed,
            files: merged.files.iter().map(|it| it.file.clone()).collect(),
        };
        let entered = self.enter(self.state.checkpoint.clone(), vec![change], merged.files);
        // Nobody rolls a merge back: learn at once what became of it, where that can be done.
        let settled = match &entered {
            Ok(()) => Ok(()),
            Err(_) => self.read_back().and_then(|()| self.show_all()),
        };
        self.failed = settled.is_err();
        entered
    }
}
