//! References in the file's texts: `${NAME}`, `${NAME:-default}` from the environment, `file:PATH`
//! as a whole value from a file.
//!
//! Invariant: they are resolved in the parsed tree, so that no value can change the file's
//! structure, and what is inserted is not read again for references. `$${` is a plain `${`.

use super::fault::Fault;
use super::tree::{Node, Scalar};

/// Replaces all references below `node`. `variable` reads the environment.
pub(super) fn resolve(
    node: &mut Node,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Fault> {
    node.scalars(&mut |scalar: &mut Scalar, line| {
        let resolved = resolved(&scalar.text, variable).map_err(|fault| fault.at(line))?;
        if let Some(text) = resolved {
            scalar.text = text;
            scalar.referenced = true;
        }
        Ok(())
    })
}

/// The value that a text with references stands for, or `None` when it has none.
fn resolved(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Fault> {
    let expanded = expand(text, variable)?;
    match text.strip_prefix("file:") {
        Some(path) => {
            let expanded = expanded
                .as_deref()
                .and_then(|text| text.strip_prefix("file:"));
            read_file(expanded.unwrap_or(path)).map(Some)
        }
        None => Ok(expanded),
    }
}

fn read_file(path: &str) -> Result<String, Fault> {
    match std::fs::read_to_string(path) {
        // Editors and `echo` end a file with a line feed that is no part of the secret.
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(Fault::new(format!("cannot read file `{path}`: {error}"))
            .hint("`file:PATH` stands for the content of a file, which cdc must be able to read")),
    }
}

/// The text with its variables replaced, or `None` when it has none.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, Fault> {
    const FORM: &str = "write `${NAME}` or `${NAME:-default}`; a plain `${` is written `$${`";
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
        let end = inside
            .find('}')
            .ok_or_else(|| Fault::new("`${` without its `}`").hint(FORM))?;
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
                Fault::new("`${…}` does not hold the name of an environment variable").hint(FORM),
            );
        }
        // As in a shell: `:-` also stands in for an empty variable.
        let value = variable(name).filter(|value| default.is_none() || !value.is_empty());
        let Some(value) = value.as_deref().or(default) else {
            return Err(
                Fault::new(format!("environment variable `{name}` is not set"))
                    .hint(format!("set {name}, or write `${{{name}:-default}}`")),
            );
        };
        out.push_str(value);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}
