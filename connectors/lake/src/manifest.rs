//! What the lake holds: the state that the manifest's entries add up to, and how one entry changes
//! it.
//!
//! Invariant: [`State::apply`] is a pure function of entries, so every reader of the same entries
//! sees the same lake. A state names only files that were durable before their entry was written.

pub(crate) mod log;

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::{Checkpoint, CopyId, TableId, TableSchema};
use serde::{Deserialize, Serialize};

use crate::layout;

/// The format of an entry; a higher number is refused.
pub(crate) const FORMAT: u32 = 1;

/// One numbered entry: a commit, or a merge of files (with the checkpoint that was).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// [`FORMAT`].
    pub(crate) format: u32,
    /// Its place; entries follow each other without a gap.
    pub(crate) number: u64,
    /// Who wrote it: drawn at each start, so that a lost answer is told from a rival's entry.
    pub(crate) writer: String,
    /// Whose lake this is: the pipeline's name.
    pub(crate) pipeline: String,
    /// What the lake holds from here on; `None` as long as nothing was committed.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What changed since the entry before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<Change>,
    /// All that the lake holds from here on: readers need no earlier entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Box<State>>,
}

/// What one entry changes of one table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Change {
    /// Another shape, and perhaps another folder.
    Shape {
        shape: Arc<TableSchema>,
        folder: String,
    },
    /// The table is what this copy holds, and nothing else.
    Join {
        copy: CopyId,
        folder: String,
        /// All shapes that the files have; the last is the table's.
        shapes: Vec<Arc<TableSchema>>,
        files: Vec<DataFile>,
        /// Earlier generations kept, at most.
        keep: u32,
    },
    /// The table gets no more changes; what it holds stays.
    Leave { table: TableId },
    /// One more file.
    Add { table: TableId, file: DataFile },
    /// Fewer files instead of several, with the same rows.
    Merge {
        table: TableId,
        removed: Vec<String>,
        files: Vec<DataFile>,
    },
}

/// What the lake holds at one entry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The entry.
    pub(crate) number: u64,
    /// The newest entry up to it that carries a whole state.
    pub(crate) whole: u64,
    /// What is complete in the lake.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The joined tables.
    pub(crate) tables: BTreeMap<TableId, Table>,
    /// Tables whose folder the last entry changed, with the folder before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) moved: Vec<(TableId, String)>,
    /// Files that the last entry gave up, outside of their table's folder of today.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) discarded: Vec<String>,
}

/// A joined table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Table {
    /// The copy that it came from.
    pub(crate) copy: CopyId,
    /// Whether it stopped: it is whole as of some earlier commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) left: bool,
    /// Where its files are.
    pub(crate) folder: String,
    /// Its shapes since that copy, oldest first; the last is the table's.
    pub(crate) shapes: Vec<Arc<TableSchema>>,
    /// Its files, by first `seq`.
    pub(crate) files: Vec<DataFile>,
    /// What it was before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<Earlier>,
}

/// A replaced generation of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Earlier {
    /// The copy that it came from.
    pub(crate) copy: CopyId,
    /// Where its files are.
    pub(crate) folder: String,
    /// Where its files were.
    pub(crate) from: String,
    pub(crate) shapes: Vec<Arc<TableSchema>>,
    pub(crate) files: Vec<DataFile>,
}

/// A Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    /// Its name in the table's folder.
    pub(crate) name: String,
    /// Its rows have this version of the table's shape.
    pub(crate) shape: u32,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

impl Table {
    /// The table's shape.
    pub(crate) fn shape(&self) -> Option<&Arc<TableSchema>> {
        self.shapes.last()
    }
}

impl Change {
    /// The table that it is about.
    pub(crate) fn table(&self) -> Option<TableId> {
        match self {
            Self::Shape { shape, .. } => Some(shape.id),
            Self::Join { shapes, .. } => shapes.last().map(|shape| shape.id),
            Self::Leave { table } | Self::Add { table, .. } | Self::Merge { table, .. } => {
                Some(*table)
            }
        }
    }
}

impl State {
    /// The state after the entry that follows this one.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        if let Some(whole) = &entry.state {
            *self = State::clone(whole);
            return;
        }
        self.number = entry.number;
        self.checkpoint.clone_from(&entry.checkpoint);
        self.moved.clear();
        self.discarded.clear();
        for change in &entry.changes {
            self.change(change);
        }
    }

    fn change(&mut self, change: &Change) {
        let table = change
            .table()
            .and_then(|id| Some((id, self.tables.get_mut(&id)?)));
        match (change, table) {
            (Change::Join { .. }, _) => self.join(change),
            (Change::Shape { shape, folder }, Some((id, table))) => {
                if *folder != table.folder {
                    self.moved.push((id, table.folder.clone()));
                    table.folder.clone_from(folder);
                }
                table.shapes.push(Arc::clone(shape));
            }
            (Change::Leave { .. }, Some((_, table))) => table.left = true,
            (Change::Add { file, .. }, Some((_, table))) => table.add(file.clone()),
            (Change::Merge { removed, files, .. }, Some((_, table))) => {
                table.files.retain(|it| !removed.contains(&it.name));
                files.iter().for_each(|file| table.add(file.clone()));
            }
            // Written for joined tables only.
            (_, None) => {}
        }
    }

    fn join(&mut self, change: &Change) {
        let Change::Join {
            copy,
            folder,
            shapes,
            files,
            keep,
        } = change
        else {
            return;
        };
        let Some(id) = shapes.last().map(|shape| shape.id) else {
            return;
        };
        // The table's own earlier content, and that of one of the same name that is gone.
        let replaced: Vec<TableId> = self
            .tables
            .iter()
            .filter(|(other, table)| **other == id || table.folder == *folder)
            .map(|(other, _)| *other)
            .collect();
        let mut earlier = Vec::new();
        for other in replaced {
            let Some(table) = self.tables.remove(&other) else {
                continue;
            };
            earlier.extend(table.earlier);
            earlier.push(Earlier {
                copy: table.copy,
                folder: layout::earlier_folder(folder, table.copy),
                from: table.folder,
                shapes: table.shapes,
                files: table.files,
            });
        }
        let surplus = earlier.len().saturating_sub(*keep as usize);
        for gone in earlier.drain(..surplus) {
            for file in &gone.files {
                self.discarded
                    .push(format!("{}/{}", gone.folder, file.name));
                if gone.from != *folder {
                    self.discarded.push(format!("{}/{}", gone.from, file.name));
                }
            }
        }
        let mut table = Table {
            copy: *copy,
            left: false,
            folder: folder.clone(),
            shapes: shapes.clone(),
            files: files.clone(),
            earlier,
        };
        table.files.sort_by(DataFile::order);
        self.tables.insert(id, table);
    }

    /// Names of all files that the state needs, wherever they are.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.tables.values().flat_map(|table| {
            let earlier = table.earlier.iter().flat_map(|it| &it.files);
            table
                .files
                .iter()
                .chain(earlier)
                .map(|file| file.name.as_str())
        })
    }
}

impl Table {
    fn add(&mut self, file: DataFile) {
        let at = self
            .files
            .partition_point(|it| DataFile::order(it, &file).is_le());
        self.files.insert(at, file);
    }
}

impl DataFile {
    fn order(a: &Self, b: &Self) -> std::cmp::Ordering {
        (a.first_seq, a.last_seq, &a.name).cmp(&(b.first_seq, b.last_seq, &b.name))
    }
}

#[cfg(test)]
mod tests;
