//! The captured story, told as events: in order, numbered, cut as asked, however it arrives.

use std::io;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type};
use cdc_api::ChangeBatch;

use super::*;
use crate::decode::golden::{STORY_LOG, STORY_STREAMED_LOG, messages, version};
use crate::types::TypeOptions;

mod logical;
mod places;
mod refused;

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
