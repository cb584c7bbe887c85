//! Offsets that Debezium's connectors have stored, for taking over where one of them stopped.
//!
//! Owns what every connector's offset says alike: whether all existing rows were sent. Invariant: a
//! place within a snapshot is refused, for what is left of the snapshot would never come. Leaves the
//! place in the log to the source whose log it is.

use cdc_api::{Error, Result};
use serde::Deserialize;

/// What an offset says of snapshots. Debezium 2 says the same by other names than 3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Snapshots {
    /// The kind of the snapshot, or true, where the record is of one.
    #[serde(default)]
    snapshot: Option<Kind>,
    /// Whether that snapshot is complete: Debezium 3.
    #[serde(default)]
    snapshot_completed: Option<bool>,
    /// The same, Debezium 2 for PostgreSQL.
    #[serde(default)]
    last_snapshot_record: Option<bool>,
    /// Tables of an incremental snapshot that is not complete, a JSON list.
    #[serde(default)]
    incremental_snapshot_collections: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Kind {
    Given(bool),
    Named(String),
}

impl Snapshots {
    /// Refuses an offset within a snapshot.
    ///
    /// # Errors
    /// `Config`, with the remedy.
    pub fn finished(&self) -> Result<()> {
        let complete = self.snapshot_completed.or(self.last_snapshot_record);
        let begun = match &self.snapshot {
            Some(Kind::Given(given)) => *given,
            Some(Kind::Named(name)) => name != "false",
            None => false,
        };
        if complete == Some(false) || begun && complete.is_none() {
            return Err(within("snapshot"));
        }
        match self.incremental_snapshot_collections.as_deref() {
            None | Some("" | "[]") => Ok(()),
            Some(_) => Err(within("incremental snapshot")),
        }
    }
}

fn within(what: &str) -> Error {
    Error::config(format!(
        "source.debezium_offset: the connector was stopped within its {what}"
    ))
    .hint(
        "start the connector again, stop it when its snapshot is complete, and take the offset that it \
         has then; or leave source.debezium_offset and snapshot.initial out, and the tables are copied",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(offset: &str) -> bool {
        let offset: Snapshots = serde_json::from_str(offset).expect("an offset");
        offset.finished().is_err()
    }

    #[test]
    fn a_place_within_a_snapshot_is_refused_whichever_version_says_so() {
        for offset in [
            r#"{"snapshot": "INITIAL", "snapshot_completed": false}"#,
            r#"{"snapshot": true, "last_snapshot_record": false}"#,
            r#"{"snapshot": true, "pos": 4}"#,
            r#"{"incremental_snapshot_collections": "[{\"incremental_snapshot_collections_id\":\"public.t\"}]"}"#,
        ] {
            assert!(refused(offset), "{offset}");
        }
        for offset in [
            r#"{"snapshot": "INITIAL", "snapshot_completed": true}"#,
            r#"{"snapshot": true, "last_snapshot_record": true}"#,
            r#"{"snapshot": "false", "incremental_snapshot_collections": "[]"}"#,
            r#"{"pos": 4}"#,
        ] {
            assert!(!refused(offset), "{offset}");
        }
    }
}
