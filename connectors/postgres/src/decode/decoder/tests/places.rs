//! Where the log stands: commits, marks, what was delivered before the start.

use cdc_api::Position;

use super::*;

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
