//! A table on its way into the lake: chunk files and catch-up files in staging, named by notes.
//!
//! `_cdc/copies/<id>/` holds `copy.json` (the shapes), `chunk-<index>.json` for each finished chunk
//! and `catch-up.json`. Invariant: a note is written, whole, after the files that it names are
//! durable; files that no note names are not part of the copy.

mod bases;
mod notes;

use std::sync::Arc;

use async_trait::async_trait;
use cdc_api::{
    ChangeBatch, ChunkWriter, CopyId, CopyProgress, Error, Result, TableCopy, TableSchema,
};
use cdc_blocking::Offload;
use serde::Serialize;

use bases::Bases;
pub(crate) use notes::Notes;
use notes::{Begun, CatchUpNote, ChunkNote, put};

use crate::config::SchemaPolicy;
use crate::encode::{Encoder, Finished};
use crate::evolve::next_shape;
use crate::layout;
use crate::manifest::DataFile;
use crate::rows;
use crate::site::Site;
use crate::storage::failed;

/// A copy in progress.
pub(crate) struct LakeCopy {
    site: Arc<Site>,
    copy: CopyId,
    shape: Arc<TableSchema>,
    catch_up: Offload<CatchUp>,
}

impl LakeCopy {
    /// Begins or resumes; blocks.
    pub(crate) fn begin(site: &Arc<Site>, table: &Arc<TableSchema>, copy: CopyId) -> Result<Self> {
        rows::check_names(table)?;
        let storage = site.storage.as_ref();
        let begun = Notes::load(storage, copy)?;
        let note = begun.as_ref().and_then(|notes| notes.catch_up.clone());
        let mut shapes = begun
            .as_ref()
            .map_or_else(Vec::new, |notes| notes.shapes().to_vec());
        // A copy reads what is there now: a shape that its earlier chunks cannot follow is a
        // reason to begin again.
        let next = next_shape(&shapes, table, site.config.schema_changes).map_err(|_| {
            Error::log_lost(format!(
                "{} has changed its shape while it was copied",
                table.name
            ))
            .hint(format!("cdc snapshot {}", table.name))
            .for_table(table.id)
        })?;
        if let Some(next) = next {
            shapes.push(next);
            if note.is_none() {
                let begun = Begun {
                    shapes: shapes.clone(),
                };
                put(
                    storage,
                    &format!("{}/copy.json", layout::copy_folder(copy)),
                    &begun,
                )?;
            }
        }
        let shape = shapes.last().map_or_else(|| Arc::clone(table), Arc::clone);
        Ok(Self {
            site: Arc::clone(site),
            copy,
            shape,
            catch_up: Offload::new(CatchUp {
                site: Arc::clone(site),
                copy,
                encoder: Encoder::new(site),
                shapes,
                files: note.map_or_else(Vec::new, |note| note.files),
                bases: None,
                failed: false,
            }),
        })
    }
}

#[async_trait]
impl TableCopy for LakeCopy {
    async fn progress(&mut self) -> Result<CopyProgress> {
        let (site, copy) = (Arc::clone(&self.site), self.copy);
        self.catch_up
            .run(move |_| {
                let notes = Notes::load(site.storage.as_ref(), copy)?;
                Ok(notes.map(|notes| notes.progress()).unwrap_or_default())
            })
            .await
    }

    async fn chunk(&mut self, index: u32) -> Result<Box<dyn ChunkWriter>> {
        Ok(Box::new(LakeChunk {
            chunk: Offload::new(Chunk {
                site: Arc::clone(&self.site),
                copy: self.copy,
                index,
                shape: Arc::clone(&self.shape),
                encoder: Encoder::new(&self.site),
                failed: false,
            }),
        }))
    }

    async fn apply_schema(&mut self, table: &Arc<TableSchema>) -> Result<()> {
        let table = Arc::clone(table);
        self.catch_up
            .run(move |it| it.shape_for(&table).map(|_| ()))
            .await
    }

    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        self.catch_up.run(move |it| it.write(&batch)).await
    }

    async fn truncate(&mut self, seq: u64, commit_time: i64) -> Result<()> {
        self.catch_up
            .run(move |it| it.truncate(seq, commit_time))
            .await
    }

    async fn commit(&mut self, seq: u64) -> Result<()> {
        self.catch_up.run(move |it| it.commit(seq)).await
    }
}

/// The changes that follow a copy's rows.
struct CatchUp {
    site: Arc<Site>,
    copy: CopyId,
    encoder: Encoder,
    shapes: Vec<Arc<TableSchema>>,
    files: Vec<DataFile>,
    /// Looks for rows that unchanged columns rely on; made by the first batch.
    bases: Option<Bases>,
    failed: bool,
}

impl CatchUp {
    fn shape_for(&mut self, table: &Arc<TableSchema>) -> Result<Arc<TableSchema>> {
        usable(self.failed, table)?;
        if let Some(next) = next_shape(&self.shapes, table, self.site.config.schema_changes)? {
            self.shapes.push(next);
        }
        Ok(self
            .shapes
            .last()
            .map_or_else(|| Arc::clone(table), Arc::clone))
    }

    fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let shape = self.shape_for(&batch.table)?;
        let written = self.take(&shape, batch);
        self.failed |= written.is_err();
        written
    }

    fn take(&mut self, shape: &Arc<TableSchema>, batch: &ChangeBatch) -> Result<()> {
        let Some(seq) = batch.seq_range() else {
            return Ok(());
        };
        let schema = rows::file_schema(shape);
        let rows = rows::encode(shape, &schema, batch)?;
        if self.bases.is_none() {
            let notes = Notes::load(self.site.storage.as_ref(), self.copy)?;
            let points = notes.iter().flat_map(|notes| notes.chunks.values());
            self.bases = Some(Bases::between(points.map(|note| note.seq)));
        }
        if let Some(bases) = &mut self.bases {
            bases.take(shape, batch, &rows)?;
        }
        self.encoder.append(shape, schema, &rows, seq)
    }

    /// Looks in the copy's files for the rows that unchanged columns rely on.
    fn find_bases(&mut self) -> Result<()> {
        let Some(bases) = self.bases.as_mut().filter(|bases| bases.wants_any()) else {
            return Ok(());
        };
        let notes = Notes::load(self.site.storage.as_ref(), self.copy)?;
        for file in notes.iter().flat_map(Notes::files) {
            let shape = self.shapes.iter().find(|shape| shape.version == file.shape);
            if let Some(shape) = shape.filter(|_| bases.wants_any()) {
                bases.look(
                    self.site.storage.as_ref(),
                    shape,
                    &layout::staged(&file.name),
                )?;
            }
        }
        match self.shapes.last() {
            Some(shape) if bases.wants_any() => Err(Error::log_lost(format!(
                "rows of {} moved between chunks of different snapshots",
                shape.name
            ))
            .hint(format!("cdc snapshot {}", shape.name))
            .for_table(shape.id)),
            _ => Ok(()),
        }
    }

    fn truncate(&mut self, seq: u64, commit_time: i64) -> Result<()> {
        let Some(shape) = self.shapes.last().map(Arc::clone) else {
            return Err(Error::internal("a copy without a shape"));
        };
        usable(self.failed, &shape)?;
        let written = self.encoder.truncate(&shape, seq, commit_time);
        self.failed |= written.is_err();
        written
    }

    fn commit(&mut self, seq: u64) -> Result<()> {
        if let Some(shape) = self.shapes.last() {
            usable(self.failed, shape)?;
        }
        self.failed = true;
        self.find_bases()?;
        let finished = self.encoder.finish()?;
        let mut files = self.files.clone();
        files.extend(finished.iter().map(|it| it.file.clone()));
        let note = CatchUpNote {
            seq,
            shapes: self.shapes.clone(),
            files,
        };
        let path = format!("{}/catch-up.json", layout::copy_folder(self.copy));
        note_files(&self.site, finished, &path, &note)?;
        self.files = note.files;
        self.failed = false;
        Ok(())
    }
}

/// Writes the note that names these files, and keeps them.
fn note_files<T: Serialize>(
    site: &Site,
    finished: Vec<Finished>,
    path: &str,
    note: &T,
) -> Result<()> {
    let storage = site.storage.as_ref();
    if !finished.is_empty() {
        storage
            .sync_folder(layout::STAGED)
            .map_err(|error| failed("syncing the staging folder", error))?;
    }
    let noted = put(storage, path, note);
    // The note may be there though writing it failed: then its files must stay too.
    let keep = noted.is_ok()
        || match storage.read(path) {
            Ok(content) => serde_json::to_vec(note).is_ok_and(|wanted| wanted == content),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
    if keep {
        finished.into_iter().for_each(|it| it.staged.keep());
    }
    noted
}

fn usable(failed: bool, table: &TableSchema) -> Result<()> {
    if failed {
        return Err(Error::internal(format!(
            "the copy of {} goes on after an error without being resumed",
            table.name
        ))
        .for_table(table.id));
    }
    Ok(())
}

struct LakeChunk {
    chunk: Offload<Chunk>,
}

#[async_trait]
impl ChunkWriter for LakeChunk {
    async fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        let batch = batch.clone();
        self.chunk.run(move |it| it.write(&batch)).await
    }

    async fn finish(mut self: Box<Self>, seq: u64) -> Result<()> {
        self.chunk.run(move |it| it.finish(seq)).await
    }
}

/// One chunk being written.
struct Chunk {
    site: Arc<Site>,
    copy: CopyId,
    index: u32,
    shape: Arc<TableSchema>,
    encoder: Encoder,
    failed: bool,
}

impl Chunk {
    fn write(&mut self, batch: &ChangeBatch) -> Result<()> {
        usable(self.failed, &self.shape)?;
        let evolves = self.site.config.schema_changes != SchemaPolicy::Ignore;
        if evolves && !self.shape.same_shape(&batch.table) {
            return Err(Error::log_lost(format!(
                "{} has changed its shape while it was copied",
                self.shape.name
            ))
            .hint(format!("cdc snapshot {}", self.shape.name))
            .for_table(self.shape.id));
        }
        let written = self.encoder.write(&self.shape, batch);
        self.failed |= written.is_err();
        written
    }

    fn finish(&mut self, seq: u64) -> Result<()> {
        usable(self.failed, &self.shape)?;
        self.failed = true;
        let finished = self.encoder.finish()?;
        if finished
            .iter()
            .any(|it| (it.file.first_seq, it.file.last_seq) != (seq, seq))
        {
            return Err(Error::internal(format!(
                "a chunk of {} was read at another point than its rows say",
                self.shape.name
            ))
            .for_table(self.shape.id));
        }
        self.one_point(seq)?;
        let note = ChunkNote {
            index: self.index,
            seq,
            files: finished.iter().map(|it| it.file.clone()).collect(),
        };
        let path = format!(
            "{}/chunk-{:010}.json",
            layout::copy_folder(self.copy),
            self.index
        );
        note_files(&self.site, finished, &path, &note)
    }

    /// Rows without a key cannot be told from the changes that brought them, so their chunks must
    /// all be of one consistent point.
    fn one_point(&self, seq: u64) -> Result<()> {
        if !self.shape.key.is_empty() {
            return Ok(());
        }
        let notes = Notes::load(self.site.storage.as_ref(), self.copy)?;
        let other = notes.is_some_and(|notes| notes.chunks.values().any(|note| note.seq != seq));
        if other {
            return Err(Error::log_lost(format!(
                "{} has no key, so that its copy cannot go on at another point",
                self.shape.name
            ))
            .hint(format!("cdc snapshot {}", self.shape.name))
            .for_table(self.shape.id));
        }
        Ok(())
    }
}
