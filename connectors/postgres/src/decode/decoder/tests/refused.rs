//! What stops a table, and what stops the stream.

use proptest::prelude::*;

use super::*;

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
