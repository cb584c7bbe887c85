//! A copy gives the same rows however it is cut, and none where it is broken.

use proptest::prelude::*;

use super::*;
use crate::decode::golden::{KINDS_COPY, KINDS_SELECT, bytes, columns, schema};
use crate::types::TypeOptions;
use cdc_api::Identity;

fn decoder(rows: usize) -> CopyDecoder {
    let columns = columns("kinds", TypeOptions::default());
    let schema = schema(1, "kinds", &columns, vec![0], Identity::Key);
    let types = columns.into_iter().map(|(_, kind)| kind).collect();
    CopyDecoder::new(
        schema,
        types,
        BatchLimits {
            rows,
            bytes: 1 << 20,
        },
    )
}

fn whole() -> RecordBatch {
    let mut copy = decoder(100);
    copy.push(&bytes(KINDS_COPY)).expect("valid");
    copy.finish().expect("whole").expect("rows")
}

#[test]
fn the_expected_columns_are_selected() {
    let selected: Vec<_> = columns("kinds", TypeOptions::default())
        .iter()
        .map(|(name, kind)| kind.copy_expression(name))
        .collect();
    assert_eq!(selected.join(", "), KINDS_SELECT.trim());
}

#[test]
fn batches_end_at_the_row_limit() {
    let copied = bytes(KINDS_COPY);
    let mut copy = decoder(2);
    let mut batches = Vec::new();
    for piece in copied.chunks(100) {
        if copy.push(piece).expect("valid") {
            batches.push(copy.take().expect("sound").expect("rows"));
        }
    }
    batches.extend(copy.finish().expect("whole"));
    assert!(batches.len() > 1);
    assert!(batches.iter().all(|batch| batch.num_rows() >= 1));
    let schema = batches[0].schema();
    let joined = arrow::compute::concat_batches(&schema, &batches).expect("one schema");
    assert_eq!(joined, whole());
}

#[test]
fn a_copy_cut_short_is_an_error() {
    let copied = bytes(KINDS_COPY);
    for end in 0..copied.len() {
        let mut copy = decoder(100);
        copy.push(&copied[..end]).expect("valid so far");
        let error = copy.finish().expect_err("cut short");
        assert!(error.is_transient());
    }
}

#[test]
fn what_is_no_binary_copy_is_refused() {
    assert!(decoder(1).push(b"1\ttext\n").is_err());
    let mut copied = bytes(KINDS_COPY);
    copied[12] = 1;
    assert!(decoder(1).push(&copied).is_err(), "a critical flag");
    let mut copied = bytes(KINDS_COPY);
    copied.push(0);
    assert!(decoder(1).push(&copied).is_err(), "goes on after its end");
}

#[test]
fn a_header_extension_is_passed_over() {
    let mut copied = bytes(KINDS_COPY);
    copied[18] = 3;
    copied.splice(19..19, *b"abc");
    let mut copy = decoder(100);
    copy.push(&copied).expect("valid");
    assert_eq!(copy.finish().expect("whole").expect("rows"), whole());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_gives_the_same_rows(cuts in prop::collection::vec(1usize..700, 1..30)) {
        let copied = bytes(KINDS_COPY);
        let mut copy = decoder(100);
        let mut rest = copied.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            copy.push(piece).expect("valid");
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(copy.finish().expect("whole").expect("rows"), whole());
    }

    #[test]
    fn a_damaged_copy_never_panics(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut copied = bytes(KINDS_COPY);
        let place = place.index(copied.len());
        copied[place] = byte;
        let mut copy = decoder(100);
        if copy.push(&copied).is_ok() {
            let _ = copy.finish();
        }
    }
}
