//! `config/schema.json`, made from `config/reference.yaml`: comments become descriptions, values
//! defaults, `# a | b` the words that are allowed. For editors; the program itself is stricter.
//!
//! `UPDATE=1 cargo test --test config` writes it anew.

use std::path::Path;

use cdc::config::ByteSize;
use cdc::config::units::parse_duration;
use serde_json::{Map, Value, json};

use super::outline::{Entry, children, outline};
use super::reference;

#[test]
fn the_schema_is_what_the_reference_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json");
    let made = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).expect("config/schema.json can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let stored: Value = serde_json::from_str(&stored).unwrap_or_default();
    assert!(
        schema() == stored,
        "config/schema.json is old: UPDATE=1 cargo test --test config"
    );
}

fn schema() -> Value {
    let text = reference::text();
    let entries = outline(&text);
    let mut root = mapping(&entries, &[]);
    let properties = root["properties"].as_object_mut().expect("a mapping");
    let of_mysql = outline(&reference::mysql());
    properties["source"] = one_of(&entries, &[&["source"]], "What is read.");
    let other = one_of(&of_mysql, &[&["source"]], "");
    let sources = properties["source"]["oneOf"].as_array_mut();
    sources.expect("a list").push(other["oneOf"][0].clone());
    let sinks = children(&entries, &["sinks".to_owned()]);
    let sinks: Vec<Vec<&str>> = sinks
        .iter()
        .map(|sink| vec!["sinks", sink.name()])
        .collect();
    let sinks: Vec<&[&str]> = sinks.iter().map(Vec::as_slice).collect();
    properties["sinks"] = json!({
        "description": "What is written, each sink under a name of its own.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,39}$"},
        "additionalProperties": one_of(&entries, &sinks, "A sink."),
    });
    properties["name"]["pattern"] = json!("^[a-z][a-z0-9_]{0,39}$");
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("Configuration of cdc");
    root
}

/// Sections of which `type` says the one.
fn one_of(entries: &[Entry], paths: &[&[&str]], description: &str) -> Value {
    let sections: Vec<Value> = paths
        .iter()
        .map(|path| {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            let mut section = mapping(entries, &path);
            let kind = section["properties"]["type"]["examples"][0].clone();
            section["properties"]["type"] = json!({"description": "The connector.", "const": kind});
            section
        })
        .collect();
    json!({"description": description, "oneOf": sections})
}

fn mapping(entries: &[Entry], path: &[String]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for entry in children(entries, path) {
        if entry.comment.contains("Required") {
            required.push(entry.name().to_owned());
        }
        let mut value = if entry.is_mapping() {
            mapping(entries, &entry.path)
        } else {
            scalar(entry)
        };
        let comment = entry
            .comment
            .replace(" Required.", "")
            .replace("See above.", "");
        if !comment.is_empty() {
            value["description"] = json!(comment);
        }
        properties.insert(entry.name().to_owned(), value);
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn scalar(entry: &Entry) -> Value {
    let text = entry.value.trim_matches('"');
    let known = match entry.value.as_str() {
        "null" => json!({}),
        "true" | "false" => json!({"type": ["boolean", "string"]}),
        "{}" => json!({"type": "object"}),
        value if value.starts_with('[') => json!({"type": "array", "items": {"type": "string"}}),
        _ if !entry.remark.is_empty() => {
            json!({"enum": entry.remark.split(" | ").collect::<Vec<_>>()})
        }
        _ if text.parse::<u64>().is_ok() => json!({"type": ["integer", "string"]}),
        _ if text.parse::<ByteSize>().is_ok() && entry.name().ends_with("_bytes") => {
            json!({"type": ["integer", "string"]})
        }
        _ => json!({"type": "string"}),
    };
    let value = match entry.value.as_str() {
        "null" => Value::Null,
        "{}" => json!({}),
        "[]" => json!([]),
        "true" => json!(true),
        "false" => json!(false),
        _ => match text.parse::<u64>() {
            Ok(number) if parse_duration(text).is_err() || number > 0 => json!(number),
            _ => json!(text),
        },
    };
    let mut schema = known;
    // `null` may be written where the comment says what it means.
    if let Some(Value::Array(kinds)) = schema.get_mut("type")
        && entry.comment.contains("null:")
    {
        kinds.push(json!("null"));
    }
    // As a word it is YAML's null, too.
    if let Some(Value::Array(words)) = schema.get_mut("enum")
        && words.contains(&json!("null"))
    {
        words.push(Value::Null);
    }
    if entry.comment.contains("Required") {
        // What is required has an example and no default.
        if !entry.value.starts_with('[') {
            schema["examples"] = json!([value]);
        }
    } else {
        schema["default"] = value;
    }
    schema
}
