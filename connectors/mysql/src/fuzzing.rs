//! The decoder for a fuzzer: any bytes as a log, any text as statements.
//!
//! Owns the form of a fuzzer's input: what a log protects against damage (sizes, checksums) is made
//! right here, else nothing behind it would be reached. Beyond panics it checks what the decoder
//! promises: numbers depend on the log alone, rows lie between their commits, every row is of the
//! shape that was told last. The targets are in `fuzz`, outside of the workspace.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::testing::order::Order;
use cdc_api::{BatchLimits, Checkpoint, TableName};

use crate::config::SchemaChanges;
use crate::decode::decoder::{Answer, Decoder, Setup, Step};
use crate::decode::definition::kept::KeptDefinitions;
use crate::decode::definition::{Defined, DefinedColumn, Definition, Described, same_name};
use crate::decode::event::{HEADER, kind};
use crate::decode::prepared::PreparedFiles;
use crate::decode::statement::{self, Effect, Session, Statement};
use crate::decode::table_map::TableMap;
use crate::position::{GtidSet, Gtids, MariaGtids, Place};
use crate::types::charset::Collations;
use crate::types::{ColumnKind, TypeOptions, ZeroDates};
use crate::wire::{Short, Wire};

/// Stands between two events: the magic of a log file, which no log has within.
const BETWEEN: &[u8] = b"\xfebin";
/// The family is MariaDB.
const MARIA: u8 = 1;
/// Table maps come without their optional metadata.
const MINIMAL: u8 = 2;
/// Tables are known beforehand, as the first table map with metadata has them.
const KNOWN: u8 = 4;
/// What becomes of zero dates: two bits.
const ZERO_DATES: u8 = 8;

/// Reads a log. The first byte is of flags, then come events, [`BETWEEN`] them. An event has the size
/// and the checksum that it should have, and where it is empty a mark stands in its place.
///
/// # Panics
/// Where the decoder breaks a promise.
pub fn log(input: &[u8]) {
    let Some((&flags, rest)) = input.split_first() else {
        return;
    };
    let mut events: Vec<Vec<u8>> = split(rest).map(mended).collect();
    let options = TypeOptions {
        zero_dates: match flags / ZERO_DATES % 4 {
            0 => ZeroDates::Text,
            1 => ZeroDates::Error,
            _ => ZeroDates::Null,
        },
    };
    let mut tables = BTreeMap::new();
    if flags & (KNOWN | MINIMAL) != 0 {
        for event in events.iter().filter(|it| is_map(it)) {
            if let Some((name, definition)) = defined(&event[HEADER..event.len() - 4], options) {
                tables.entry(name).or_insert(definition);
            }
        }
    }
    if flags & MINIMAL != 0 {
        for event in events.iter_mut().filter(|it| is_map(it)) {
            strip(event);
        }
    }
    let captured = read(flags, &events, options, &tables, &Answer::Captured(None));
    let skipped = read(flags, &events, options, &tables, &Answer::Skipped);
    assert_eq!(
        captured, skipped,
        "what is captured decides over positions and numbers"
    );
}

/// The parts of an input.
fn split(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let end = rest.windows(BETWEEN.len()).position(|it| it == BETWEEN);
        let part = &rest[..end.unwrap_or(rest.len())];
        match end {
            Some(end) => rest = &rest[end + BETWEEN.len()..],
            None => ended = true,
        }
        Some(part)
    })
}

/// An event with its size and its checksum.
fn mended(event: &[u8]) -> Vec<u8> {
    let mut event = event.to_vec();
    if event.len() >= HEADER + 4 {
        let size = u32::try_from(event.len()).unwrap_or(u32::MAX);
        event[9..13].copy_from_slice(&size.to_le_bytes());
        let end = event.len() - 4;
        let checksum = crc32fast::hash(&event[..end]);
        event[end..].copy_from_slice(&checksum.to_le_bytes());
    }
    event
}

fn is_map(event: &[u8]) -> bool {
    event.len() >= HEADER + 4 && event[4] == kind::TABLE_MAP
}

/// Takes a table map's optional metadata away.
fn strip(event: &mut Vec<u8>) {
    let body = &event[HEADER..event.len() - 4];
    let optional = || -> Result<usize, Short> {
        let mut wire = Wire(body);
        wire.take(8)?;
        for _ in 0..2 {
            wire.counted()?;
            wire.u8()?;
        }
        let columns = wire.count()?;
        wire.take(columns)?;
        wire.counted()?;
        wire.take(columns.div_ceil(8))?;
        Ok(wire.0.len())
    };
    if let Ok(optional) = optional() {
        let end = event.len() - 4;
        event.drain(end - optional..end);
        *event = mended(event);
    }
}

fn collations(maria: bool) -> Collations {
    let known = [
        (1, "big5"),
        (8, "latin1"),
        (12, "ujis"),
        (13, "sjis"),
        (28, "gbk"),
        (33, "utf8mb3"),
        (35, "ucs2"),
        (45, "utf8mb4"),
        (46, "utf8mb4"),
        (54, "utf16"),
        (56, "utf16le"),
        (60, "utf32"),
        (63, "binary"),
        (192, "utf8mb3"),
        (248, "gb18030"),
        (255, "utf8mb4"),
    ];
    Collations {
        of_geometry: maria,
        ..Collations::new(known.map(|(id, name)| (id, name.to_owned())))
    }
}

/// A table as its map describes it.
fn defined(body: &[u8], options: TypeOptions) -> Option<(TableName, Definition)> {
    let map = TableMap::parse(body).ok()?;
    let none = Err("there is no definition yet");
    let (named, key) = map.columns(&collations(false), options, none).ok()?;
    let key = key.iter().map(|place| named[*place].name.clone()).collect();
    let columns = (0..).zip(&named).map(|(place, column)| {
        let charset = match &column.column_type.kind {
            ColumnKind::Char { charset, .. }
            | ColumnKind::Varchar { charset, .. }
            | ColumnKind::Text { charset, .. } => format!("{charset:?}"),
            _ => "utf8mb4".to_owned(),
        };
        DefinedColumn {
            name: column.name.clone(),
            column_type: column.column_type.source_type(),
            charset: Some(charset),
            nullable: Some(column.nullable),
            generated: false,
            auto_increment: None,
            id: Some(place),
            existing: None,
        }
    });
    let definition = Definition {
        charset: Some("utf8mb4".to_owned()),
        columns: columns.collect(),
        key,
    };
    Some((map.name, definition))
}

/// Feeds the events to a decoder. Gives which event it refused and the last commit.
fn read(
    flags: u8,
    events: &[Vec<u8>],
    options: TypeOptions,
    tables: &BTreeMap<TableName, Definition>,
    answer: &Answer,
) -> (Option<usize>, Option<(String, u64)>) {
    let maria = flags & MARIA != 0;
    let folder = tempfile::tempdir().expect("a fuzzer has a folder for what is kept");
    let place = Place {
        server: String::new(),
        gtids: match maria {
            true => Gtids::Maria(MariaGtids::default()),
            false => Gtids::MySql(GtidSet::default()),
        },
        file: "binlog.000001".to_owned(),
        offset: 4,
    };
    let from = Checkpoint {
        position: place.position(),
        seq: 0,
        offset: 0,
        commit_time: 0,
    };
    let described: Vec<Described> = tables
        .iter()
        .filter_map(|(name, definition)| {
            Some(Described {
                shape: definition.shape(name, options).ok()?,
                definition: Arc::new(definition.clone()),
                told: Arc::default(),
            })
        })
        .collect();
    let (kept, mut definitions) = KeptDefinitions::open(folder.path().to_owned(), 0)
        .expect("an empty folder has no definitions");
    for table in &described {
        let defined = Defined::Known(Arc::clone(&table.definition));
        definitions.insert(table.shape.name.clone(), defined);
    }
    let setup = Setup {
        known: described.iter().map(|it| Arc::clone(&it.shape)).collect(),
        limits: BatchLimits {
            rows: 10,
            bytes: 1 << 20,
        },
        collations: collations(maria),
        options,
        checksum: true,
        prepared: PreparedFiles::open(folder.path().to_owned(), &place)
            .expect("an empty folder has no transactions"),
        definitions: (kept, definitions),
        wants: Box::new(|_| true),
        tells: SchemaChanges::All,
        lower_names: false,
        moved_to: None,
    };
    let mut decoder = Decoder::new(place, &from, setup);
    let mut order = Order::default();
    let mut refused = None;
    for (number, event) in events.iter().enumerate() {
        let result = match event.is_empty() {
            true if decoder.in_flight() => Ok(()),
            true => decoder.mark(0, &described),
            false => decoder.event(event).map(drop),
        };
        let result = result.and_then(|()| drain(&mut decoder, answer, &mut order));
        if result.is_err() {
            refused = Some(number);
            break;
        }
    }
    if refused.is_none() {
        decoder
            .flush()
            .and_then(|_| drain(&mut decoder, answer, &mut order))
            .expect("what was taken can be given");
    }
    (refused, order.last().filter(|_| refused.is_none()))
}

fn drain(decoder: &mut Decoder, answer: &Answer, order: &mut Order) -> cdc_api::Result<()> {
    while let Some(step) = decoder.next()? {
        match step {
            Step::Event(event) => order.check(&event),
            Step::Describe(_) => decoder.answer(answer)?,
        }
    }
    Ok(())
}

/// Reads statements and does to a table what they say. The first byte is of flags, then comes a
/// statement each line.
///
/// # Panics
/// Where what is made of the table could not be one.
pub fn statements(input: &[u8]) {
    let Some((&flags, rest)) = input.split_first() else {
        return;
    };
    let session = Session {
        schema: "shop",
        maria: flags & MARIA != 0,
        lower_names: flags & 2 != 0,
        doubtful: flags & 4 != 0,
        strict: flags & 8 != 0,
    };
    let mut ids = 0..;
    let mut column = |name: &str, column_type: &str, charset: Option<&str>| DefinedColumn {
        name: name.to_owned(),
        column_type: column_type.to_owned(),
        charset: charset.map(str::to_owned),
        nullable: Some(name != "id"),
        generated: false,
        auto_increment: None,
        id: ids.next(),
        existing: None,
    };
    let mut definition = Definition {
        charset: Some("utf8mb4".to_owned()),
        columns: vec![
            column("id", "bigint unsigned", None),
            column("a", "varchar(10)", Some("latin1")),
            column("b", "mediumtext", Some("utf8mb4")),
            column("c", "enum('x','y''z')", Some("utf8mb4")),
            column("d", "set('p','q)')", Some("latin1")),
            column("e", "decimal(10,2)", None),
            column("f", "datetime(6)", None),
        ],
        key: vec!["id".to_owned()],
    };
    for (seq, text) in (1..).zip(rest.split(|byte| *byte == b'\n')) {
        let Statement::Ddl(effects) = statement::read(text, &session) else {
            continue;
        };
        for effect in effects {
            let Effect::Altered(_, alteration) = effect else {
                continue;
            };
            let changes = alteration.changes.unwrap_or_default();
            let Ok(after) = definition.after(&changes, seq) else {
                continue;
            };
            sound(&after);
            definition = after;
        }
    }
}

/// Whether a definition could be a table's.
fn sound(definition: &Definition) {
    let columns = &definition.columns;
    for (place, column) in columns.iter().enumerate() {
        assert!(
            !columns[..place].iter().any(|it| it.is(&column.name)),
            "two columns of one name"
        );
        assert!(
            column.id.is_some() && columns[..place].iter().all(|it| it.id != column.id),
            "a column without an identity of its own"
        );
        // Types may be unknown, and are refused then.
        let _ = column.resolve(TypeOptions::default());
    }
    for (place, name) in definition.key.iter().enumerate() {
        assert!(
            columns.iter().any(|it| it.name == *name),
            "a key without its column"
        );
        assert!(
            !definition.key[..place].iter().any(|it| same_name(it, name)),
            "a column that is twice in the key"
        );
    }
    let text = serde_json::to_string(definition).expect("a definition has a JSON form");
    let read: Definition = serde_json::from_str(&text).expect("its JSON form can be read");
    assert_eq!(read, *definition);
}

/// Inputs for [`log`] and for [`statements`], made of a log file: of each few transactions one, with
/// the head of the file, under some flags.
///
/// # Panics
/// Where it is no log file.
pub fn seeds(file: &[u8], maria: bool) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    const TRANSACTIONS: usize = 3;
    let mut rest = file.strip_prefix(BETWEEN).expect("a log file has a magic");
    let mut head = Vec::new();
    let mut groups: Vec<Vec<&[u8]>> = Vec::new();
    let mut texts = Vec::new();
    while let Some(size) = rest.get(9..13) {
        let size = Wire(size).u32().expect("four bytes") as usize;
        let (event, after) = rest.split_at_checked(size).expect("whole events");
        rest = after;
        match event[4] {
            kind::FORMAT_DESCRIPTION => head = event.to_vec(),
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIA_GTID => {
                groups.push(vec![event]);
            }
            number => {
                if number == kind::QUERY
                    && let Ok(query) = crate::decode::event::query(&event[HEADER..size - 4])
                {
                    texts.push([&[u8::from(maria)], query.text].concat());
                }
                if let Some(group) = groups.last_mut() {
                    group.push(event);
                }
            }
        }
    }
    let mut logs = Vec::new();
    for (place, group) in groups.chunks(TRANSACTIONS).enumerate() {
        for flags in [0, KNOWN, KNOWN | MINIMAL] {
            let zero_dates = u8::try_from(place % 3).unwrap_or(0) * ZERO_DATES;
            let mut seed = vec![flags | u8::from(maria) | zero_dates];
            seed.extend_from_slice(&head);
            for event in group.iter().flatten() {
                seed.extend_from_slice(BETWEEN);
                seed.extend_from_slice(event);
            }
            logs.push(seed);
        }
    }
    (logs, texts)
}
