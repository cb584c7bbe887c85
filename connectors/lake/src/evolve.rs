//! What a table's new shape means for its files.
//!
//! Files are never rewritten for it: each has the shape of its time, and readers unite them by
//! name. So columns may come, go, be renamed and become wider; another key, or a type that does not
//! hold every earlier value, stops the table, which is to be copied again then.

use std::sync::Arc;

use cdc_api::{Column, ColumnChange, Error, Result, SchemaDiff, TableSchema};

use crate::config::SchemaPolicy;
use crate::rows;

/// The shape that rows are written in from here on; `None` when it stays the same.
pub(crate) fn next_shape(
    shapes: &[Arc<TableSchema>],
    new: &Arc<TableSchema>,
    policy: SchemaPolicy,
) -> Result<Option<Arc<TableSchema>>> {
    let Some(old) = shapes.last() else {
        return Ok(Some(Arc::clone(new)));
    };
    if old.same_shape(new) {
        return Ok(None);
    }
    let diff = SchemaDiff::between(old, new);
    let stop = |what: String| {
        Error::unsupported(format!(
            "{what} of {}, which the lake's earlier files cannot follow",
            new.name
        ))
        .hint(format!("cdc snapshot {}", new.name))
        .for_table(new.id)
    };
    if policy == SchemaPolicy::Fail && !diff.columns.is_empty() {
        return Err(Error::unsupported(format!(
            "the columns of {} have changed, and `schema_changes` is `fail`",
            new.name
        ))
        .hint(format!(
            "cdc snapshot {}, or set `schema_changes: evolve` on this sink",
            new.name
        ))
        .for_table(new.id));
    }
    if diff.key_changed {
        return Err(stop("the key has changed".to_owned()));
    }
    // Version numbers tell files apart; a source that began to count anew would mix them up.
    let version = match shapes.iter().map(|shape| shape.version).max() {
        Some(highest) if new.version <= highest => highest + 1,
        _ => new.version,
    };
    let shape = if policy == SchemaPolicy::Ignore {
        let mut kept = TableSchema::clone(old);
        kept.name.clone_from(&new.name);
        kept.identity = new.identity;
        if kept.name == old.name && kept.identity == old.identity {
            None
        } else {
            Some(kept.with_version(version))
        }
    } else {
        rows::check_names(new)?;
        for change in &diff.columns {
            let ColumnChange::Retype { name, from, to } = change else {
                continue;
            };
            let stored =
                |column: &Column| rows::stored_type(&column.data_type, column.extension.as_deref());
            if !rows::widens(&stored(from), &stored(to)) {
                return Err(stop(format!("the type of column `{name}` has changed")));
            }
        }
        Some(TableSchema::clone(new).with_version(version))
    };
    Ok(shape.map(Arc::new))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use cdc_api::{Identity, TableId, TableName};

    use super::*;

    fn shape(version: u32, columns: &[(&str, u64, DataType)]) -> Arc<TableSchema> {
        let columns = columns
            .iter()
            .map(|(name, id, data_type)| Column {
                id: Some(*id),
                ..Column::new(*name, data_type.clone(), format!("{data_type}"))
            })
            .collect();
        Arc::new(TableSchema::new(
            TableId(1),
            TableName::new("s", "t"),
            version,
            columns,
            vec![0],
            Identity::Key,
        ))
    }

    fn id() -> (&'static str, u64, DataType) {
        ("id", 1, DataType::Int64)
    }

    #[test]
    fn adding_dropping_renaming_and_widening_are_followed() {
        let first = shape(
            1,
            &[id(), ("a", 2, DataType::Int32), ("b", 3, DataType::Utf8)],
        );
        for columns in [
            vec![
                id(),
                ("a", 2, DataType::Int32),
                ("b", 3, DataType::Utf8),
                ("c", 4, DataType::Utf8),
            ],
            vec![id(), ("b", 3, DataType::Utf8)],
            vec![id(), ("x", 2, DataType::Int32), ("b", 3, DataType::Utf8)],
            vec![id(), ("a", 2, DataType::Int64), ("b", 3, DataType::Utf8)],
        ] {
            let new = shape(2, &columns);
            let next = next_shape(&[Arc::clone(&first)], &new, SchemaPolicy::Evolve);
            assert_eq!(next.expect("is followed"), Some(new));
        }
    }

    #[test]
    fn what_earlier_files_cannot_follow_stops_the_table_with_the_remedy() {
        let first = shape(
            1,
            &[id(), ("a", 2, DataType::Int32), ("b", 3, DataType::Utf8)],
        );
        let narrowed = shape(
            2,
            &[id(), ("a", 2, DataType::Int16), ("b", 3, DataType::Utf8)],
        );
        let other = shape(
            2,
            &[id(), ("a", 2, DataType::Utf8), ("b", 3, DataType::Utf8)],
        );
        let mut rekeyed = TableSchema::clone(&first).with_version(2);
        rekeyed.key = vec![1];
        for new in [narrowed, other, Arc::new(rekeyed)] {
            let error = next_shape(&[Arc::clone(&first)], &new, SchemaPolicy::Evolve)
                .expect_err("is refused");
            assert_eq!(error.table(), Some(TableId(1)));
            assert_eq!(error.hint_text(), Some("cdc snapshot s.t"));
        }
    }

    #[test]
    fn ignoring_keeps_the_shape_and_failing_stops() {
        let first = shape(1, &[id()]);
        let added = shape(2, &[id(), ("a", 2, DataType::Utf8)]);
        let shapes = [first];
        assert_eq!(
            next_shape(&shapes, &added, SchemaPolicy::Ignore).ok(),
            Some(None)
        );
        assert!(next_shape(&shapes, &added, SchemaPolicy::Fail).is_err());
    }

    #[test]
    fn the_same_shape_again_is_no_change() {
        let first = shape(1, &[id()]);
        let again = Arc::new(TableSchema::clone(&first).with_version(9));
        assert_eq!(
            next_shape(&[first], &again, SchemaPolicy::Fail).ok(),
            Some(None)
        );
    }
}
