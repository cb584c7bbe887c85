//! YAML as a tree whose every node knows its line.
//!
//! Invariant: scalars stay the text that was written until a type asks for them, so that `1.10`
//! or `0644` reaches a string as it is; a mapping has no key twice.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::fault::Fault;

/// A node of the file.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    /// From 1.
    pub(super) line: usize,
}

#[derive(Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Written without quotes, so that it may be a number, a boolean or null.
    pub(super) plain: bool,
    /// Came from the environment or a file: may be secret, and is never YAML.
    pub(super) referenced: bool,
}

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        self.plain && !self.referenced && matches!(self.text.as_str(), "" | "~" | "null")
    }
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) line: usize,
}

impl Node {
    /// Parses a file of one document; an empty one is an empty mapping.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut reading = Reading::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                Fault::new(format!("not YAML: {}", error.info())).at(error.marker().line())
            })?;
            reading.take(event, span)?;
        }
        Ok(reading.root.unwrap_or(Self {
            value: Value::Map(Vec::new()),
            line: 1,
        }))
    }

    /// Takes a key out of a mapping.
    pub(super) fn take(&mut self, key: &str) -> Option<(Key, Self)> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|(known, _)| known.name == key)?;
        Some(entries.remove(index))
    }

    /// The line of a mapping's key; of the node itself where there is no such key.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let Value::Map(entries) = &self.value else {
            return self.line;
        };
        let found = entries.iter().find(|(known, _)| known.name == key);
        found.map_or(self.line, |(key, _)| key.line)
    }

    /// Whether any of it came from the environment or a file.
    pub(super) fn is_referenced(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => scalar.referenced,
            Value::List(items) => items.iter().any(Self::is_referenced),
            Value::Map(entries) => entries.iter().any(|(_, node)| node.is_referenced()),
        }
    }

    /// Calls `change` for every scalar, with its line, until one fails.
    pub(super) fn scalars<E>(
        &mut self,
        change: &mut impl FnMut(&mut Scalar, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.value {
            Value::Scalar(scalar) => change(scalar, self.line),
            Value::List(items) => items.iter_mut().try_for_each(|item| item.scalars(change)),
            Value::Map(entries) => entries
                .iter_mut()
                .try_for_each(|(_, node)| node.scalars(change)),
        }
    }
}

/// Nesting beyond this is refused: the tree is walked by recursion.
const DEPTH: usize = 32;

#[derive(Default)]
struct Reading {
    open: Vec<Open>,
    root: Option<Node>,
}

struct Open {
    node: Node,
    /// Of a mapping: the key whose value comes next.
    key: Option<Key>,
}

impl Reading {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        let refused = |what: &str| Err(Fault::new(what).at(line));
        match event {
            Event::Alias(_)
            | Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(1.., _)
            | Event::MappingStart(1.., _) => {
                refused("anchors and aliases are not read: write the value out")
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                refused("tags (`!name`) are not read; quote a text that begins with `!`")
            }
            Event::Scalar(text, style, ..) => self.scalar(
                Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                    referenced: false,
                },
                line,
            ),
            Event::SequenceStart(..) => self.open(Value::List(Vec::new()), line),
            Event::MappingStart(..) => self.open(Value::Map(Vec::new()), line),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(done) => self.place(done.node),
                None => Ok(()),
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                refused("a second document: one file describes one pipeline")
            }
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Ok(()),
        }
    }

    fn open(&mut self, value: Value, line: usize) -> Result<(), Fault> {
        if self.open.len() >= DEPTH {
            return Err(Fault::new("nested too deeply").at(line));
        }
        if self.wants_key() {
            return Err(Fault::new("a key has to be a text").at(line));
        }
        self.open.push(Open {
            node: Node { value, line },
            key: None,
        });
        Ok(())
    }

    fn wants_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.node.value, Value::Map(_)) && open.key.is_none())
    }

    fn scalar(&mut self, scalar: Scalar, line: usize) -> Result<(), Fault> {
        if !self.wants_key() {
            return self.place(Node {
                value: Value::Scalar(scalar),
                line,
            });
        }
        if let Some(open) = self.open.last_mut() {
            if let Value::Map(entries) = &open.node.value
                && let Some((first, _)) = entries.iter().find(|(key, _)| key.name == scalar.text)
            {
                return Err(Fault::new(format!(
                    "key `{}` is there twice, first in line {}",
                    scalar.text, first.line
                ))
                .at(line));
            }
            open.key = Some(Key {
                name: scalar.text,
                line,
            });
        }
        Ok(())
    }

    fn place(&mut self, node: Node) -> Result<(), Fault> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(open) => match (&mut open.node.value, open.key.take()) {
                (Value::Map(entries), Some(key)) => entries.push((key, node)),
                (Value::List(items), _) => items.push(node),
                _ => return Err(Fault::new("a value without a key").at(node.line)),
            },
        }
        Ok(())
    }
}
