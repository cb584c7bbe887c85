//! The manifest on storage: entries are put if absent, in order, and read back.
//!
//! Invariant: of two writers only one puts a number; the other learns that it is fenced. The folder
//! holds at most about twice [`WHOLE_EVERY`] entries.

use cdc_api::{Error, Result};

use super::{Entry, FORMAT, State};
use crate::layout;
use crate::storage::{Storage, failed};

/// After so many entries one carries the whole state, and those before the last such are removed.
pub(crate) const WHOLE_EVERY: u64 = 64;

/// The newest state, and who wrote it.
pub(crate) struct Newest {
    pub(crate) state: State,
    pub(crate) writer: String,
    pub(crate) pipeline: String,
}

/// What the manifest says now; `None` in a lake without entries.
pub(crate) fn load(storage: &dyn Storage) -> Result<Option<Newest>> {
    // Another writer may remove old entries while they are read: the newer ones are there then.
    let mut attempts = 0;
    loop {
        attempts += 1;
        match read(storage) {
            Err(error) if error.is_transient() && attempts < 3 => {}
            done => return done,
        }
    }
}

fn read(storage: &dyn Storage) -> Result<Option<Newest>> {
    let Some(newest) = numbers(storage)?.pop() else {
        return Ok(None);
    };
    let mut entries = vec![entry(storage, newest)?];
    let mut number = newest;
    while entries.last().is_some_and(|entry| entry.state.is_none()) {
        number -= 1;
        entries.push(entry(storage, number)?);
    }
    let mut state = State::default();
    for entry in entries.iter().rev() {
        state.apply(entry);
    }
    let newest = entries.swap_remove(0);
    Ok(Some(Newest {
        state,
        writer: newest.writer,
        pipeline: newest.pipeline,
    }))
}

fn numbers(storage: &dyn Storage) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = storage
        .list(layout::MANIFEST)
        .map_err(|error| failed("listing the lake's manifest", error))?
        .into_iter()
        .filter_map(|listed| listed.name.strip_suffix(".json")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn entry(storage: &dyn Storage, number: u64) -> Result<Entry> {
    let path = layout::manifest_entry(number);
    let broken = |what: String| {
        Error::data(format!("the lake's manifest entry `{path}` {what}")).hint(
            "restore the folder `_cdc` of the lake from a backup, or move the lake's folder away: \
             its tables are copied again then",
        )
    };
    if number == 0 {
        return Err(broken("is wanted, though entries begin with 1".to_owned()));
    }
    let content = match storage.read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(broken("is missing".to_owned()));
        }
        content => content.map_err(|error| failed(format!("reading `{path}`"), error))?,
    };
    let entry: Entry =
        serde_json::from_slice(&content).map_err(|error| broken(format!("is damaged: {error}")))?;
    if entry.format > FORMAT || entry.number != number {
        return Err(Error::data(format!(
            "the lake's manifest entry `{path}` has format {} and number {}",
            entry.format, entry.number
        ))
        .hint("use the version of cdc that wrote this lake, or a later one"));
    }
    Ok(entry)
}

/// Writes the entry that follows the newest one, durably.
///
/// `Fenced` when another writer has written on: the number is taken, or a higher one is there.
pub(crate) fn append(storage: &dyn Storage, entry: &Entry) -> Result<()> {
    let fenced = || {
        Error::fenced("another daemon writes to this lake").hint(
            "stop the other daemon, or set the `url` of one of the two to a folder of its own",
        )
    };
    let content = serde_json::to_vec(entry)
        .map_err(|error| Error::internal("a manifest entry cannot be written").caused_by(error))?;
    let put = storage
        .put_if_absent(&layout::manifest_entry(entry.number), &content)
        .map_err(|error| failed("writing a manifest entry", error))?;
    if !put {
        return Err(fenced());
    }
    // The number may have been free because the other writer has removed its old entries.
    if numbers(storage)?.last() != Some(&entry.number) {
        let taken = layout::manifest_entry(entry.number);
        storage
            .remove(&taken)
            .map_err(|error| failed("taking a manifest entry back", error))?;
        return Err(fenced());
    }
    Ok(())
}

/// Removes the entries before `number`, which nobody needs.
pub(crate) fn prune(storage: &dyn Storage, number: u64) -> Result<()> {
    for old in numbers(storage)?.into_iter().filter(|old| *old < number) {
        storage
            .remove(&layout::manifest_entry(old))
            .map_err(|error| failed("removing an old manifest entry", error))?;
    }
    Ok(())
}
