//! The golden bytes of `testdata`, captured from PostgreSQL 15 by `testdata/capture`, and what the
//! catalog said about them.

use std::sync::Arc;

use cdc_api::{Identity, Result, TableId, TableName, TableSchema};

use super::pgoutput::{Message, Relation};
use super::table::TableVersion;
use crate::types::{ColumnType, PgType, TypeOptions, TypeTable};

pub(crate) const KINDS_COPY: &str = include_str!("testdata/kinds.copy");
pub(crate) const KINDS_SELECT: &str = include_str!("testdata/kinds.select");
pub(crate) const STORY_LOG: &str = include_str!("testdata/story.log");
pub(crate) const STORY_STREAMED_LOG: &str = include_str!("testdata/story_streamed.log");
pub(crate) const KINDS_TEXT_LOG: &str = include_str!("testdata/kinds_text.log");
pub(crate) const KINDS_BINARY_LOG: &str = include_str!("testdata/kinds_binary.log");
const TYPES: &str = include_str!("testdata/types.tsv");
const COLUMNS: &str = include_str!("testdata/columns.tsv");

/// The messages of a log: place and bytes.
pub(crate) fn messages(log: &str) -> Vec<(u64, Vec<u8>)> {
    log.lines()
        .map(|line| {
            let (lsn, hex) = line.split_once(' ').expect("two words");
            let (high, low) = lsn.split_once('/').expect("a position");
            let part = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
            (part(high) << 32 | part(low), bytes(hex))
        })
        .collect()
}

/// Bytes from hexadecimal; `{66000x}` stands for as many letters.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = hex
        .trim()
        .split("{66000x}")
        .map(|part| {
            part.as_bytes()
                .chunks(2)
                .map(|pair| {
                    let pair = std::str::from_utf8(pair).expect("ASCII");
                    u8::from_str_radix(pair, 16).expect("hexadecimal")
                })
                .collect()
        })
        .collect();
    parts.join(&[b'x'; 66_000][..])
}

/// The types of the captured database.
pub(crate) fn types(options: TypeOptions) -> TypeTable {
    let types = TYPES.lines().map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        PgType {
            oid: fields[0].parse().expect("an oid"),
            name: fields[1].to_owned(),
            kind: PgType::kind(fields[2]),
            element: fields[3].parse().expect("an oid"),
            base: fields[4].parse().expect("an oid"),
            typmod: fields[5].parse().expect("a modifier"),
            delimiter: fields[6].as_bytes()[0],
            output: fields[7].to_owned(),
        }
    });
    TypeTable::new(types, options)
}

/// The columns of a captured table: name and type.
pub(crate) fn columns(table: &str, options: TypeOptions) -> Vec<(&'static str, ColumnType)> {
    let types = types(options);
    COLUMNS
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|fields| fields[0] == table)
        .map(|fields| {
            let number = |index: usize| fields[index].parse().expect("a number");
            let oid = fields[2].parse().expect("an oid");
            let column = types.resolve(oid, number(3), number(4));
            (fields[1], column.expect("a known type"))
        })
        .collect()
}

/// A shape with these columns.
pub(crate) fn schema(
    oid: u32,
    name: &str,
    columns: &[(&str, ColumnType)],
    key: Vec<usize>,
    identity: Identity,
) -> Arc<TableSchema> {
    let columns = columns.iter().zip(1..);
    Arc::new(TableSchema::new(
        TableId(u64::from(oid)),
        TableName::new("public", name),
        1,
        columns
            .map(|((name, kind), id)| kind.column(*name, id, "t"))
            .collect(),
        key,
        identity,
    ))
}

/// The table as the relation and the catalog describe it; `foreigner` is not captured.
pub(crate) fn version(
    relation: &Relation<'_>,
    options: TypeOptions,
) -> Result<Option<TableVersion>> {
    if relation.name == "foreigner" {
        return Ok(None);
    }
    let mut known = columns(relation.name, options);
    known.retain(|(name, _)| relation.columns().any(|column| column.name == *name));
    let identity = if relation.identity == b'f' {
        Identity::Full
    } else {
        Identity::Key
    };
    let key = match relation.name {
        "keyless" => vec![],
        "indexed" => vec![1],
        _ => vec![0],
    };
    let schema = schema(relation.oid, relation.name, &known, key, identity);
    let types = known.into_iter().map(|(_, kind)| kind).collect();
    TableVersion::new(schema, types, relation).map(Some)
}

/// The description of the first table in a log.
pub(crate) fn first_relation(messages: &[(u64, Vec<u8>)]) -> Relation<'_> {
    messages
        .iter()
        .find_map(|(_, body)| match Message::parse(body) {
            Ok(Message::Relation(relation)) => Some(relation),
            _ => None,
        })
        .expect("a table")
}
