//! Logical messages among the rows.

use cdc_api::Said;

use super::*;

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
