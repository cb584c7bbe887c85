//! A schema registry with Confluent's interface: gives Avro's schemas their numbers.
//!
//! Follows Confluent's REST interface, `POST /subjects/<subject>/versions` and what stands beside
//! it. Invariant: a number is asked for once for each subject and text as long as the process runs;
//! a registry that refuses a schema stops the schema's table alone, one that does not answer is
//! asked again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cdc_api::{Error, ErrorKind, Finding, Identity, Result, TableId, TableName, TableSchema};
use serde_json::{Value, json};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::config::{Register, RegistryConfig, Subjects};
use crate::envelope::{AvroSchema, Notices, TableEncoder};

const MEDIA: &str = "application/vnd.schemaregistry.v1+json";
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// The registry of one sink.
pub(crate) struct Registry {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
    subjects: Subjects,
    register: Register,
    known: Mutex<HashMap<(String, String), u32>>,
}

impl Registry {
    /// A registry by its settings; nothing is connected yet.
    ///
    /// # Errors
    /// `Config`, naming the setting that is wrong.
    pub(crate) fn new(config: &RegistryConfig) -> Result<Self> {
        let url = config.url.as_deref().unwrap_or_default();
        let scheme = ["http://", "https://"];
        let rest = scheme.iter().find_map(|scheme| url.strip_prefix(scheme));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains('@')) {
            return Err(Error::config(
                "kafka setting `schema_registry.url` is no address of a registry",
            )
            .hint(
                "set `schema_registry.url: http://host:8081`, or https, and a user in `username` \
                 and `password`",
            ));
        }
        let authorization = match (&config.username, &config.password) {
            (Some(user), password) => {
                let password = password.as_deref().unwrap_or_default();
                let both = STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {both}"))
            }
            (None, Some(_)) => {
                return Err(
                    Error::config("kafka setting `schema_registry.password` has no user")
                        .hint("set `schema_registry.username`, too"),
                );
            }
            (None, None) => None,
        };
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .tls_config(tls(config)?)
            .build()
            .into();
        Ok(Self {
            agent,
            url: url.trim_end_matches('/').to_owned(),
            authorization,
            subjects: config.subjects,
            register: config.schemas,
            known: Mutex::default(),
        })
    }

    /// Sees to it that the encoder's schemas have numbers, and tells it.
    ///
    /// # Errors
    /// Of the table, where the registry refuses a schema or does not have it.
    pub(crate) fn number(&self, encoder: &mut TableEncoder) -> Result<()> {
        let (key, value) =
            self.numbers(encoder.topic(), encoder.avro_schemas(), encoder.table())?;
        encoder.numbered(key, value);
        Ok(())
    }

    /// The same for records that are of no table.
    ///
    /// # Errors
    /// `Config`, where the registry refuses a schema or does not have it.
    pub(crate) fn number_notices(&self, notices: &mut Notices) -> Result<()> {
        let nobody = TableSchema::new(
            TableId(0),
            TableName::new("topic", notices.topic()),
            0,
            Vec::new(),
            Vec::new(),
            Identity::None,
        );
        let numbers = self.numbers(notices.topic(), notices.avro_schemas(), &nobody);
        let (key, value) = numbers.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                Error::config(error.message()).hint(hint)
            }
            _ => error,
        })?;
        notices.numbered(key, value);
        Ok(())
    }

    fn numbers(
        &self,
        topic: &str,
        (key, value): (Option<AvroSchema>, AvroSchema),
        table: &TableSchema,
    ) -> Result<(Option<u32>, u32)> {
        let of = |schema: &AvroSchema, part| {
            let subject = self.subject(topic, &schema.name, part);
            self.id(&subject, &schema.text, table)
        };
        let key = key.map(|schema| of(&schema, "key")).transpose()?;
        Ok((key, of(&value, "value")?))
    }

    fn subject(&self, topic: &str, record: &str, part: &str) -> String {
        match self.subjects {
            Subjects::Topic => format!("{topic}-{part}"),
            Subjects::Record => record.to_owned(),
            Subjects::TopicRecord => format!("{topic}-{record}"),
        }
    }

    fn id(&self, subject: &str, text: &str, table: &TableSchema) -> Result<u32> {
        let place = (subject.to_owned(), text.to_owned());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known().get(&place) {
            return Ok(*id);
        }
        let path = format!("/subjects/{subject}");
        let body = Some(json!({ "schema": text }));
        let (status, answer) = match self.register {
            Register::Auto => self.ask(&format!("{path}/versions"), body)?,
            Register::Existing => self.ask(&path, body)?,
            Register::Latest => self.ask(&format!("{path}/versions/latest"), None)?,
        };
        if status != 200 {
            return Err(self.refusal(status, &answer, subject, table));
        }
        if self.register == Register::Latest && !same_fields(&answer["schema"], text) {
            return Err(Error::unsupported(format!(
                "the latest schema of subject {subject} has not the fields of {}",
                table.name
            ))
            .hint(format!(
                "register a schema with the table's columns, or set `schema_registry.schemas: \
                 auto`, then cdc snapshot {}",
                table.name
            ))
            .for_table(table.id));
        }
        let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| {
            Error::transient("the schema registry's answer has no number").hint(
                "set `schema_registry.url` to the path under which /subjects is: of Apicurio \
                 http://host:8080/apis/ccompat/v7",
            )
        })?;
        known().insert(place, id);
        Ok(id)
    }

    /// Why there is no number.
    fn refusal(&self, status: u16, answer: &Value, subject: &str, table: &TableSchema) -> Error {
        let (name, url) = (&table.name, &self.url);
        // What it says is about schemas, which hold no rows.
        let said = answer["message"].as_str().unwrap_or("no reason given");
        let said: String = said.chars().take(500).collect();
        let error = match (status, self.register) {
            (401 | 403, _) => {
                return Error::new(
                    ErrorKind::Auth,
                    format!("the schema registry does not let us use subject {subject} ({status})"),
                )
                .hint("set `schema_registry.username` and `password` to a user that may write it");
            }
            (409, _) => Error::unsupported(format!(
                "the schema of {name} is not compatible with what subject {subject} has: {said}"
            ))
            .hint(format!(
                "curl -X PUT -H 'Content-Type: {MEDIA}' --data '{{\"compatibility\": \"NONE\"}}' \
                 {url}/config/{subject} (of Apicurio {url}/config: there NONE is for all subjects), or \
                 change the table back; then cdc snapshot {name}"
            )),
            (404, Register::Existing | Register::Latest) => Error::unsupported(format!(
                "the schema of {name} is not registered under subject {subject}"
            ))
            .hint(format!(
                "register it, or set `schema_registry.schemas: auto`, then cdc snapshot {name}"
            )),
            (400..=499, _) => Error::unsupported(format!(
                "the schema registry refuses the schema of {name} ({status}): {said}"
            ))
            .hint(format!(
                "set `names: avro`, or a `topic_prefix` whose parts begin with letters, then cdc \
                 snapshot {name}"
            )),
            _ => {
                return Error::transient(format!("the schema registry fails ({status}): {said}"));
            }
        };
        error.for_table(table.id)
    }

    /// Preflight.
    pub(crate) fn check(&self) -> Finding {
        match self.ask("/subjects", None) {
            Ok((200, _)) => Finding::ok("schema_registry", "answers"),
            Ok((401 | 403, _)) => Finding::error(
                "schema_registry",
                "does not let us in",
                "set `schema_registry.username` and `schema_registry.password`",
            ),
            Ok((status, _)) => Finding::error(
                "schema_registry",
                format!("answers {status} to /subjects"),
                "set `schema_registry.url` to the path under which /subjects is: of Apicurio \
                 http://host:8080/apis/ccompat/v7",
            ),
            Err(error) => Finding::from_error("schema_registry", &error),
        }
    }

    /// Status and answer; posted where there is a body.
    fn ask(&self, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.url);
        let answer = match body {
            Some(body) => {
                let request = self.agent.post(&url).header("Content-Type", MEDIA);
                let request = self.authorization.iter().fold(request, |request, it| {
                    request.header("Authorization", it.as_str())
                });
                request.header("Accept", MEDIA).send(body.to_string())
            }
            None => {
                let request = self.agent.get(&url).header("Accept", MEDIA);
                let request = self.authorization.iter().fold(request, |request, it| {
                    request.header("Authorization", it.as_str())
                });
                request.call()
            }
        };
        let failed = |error: ureq::Error| {
            Error::transient(format!(
                "the schema registry at {} cannot be asked: {error}",
                self.url
            ))
            .hint("correct `schema_registry.url`, and `ca_file` where it has a certificate")
        };
        let mut answer = answer.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(failed)?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}

fn tls(config: &RegistryConfig) -> Result<TlsConfig> {
    let mut tls = TlsConfig::builder();
    if let Some(file) = &config.ca_file {
        let found: Vec<Certificate<'static>> = certificates(file, "ca_file")?;
        tls = tls.root_certs(RootCerts::new_with_certs(&found));
    }
    match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "certificate_file")?;
            let pem = read(key, "key_file")?;
            let key =
                PrivateKey::from_pem(&pem).map_err(|_| not_pem("key_file", "a private key"))?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        (None, None) => {}
        _ => {
            return Err(Error::config(
                "kafka settings `schema_registry.certificate_file` and `key_file` come together",
            )
            .hint("set both, or none"));
        }
    }
    Ok(tls.build())
}

fn read(file: &str, key: &str) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Error::config(format!(
            "kafka setting `schema_registry.{key}`: cannot read {file}: {error}"
        ))
        .hint(format!("set `schema_registry.{key}` to a PEM file"))
    })
}

fn not_pem(key: &str, what: &str) -> Error {
    Error::config(format!(
        "kafka setting `schema_registry.{key}` names a file without {what}"
    ))
    .hint(format!("set `schema_registry.{key}` to a PEM file"))
}

fn certificates(file: &str, key: &str) -> Result<Vec<Certificate<'static>>> {
    let pem = read(file, key)?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(not_pem(key, "a certificate"));
    }
    Ok(found)
}

/// Whether two schemas have the same fields, in the same order and of the same types: whether bytes
/// of one can be read by the other.
fn same_fields(theirs: &Value, ours: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok().map(|it| bare(&it));
    let theirs = theirs.as_str().and_then(parse);
    theirs.is_some() && theirs == parse(ours)
}

/// A schema without what does not change its bytes.
fn bare(schema: &Value) -> Value {
    match schema {
        Value::Array(branches) => branches.iter().map(bare).collect(),
        Value::Object(members) => {
            let kept = [
                "type", "name", "fields", "items", "values", "symbols", "size",
            ];
            let kept: Vec<&str> = kept
                .into_iter()
                .filter(|key| members.contains_key(*key))
                .collect();
            if kept == ["type"] {
                return bare(&members["type"]);
            }
            kept.into_iter()
                .map(|key| (key.to_owned(), bare(&members[key])))
                .collect()
        }
        // The same name may stand with and without its name space.
        Value::String(name) => Value::from(name.rsplit('.').next().unwrap_or(name)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
