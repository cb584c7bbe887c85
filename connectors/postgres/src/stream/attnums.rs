//! Which column of the catalog each column of a Relation message is.
//!
//! The log says no attnums, and names change: between what was known before and the message, and between the message
//! and the catalog, which is read later. But columns are sent in the order of their attnums, which never change, and
//! one that is there both before and after was there in between. So the two lists are aligned in order, as sequences
//! are (Needleman and Wunsch, 1970), and names decide only where that leaves a choice: which of several dropped
//! columns it was.
//!
//! Of a table that no row has come of since its copy nothing is known before: then the catalog's column is taken where
//! one was dropped and added again under its name. That is wrong for rows from before the drop, if any come.

use std::collections::{BTreeMap, HashMap};
use std::iter::zip;

use cdc_api::{Column, Error, Result, TableSchema};

use super::shapes::catalog_column;
use crate::catalog::CatalogTable;
use crate::decode::pgoutput::RelationColumn;

/// What a name says that agrees.
const SAME_NAME: i32 = 2;
/// A column that must have been there and was not sent: more than all names of a table (at most 1,600) can say.
const NOT_SENT: i32 = -100_000;
/// A column that was sent and that nothing is known of; the same.
const UNKNOWN: i32 = -100_000;

/// A column that one of those sent may be.
struct Candidate {
    attnum: i16,
    /// What it says when it was not sent, and a younger one was.
    passed: i32,
    /// The same when no younger one was.
    left: i32,
}

/// The attnums of the columns that were sent, ascending. `None` where it is not clear which one it was.
///
/// # Errors
/// Where that matters: a column is gone and there is another of its name and type, which begins with other values.
pub(super) fn attnums(
    sent: &[RelationColumn<'_>],
    catalog: Option<&CatalogTable>,
    known: Option<&TableSchema>,
    named: &HashMap<(u32, i32), String>,
) -> Result<Vec<Option<i16>>> {
    let before: BTreeMap<i16, &Column> = known
        .iter()
        .flat_map(|table| &table.columns)
        .filter_map(|it| Some((i16::try_from(it.id?).ok()?, it)))
        .collect();
    let candidates = candidates(catalog, &before);
    let now = |column: &RelationColumn<'_>| catalog_column(column, catalog);
    let was = |column: &RelationColumn<'_>, before: &Column| {
        let type_name = match now(column) {
            Some(now) => Some(&now.type_name),
            None => named.get(&(column.type_oid, column.typmod)),
        };
        before.name == column.name && type_name.is_some_and(|it| *it == before.source_type)
    };
    let scores = |column: usize, candidate: usize| {
        let (column, attnum) = (&sent[column], candidates[candidate].attnum);
        let was = before.get(&attnum).is_some_and(|it| was(column, it));
        let is = now(column).is_some_and(|it| it.attnum == attnum);
        SAME_NAME * (i32::from(was) + i32::from(is))
    };
    let (columns, places) = (sent.len(), candidates.len());
    // The best alignment of the columns up to one with the candidates up to one, and of those from them on.
    let mut up_to = vec![vec![0; places + 1]; columns + 1];
    for column in 0..=columns {
        for place in 0..=places {
            let pass = (place > 0).then(|| up_to[column][place - 1] + candidates[place - 1].passed);
            let miss = (column > 0).then(|| up_to[column - 1][place] + UNKNOWN);
            let meet = (column > 0 && place > 0)
                .then(|| up_to[column - 1][place - 1] + scores(column - 1, place - 1));
            up_to[column][place] = pass.max(miss).max(meet).unwrap_or(0);
        }
    }
    let mut from = vec![vec![0; places + 1]; columns + 1];
    for place in (0..places).rev() {
        from[columns][place] = from[columns][place + 1] + candidates[place].left;
    }
    for column in (0..columns).rev() {
        for place in (0..=places).rev() {
            let miss = from[column + 1][place] + UNKNOWN;
            let pass = (place < places).then(|| from[column][place + 1] + candidates[place].passed);
            let meet =
                (place < places).then(|| from[column + 1][place + 1] + scores(column, place));
            from[column][place] = pass.max(meet).map_or(miss, |other| other.max(miss));
        }
    }
    let best = from[0][0];
    let only = |column: usize| {
        let mut found = (0..places).filter(|&place| {
            up_to[column][place] + scores(column, place) + from[column + 1][place + 1] == best
        });
        let first = found.next()?;
        let unknown = (0..=places)
            .any(|place| up_to[column][place] + UNKNOWN + from[column + 1][place] == best);
        (found.next().is_none() && !unknown).then_some(candidates[first].attnum)
    };
    let found: Vec<Option<i16>> = (0..columns).map(only).collect();
    for (column, found) in zip(sent, &found) {
        let other = now(column).filter(|_| found.is_none());
        let gone = |(attnum, before): (&i16, &&Column)| {
            was(column, before) && other.is_some_and(|other| other.attnum != *attnum)
        };
        if before.iter().any(gone) {
            return Err(Error::data(format!(
                "column `{}` was dropped and is there again, and the log does not say which of the two its \
                 rows have",
                column.name
            )));
        }
    }
    Ok(found)
}

/// All that the table has and had, by the catalog; of a table that is gone, what was known.
fn candidates(catalog: Option<&CatalogTable>, before: &BTreeMap<i16, &Column>) -> Vec<Candidate> {
    let optional = |attnum| Candidate {
        attnum,
        passed: 0,
        left: 0,
    };
    let Some(catalog) = catalog else {
        return before.keys().copied().map(optional).collect();
    };
    let youngest_before = before.keys().last().copied().unwrap_or(0);
    let live = catalog.columns.iter().map(|it| {
        let attnum = it.attnum;
        let captured = before.contains_key(&attnum);
        // One that was left out before may be left out still.
        let certain = captured || attnum > youngest_before;
        Candidate {
            attnum,
            passed: if certain { NOT_SENT } else { 0 },
            left: if captured { NOT_SENT } else { 0 },
        }
    });
    let dropped = catalog.dropped.iter().copied().map(optional);
    let mut all: Vec<_> = live.chain(dropped).collect();
    all.sort_unstable_by_key(|it| it.attnum);
    all
}

#[cfg(test)]
mod tests {
    use cdc_api::{Identity, TableId, TableName};

    use super::*;
    use crate::catalog::{CatalogColumn, ReplicaIdentity};

    const INT4: u32 = 23;

    fn sent(name: &str) -> RelationColumn<'_> {
        RelationColumn {
            key: name == "id",
            name,
            type_oid: INT4,
            typmod: -1,
        }
    }

    /// Columns by attnum from 1; the empty name is a dropped one.
    fn catalog(names: &[&str]) -> CatalogTable {
        let numbered = || (1..).zip(names);
        CatalogTable {
            oid: 7,
            name: TableName::new("public", "t"),
            columns: numbered()
                .filter(|(_, name)| !name.is_empty())
                .map(|(attnum, name)| CatalogColumn {
                    attnum,
                    name: (*name).to_owned(),
                    type_oid: INT4,
                    typmod: -1,
                    dimensions: 0,
                    type_name: "integer".to_owned(),
                    nullable: true,
                    existing: None,
                })
                .collect(),
            dropped: numbered()
                .filter(|(_, name)| name.is_empty())
                .map(|(attnum, _)| attnum)
                .collect(),
            generated: Vec::new(),
            key: vec![1],
            identity: ReplicaIdentity::Default,
            partitioned: false,
            row_security: false,
        }
    }

    /// Columns by name and attnum.
    fn known(columns: &[(&str, u64)]) -> TableSchema {
        let columns = columns.iter().map(|(name, attnum)| {
            let mut column = Column::new(*name, arrow::datatypes::DataType::Int32, "integer");
            column.id = Some(*attnum);
            column
        });
        let name = TableName::new("public", "t");
        TableSchema::new(
            TableId(7),
            name,
            1,
            columns.collect(),
            Vec::new(),
            Identity::Key,
        )
    }

    fn found(sent_names: &[&str], now: &[&str], known: Option<&TableSchema>) -> Vec<Option<i16>> {
        let columns: Vec<_> = sent_names.iter().map(|name| sent(name)).collect();
        let named = HashMap::from([((INT4, -1), "integer".to_owned())]);
        attnums(&columns, Some(&catalog(now)), known, &named).expect("it is clear")
    }

    fn all(numbers: &[i16]) -> Vec<Option<i16>> {
        numbers.iter().copied().map(Some).collect()
    }

    #[test]
    fn a_column_that_was_renamed_or_dropped_later_is_found_by_its_place() {
        let cases: [(&[&str], &[&str], &[i16]); 6] = [
            (&["id", "a", "b"], &["id", "x", "b"], &[1, 2, 3]),
            (&["id", "a", "b"], &["id", "", "b"], &[1, 2, 3]),
            (&["id", "a"], &["id", ""], &[1, 2]),
            (&["id", "a"], &["id", "x", "younger"], &[1, 2]),
            (&["a", "b"], &["x", "y"], &[1, 2]),
            (&["a", "b", "c"], &["x", "", "b", "z"], &[1, 3, 4]),
        ];
        for (sent, now, attnums) in cases {
            assert_eq!(found(sent, now, None), all(attnums), "{sent:?} in {now:?}");
        }
    }

    #[test]
    fn columns_that_exchange_their_names_keep_their_places() {
        let before = known(&[("id", 1), ("a", 2), ("b", 3), ("c", 4)]);
        for (sent, now) in [
            // After the message, before it, and twice.
            (["id", "a", "b", "c"], ["id", "b", "a", "c"]),
            (["id", "b", "a", "c"], ["id", "b", "a", "c"]),
            (["id", "b", "a", "c"], ["id", "a", "b", "c"]),
            (["id", "b", "c", "a"], ["id", "c", "a", "b"]),
        ] {
            for known in [None, Some(&before)] {
                assert_eq!(
                    found(&sent, &now, known),
                    all(&[1, 2, 3, 4]),
                    "{sent:?}, {now:?}"
                );
            }
        }
        // However many they are.
        let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
        let now: Vec<&str> = names.iter().map(String::as_str).collect();
        let before: Vec<(&str, u64)> = now.iter().copied().zip(1..).collect();
        let mut turned = now.clone();
        turned.rotate_left(1);
        let places = found(&turned, &now, Some(&known(&before)));
        assert_eq!(places, (1..=40).map(Some).collect::<Vec<_>>());
        // Also beside a column that is dropped by now.
        let before = known(&[("id", 1), ("x", 2), ("a", 3), ("b", 4)]);
        let now = ["id", "", "a", "b"];
        let places = found(&["id", "x", "b", "a"], &now, Some(&before));
        assert_eq!(places, all(&[1, 2, 3, 4]));
        let places = found(&["id", "b", "a"], &now, Some(&before));
        assert_eq!(places, all(&[1, 3, 4]));
    }

    #[test]
    fn columns_that_are_not_published_are_passed_over() {
        let before = known(&[("id", 1), ("b", 3), ("c", 4)]);
        let now = ["id", "a", "c", "b"];
        for sent in [["id", "b", "c"], ["id", "c", "b"], ["id", "x", "b"]] {
            let places = found(&sent, &now, Some(&before));
            assert_eq!(places, all(&[1, 3, 4]), "{sent:?}");
        }
        let places = found(&now, &now, Some(&before));
        assert_eq!(places, all(&[1, 2, 3, 4]), "published by now");
    }

    #[test]
    fn a_place_that_is_not_clear_gives_no_attnum() {
        // Either of the two dropped ones.
        assert_eq!(
            found(&["id", "a", "b"], &["id", "", "", "b"], None)[1],
            None
        );
        assert_eq!(found(&["id", "a"], &["id", "", "younger"], None)[1], None);
        // More were sent than there have ever been.
        assert_eq!(
            found(&["id", "a", "b"], &["id", "b"], None),
            [Some(1), None, Some(2)]
        );
    }

    #[test]
    fn what_was_known_names_a_column_that_the_catalog_has_no_more() {
        let before = known(&[("a", 3)]);
        let places = |now: &[&str]| found(&["id", "a", "b"], now, Some(&before));
        assert_eq!(places(&["id", "", "", "b"]), all(&[1, 3, 4]));
        // Not a second time where the catalog has given it to another.
        assert_eq!(places(&["id", "x", "b"]), all(&[1, 2, 3]));
        // Of a table that is gone.
        let before = known(&[("id", 1), ("a", 2), ("b", 4)]);
        let columns = [sent("id"), sent("b"), sent("a")];
        let places = attnums(&columns, None, Some(&before), &HashMap::new());
        assert_eq!(places.expect("it is clear"), all(&[1, 2, 4]));
    }

    #[test]
    fn a_column_that_was_dropped_and_added_again_is_not_guessed() {
        let before = known(&[("id", 1), ("a", 2)]);
        let now = catalog(&["id", "", "a"]);
        let named = HashMap::from([((INT4, -1), "integer".to_owned())]);
        let places = |columns: &[RelationColumn<'_>], known| {
            attnums(columns, Some(&now), Some(known), &named)
        };
        let error = places(&[sent("id"), sent("a")], &before).expect_err("either of the two");
        assert!(error.message().contains("`a`"), "{error}");
        // Of another type it is the other one, and after a new copy the new one is known.
        let before = known(&[("id", 1), ("a", 3)]);
        let again = places(&[sent("id"), sent("a")], &before);
        assert_eq!(again.expect("it is clear"), all(&[1, 3]));
        let mut before = known(&[("id", 1), ("a", 2)]);
        before.columns[1].source_type = "text".to_owned();
        let other = places(&[sent("id"), sent("a")], &before);
        assert_eq!(other.expect("it is clear"), all(&[1, 3]));
    }
}
