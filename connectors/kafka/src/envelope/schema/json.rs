//! Schemas as Connect's `JsonConverter` writes them, for records that carry their own.
//!
//! Invariant: the order of members is the converter's.

use super::super::text;
use super::{Schema, Shape};
use crate::config::Format;

/// What stands before keys and before values, and after both, where records carry their schema.
pub(in super::super) fn around(
    format: Format,
    key: &Schema,
    value: &Schema,
) -> ([Vec<u8>; 2], &'static [u8]) {
    let opened = |schema: &Schema| {
        let mut opening = b"{\"schema\":".to_vec();
        opening.extend_from_slice(&text(schema));
        opening.extend_from_slice(b",\"payload\":");
        opening
    };
    match format {
        Format::JsonWithSchema => ([opened(key), opened(value)], b"}"),
        Format::Json | Format::Avro => Default::default(),
    }
}

/// The schema as JSON.
pub(in super::super) fn text(schema: &Schema) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, schema, None);
    out
}

fn write(out: &mut Vec<u8>, schema: &Schema, field: Option<&str>) {
    match &schema.shape {
        Shape::Scalar(kind) => member(out, "{\"type\":", kind),
        Shape::Struct(members) => {
            out.extend_from_slice(b"{\"type\":\"struct\",\"fields\":[");
            for (index, (name, schema)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(out, schema, Some(name));
            }
            out.push(b']');
        }
        Shape::Array(items) => {
            out.extend_from_slice(b"{\"type\":\"array\",\"items\":");
            write(out, items, None);
        }
        Shape::Map(values) => {
            out.extend_from_slice(
                b"{\"type\":\"map\",\"keys\":{\"type\":\"string\",\"optional\":false},\"values\":",
            );
            write(out, values, None);
        }
    }
    let optional: &[u8] = if schema.optional { b"true" } else { b"false" };
    out.extend_from_slice(b",\"optional\":");
    out.extend_from_slice(optional);
    if let Some(name) = &schema.name {
        member(out, ",\"name\":", name);
    }
    if let Some(version) = schema.version {
        out.extend_from_slice(b",\"version\":");
        text::integer(out, version);
    }
    if let Some(doc) = schema.doc {
        member(out, ",\"doc\":", doc);
    }
    if !schema.parameters.is_empty() {
        out.extend_from_slice(b",\"parameters\":");
        for (index, (name, value)) in schema.parameters.iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            text::string(out, name);
            member(out, ":", value);
        }
        out.push(b'}');
    }
    if let Some(default) = schema.default {
        member(out, ",\"default\":", default);
    }
    if let Some(field) = field {
        member(out, ",\"field\":", field);
    }
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, label: &str, value: &str) {
    out.extend_from_slice(label.as_bytes());
    text::string(out, value);
}
