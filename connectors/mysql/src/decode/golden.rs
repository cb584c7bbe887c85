//! Logs of real servers, read from their files: the decoder end to end, without a server.
//!
//! `testdata/*.binlog` are whole log files of a script that goes through all types, row images,
//! compression, XA and DDL; beside each stands what the decoder makes of it, which was compared with
//! what the server shows. `CDC_BLESS=1` writes that anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use cdc_api::testing::canonical;
use cdc_api::{BatchLimits, ChangeEvent, Checkpoint};

use super::decoder::{Answer, Decoder, Setup, Step};
use super::definition::kept::KeptDefinitions;
use super::prepared::PreparedFiles;
use super::shape::{NotedColumn, Notes};
use crate::config::SchemaChanges;
use crate::position::{Gtids, Place};
use crate::types::charset::Collations;
use crate::types::{TypeOptions, ZeroDates};

/// The collations that the files use.
pub(crate) fn collations() -> Collations {
    let known = [
        (8, "latin1"),
        (9, "latin2"),
        (28, "gbk"),
        (33, "utf8mb3"),
        (35, "ucs2"),
        (45, "utf8mb4"),
        (46, "utf8mb4"),
        (54, "utf16"),
        (60, "utf32"),
        (63, "binary"),
        (192, "utf8mb3"),
        (255, "utf8mb4"),
    ];
    Collations::new(known.map(|(id, name)| (id, name.to_owned())))
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/decode/testdata")
        .join(name)
}

/// A log file's events.
pub(crate) fn events(name: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(testdata(name)).expect("a log file");
    let mut rest = bytes
        .strip_prefix(b"\xfebin")
        .expect("the magic of a log file");
    let mut events = Vec::new();
    while !rest.is_empty() {
        let size = u32::from_le_bytes(rest[9..13].try_into().expect("four bytes"));
        let (event, after) = rest.split_at(size as usize);
        events.push(event.to_vec());
        rest = after;
    }
    events
}

/// A decoder at the beginning of a log.
pub(crate) fn decoder(gtids: Gtids, zero_dates: ZeroDates, limits: BatchLimits) -> Decoder {
    let maria = matches!(gtids, Gtids::Maria(_));
    let place = Place {
        server: "here".to_owned(),
        gtids,
        file: "binlog.000001".to_owned(),
        offset: 4,
    };
    let folder = tempfile::tempdir().expect("a folder").keep();
    let from = Checkpoint {
        position: place.position(),
        seq: 0,
        offset: 0,
        commit_time: 0,
    };
    let setup = Setup {
        known: Vec::new(),
        limits,
        collations: Collations {
            of_geometry: maria,
            ..collations()
        },
        options: TypeOptions { zero_dates },
        checksum: true,
        prepared: PreparedFiles::open(folder.clone(), &place).expect("an empty folder"),
        definitions: KeptDefinitions::open(folder, 0).expect("an empty folder"),
        wants: Box::new(|_| false),
        tells: SchemaChanges::None,
        lower_names: false,
        moved_to: None,
    };
    Decoder::new(place, &from, setup)
}

/// What the catalog would add.
pub(crate) fn notes() -> Answer {
    let column = |name: &str, column_type: &str| NotedColumn {
        name: name.to_owned(),
        column_type: column_type.to_owned(),
        ..NotedColumn::default()
    };
    Answer::Captured(Some(Notes {
        columns: vec![
            column("uu", "uuid"),
            column("u", "uuid"),
            column("i6", "inet6"),
            column("a", "inet6"),
            column("i4", "inet4"),
        ],
    }))
}

/// Everything that is waiting in the decoder.
pub(crate) fn drain(decoder: &mut Decoder) -> cdc_api::Result<Vec<ChangeEvent>> {
    let mut events = Vec::new();
    while let Some(step) = decoder.next()? {
        match step {
            Step::Event(event) => events.push(event),
            Step::Describe(_) => decoder.answer(&notes())?,
        }
    }
    Ok(events)
}

/// Events as text, a line each value.
pub(crate) fn show(events: &[ChangeEvent]) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            ChangeEvent::Schema(table) => {
                writeln!(
                    text,
                    "schema {} v{} {:?}",
                    table.name, table.version, table.identity
                )
                .expect("text");
                for (index, column) in table.columns.iter().enumerate() {
                    let key = if table.key.contains(&index) {
                        " key"
                    } else {
                        ""
                    };
                    let null = if column.nullable { "" } else { " not null" };
                    let existing = match &column.existing {
                        None => String::new(),
                        Some(value) => format!(" existing {:?}", canonical::cell(&value.0, 0)),
                    };
                    writeln!(
                        text,
                        "  {} {} {}{key}{null}{existing}",
                        column.name, column.source_type, column.data_type
                    )
                    .expect("text");
                }
            }
            ChangeEvent::Rows(batch) => {
                for row in 0..batch.len() {
                    writeln!(
                        text,
                        "{} {} seq {} offset {}",
                        batch.op(row).name(),
                        batch.table.name,
                        batch.seq[row],
                        batch.offset[row] & 0xff_ffff_ffff
                    )
                    .expect("text");
                    let cells = canonical::row(&batch.rows, row);
                    for (index, cell) in cells.iter().enumerate() {
                        let name = &batch.table.columns[index].name;
                        if batch.is_absent(index, row) {
                            writeln!(text, "  {name} absent").expect("text");
                        } else if let Some(cell) = cell {
                            let cut: String = cell.chars().take(600).collect();
                            writeln!(text, "  {name} {cut:?}").expect("text");
                        }
                    }
                    if let Some(before) = &batch.before {
                        let cells = canonical::row(before, row);
                        if cells.iter().any(Option::is_some) {
                            let line: String = canonical::line(&cells).chars().take(80).collect();
                            writeln!(text, "  before {line:?}").expect("text");
                        }
                    }
                }
                for run in &batch.transactions {
                    writeln!(text, "  until {} of {}", run.end, run.id).expect("text");
                }
            }
            ChangeEvent::Truncate { seq, .. } => {
                writeln!(text, "truncate seq {seq}").expect("text")
            }
            ChangeEvent::Failed {
                seq, message, hint, ..
            } => writeln!(text, "failed seq {seq}: {message} ({hint})").expect("text"),
            ChangeEvent::Commit(checkpoint) => {
                writeln!(text, "commit {} {}", checkpoint.seq, checkpoint.position).expect("text");
            }
            ChangeEvent::Notice(notice) => {
                writeln!(text, "notice seq {}: {:?}", notice.seq, notice.said).expect("text");
            }
            ChangeEvent::Mark { id } => writeln!(text, "mark {id}").expect("text"),
        }
    }
    text
}

fn read(name: &str, gtids: Gtids) -> String {
    let mut decoder = decoder(gtids, ZeroDates::Text, BatchLimits::default());
    let mut text = String::new();
    for event in events(name) {
        decoder.event(&event).expect("a whole event");
        text.push_str(&show(&drain(&mut decoder).expect("a whole event")));
    }
    decoder.flush().expect("nothing is open");
    text.push_str(&show(&drain(&mut decoder).expect("nothing is open")));
    text
}

fn compare(name: &str, gtids: Gtids) {
    let text = read(&format!("{name}.binlog"), gtids);
    let path = testdata(&format!("{name}.txt"));
    if std::env::var_os("CDC_BLESS").is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("what is expected");
    for (number, (line, wanted)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, wanted, "line {} of {name}.txt", number + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

#[test]
fn a_log_of_mysql_is_read_as_the_server_shows_it() {
    compare(
        "mysql-9.7",
        Gtids::MySql(crate::position::GtidSet::default()),
    );
}

#[test]
fn a_log_of_mariadb_is_read_as_the_server_shows_it() {
    compare(
        "mariadb-10.11",
        Gtids::Maria(crate::position::MariaGtids::default()),
    );
}

#[test]
fn collations_are_counted_as_mysql_counts_them() {
    let gtids = Gtids::MySql(crate::position::GtidSet::default());
    compare("mysql-9.7-collations", gtids);
}
