//! Brings the tables' folders in line with the manifest: after an entry, and at each start.
//!
//! Invariant: a folder gets only files that a durable entry names, so a reader's glob never sees
//! what is not committed. Files that replace others come in the same act in which those go, where
//! the file system can exchange folders; else those go first, so that no row is ever seen twice.
//! Safe to repeat after a crash at any step.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use cdc_api::{Error, Result, TableId};

use crate::layout;
use crate::manifest::{Change, Entry, State, Table};
use crate::site::Site;
use crate::storage::failed;

/// Files that the manifest names and that are nowhere, by table.
pub(crate) type Lost = BTreeMap<TableId, Vec<String>>;

/// Publishes what an entry has just changed.
pub(crate) fn publish_entry(site: &Site, state: &State, entry: &Entry) -> Result<Lost> {
    let plain = state.moved.is_empty()
        && state.discarded.is_empty()
        && entry.changes.iter().all(|change| {
            matches!(
                change,
                Change::Add { .. } | Change::Shape { .. } | Change::Leave { .. }
            )
        });
    if !plain {
        let touched: BTreeSet<TableId> = entry.changes.iter().filter_map(Change::table).collect();
        return publish(site, state, |table| touched.contains(&table));
    }
    for change in &entry.changes {
        let Change::Add { table, file } = change else {
            continue;
        };
        if let Some(table) = state.tables.get(table) {
            let to = format!("{}/{}", table.folder, file.name);
            site.storage
                .rename(&layout::staged(&file.name), &to)
                .map_err(|error| failed("showing a data file", error))?;
        }
    }
    Ok(Lost::new())
}

/// Publishes all tables: after a crash at any step, this completes it.
pub(crate) fn publish_all(site: &Site, state: &State) -> Result<Lost> {
    publish(site, state, |_| true)
}

fn publish(site: &Site, state: &State, touched: impl Fn(TableId) -> bool) -> Result<Lost> {
    let doing = |error| failed("showing the lake's files", error);
    for (id, from) in &state.moved {
        if let Some(table) = state.tables.get(id) {
            move_out(site, table, from).map_err(doing)?;
        }
    }
    let mut lost = Lost::new();
    for (id, table) in state.tables.iter().filter(|(id, _)| touched(**id)) {
        keep_earlier(site, table).map_err(doing)?;
        let missing = align(site, table).map_err(doing)?;
        if !missing.is_empty() {
            lost.insert(*id, missing);
        }
    }
    for path in &state.discarded {
        site.storage.remove(path).map_err(doing)?;
        if let Some((folder, _)) = path.rsplit_once('/') {
            site.storage.remove_if_empty(folder).map_err(doing)?;
        }
    }
    Ok(lost)
}

/// Takes a renamed table's files out of the folder that it had: another table may have that now.
fn move_out(site: &Site, table: &Table, from: &str) -> io::Result<()> {
    let present = data_files(site, from)?;
    for file in table
        .files
        .iter()
        .filter(|file| present.contains(&file.name))
    {
        // A name in staging that is left over may be a second one of the same file: renaming the
        // one to the other would do nothing.
        site.storage.remove(&layout::staged(&file.name))?;
        site.storage.rename(
            &format!("{from}/{}", file.name),
            &layout::staged(&file.name),
        )?;
    }
    site.storage.remove_if_empty(from)
}

/// Puts replaced generations where they are kept, before the table's folder loses them.
fn keep_earlier(site: &Site, table: &Table) -> io::Result<()> {
    for earlier in &table.earlier {
        let kept = data_files(site, &earlier.folder)?;
        let missing: Vec<_> = earlier
            .files
            .iter()
            .filter(|file| !kept.contains(&file.name))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let present = data_files(site, &earlier.from)?;
        for file in missing
            .into_iter()
            .filter(|file| present.contains(&file.name))
        {
            let from = format!("{}/{}", earlier.from, file.name);
            let to = format!("{}/{}", earlier.folder, file.name);
            match site.storage.link(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    site.storage.rename(&from, &to)?;
                }
                other => other?,
            }
        }
        if earlier.from != table.folder {
            for file in &earlier.files {
                site.storage
                    .remove(&format!("{}/{}", earlier.from, file.name))?;
            }
            site.storage.remove_if_empty(&earlier.from)?;
        }
    }
    Ok(())
}

/// Makes a table's folder hold its files and no others of ours; what cannot be found is returned.
fn align(site: &Site, table: &Table) -> io::Result<Vec<String>> {
    let folder = &table.folder;
    let present = data_files(site, folder)?;
    let wanted: BTreeSet<String> = table.files.iter().map(|file| file.name.clone()).collect();
    let mut arriving = Vec::new();
    let mut lost = Vec::new();
    for name in wanted.difference(&present) {
        if site.storage.exists(&layout::staged(name))? {
            arriving.push(name);
        } else {
            lost.push(name.clone());
        }
    }
    let leaving: Vec<&String> = present.difference(&wanted).collect();
    // A table that arrives in many files is seen whole as well.
    if !leaving.is_empty() || (present.is_empty() && arriving.len() > 1) {
        let files: Vec<(String, String)> = wanted
            .iter()
            .filter(|name| !lost.contains(name))
            .map(|name| {
                let from = if present.contains(name) {
                    format!("{folder}/{name}")
                } else {
                    layout::staged(name)
                };
                (name.clone(), from)
            })
            .collect();
        match site.storage.replace_folder(folder, &files) {
            Ok(()) => {
                for name in arriving {
                    site.storage.remove(&layout::staged(name))?;
                }
                return Ok(lost);
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                for name in leaving {
                    site.storage.remove(&format!("{folder}/{name}"))?;
                }
            }
            Err(error) => return Err(error),
        }
    }
    for name in arriving {
        site.storage
            .rename(&layout::staged(name), &format!("{folder}/{name}"))?;
    }
    Ok(lost)
}

fn data_files(site: &Site, folder: &str) -> io::Result<BTreeSet<String>> {
    let listed = site.storage.list(folder)?;
    Ok(listed
        .into_iter()
        .filter(|it| !it.is_folder && layout::is_data_file(&it.name))
        .map(|it| it.name)
        .collect())
}

/// Why a table with lost files goes no further.
pub(crate) fn lost_files(table: &Table, id: TableId, lost: &[String]) -> Error {
    let name = table
        .shape()
        .map_or_else(String::new, |shape| shape.name.to_string());
    Error::data(format!(
        "{} of the lake's files of {name} are gone, the first is `{}/{}`",
        lost.len(),
        table.folder,
        lost.first().map_or("", String::as_str)
    ))
    .hint(format!(
        "put the files back and start again, or: cdc snapshot {name}"
    ))
    .for_table(id)
}
