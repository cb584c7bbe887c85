//! Events as frames: which kind and label each has, and its body.
//!
//! Invariant: what was encoded comes back equal, given the table's schema that was in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::{ChangeEvent, Checkpoint, Error, Notice, Result, Said, TableId, TableSchema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::{Header, Kind, Label};
use super::rows;

/// The tables' shapes at some point of the journal.
pub(super) type Schemas = BTreeMap<TableId, Arc<TableSchema>>;

#[derive(Serialize, Deserialize)]
struct Truncate {
    tables: Vec<TableId>,
    seq: u64,
    commit_time: i64,
}

#[derive(Serialize, Deserialize)]
struct Failed {
    table: TableId,
    seq: u64,
    message: String,
    hint: String,
}

/// The label and the body of an event.
pub(super) fn encode(event: &ChangeEvent) -> Result<(Label, Vec<u8>)> {
    let plain = |kind, seq| Label {
        kind,
        seq,
        table: 0,
        version: 0,
        rows: 0,
    };
    Ok(match event {
        ChangeEvent::Schema(schema) => (plain(Kind::Schema, 0), json(schema)?),
        ChangeEvent::Rows(batch) => {
            let label = Label {
                kind: Kind::Rows,
                seq: batch.seq.last().copied().unwrap_or(0),
                table: batch.table.id.0,
                version: batch.table.version,
                rows: u32::try_from(batch.len()).unwrap_or(u32::MAX),
            };
            (label, rows::encode(batch)?)
        }
        ChangeEvent::Truncate {
            tables,
            seq,
            commit_time,
        } => {
            let body = json(&Truncate {
                tables: tables.clone(),
                seq: *seq,
                commit_time: *commit_time,
            })?;
            (plain(Kind::Truncate, *seq), body)
        }
        ChangeEvent::Failed {
            table,
            seq,
            message,
            hint,
        } => {
            let body = json(&Failed {
                table: *table,
                seq: *seq,
                message: message.clone(),
                hint: hint.clone(),
            })?;
            (plain(Kind::Failed, *seq), body)
        }
        ChangeEvent::Notice(notice) => {
            // What is told of it is one line, a message's content follows as it is.
            let mut body = json(&**notice)?;
            body.push(b'\n');
            if let Said::Message { content, .. } = &notice.said {
                body.extend_from_slice(content);
            }
            (plain(Kind::Notice, notice.seq), body)
        }
        ChangeEvent::Commit(checkpoint) => (plain(Kind::Commit, checkpoint.seq), json(checkpoint)?),
        ChangeEvent::Mark { .. } => {
            return Err(Error::internal("marks are not for the journal"));
        }
    })
}

/// The event of a sound frame; a schema comes into force in `schemas`.
pub(super) fn decode(header: &Header, body: &[u8], schemas: &mut Schemas) -> Result<ChangeEvent> {
    let body = header.unpack(body)?;
    Ok(match header.kind {
        Kind::Schema => {
            let schema: Arc<TableSchema> = from_json(&body)?;
            schemas.insert(schema.id, Arc::clone(&schema));
            ChangeEvent::Schema(schema)
        }
        Kind::Rows => {
            let table = schemas
                .get(&TableId(header.table))
                .filter(|table| table.version == header.version)
                .ok_or_else(|| Error::internal("a frame of rows without its schema"))?;
            ChangeEvent::Rows(rows::decode(&body, table)?)
        }
        Kind::Truncate => {
            let Truncate {
                tables,
                seq,
                commit_time,
            } = from_json(&body)?;
            ChangeEvent::Truncate {
                tables,
                seq,
                commit_time,
            }
        }
        Kind::Failed => {
            let Failed {
                table,
                seq,
                message,
                hint,
            } = from_json(&body)?;
            ChangeEvent::Failed {
                table,
                seq,
                message,
                hint,
            }
        }
        Kind::Notice => {
            let end = body.iter().position(|byte| *byte == b'\n');
            let end = end.ok_or_else(|| Error::internal("a frame of a notice without its line"))?;
            let mut notice: Notice = from_json(&body[..end])?;
            if let Said::Message { content, .. } = &mut notice.said {
                *content = body[end + 1..].to_vec();
            }
            ChangeEvent::Notice(Arc::new(notice))
        }
        Kind::Commit => ChangeEvent::Commit(from_json::<Checkpoint>(&body)?),
    })
}

/// Bytes that an event keeps in memory, nearly.
pub(super) fn memory(event: &ChangeEvent) -> usize {
    match event {
        ChangeEvent::Rows(batch) => 512 + batch.bytes(),
        ChangeEvent::Schema(schema) => 512 + 256 * schema.columns.len(),
        ChangeEvent::Notice(notice) => 512 + notice.bytes(),
        _ => 512,
    }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("cannot encode an event").caused_by(error))
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::internal("a sound frame is malformed").caused_by(error))
}
