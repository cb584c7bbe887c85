//! Ranges cover everything once, and bounds become literals that cannot be anything else.

use super::*;

fn keys(kinds: &[Kind]) -> Keys {
    Keys(
        kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| Key {
                column: format!("`k{index}`"),
                kind: kind.clone(),
            })
            .collect(),
    )
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

#[test]
fn ranges_follow_each_other_and_are_open_at_both_ends() {
    let ranges = between(vec![texts(&["10"]), texts(&["20"])]);
    assert_eq!(ranges.len(), 3);
    assert!(ranges[0].after.is_empty() && ranges[2].upto.is_empty());
    for pair in ranges.windows(2) {
        assert_eq!(pair[0].upto, pair[1].after);
    }
    assert_eq!(between(Vec::new()), [Range::default()]);
    for range in ranges {
        assert_eq!(Range::parse(&range.text()), Some(range));
    }
    assert_eq!(Range::parse("{\"sql\":\"x\"}"), None);
}

#[test]
fn a_key_of_one_column_is_compared_on_both_sides() {
    let keys = keys(&[Kind::Integer]);
    let range = Range {
        after: texts(&["-5"]),
        upto: texts(&["18446744073709551615"]),
    };
    assert_eq!(
        keys.filter(&range).as_deref(),
        Some(" WHERE `k0` > -5 AND `k0` <= 18446744073709551615")
    );
    assert_eq!(keys.filter(&Range::default()).as_deref(), Some(""));
}

#[test]
fn a_key_of_several_columns_is_compared_by_all_of_them() {
    let keys = keys(&[Kind::Integer, Kind::Text("latin1".to_owned()), Kind::Bytes]);
    let range = Range {
        after: texts(&["7", "41", "00ff"]),
        upto: Vec::new(),
    };
    assert_eq!(
        keys.filter(&range).as_deref(),
        Some(
            " WHERE (`k0` > 7 OR (`k0` = 7 AND (`k1` > _latin1 X'41' OR (`k1` = _latin1 X'41' AND \
             `k2` > X'00ff'))))"
        )
    );
}

#[test]
fn a_bound_that_is_none_is_refused() {
    let bad = [
        (Kind::Integer, "1 OR 1"),
        (Kind::Integer, ""),
        (Kind::Number, "x"),
        (Kind::Plain, "2024-01-01' OR '"),
        (Kind::Text("utf8mb4".to_owned()), "4g"),
        (Kind::Text("utf8mb4 x".to_owned()), "41"),
        (Kind::Bytes, "'"),
    ];
    for (kind, bound) in bad {
        assert_eq!(kind.literal(bound), None, "{kind:?} {bound}");
    }
    let one = keys(&[Kind::Integer]);
    let two = Range {
        after: texts(&["1", "2"]),
        upto: Vec::new(),
    };
    assert_eq!(one.filter(&two), None);
}

#[test]
fn steps_are_even_and_only_where_numbers_are_dense() {
    assert_eq!(steps(1, 100, 100, 4), Some(vec![25, 50, 75]));
    assert_eq!(steps(-10, 9, 20, 2), Some(vec![-1]));
    assert_eq!(steps(5, 5, 1, 3), Some(vec![]));
    assert_eq!(steps(0, i128::from(u64::MAX), 1000, 4), None);
    let all = i128::from(u64::MAX);
    let bounds = steps(0, all, u64::MAX, 3).expect("dense");
    assert_eq!(bounds.len(), 2);
    assert!(bounds[0] < bounds[1] && bounds[1] < all);
}
