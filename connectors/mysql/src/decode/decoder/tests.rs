use proptest::prelude::*;

use super::*;
use cdc_api::TableId;

use crate::config::SchemaChanges;
use crate::decode::definition::{Definition, Described};
use crate::decode::golden::{decoder, drain, events, notes, show};
use crate::position::{GtidSet, MariaGtids};
use crate::types::ZeroDates;

pub(super) const MYSQL: &str = "mysql-9.7.binlog";
const MARIADB: &str = "mariadb-10.11.binlog";

fn limits(rows: usize) -> BatchLimits {
    BatchLimits {
        rows,
        bytes: 1 << 20,
    }
}

pub(super) fn of(name: &str, rows: usize) -> Decoder {
    let gtids = match name {
        MYSQL => Gtids::MySql(GtidSet::default()),
        _ => Gtids::Maria(MariaGtids::default()),
    };
    decoder(gtids, ZeroDates::Text, limits(rows))
}

/// All events of a file, drained after each; `flush` after each, or only at the end.
fn all(mut decoder: Decoder, log: &[Vec<u8>], flush: bool) -> Vec<ChangeEvent> {
    let mut given = Vec::new();
    for event in log {
        decoder.event(event).expect("a whole event");
        given.extend(drain(&mut decoder).expect("a whole event"));
        if flush {
            decoder.flush().expect("no defect");
            given.extend(drain(&mut decoder).expect("no defect"));
        }
    }
    decoder.flush().expect("no defect");
    given.extend(drain(&mut decoder).expect("no defect"));
    given
}

/// Rows and truncates alone, by number, whatever the cut into batches.
fn rows(events: &[ChangeEvent]) -> Vec<(u64, String)> {
    let mut rows = Vec::new();
    for event in events {
        match event {
            ChangeEvent::Rows(batch) => {
                for row in 0..batch.len() {
                    let mut one = batch.slice(row, 1);
                    one.transactions.clear();
                    rows.push((batch.seq[row], show(&[ChangeEvent::Rows(one)])));
                }
            }
            ChangeEvent::Truncate { seq, .. } | ChangeEvent::Failed { seq, .. } => {
                rows.push((*seq, show(std::slice::from_ref(event))));
            }
            _ => {}
        }
    }
    rows.sort();
    rows
}

/// Every commit is behind the rows up to it and before all others.
fn check_commits(events: &[ChangeEvent]) {
    let (mut last, mut committed) = (0, 0);
    for event in events {
        match event {
            ChangeEvent::Rows(batch) => {
                let (first, end) = batch.seq_range().expect("rows");
                assert!(first > committed, "a row behind its commit");
                last = last.max(end);
            }
            ChangeEvent::Commit(checkpoint) => {
                assert!(last <= checkpoint.seq, "a row ahead of its commit");
                assert!(checkpoint.seq >= committed);
                committed = checkpoint.seq;
            }
            _ => {}
        }
    }
}

#[test]
fn numbers_do_not_depend_on_the_cut_into_batches() {
    for name in [MYSQL, MARIADB] {
        let log = events(name);
        let whole = all(of(name, 1 << 16), &log, false);
        check_commits(&whole);
        let cut = all(of(name, 2), &log, true);
        check_commits(&cut);
        let (whole, cut) = (rows(&whole), rows(&cut));
        assert!(whole.len() > 30);
        assert_eq!(whole, cut);
    }
}

#[test]
fn numbers_do_not_depend_on_which_tables_are_captured() {
    for name in [MYSQL, MARIADB] {
        let log = events(name);
        let whole = rows(&all(of(name, 100), &log, false));
        let mut decoder = of(name, 100);
        let mut given = Vec::new();
        for event in &log {
            decoder.event(event).expect("a whole event");
            while let Some(step) = decoder.next().expect("a whole event") {
                match step {
                    Step::Event(event) => given.push(event),
                    Step::Describe(table) if table.table == "nk" => {
                        decoder.answer(&notes()).expect("asked");
                    }
                    Step::Describe(_) => decoder.answer(&Answer::Skipped).expect("asked"),
                }
            }
        }
        decoder.flush().expect("no defect");
        given.extend(drain(&mut decoder).expect("no defect"));
        let wanted: Vec<_> = whole
            .into_iter()
            .filter(|(_, row)| row.contains(" g.nk ") || row.contains("truncate"))
            .collect();
        assert_eq!(rows(&given), wanted);
    }
}

#[test]
fn a_stream_that_starts_at_any_commit_gives_the_same_rows() {
    for name in [MYSQL, MARIADB] {
        let log = events(name);
        let mut decoder = of(name, 3);
        decoder.tells = SchemaChanges::All;
        let whole = all(decoder, &log, true);
        assert!(told(&whole).len() > 4, "{name}");
        let folder = tempfile::tempdir().expect("a folder");
        for event in &whole {
            let ChangeEvent::Commit(from) = event else {
                continue;
            };
            let known = known(&whole, from.seq);
            let Some((decoder, later)) = resumed(name, &log, (from, known), folder.path()) else {
                continue;
            };
            let given = all(decoder, &later, false);
            let notices = told(&whole).into_iter().filter(|it| it.0 > from.seq);
            assert_eq!(told(&given), notices.collect::<Vec<_>>());
            let given = rows(&given);
            let wanted: Vec<_> = rows(&whole)
                .into_iter()
                .filter(|(seq, _)| *seq > from.seq)
                .collect();
            let given: Vec<u64> = given.iter().map(|(seq, _)| *seq).collect();
            let wanted: Vec<u64> = wanted.iter().map(|(seq, _)| *seq).collect();
            assert_eq!(given, wanted, "{name} from {}", from.seq);
        }
    }
}

/// The statements that were told, by number.
fn told(events: &[ChangeEvent]) -> Vec<(u64, cdc_api::Said)> {
    let notices = events.iter().filter_map(|event| match event {
        ChangeEvent::Notice(notice) => Some((notice.seq, notice.said.clone())),
        _ => None,
    });
    notices.collect()
}

/// A decoder of a stream that starts at a commit, with the shapes that are known there, and what it
/// reads; `None` where that lies in another file.
fn resumed(
    name: &str,
    log: &[Vec<u8>],
    (from, known): (&Checkpoint, Vec<Arc<TableSchema>>),
    folder: &std::path::Path,
) -> Option<(Decoder, Vec<Vec<u8>>)> {
    let place = Place::read(&from.position).expect("ours");
    if place.file != "binlog.000001" {
        return None;
    }
    // The server sends what the set lacks; here by the place in the file.
    let mut end = 4;
    let later = log.iter().filter(|event| {
        end += event.len() as u64;
        end > place.offset || event[4] == kind::FORMAT_DESCRIPTION
    });
    let later = later.cloned().collect();
    let setup = Setup {
        known,
        limits: limits(100),
        collations: Collations {
            of_geometry: name == MARIADB,
            ..crate::decode::golden::collations()
        },
        options: TypeOptions {
            zero_dates: ZeroDates::Text,
        },
        checksum: true,
        // Prepared transactions are read from what an earlier stream kept.
        prepared: PreparedFiles::open(folder.to_owned(), &place).expect("a folder"),
        definitions: KeptDefinitions::open(folder.to_owned(), from.seq).expect("a folder"),
        wants: Box::new(|_| false),
        tells: SchemaChanges::All,
        lower_names: false,
        moved_to: None,
    };
    Some((Decoder::new(place, from, setup), later))
}

/// The shapes as of a number.
fn known(events: &[ChangeEvent], seq: u64) -> Vec<Arc<TableSchema>> {
    let mut known: HashMap<TableId, Arc<TableSchema>> = HashMap::new();
    for event in events {
        match event {
            ChangeEvent::Commit(checkpoint) if checkpoint.seq > seq => break,
            ChangeEvent::Schema(table) => {
                known.insert(table.id, Arc::clone(table));
            }
            _ => {}
        }
    }
    known.into_values().collect()
}

#[test]
fn a_changed_byte_is_noticed_by_its_checksum() {
    let log = events(MYSQL);
    let mut decoder = of(MYSQL, 100);
    let mut event = log[0].clone();
    event[30] ^= 1;
    let error = decoder.event(&event).expect_err("changed");
    assert!(error.message().contains("checksum"), "{error}");
    assert!(error.hint_text().is_some());
}

/// The event with the checksum that it should have.
fn signed(mut event: Vec<u8>) -> Vec<u8> {
    let end = event.len() - 4;
    let checksum = crc32fast::hash(&event[..end]).to_le_bytes();
    event[end..].copy_from_slice(&checksum);
    event
}

#[test]
fn a_compressed_transaction_that_cannot_be_inflated_is_an_error() {
    let log = events(MYSQL);
    let place = log
        .iter()
        .position(|event| event[4] == kind::TRANSACTION_PAYLOAD)
        .expect("one is in the file");
    let length = log[place].len();
    for damaged in (60..length - 4).step_by(7) {
        let mut decoder = of(MYSQL, 100);
        for event in &log[..place] {
            decoder.event(event).expect("whole");
            drain(&mut decoder).expect("whole");
        }
        let mut event = log[place].clone();
        event[damaged] ^= 0x55;
        let rows = rows_of(&mut decoder, &signed(event));
        // Never fewer rows than there are without an error.
        assert!(rows.is_none_or(|rows| rows >= 2), "byte {damaged}");
    }
}

/// Rows that an event gives; `None` after an error.
fn rows_of(decoder: &mut Decoder, event: &[u8]) -> Option<usize> {
    decoder.event(event).ok()?;
    let mut given = drain(decoder).ok()?;
    decoder.flush().ok()?;
    given.extend(drain(decoder).ok()?);
    if decoder.in_flight() {
        return None;
    }
    Some(rows(&given).len())
}

#[test]
fn an_event_that_is_not_known_stops_the_stream_unless_it_may_be_ignored() {
    let log = events(MYSQL);
    let unknown = |flags: u8| {
        let mut event = vec![0; 19 + 8];
        event[4] = 99;
        event[9] = 27;
        event[13] = 200;
        event[17] = flags;
        signed(event)
    };
    let mut decoder = of(MYSQL, 100);
    decoder.event(&log[0]).expect("the description");
    decoder.event(&unknown(0x80)).expect("ignorable");
    let error = decoder.event(&unknown(0)).expect_err("unknown");
    assert!(error.message().contains("99"), "{error}");
}

#[test]
fn a_name_that_comes_again_is_a_reset_server() {
    let log = events(MYSQL);
    let mut decoder = of(MYSQL, 100);
    let mut seen = false;
    for event in log.iter().chain(&log) {
        match decoder.event(event) {
            Ok(_) => {
                drain(&mut decoder).expect("whole");
            }
            Err(error) => {
                assert_eq!(error.kind(), cdc_api::ErrorKind::LogLost);
                seen = true;
                break;
            }
        }
    }
    assert!(seen);
}

#[test]
fn a_table_that_is_refused_while_it_is_captured_stops() {
    let mut decoder = of(MYSQL, 100);
    let mut stopped = Vec::new();
    for event in &events(MYSQL) {
        decoder.event(event).expect("a whole event");
        while let Some(step) = decoder.next().expect("a whole event") {
            match step {
                Step::Event(ChangeEvent::Failed { message, hint, .. }) => {
                    stopped.push((message, hint));
                }
                Step::Event(ChangeEvent::Rows(batch)) => assert_ne!(batch.table.name.table, "nk"),
                Step::Event(_) => {}
                Step::Describe(table) if table.table == "nk" => {
                    let refused = Answer::Refused("why".to_owned(), "mend".to_owned());
                    decoder.answer(&refused).expect("asked");
                }
                Step::Describe(_) => decoder.answer(&Answer::Skipped).expect("asked"),
            }
        }
    }
    assert_eq!(stopped, [("why".to_owned(), "mend".to_owned())]);
}

#[test]
fn another_servers_file_is_a_place_once_a_transaction_has_ended_there() {
    for name in [MYSQL, MARIADB] {
        let mut decoder = of(name, 100);
        decoder.moved_to = Some("another".to_owned());
        let mut first = None;
        for event in &events(name) {
            let began = decoder.in_flight();
            decoder.event(event).expect("a whole event");
            let mut given = drain(&mut decoder).expect("a whole event");
            decoder.flush().expect("no defect");
            given.extend(drain(&mut decoder).expect("no defect"));
            let commit = given.into_iter().find_map(|event| match event {
                ChangeEvent::Commit(checkpoint) => Some(checkpoint),
                _ => None,
            });
            if let Some(checkpoint) = commit {
                assert!(began, "the head of a file is no place");
                first = Some(Place::read(&checkpoint.position).expect("ours"));
                break;
            }
        }
        assert_eq!(first.expect("a transaction").server, "another");
    }
}

#[test]
fn a_mark_makes_a_failed_table_whole() {
    let log = events(MYSQL);
    let mut decoder = of(MYSQL, 100);
    let mut failed = None;
    for event in &log {
        decoder.event(event).expect("whole");
        for event in drain(&mut decoder).expect("whole") {
            if let ChangeEvent::Failed { table, .. } = event {
                failed = Some(table);
            }
        }
    }
    let failed = failed.expect("partial JSON is refused");
    let table = decoder.tables.iter().find(|table| table.id == failed);
    let shape = table.and_then(|table| table.known.clone());
    let described = Described {
        told: Arc::default(),
        shape: shape.expect("it was described"),
        definition: Arc::new(Definition {
            charset: None,
            columns: Vec::new(),
            key: Vec::new(),
        }),
    };
    decoder.mark(7, &[described]).expect("at rest");
    let given = drain(&mut decoder).expect("at rest");
    assert!(matches!(
        given.as_slice(),
        [.., ChangeEvent::Mark { id: 7 }, ChangeEvent::Schema(shape), ChangeEvent::Commit(_)]
            if shape.id == failed
    ));
    assert!(decoder.tables.iter().all(|table| !table.failed));
}

proptest! {
    #[test]
    fn truncated_and_changed_events_never_panic(
        maria in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let name = if maria { MARIADB } else { MYSQL };
        let mut log: Vec<Vec<u8>> = events(name).into_iter().filter(|it| it.len() < 4000).collect();
        for (event, place, value) in &changes {
            let event = event.get_mut(&mut log);
            let place = place.index(event.len());
            event[place] = *value;
        }
        if let Some((event, end)) = cut {
            let event = event.get_mut(&mut log);
            event.truncate(end.index(event.len()));
            let length = u32::try_from(event.len()).expect("short").to_le_bytes();
            if event.len() >= 13 {
                event[9..13].copy_from_slice(&length);
            }
        }
        let mut decoder = of(name, 10);
        for event in log {
            // The checksum would hide what is behind it.
            let event = if event.len() >= 23 { signed(event) } else { event };
            if decoder.event(&event).is_err() || drain(&mut decoder).is_err() {
                return Ok(());
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(
        kind in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        maria in any::<bool>(),
    ) {
        let name = if maria { MARIADB } else { MYSQL };
        let mut event = vec![0, 0, 0, 0, kind, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0];
        event.extend_from_slice(&body);
        event.extend_from_slice(&[0; 4]);
        let length = u32::try_from(event.len()).expect("short").to_le_bytes();
        event[9..13].copy_from_slice(&length);
        let mut decoder = of(name, 10);
        for event in [&events(name)[0], &signed(event)] {
            if decoder.event(event).is_err() || drain(&mut decoder).is_err() {
                return Ok(());
            }
        }
    }
}

/// A transaction's begin.
pub(super) fn begin() -> Vec<u8> {
    let log = events(MYSQL);
    let mut named = log.into_iter().filter(|event| event[4] == kind::GTID);
    named.next().expect("a transaction")
}

/// A statement as an event.
pub(super) fn statement(text: &str) -> Vec<u8> {
    let mut event = vec![0, 0, 0, 0, kind::QUERY, 1, 0, 0, 0];
    let length = u32::try_from(19 + 13 + 2 + text.len() + 4).expect("short");
    event.extend_from_slice(&length.to_le_bytes());
    event.extend_from_slice(&[0; 6]);
    event.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    event.extend_from_slice(b"g\0");
    event.extend_from_slice(text.as_bytes());
    event.extend_from_slice(&[0; 4]);
    signed(event)
}

#[test]
fn what_a_statement_does_to_a_table_that_is_wanted_and_not_known_is_told() {
    let head = &events(MYSQL)[0];
    for (text, told) in [
        ("TRUNCATE t", true),
        ("DROP TABLE t", true),
        ("ALTER TABLE t ADD COLUMN c int", true),
        ("ALTER TABLE t DROP PARTITION p", true),
        ("RENAME TABLE t TO u", true),
        ("CREATE TABLE t (c int)", false),
        ("CREATE VIEW v AS SELECT 1", false),
    ] {
        for wanted in [true, false] {
            let mut decoder = of(MYSQL, 100);
            decoder.wants = Box::new(move |name| wanted && name.table == "t");
            decoder.event(head).expect("a head");
            decoder.event(&begin()).expect("a begin");
            decoder.event(&statement(text)).expect("a statement");
            let given = drain(&mut decoder).expect("a statement");
            let said = given.iter().any(|event| {
                matches!(
                    event,
                    ChangeEvent::Failed { .. } | ChangeEvent::Truncate { .. }
                )
            });
            assert_eq!(said, told && wanted, "{text}: {given:?}");
        }
    }
}

#[test]
fn a_statement_outside_of_a_transaction_is_refused() {
    for text in ["TRUNCATE t", "INSERT INTO t VALUES (1)"] {
        let mut decoder = of(MYSQL, 100);
        decoder.wants = Box::new(|_| true);
        decoder.event(&events(MYSQL)[0]).expect("a head");
        assert!(decoder.event(&statement(text)).is_err(), "{text}");
    }
}

/// A commit after some rows of a transaction that is open would count them.
#[test]
fn an_idle_step_is_reported_before_the_first_rows_of_a_transaction() {
    for name in [MYSQL, MARIADB] {
        let mut decoder = of(name, 2);
        let mut given = Vec::new();
        for event in events(name) {
            // At rest there is more to report each time, and no pause in which to.
            decoder.event(&event).expect("a whole event");
            given.extend(drain(&mut decoder).expect("a whole event"));
            let rows = given.iter().any(|it| matches!(it, ChangeEvent::Rows(_)));
            if rows && decoder.open.is_some() {
                decoder.flush().expect("no defect");
                given.extend(drain(&mut decoder).expect("no defect"));
            }
        }
        check_commits(&given);
    }
}

/// Of every event with rows, all before it in its transaction and its first row were delivered by another.
#[test]
fn what_another_has_delivered_of_a_transaction_is_passed_over() {
    let log = events(MYSQL);
    let kinds: Vec<u8> = log
        .iter()
        .map(|it| event::peek(it).expect("a header").kind)
        .collect();
    let whole = rows(&all(of(MYSQL, 1000), &log, false));
    let mut tried = 0;
    for (at, _) in kinds
        .iter()
        .enumerate()
        .filter(|(_, kind)| event::rows_kind(**kind).is_some())
    {
        let begin = (0..at)
            .rev()
            .find(|it| matches!(kinds[*it], kind::GTID | kind::GTID_TAGGED));
        let Some(begin) = begin.filter(|begin| kinds[begin + 1] == kind::QUERY) else {
            continue;
        };
        let mut decoder = of(MYSQL, 1000);
        let mut given = Vec::new();
        let (mut before, mut numbered) = (0, 0..0);
        let mut kept = false;
        for (index, packet) in log.iter().enumerate() {
            if index == begin {
                before = decoder.seq;
                decoder.part = Some(Part {
                    events: (at - begin - 1) as u64,
                    rows: 1,
                });
            }
            if index == at {
                numbered.start = decoder.seq;
                kept = decoder.open.as_ref().is_some_and(|it| it.keeper.is_some());
            }
            decoder.event(packet).expect("a whole event");
            given.extend(drain(&mut decoder).expect("a whole event"));
            if index == at {
                numbered.end = decoder.seq;
            }
        }
        decoder.flush().expect("no defect");
        given.extend(drain(&mut decoder).expect("no defect"));
        // Prepared transactions are kept whole, whoever delivers them.
        let mut numbers = whole.iter().map(|it| it.0);
        let first = numbers.find(|seq| *seq > numbered.start && *seq <= numbered.end);
        if first.is_none() || kept {
            continue;
        }
        let (kind, ..) = event::rows_kind(kinds[at]).expect("an event with rows");
        let done = numbered.start + crate::decode::table::numbers(kind);
        tried += 1;
        let left: Vec<_> = whole
            .iter()
            .filter(|(seq, _)| *seq <= before || *seq > done)
            .cloned()
            .collect();
        assert_eq!(rows(&given), left, "event {at}");
        assert_eq!(decoder.part, None, "it is over with its transaction");
    }
    assert!(tried > 10, "{tried} events have rows");
}
