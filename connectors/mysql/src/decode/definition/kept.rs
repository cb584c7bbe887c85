//! Definitions by the number of the statement, or of the mark, that made them, kept on disk.
//!
//! One file, a line of JSON each, in the log's order. Invariants: when the position moves beyond a
//! statement its line is on disk, synced; a stream that starts before a statement drops its line, for
//! it reads the statement again. A line that a crash cut off was not counted on; where the file is
//! damaged otherwise, nothing in it is believed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use cdc_api::{Error, Result, TableName};
use serde::{Deserialize, Serialize};

use super::Defined;

/// How many definitions of a table are kept: as far back as a sink may start again that lags behind
/// a journal that was lost.
const DEPTH: usize = 16;

/// The file of one pipeline.
#[derive(Debug)]
pub(crate) struct KeptDefinitions {
    path: PathBuf,
    /// Open once something was written.
    file: Option<File>,
}

/// A line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    seq: u64,
    table: TableName,
    defined: Defined,
}

impl KeptDefinitions {
    /// Takes the file in `folder` over for a stream that starts after `seq`: the definitions as of
    /// there. Nothing is made until it is needed.
    ///
    /// # Errors
    /// `Transient` where the file cannot be read or written.
    pub(crate) fn open(folder: PathBuf, seq: u64) -> Result<(Self, BTreeMap<TableName, Defined>)> {
        let path = folder.join("definitions.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let mut by_table: BTreeMap<TableName, Vec<(usize, Line)>> = BTreeMap::new();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let Ok(line) = serde_json::from_str::<Line>(line) else {
                if line.ends_with('\n') {
                    tracing::warn!(file = %path.display(), "the definitions of tables are damaged");
                    by_table.clear();
                }
                break;
            };
            if line.seq <= seq {
                by_table
                    .entry(line.table.clone())
                    .or_default()
                    .push((number, line));
            }
        }
        let mut kept: Vec<(usize, Line)> = Vec::new();
        let mut now = BTreeMap::new();
        for (table, mut lines) in by_table {
            lines.drain(..lines.len().saturating_sub(DEPTH));
            if let Some((_, last)) = lines.last() {
                now.insert(table, last.defined.clone());
            }
            kept.append(&mut lines);
        }
        kept.sort_by_key(|(number, _)| *number);
        let mut whole = String::with_capacity(text.len());
        for (_, line) in &kept {
            push(&mut whole, line)?;
        }
        if whole != text {
            fs::create_dir_all(&folder).map_err(failed)?;
            let part = path.with_extension("part");
            let mut file = File::create(&part).map_err(failed)?;
            file.write_all(whole.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            fs::rename(&part, &path).map_err(failed)?;
            File::open(&folder)
                .and_then(|it| it.sync_all())
                .map_err(failed)?;
        }
        Ok((Self { path, file: None }, now))
    }

    /// Keeps what tables are from `seq` on; durable when it returns.
    ///
    /// # Errors
    /// `Transient` where it cannot be written.
    pub(crate) fn note<'a>(
        &mut self,
        seq: u64,
        tables: impl IntoIterator<Item = (&'a TableName, &'a Defined)>,
    ) -> Result<()> {
        let mut text = String::new();
        for (table, defined) in tables {
            let line = Line {
                seq,
                table: table.clone(),
                defined: defined.clone(),
            };
            push(&mut text, &line)?;
        }
        if text.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let folder = self.path.parent().unwrap_or(&self.path);
                fs::create_dir_all(folder).map_err(failed)?;
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&self.path);
                let file = file.map_err(failed)?;
                File::open(folder)
                    .and_then(|it| it.sync_all())
                    .map_err(failed)?;
                self.file.insert(file)
            }
        };
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_data().map_err(failed)
    }
}

fn push(text: &mut String, line: &Line) -> Result<()> {
    let line = serde_json::to_string(line)
        .map_err(|error| Error::internal("a definition cannot be written").caused_by(error))?;
    text.push_str(&line);
    text.push('\n');
    Ok(())
}

fn failed(error: io::Error) -> Error {
    Error::transient("cannot keep the definitions of tables")
        .hint("check space and rights of the data directory")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(why: &str) -> Defined {
        Defined::Lost(why.to_owned())
    }

    fn table(name: &str) -> TableName {
        TableName::new("shop", name)
    }

    #[test]
    fn a_stream_finds_what_tables_were_where_it_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |seq| KeptDefinitions::open(folder.path().to_owned(), seq).expect("a file");
        let (mut kept, now) = open(0);
        assert!(now.is_empty());
        let (a, b) = (table("a"), table("b"));
        let (one, two, three) = (lost("one"), lost("two"), lost("three"));
        kept.note(5, [(&a, &one), (&b, &one)]).expect("written");
        kept.note(7, [(&a, &two)]).expect("written");
        kept.note(9, [(&a, &three)]).expect("written");
        assert_eq!(open(9).1.get(&a), Some(&three));
        assert_eq!(open(8).1.get(&a), Some(&two));
        // What is read again is not there beforehand, and not there twice.
        let (mut kept, now) = open(7);
        assert_eq!((now.get(&a), now.get(&b)), (Some(&two), Some(&one)));
        kept.note(8, [(&b, &three)]).expect("written");
        let (_, now) = open(9);
        assert_eq!((now.get(&a), now.get(&b)), (Some(&two), Some(&three)));
        assert!(open(4).1.is_empty());
    }

    #[test]
    fn a_line_that_a_crash_cut_off_was_not_counted_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || KeptDefinitions::open(folder.path().to_owned(), 9).expect("a file");
        let (one, two) = (lost("one"), lost("two"));
        open().0.note(5, [(&table("a"), &one)]).expect("written");
        let path = folder.path().join("definitions.jsonl");
        let mut text = fs::read_to_string(&path).expect("a file");
        text.push_str("{\"seq\":6,\"table\":{\"sch");
        fs::write(&path, text).expect("a file");
        let (mut kept, now) = open();
        assert_eq!(now.get(&table("a")), Some(&one));
        kept.note(6, [(&table("a"), &two)]).expect("written");
        assert_eq!(open().1.get(&table("a")), Some(&two));
    }

    #[test]
    fn of_a_damaged_file_nothing_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || KeptDefinitions::open(folder.path().to_owned(), 9).expect("a file");
        let (one, two) = (lost("one"), lost("two"));
        let mut kept = open().0;
        kept.note(5, [(&table("a"), &one)]).expect("written");
        kept.note(6, [(&table("a"), &two)]).expect("written");
        let path = folder.path().join("definitions.jsonl");
        let text = fs::read_to_string(&path).expect("a file");
        fs::write(&path, text.replace("two\"", "two")).expect("a file");
        assert!(open().1.is_empty());
    }

    #[test]
    fn only_so_many_definitions_of_a_table_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |seq| KeptDefinitions::open(folder.path().to_owned(), seq).expect("a file");
        let mut kept = open(0).0;
        for seq in 1..100 {
            let defined = lost(&seq.to_string());
            kept.note(seq, [(&table("a"), &defined)]).expect("written");
        }
        assert_eq!(open(99).1.get(&table("a")), Some(&lost("99")));
        let path = folder.path().join("definitions.jsonl");
        let text = fs::read_to_string(path).expect("a file");
        assert_eq!(text.lines().count(), DEPTH);
        assert_eq!(open(84).1.get(&table("a")), Some(&lost("84")));
    }
}
