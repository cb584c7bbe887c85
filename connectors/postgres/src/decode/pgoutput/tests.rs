//! Golden messages are read as the server meant them; broken ones are refused.

use proptest::prelude::*;

use super::*;
use crate::decode::golden::{
    KINDS_BINARY_LOG, KINDS_TEXT_LOG, STORY_LOG, STORY_STREAMED_LOG, bytes, messages,
};

fn all_fields(tuple: Tuple<'_>) -> Result<Vec<Field<'_>>> {
    tuple.fields().collect()
}

/// Reads a message and everything in it.
fn exhaust(body: &[u8], streamed: bool) -> Result<()> {
    let mut plain = body.to_vec();
    if streamed {
        let (tag, _, rest) = split_streamed(body)?;
        plain = [&[tag], rest].concat();
    }
    match Message::parse(&plain)? {
        Message::Insert { new, .. } => all_fields(new).map(drop),
        Message::Update { old, new, .. } => {
            if let Some(old) = old {
                all_fields(old.tuple())?;
            }
            all_fields(new).map(drop)
        }
        Message::Delete { old, .. } => all_fields(old.tuple()).map(drop),
        Message::Relation(relation) => {
            assert_eq!(relation.columns().count(), relation.columns().len());
            Ok(())
        }
        Message::Truncate { relations } => {
            relations.iter().for_each(drop);
            Ok(())
        }
        _ => Ok(()),
    }
}

#[test]
fn begin_and_commit_carry_places_and_unix_times() {
    let messages = messages(STORY_LOG);
    let Message::Begin {
        final_lsn,
        commit_time,
        ..
    } = Message::parse(&messages[0].1).expect("a begin")
    else {
        panic!("the first message is a begin");
    };
    let commit = messages
        .iter()
        .find_map(|(_, body)| match Message::parse(body) {
            Ok(Message::Commit(committed)) => Some(committed),
            _ => None,
        })
        .expect("a commit");
    assert_eq!(commit.lsn, final_lsn);
    assert!(commit.end_lsn > commit.lsn);
    assert_eq!(commit.time, commit_time);
    // 2020 to 2100.
    assert!((1_577_836_800_000_000..4_102_444_800_000_000).contains(&commit_time));
    assert_eq!(takes_up(&messages[0].1), Some(final_lsn));
    assert_eq!(takes_up(&messages[1].1), None);
}

#[test]
fn a_relation_tells_names_types_and_identity() {
    let messages = messages(STORY_LOG);
    let relation = crate::decode::golden::first_relation(&messages);
    assert_eq!((relation.schema, relation.name), ("public", "plain"));
    assert_eq!(relation.identity, b'd');
    let columns: Vec<_> = relation
        .columns()
        .map(|column| (column.name, column.type_oid, column.typmod, column.key))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", 23, -1, true),
            ("n", 23, -1, false),
            ("body", 25, -1, false)
        ]
    );
}

#[test]
fn an_update_tells_unchanged_values_from_null_and_brings_its_old_key() {
    let messages = messages(STORY_LOG);
    let updates: Vec<_> = messages
        .iter()
        .filter_map(|(_, body)| match Message::parse(body) {
            Ok(Message::Update { old, new, .. }) => Some((old, new)),
            _ => None,
        })
        .collect();
    let (old, new) = updates[0];
    assert_eq!(old, None);
    assert_eq!(
        all_fields(new).expect("whole"),
        [Field::Text(b"1"), Field::Text(b"11"), Field::Unchanged]
    );
    let Some(Old::Full(whole)) = updates[1].0 else {
        panic!("replica identity full");
    };
    let whole = all_fields(whole).expect("whole");
    assert!(matches!(whole[2], Field::Text(text) if text.len() == 66_000));
    let Some(Old::Key(key)) = updates[4].0 else {
        panic!("a key that moves");
    };
    assert_eq!(
        all_fields(key).expect("whole"),
        [Field::Text(b"1"), Field::Null, Field::Null]
    );
}

#[test]
fn two_phase_messages_are_told_apart() {
    for hex in [
        "62000000000000000100000000000000020000000000000003000000046700",
        "5000000000000000000100000000000000020000000000000003000000046700",
        "4b00000000000000000100000000000000020000000000000003000000046700",
        "72000000000000000001000000000000000200000000000000030000000000000004000000046700",
        "7000000000000000000100000000000000020000000000000003000000046700",
    ] {
        let body = bytes(hex);
        let message = Message::parse(&body).expect("of the protocol");
        assert_eq!(message, Message::TwoPhase { tag: body[0] });
    }
}

#[test]
fn a_parallel_abort_with_its_place_is_read() {
    let body = bytes("41000002f7000002f800000000000000010000000000000002");
    assert_eq!(
        Message::parse(&body).expect("of the protocol"),
        Message::StreamAbort {
            xid: 0x2f7,
            subxid: 0x2f8
        }
    );
}

#[test]
fn every_cut_of_every_captured_message_is_refused() {
    for (log, streams) in [
        (STORY_LOG, false),
        (STORY_STREAMED_LOG, true),
        (KINDS_TEXT_LOG, false),
        (KINDS_BINARY_LOG, false),
    ] {
        let mut block = false;
        for (_, body) in messages(log) {
            let ends = body == [b'E'];
            let streamed = streams && block && !ends;
            exhaust(&body, streamed).expect("whole");
            let step = (body.len() / 300).max(1);
            for end in (0..body.len()).step_by(step) {
                assert!(
                    exhaust(&body[..end], streamed).is_err(),
                    "{} bytes of a message {:?}",
                    end,
                    char::from(body[0])
                );
            }
            block = body[0] == b'S' || block && !ends;
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        tag in prop::sample::select(b"BCORYIUDTMSEcAbPKrpx".to_vec()),
        rest in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut body = vec![tag];
        body.extend(rest);
        let _ = exhaust(&body, false);
        let _ = exhaust(&body, true);
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let messages = messages(KINDS_BINARY_LOG);
        let mut body = which.get(&messages).1.clone();
        let place = place.index(body.len());
        body[place] = byte;
        let _ = exhaust(&body, false);
    }
}
