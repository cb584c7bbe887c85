//! What a value is where it is the row alone (`envelope: flat`): what becomes of a delete, and which
//! members of the envelope stand beside the row or in headers, as Debezium's
//! `ExtractNewRecordState` has them.
//!
//! Invariant: names are checked when the sink is made, not with the first row.

use cdc_api::{Error, Result};

use super::{Connector, schema, text};
use crate::config::{Flattened, KafkaConfig};

/// A member of the envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    /// Whether the row is gone: `true` or `false`, as text.
    Deleted,
    Op,
    /// When the record was made: `ts_ms`, `ts_us` or `ts_ns`.
    Made(&'static str),
    /// Of the source block.
    Source(&'static str),
    /// Of the transaction block.
    Transaction(&'static str),
}

impl Member {
    fn of(name: &str, connector: Connector) -> Option<Self> {
        const MADE: [&str; 3] = ["ts_ms", "ts_us", "ts_ns"];
        const BLOCK: [&str; 3] = ["id", "total_order", "data_collection_order"];
        let known = |list: [&'static str; 3], name| list.into_iter().find(|it| *it == name);
        match name.split_once('.') {
            Some(("transaction", name)) => known(BLOCK, name).map(Self::Transaction),
            Some(("source", name)) => Self::of_source(name, connector),
            Some(_) => None,
            None if name == "op" => Some(Self::Op),
            None => match known(MADE, name) {
                Some(name) => Some(Self::Made(name)),
                None => Self::of_source(name, connector),
            },
        }
    }

    fn of_source(name: &str, connector: Connector) -> Option<Self> {
        let mut members = schema::source_members(connector).into_iter();
        members
            .find(|(it, ..)| *it == name)
            .map(|(name, ..)| Self::Source(name))
    }
}

/// A member of the envelope under a name of its own.
#[derive(Debug, Clone)]
pub(super) struct Extra {
    pub(super) name: String,
    /// The name in quotes, and a colon.
    pub(super) label: Vec<u8>,
    pub(super) field: Member,
}

impl Extra {
    fn new(name: String, field: Member) -> Self {
        let mut label = Vec::new();
        text::string(&mut label, &name);
        label.push(b':');
        Self { name, label, field }
    }
}

/// How a row stands alone.
#[derive(Debug, Clone)]
pub(super) struct Flat {
    pub(super) deletes: Flattened,
    pub(super) fields: Vec<Extra>,
    pub(super) headers: Vec<Extra>,
}

impl Flat {
    /// What the settings say.
    ///
    /// # Errors
    /// `Config`, naming the member that the envelope does not have.
    pub(super) fn new(config: &KafkaConfig, connector: Connector) -> Result<Self> {
        let settings = &config.flat;
        let extras = |names: &[String], key: &str| -> Result<Vec<Extra>> {
            let extra = names.iter().map(|name| {
                let (member, own) = match name.split_once(':') {
                    Some((member, own)) => (member, own.to_owned()),
                    None => (name.as_str(), name.replace('.', "_")),
                };
                let field = Member::of(member, connector).ok_or_else(|| {
                    Error::config(format!(
                        "kafka setting `flat.{key}`: the envelope has no `{member}`"
                    ))
                    .hint(
                        "name `op`, `ts_ms`, a member of the source block (`source.lsn`) or of \
                         the transaction block (`transaction.id`)",
                    )
                })?;
                Ok(Extra::new(format!("{}{own}", settings.prefix), field))
            });
            extra.collect()
        };
        let mut fields = extras(&settings.add_fields, "add_fields")?;
        if settings.deletes.rewrites() {
            fields.insert(0, Extra::new("__deleted".to_owned(), Member::Deleted));
        }
        Ok(Self {
            deletes: settings.deletes,
            fields,
            headers: extras(&settings.add_headers, "add_headers")?,
        })
    }
}
