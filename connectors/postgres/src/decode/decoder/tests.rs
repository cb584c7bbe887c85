//! The captured story, told as events: in order, numbered, cut as asked, however it arrives.

use std::io;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use cdc_api::{ChangeBatch, Position, Said};
use proptest::prelude::*;

use super::*;
use crate::decode::golden::{STORY_LOG, STORY_STREAMED_LOG, messages, version};
use crate::types::TypeOptions;

const EAGER: BatchLimits = BatchLimits {
    rows: 2,
    bytes: 1 << 30,
};

fn log() -> Log {
    Log {
        system: "1".to_owned(),
        timeline: 1,
    }
}

fn checkpoint(lsn: u64, seq: u64) -> Checkpoint {
    Checkpoint {
        position: log().at(Lsn(lsn)),
        seq,
        offset: lsn,
        commit_time: 0,
    }
}

fn files() -> SpoolFiles {
    Box::new(|| tempfile::tempfile().map_err(io::Error::other))
}

fn decoder(from: &Checkpoint, limits: BatchLimits) -> Decoder {
    let (_, start) = Log::read(&from.position).expect("ours");
    Decoder::new(log(), start, from, limits, files())
}

/// Everything that is to be had now.
fn drain(decoder: &mut Decoder) -> Vec<ChangeEvent> {
    let mut events = Vec::new();
    while let Some(step) = decoder.next().expect("sound") {
        match step {
            Step::Event(event) => events.push(event),
            Step::Describe(body) => {
                let relation = body.relation().expect("read before");
                let found = version(&relation, TypeOptions::default());
                decoder.answer(found).expect("asked");
            }
        }
    }
    events
}

fn feed(decoder: &mut Decoder, messages: &[(u64, Vec<u8>)]) -> Vec<ChangeEvent> {
    let mut events = Vec::new();
    for (lsn, body) in messages {
        if decoder.message(Lsn(*lsn), body).expect("sound") {
            events.extend(drain(decoder));
        }
    }
    events
}

/// The whole log from `from` on, flushed at its end.
fn told(log: &str, from: &Checkpoint, limits: BatchLimits) -> Vec<ChangeEvent> {
    let mut decoder = decoder(from, limits);
    let mut events = feed(&mut decoder, &messages(log));
    decoder.flush().expect("sound");
    events.extend(drain(&mut decoder));
    events
}

fn value(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "-".to_owned();
    }
    match array.data_type() {
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        _ => match array.as_string::<i32>().value(row) {
            long if long.len() > 20 => format!("<{}>", long.len()),
            short => short.to_owned(),
        },
    }
}

fn rows(batch: &ChangeBatch) -> Vec<(u64, String)> {
    (0..batch.len())
        .map(|row| {
            let values: Vec<_> = batch
                .rows
                .columns()
                .iter()
                .enumerate()
                .map(|(index, column)| match batch.is_absent(index, row) {
                    true => "?".to_owned(),
                    false => value(column, row),
                })
                .collect();
            let mut line = format!(
                "{} {:?} {} {}",
                batch.seq[row],
                batch.op(row),
                batch.table.name.table,
                values.join(" ")
            );
            if let Some(before) = &batch.before {
                let before: Vec<_> = before.columns().iter().map(|it| value(it, row)).collect();
                if before.iter().any(|value| value != "-") {
                    line = format!("{line} was {}", before.join(" "));
                }
            }
            (batch.seq[row], line)
        })
        .collect()
}

/// The rows and truncates by number, whatever their batches.
fn numbered(events: &[ChangeEvent]) -> Vec<String> {
    let mut lines = Vec::new();
    for event in events {
        match event {
            ChangeEvent::Rows(batch) => lines.extend(rows(batch)),
            ChangeEvent::Truncate { tables, seq, .. } => {
                lines.push((*seq, format!("{seq} Truncate {}", tables.len())));
            }
            _ => {}
        }
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

const STORY: [&str; 32] = [
    "1 Insert plain 1 10 <66000>",
    "2 Insert plain 2 20 b",
    "3 Insert whole 1 10 <66000>",
    "4 Insert whole 2 20 b",
    "5 Insert keyless 1 a",
    "6 Insert keyless 1 a",
    "7 Insert keyless 2 -",
    "8 Insert indexed 1 one 1",
    "9 Update plain 1 11 ?",
    "11 Update whole 1 11 <66000> was 1 10 <66000>",
    "12 MoveOut keyless 2 -",
    "13 MoveIn keyless 2 z",
    "14 Update indexed 1 one 2",
    "15 MoveOut plain 1 - -",
    "16 MoveIn plain 3 11 ?",
    "17 MoveOut whole 1 11 <66000>",
    "18 MoveIn whole 3 11 <66000>",
    "19 MoveOut indexed - one -",
    "20 MoveIn indexed 1 uno 2",
    // 21 to 23 are of the table that is not captured.
    "24 Insert plain 4 40 d",
    "25 Delete plain 2 - -",
    "26 Delete whole 2 20 b",
    "27 Delete keyless 1 a",
    "28 Delete keyless 1 a",
    "29 Truncate 2",
    "30 Insert plain 5 50 e",
    "31 Insert plain 6 60 f",
    "32 Insert plain 7 70 g 8",
    "33 Insert plain 8 80 <66000> 7",
    "34 Insert indexed 3 kept 3",
    "35 Insert plain 10 100 <66000> 7",
    "36 Insert indexed 4 four 4",
];

fn story() -> Vec<&'static str> {
    STORY.to_vec()
}

#[test]
fn the_story_is_told_row_by_row() {
    let events = told(STORY_LOG, &checkpoint(0, 0), BatchLimits::default());
    assert_eq!(numbered(&events), story());
}

#[test]
fn a_streamed_transaction_gives_the_same_rows_and_numbers_as_one_that_is_not() {
    let events = told(
        STORY_STREAMED_LOG,
        &checkpoint(0, 0),
        BatchLimits::default(),
    );
    assert_eq!(numbered(&events), story());
}

/// What the contract of [`ChangeEvent`] says of order, whatever the limits.
fn check_order(events: &[ChangeEvent]) {
    let mut committed = 0;
    let mut highest = 0;
    let mut last_of_table: HashMap<TableId, u64> = HashMap::new();
    let mut shape: HashMap<TableId, Arc<TableSchema>> = HashMap::new();
    for event in events {
        match event {
            ChangeEvent::Schema(schema) => {
                shape.insert(schema.id, Arc::clone(schema));
            }
            ChangeEvent::Rows(batch) => {
                assert_eq!(shape.get(&batch.table.id), Some(&batch.table));
                assert!(batch.seq.windows(2).all(|pair| pair[0] < pair[1]));
                let (first, last) = batch.seq_range().expect("rows");
                assert!(first > committed, "rows of a transaction that is reported");
                assert!(
                    Some(first) > last_of_table.insert(batch.table.id, last),
                    "rows of one table out of order"
                );
                highest = highest.max(last);
                let end = batch.transactions.last().expect("a transaction").end;
                assert_eq!(end as usize, batch.len());
            }
            ChangeEvent::Truncate { seq, .. } => highest = highest.max(*seq),
            ChangeEvent::Notice(notice) => highest = highest.max(notice.seq),
            ChangeEvent::Commit(checkpoint) => {
                assert!(
                    checkpoint.seq >= highest,
                    "a commit in the midst of a transaction"
                );
                committed = checkpoint.seq;
            }
            ChangeEvent::Failed { .. } | ChangeEvent::Mark { .. } => {}
        }
    }
    assert!(matches!(events.last(), Some(ChangeEvent::Commit(_))));
}

#[test]
fn limits_cut_batches_and_change_nothing_else() {
    for log in [STORY_LOG, STORY_STREAMED_LOG] {
        for rows in [1, 2, 3, 5, 100] {
            for bytes in [1, 100, 70_000, 1 << 30] {
                let limits = BatchLimits { rows, bytes };
                let events = told(log, &checkpoint(0, 0), limits);
                assert_eq!(numbered(&events), story(), "{limits:?}");
                check_order(&events);
                for event in &events {
                    if let ChangeEvent::Rows(batch) = event {
                        assert!(batch.len() <= rows + 1, "{limits:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn flushing_after_every_message_changes_only_the_cuts() {
    let mut decoder = decoder(&checkpoint(0, 0), BatchLimits::default());
    let mut events = Vec::new();
    for message in messages(STORY_LOG) {
        events.extend(feed(&mut decoder, &[message]));
        decoder.flush().expect("sound");
        events.extend(drain(&mut decoder));
    }
    assert_eq!(numbered(&events), story());
    check_order(&events);
    let commits = events
        .iter()
        .filter(|it| matches!(it, ChangeEvent::Commit(_)));
    assert_eq!(commits.count(), 8, "one for each transaction");
}

#[test]
fn a_restart_at_any_commit_gives_the_same_rows_with_the_same_numbers() {
    for log in [STORY_LOG, STORY_STREAMED_LOG] {
        let events = told(log, &checkpoint(0, 0), EAGER);
        let commits: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                ChangeEvent::Commit(checkpoint) => Some(checkpoint.clone()),
                _ => None,
            })
            .collect();
        assert!(commits.len() > 3);
        for from in commits {
            let again = told(log, &from, BatchLimits::default());
            let expected: Vec<_> = story()
                .into_iter()
                .filter(|line| {
                    let seq = line.split(' ').next().and_then(|seq| seq.parse().ok());
                    seq > Some(from.seq)
                })
                .collect();
            assert_eq!(numbered(&again), expected, "from {}", from.seq);
        }
    }
}

#[test]
fn a_new_shape_is_told_before_its_first_row_and_after_the_last_row_of_the_old() {
    let events = told(STORY_LOG, &checkpoint(0, 0), BatchLimits::default());
    let mut seen = Vec::new();
    for event in &events {
        match event {
            ChangeEvent::Schema(schema) if schema.name.table == "plain" => {
                seen.push(format!("shape of {}", schema.columns.len()));
            }
            ChangeEvent::Rows(batch) if batch.table.name.table == "plain" => {
                seen.push(format!("rows of {}", batch.table.columns.len()));
            }
            _ => {}
        }
    }
    seen.dedup();
    assert_eq!(seen, ["shape of 3", "rows of 3", "shape of 4", "rows of 4"]);
}

#[test]
fn a_truncate_stands_between_the_rows_before_and_after_it() {
    let events = told(STORY_LOG, &checkpoint(0, 0), BatchLimits::default());
    let place = events
        .iter()
        .position(|event| matches!(event, ChangeEvent::Truncate { .. }))
        .expect("a truncate");
    for (index, event) in events.iter().enumerate() {
        if let ChangeEvent::Rows(batch) = event
            && ["plain", "keyless"].contains(&batch.table.name.table.as_str())
        {
            let (first, last) = batch.seq_range().expect("rows");
            assert_eq!(index < place, last < 29);
            assert_eq!(index > place, first > 29);
        }
    }
}

#[test]
fn an_idle_log_moves_the_position_and_a_busy_one_does_not() {
    let mut decoder = decoder(&checkpoint(100, 7), BatchLimits::default());
    decoder.keepalive(Lsn(90));
    assert!(!decoder.flush().expect("sound"), "nothing new");
    decoder.keepalive(Lsn(200));
    decoder.flush().expect("sound");
    let events = drain(&mut decoder);
    let [ChangeEvent::Commit(idle)] = &events[..] else {
        panic!("one commit: {events:?}");
    };
    assert_eq!((idle.offset, idle.seq), (200, 7));
    let messages = messages(STORY_LOG);
    feed(&mut decoder, &messages[..3]);
    decoder.keepalive(Lsn(u64::MAX));
    assert!(!decoder.flush().expect("sound"), "inside a transaction");
    assert_eq!(decoder.committed(), Lsn(200));
}

#[test]
fn a_mark_follows_all_rows_before_it_and_is_refused_inside_a_transaction() {
    let messages = messages(STORY_LOG);
    let mut decoder = decoder(&checkpoint(0, 0), BatchLimits::default());
    let first_commit = 1 + messages
        .iter()
        .position(|(_, body)| body[0] == b'C')
        .expect("a commit");
    let mut events = feed(&mut decoder, &messages[..first_commit]);
    decoder.mark(5, &[]).expect("between transactions");
    decoder.mark(6, &[]).expect("at the same place");
    events.extend(drain(&mut decoder));
    assert_eq!(numbered(&events).len(), 8);
    let tail: Vec<_> = events.iter().rev().take(3).collect();
    assert!(matches!(
        tail[..],
        [
            ChangeEvent::Mark { id: 6 },
            ChangeEvent::Mark { id: 5 },
            ChangeEvent::Commit(Checkpoint { seq: 8, .. })
        ]
    ));
    feed(&mut decoder, &messages[first_commit..first_commit + 2]);
    assert!(decoder.mark(7, &[]).is_err());
}

/// A transaction with one row of a table, which the server describes once.
fn transaction(commit: u64, described: bool) -> Vec<(u64, Vec<u8>)> {
    let text = |text: &str| [text.as_bytes(), b"\0"].concat();
    let begin = [
        &b"B"[..],
        &commit.to_be_bytes(),
        &0_i64.to_be_bytes(),
        &9_u32.to_be_bytes(),
    ];
    let relation = [
        &b"R"[..],
        &7_u32.to_be_bytes(),
        &text("public"),
        &text("kinds"),
        b"d\0\x01\x01",
        &text("id"),
        &23_u32.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
    ];
    let insert = [&b"I"[..], &7_u32.to_be_bytes(), b"N\0\x01t\0\0\0\x011"];
    let end = [
        &b"C\0"[..],
        &commit.to_be_bytes(),
        &(commit + 8).to_be_bytes(),
        &0_i64.to_be_bytes(),
    ];
    let mut messages = vec![(commit, begin.concat())];
    messages.extend(described.then(|| (0, relation.concat())));
    messages.push((commit, insert.concat()));
    messages.push((commit, end.concat()));
    messages
}

#[test]
fn a_table_that_is_wanted_later_is_captured_from_its_snapshot_on() {
    let mut decoder = decoder(&checkpoint(0, 0), BatchLimits::default());
    for (lsn, body) in transaction(100, true) {
        decoder.message(Lsn(lsn), &body).expect("sound");
        while let Some(step) = decoder.next().expect("sound") {
            assert!(matches!(step, Step::Describe(_)), "nothing is captured");
            decoder.answer(Ok(None)).expect("asked");
        }
    }
    // Nothing changed on the server, which therefore does not describe the table again.
    let passed = feed(&mut decoder, &transaction(200, false));
    assert!(passed.is_empty(), "{passed:?}");
    decoder
        .mark(1, &[TableId(7)])
        .expect("between transactions");
    let mut events = drain(&mut decoder);
    events.extend(feed(&mut decoder, &transaction(300, false)));
    decoder.flush().expect("sound");
    events.extend(drain(&mut decoder));
    // Rows that are passed over take their numbers too.
    assert_eq!(numbered(&events), ["3 Insert kinds 1"]);
}

/// `wrong` in place of `right`, both of one length, in every message.
fn damaged(log: &str, right: &[u8], wrong: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut messages = messages(log);
    for (_, body) in &mut messages {
        let place = body.windows(right.len()).position(|window| window == right);
        if let Some(place) = place {
            body[place..place + right.len()].copy_from_slice(wrong);
        }
    }
    messages
}

#[test]
fn a_value_that_cannot_be_represented_stops_its_table_alone_until_the_next_snapshot() {
    // The body of plain's row 2, "b", becomes what is not UTF-8.
    let mut messages = damaged(
        STORY_LOG,
        b"t\0\0\0\x0220t\0\0\0\x01b",
        b"t\0\0\0\x0220t\0\0\0\x01\xff",
    );
    let plain = messages[1].1[1..5].to_vec();
    // Only in plain, not in whole, whose row looks the same.
    let original = self::messages(STORY_LOG);
    for (message, original) in messages.iter_mut().zip(original) {
        if message.1[1..].get(..4) != Some(plain.as_slice()) {
            *message = original;
        }
    }
    let mut decoder = decoder(&checkpoint(0, 0), BatchLimits::default());
    let third = messages
        .iter()
        .enumerate()
        .filter(|(_, (_, body))| body[0] == b'C')
        .nth(2)
        .map(|(index, _)| index + 1)
        .expect("three commits");
    let mut events = feed(&mut decoder, &messages[..third]);
    let id = TableId(u64::from(u32::from_be_bytes(
        plain.try_into().expect("four"),
    )));
    decoder.mark(1, &[id]).expect("between transactions");
    events.extend(drain(&mut decoder));
    events.extend(feed(&mut decoder, &messages[third..]));
    decoder.flush().expect("sound");
    events.extend(drain(&mut decoder));
    check_order(&events);

    let failures: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ChangeEvent::Failed {
                table,
                seq,
                message,
                hint,
            } => Some((*table, *seq, message.as_str(), hint.as_str())),
            _ => None,
        })
        .collect();
    let [(table, seq, message, hint)] = failures[..] else {
        panic!("one failure: {failures:?}");
    };
    assert_eq!((table, seq), (id, 2));
    assert_eq!(message, "public.plain: a text is not UTF-8");
    assert!(!hint.is_empty());
    let expected: Vec<_> = story()
        .into_iter()
        .filter(|line| {
            let seq: u64 = line
                .split(' ')
                .next()
                .expect("a number")
                .parse()
                .expect("one");
            !line.contains(" plain ") || seq == 1 || seq > 20
        })
        .collect();
    assert_eq!(numbered(&events), expected);
}

#[test]
fn a_new_row_with_a_value_left_out_stops_its_table() {
    let messages = messages(STORY_LOG);
    let mut broken = messages.clone();
    for (_, body) in &mut broken {
        if body.ends_with(b"t\0\0\0\x011t\0\0\0\x01a") && body[0] == b'I' {
            body.truncate(body.len() - 6);
            body.push(b'u');
        }
    }
    assert_ne!(broken, messages);
    let mut decoder = decoder(&checkpoint(0, 0), BatchLimits::default());
    let events = feed(&mut decoder, &broken);
    assert!(events.iter().any(|event| matches!(
        event,
        ChangeEvent::Failed { seq: 5, message, .. } if message.contains("keyless")
    )));
}

#[test]
fn a_table_that_cannot_be_looked_up_fails_alone() {
    let messages = messages(STORY_LOG);
    let mut decoder = decoder(&checkpoint(0, 0), BatchLimits::default());
    let mut events = Vec::new();
    for (lsn, body) in &messages {
        decoder.message(Lsn(*lsn), body).expect("sound");
        while let Some(step) = decoder.next().expect("sound") {
            match step {
                Step::Event(event) => events.push(event),
                Step::Describe(body) => {
                    let relation = body.relation().expect("read before");
                    let answer = match relation.name {
                        "whole" => Err(Error::unsupported("no such type").hint("mend it")),
                        _ => version(&relation, TypeOptions::default()),
                    };
                    decoder.answer(answer).expect("asked");
                }
            }
        }
    }
    decoder.flush().expect("sound");
    events.extend(drain(&mut decoder));
    let failed = events
        .iter()
        .filter(|event| matches!(event, ChangeEvent::Failed { seq: 3, .. }));
    assert_eq!(failed.count(), 1);
    let expected: Vec<_> = story()
        .into_iter()
        .filter(|line| !line.contains(" whole "))
        .collect();
    assert_eq!(numbered(&events), expected);
}

#[test]
fn a_stream_that_breaks_the_protocol_is_refused() {
    let messages = messages(STORY_LOG);
    let fresh = || decoder(&checkpoint(0, 0), BatchLimits::default());
    let refused = |bodies: &[&[u8]]| {
        let mut decoder = fresh();
        let (last, first) = bodies.split_last().expect("some");
        for body in first {
            decoder.message(Lsn(1), body).expect("sound so far");
        }
        decoder.message(Lsn(1), last).expect_err("refused")
    };
    let begin = messages[0].1.as_slice();
    let relation = messages[1].1.as_slice();
    let insert = messages[2].1.as_slice();
    let commit = messages
        .iter()
        .find(|(_, body)| body[0] == b'C')
        .map(|(_, body)| body.as_slice())
        .expect("a commit");
    refused(&[insert]);
    refused(&[begin, begin]);
    refused(&[begin, insert]);
    refused(&[commit]);
    refused(&[b"E"]);
    refused(&[b"S\0\0\0\x05\x00", insert]);
    refused(&[b"c\0\0\0\x05\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03"]);
    // Not drained.
    refused(&[begin, relation, insert, insert]);
    let error = refused(&[&[
        b'b', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4,
        b'g', 0,
    ]]);
    assert!(error.hint_text().is_some());
}

#[test]
fn a_position_is_the_logs() {
    let events = told(STORY_LOG, &checkpoint(0, 0), BatchLimits::default());
    let Some(ChangeEvent::Commit(last)) = events.last() else {
        panic!("ends with a commit");
    };
    assert_eq!(last.position, log().at(Lsn(last.offset)));
    assert_ne!(last.position, Position::new(""));
    assert!(last.commit_time > 1_577_836_800_000_000);
}

/// As [`drain`], of a log that may be broken.
fn drain_or_stop(decoder: &mut Decoder) -> Result<()> {
    while let Some(step) = decoder.next()? {
        if let Step::Describe(body) = step {
            let found = version(&body.relation()?, TypeOptions::default());
            decoder.answer(found)?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_damaged_or_reordered_log_is_told_or_refused(
        damage in prop::collection::vec(
            (any::<prop::sample::Index>(), 0usize..40, any::<u8>()), 0..4),
        swaps in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
        streamed: bool,
    ) {
        let mut messages = messages(if streamed { STORY_STREAMED_LOG } else { STORY_LOG });
        for (message, place, byte) in damage {
            let message = message.index(messages.len());
            let body = &mut messages[message].1;
            let place = place % body.len();
            body[place] = byte;
        }
        for (one, other) in swaps {
            let (one, other) = (one.index(messages.len()), other.index(messages.len()));
            messages.swap(one, other);
        }
        let mut decoder = decoder(&checkpoint(0, 0), EAGER);
        for (lsn, body) in &messages {
            if decoder.message(Lsn(*lsn), body).is_err() || drain_or_stop(&mut decoder).is_err() {
                break;
            }
        }
    }
}

/// A commit after some rows of a transaction that is open would count them.
#[test]
fn an_idle_step_is_reported_before_the_first_rows_of_a_transaction() {
    let mut decoder = decoder(&checkpoint(0, 0), EAGER);
    decoder.keepalive(Lsn(1));
    let mut events = Vec::new();
    for message in messages(STORY_LOG) {
        events.extend(feed(&mut decoder, &[message]));
        let given = events.iter().any(|it| matches!(it, ChangeEvent::Rows(_)));
        if given && decoder.transaction().is_some() {
            break;
        }
    }
    assert!(decoder.in_flight(), "a transaction is given in parts");
    decoder.flush().expect("sound");
    events.extend(drain(&mut decoder));
    assert!(matches!(&events[0], ChangeEvent::Commit(commit) if commit.offset == 1));
    let commits = events
        .iter()
        .filter(|it| matches!(it, ChangeEvent::Commit(_)));
    assert_eq!(commits.count(), 1);
}

/// Of every row its transaction and its place, in order.
fn places(events: &[ChangeEvent]) -> Vec<(cdc_api::TransactionId, u64)> {
    let mut places = Vec::new();
    for event in events {
        let ChangeEvent::Rows(batch) = event else {
            continue;
        };
        for row in 0..batch.len() {
            let mut runs = batch.transactions.iter();
            let run = runs.find(|run| row < run.end as usize).expect("has one");
            places.push((batch.seq[row], run.id.clone(), batch.offset[row]));
        }
    }
    places.sort_by_key(|it| it.0);
    places.into_iter().map(|(_, id, lsn)| (id, lsn)).collect()
}

#[test]
fn what_another_has_delivered_of_the_first_transaction_is_passed_over() {
    let all = places(&told(STORY_LOG, &checkpoint(0, 0), EAGER));
    let first = all[0].0.clone();
    let cdc_api::TransactionId::Number(xid) = first else {
        panic!("{first:?}")
    };
    let xid = u32::try_from(xid).expect("a number of PostgreSQL");
    for (_, upto) in all.iter().filter(|it| it.0 == first) {
        let part = Part {
            xid,
            upto: Lsn(*upto),
        };
        let from = Checkpoint {
            position: log().within(Lsn(0), Some(part)),
            ..checkpoint(0, 0)
        };
        for log in [STORY_LOG, STORY_STREAMED_LOG] {
            let events = told(log, &from, EAGER);
            let commit = events.iter().rev().find_map(|event| match event {
                ChangeEvent::Commit(checkpoint) => Some(&checkpoint.position),
                _ => None,
            });
            assert_eq!(Part::of(commit.expect("commits")), None, "it is done");
            if log == STORY_LOG {
                let rest: Vec<_> = all
                    .iter()
                    .filter(|it| it.0 != first || it.1 > *upto)
                    .cloned()
                    .collect();
                assert_eq!(places(&events), rest);
            }
        }
    }
}

/// The whole log from `from` on, with the messages of these prefixes.
fn with_messages(from: &Checkpoint, prefixes: &[&str]) -> Vec<ChangeEvent> {
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    let mut decoder = decoder(from, EAGER).with_messages(Prefixes::new(&prefixes));
    let mut events = feed(&mut decoder, &messages(STORY_LOG));
    decoder.flush().expect("sound");
    events.extend(drain(&mut decoder));
    let mut order = cdc_api::testing::order::Order::default();
    events.iter().for_each(|event| order.check(event));
    events
}

fn said(events: &[ChangeEvent]) -> Vec<(u64, String, bool)> {
    let mut said = Vec::new();
    for event in events {
        if let ChangeEvent::Notice(notice) = event
            && let Said::Message { content, .. } = &notice.said
        {
            let text = String::from_utf8(content.clone()).expect("text");
            said.push((notice.seq, text, notice.transaction.is_some()));
        }
    }
    said
}

#[test]
fn messages_have_a_place_among_the_rows_and_come_again_after_a_restart() {
    let all = with_messages(&checkpoint(0, 0), &["cdc"]);
    let inside = (24, "inside".to_owned(), true);
    // A row stands between the two.
    let outside = (26, "outside".to_owned(), false);
    assert_eq!(said(&all), [inside, outside]);
    for event in &all {
        let ChangeEvent::Commit(checkpoint) = event else {
            continue;
        };
        let again = with_messages(checkpoint, &["cdc"]);
        let after = |events: &[ChangeEvent]| {
            let mut said = said(events);
            said.retain(|it| it.0 > checkpoint.seq);
            said
        };
        assert_eq!(said(&again), after(&all), "{checkpoint:?}");
        let rows: Vec<_> = numbered(&again);
        assert!(numbered(&all).ends_with(&rows), "{checkpoint:?}");
    }
}

#[test]
fn numbers_do_not_depend_on_which_messages_are_chosen() {
    let all = with_messages(&checkpoint(0, 0), &["*"]);
    let none = with_messages(&checkpoint(0, 0), &["other", "cdc.*"]);
    assert_eq!((said(&all).len(), said(&none).len()), (2, 0));
    assert_eq!(numbered(&all), numbered(&none));
}
