//! References in the file's texts: `${NAME}`, `${NAME:-default}` from the environment, `file:PATH`
//! as a whole value from a file.
//!
//! Invariant: they are resolved in the parsed tree, so that no value can change the file's
//! structure, and what is inserted is not read again for references. `$${` is a plain `${`.

use super::section::Fault;
use super::tree::{Node, Scalar};

/// Replaces all references below `node`. `variable` reads the environment.
pub(super) fn resolve(
    node: &mut Node,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Fault> {
    node.scalars(&mut |scalar: &mut Scalar, line| {
        let resolved = match scalar.text.strip_prefix("file:") {
            Some(path) => {
                let path = expand(path, variable).map_err(|fault| fault.at(line))?;
                Some(
                    read_file(path.as_deref().unwrap_or(path_of(&scalar.text)))
                        .map_err(|fault| fault.at(line))?,
                )
            }
            None => expand(&scalar.text, variable).map_err(|fault| fault.at(line))?,
        };
        if let Some(text) = resolved {
            scalar.text = text;
            scalar.referenced = true;
        }
        Ok(())
    })
}

fn path_of(text: &str) -> &str {
    text.strip_prefix("file:").unwrap_or(text)
}

fn read_file(path: &str) -> Result<String, Fault> {
    match std::fs::read_to_string(path) {
        // Editors and `echo` end a file with a line feed that is no part of the secret.
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(Fault::new(format!("cannot read file `{path}`: {error}"))
            .hint("`file:PATH` stands for the content of a file; the daemon's user must be able to read it")),
    }
}

/// The text with its references replaced, or `None` when it has none.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, Fault> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let end = inside.find('}').ok_or_else(|| {
            Fault::new("`${` without its `}`")
                .hint("write `${NAME}` or `${NAME:-default}`; a plain `${` is written `$${`")
        })?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        if name.is_empty()
            || !name
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || char == '_')
        {
            return Err(
                Fault::new("`${…}` does not hold the name of an environment variable")
                    .hint("write `${NAME}` or `${NAME:-default}`; a plain `${` is written `$${`"),
            );
        }
        // As in a shell: `:-` also stands in for an empty variable.
        let value = variable(name).filter(|value| default.is_none() || !value.is_empty());
        match value.as_deref().or(default) {
            Some(value) => out.push_str(value),
            None => {
                return Err(
                    Fault::new(format!("environment variable `{name}` is not set"))
                        .hint(format!("set {name}, or write `${{{name}:-default}}`")),
                );
            }
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}
