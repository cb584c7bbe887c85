//! What is wrong with the file, and where.
//!
//! Invariant: every fault names the line and the path of what is wrong (`source.tables[2]`); an
//! unknown key also names the nearest one that is known. A value that came from the environment
//! or a file is never shown, and neither is any other value but a word that should have been one
//! of a few.

use std::fmt;
use std::path::Path;

use cdc_api::Error;
use serde::de::{self, Expected, Unexpected};

use super::tree::Node;

/// What is wrong with the file, and where.
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    hint: Option<String>,
    line: Option<usize>,
    /// From the outside in; `[3]` for list items.
    path: Vec<String>,
    unknown: Option<Box<Unknown>>,
    /// In the words of whoever parsed a value, which may repeat it.
    foreign: bool,
}

/// An unknown key: which are known is complete only when the whole section has been read.
#[derive(Debug)]
struct Unknown {
    key: String,
    known: Vec<&'static str>,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
            line: None,
            path: Vec::new(),
            unknown: None,
            foreign: false,
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the line, if none is set further in.
    #[must_use]
    pub(super) fn at(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }

    /// Hides a value that came from the environment or a file.
    pub(super) fn about(mut self, node: &Node) -> Self {
        if self.foreign && node.is_referenced() {
            self.what = "what the reference stands for is not accepted here".to_owned();
        }
        self
    }

    #[must_use]
    pub(super) fn within(mut self, key: &str) -> Self {
        if !key.is_empty() {
            self.path.insert(0, key.to_owned());
        }
        self
    }

    /// Adds keys that are known beside those of the type; only for a key of the outermost level.
    pub(super) fn suggest(mut self, beside: &[&'static str]) -> Self {
        if self.path.is_empty()
            && let Some(unknown) = &mut self.unknown
        {
            unknown.known.splice(0..0, beside.iter().copied());
        }
        self
    }

    pub(super) fn into_error(self, file: &Path) -> Error {
        let mut path = String::new();
        for part in &self.path {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        let what = if path.is_empty() {
            self.what
        } else if self.unknown.is_some() {
            format!("{} in `{path}`", self.what)
        } else {
            format!("`{path}`: {}", self.what)
        };
        let place = match self.line {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        };
        let error = Error::config(what).context(place);
        let hint = self
            .hint
            .or_else(|| self.unknown.map(|unknown| unknown.hint()));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl Unknown {
    fn hint(&self) -> String {
        let known = format!("known keys here: {}", self.known.join(", "));
        match nearest(&self.key, &self.known) {
            Some(word) => format!("did you mean `{word}`? {known}"),
            None => known,
        }
    }
}

/// The word that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, candidate), *candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self {
            foreign: true,
            ..Self::new(what.to_string())
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found {}", kind(&found)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}"))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self {
            unknown: Some(Box::new(Unknown {
                key: key.to_owned(),
                known: known.to_vec(),
            })),
            ..Self::new(format!("unknown key `{key}`"))
        }
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        let fault = Self::new(format!("`{word}` is not one of {}", known.join(", ")));
        match nearest(word, known) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault,
        }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(format!("key `{key}` is missing"))
    }
}

/// What kind of thing was found, without the thing.
fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a mapping",
        _ => "a text",
    }
}
