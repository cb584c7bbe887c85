//! A part of the file that only a connector can read, kept until the registry gives it to one.

use std::fmt;
use std::path::PathBuf;

use cdc_api::Error;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::reader::read;
use super::tree::{Node, Value};

/// A part of the file that only a connector can read.
#[derive(Clone)]
pub struct Section {
    pub(super) node: Node,
    pub(super) path: String,
    pub(super) file: PathBuf,
    /// Keys that are known here, and were taken out for others.
    pub(super) beside: Vec<&'static str>,
}

impl Section {
    /// Reads the section as `T`.
    ///
    /// # Errors
    /// `Config`, with file, line and path of what is wrong, and a hint.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        read(&self.node, &self.beside)
            .map_err(|fault: Fault| fault.within(&self.path).into_error(&self.file))
    }

    /// The keys that are given here.
    pub fn keys(&self) -> Vec<&str> {
        match &self.node.value {
            Value::Map(entries) => entries.iter().map(|(key, _)| key.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// An error about this section as a whole, or about one of its keys, with file and line.
    pub fn error(&self, key: Option<&str>, what: impl Into<String>) -> Error {
        self.locate(key, Fault::new(what))
    }

    /// What refused this section, or one of its keys, with file and line.
    pub fn refused(&self, key: Option<&str>, error: &Error) -> Error {
        let fault = Fault::new(error.to_string());
        let fault = match error.hint_text() {
            Some(hint) => fault.hint(hint),
            None => fault,
        };
        self.locate(key, fault)
    }

    fn locate(&self, key: Option<&str>, fault: Fault) -> Error {
        let (fault, line) = match key {
            Some(key) => (fault.within(key), self.node.line_of(key)),
            None => (fault, self.node.line),
        };
        fault.at(line).within(&self.path).into_error(&self.file)
    }
}

impl fmt::Debug for Section {
    /// Keys without values: any value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("path", &self.path)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}
