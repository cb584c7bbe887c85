//! Schemas as Connect's `AvroConverter` gives them to a registry, in the text that Avro's own
//! `Schema.toString` has.
//!
//! What Avro cannot say stands in properties: `connect.version`, `connect.parameters`,
//! `connect.default`, `connect.doc`, `connect.name` and `connect.type`. Invariant: a structure that
//! comes a second time is its name alone.

use super::super::text;
use super::{Schema, Shape};

/// The digits of a decimal whose number of digits is not declared.
const DIGITS: &str = "64";

/// What stands before keys and before values, as Confluent's serializers write it: a zero, and the
/// schema's number.
pub(in super::super) fn opening(key: Option<u32>, value: u32) -> [Vec<u8>; 2] {
    [key.unwrap_or(0), value].map(|number| {
        let mut opening = vec![0];
        opening.extend_from_slice(&number.to_be_bytes());
        opening
    })
}

/// The schema as JSON.
pub(in super::super) fn text(schema: &Schema) -> String {
    let mut out = Vec::new();
    let mut known = Vec::new();
    write(&mut out, schema, None, &mut known);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes a schema; `space` is the name space that stands around it, `known` the structures so far.
fn write<'a>(
    out: &mut Vec<u8>,
    schema: &'a Schema,
    space: Option<&'a str>,
    known: &mut Vec<&'a str>,
) {
    if !schema.optional {
        return base(out, schema, space, known);
    }
    if schema.default.is_some() {
        out.push(b'[');
        base(out, schema, space, known);
        out.extend_from_slice(b",\"null\"]");
    } else {
        out.extend_from_slice(b"[\"null\",");
        base(out, schema, space, known);
        out.push(b']');
    }
}

fn base<'a>(
    out: &mut Vec<u8>,
    schema: &'a Schema,
    space: Option<&'a str>,
    known: &mut Vec<&'a str>,
) {
    match &schema.shape {
        Shape::Struct(members) => structure(out, schema, members, space, known),
        Shape::Scalar(kind) => {
            let avro = match *kind {
                "int16" | "int32" => "int",
                "int64" => "long",
                other => other,
            };
            let mut properties = Vec::new();
            described(&mut properties, schema);
            if *kind == "int16" {
                properties.extend_from_slice(b",\"connect.type\":\"int16\"");
            }
            if let Some(logical) = logical_type(schema) {
                member(&mut properties, ",\"logicalType\":", logical);
            }
            if properties.is_empty() {
                return text::string(out, avro);
            }
            member(out, "{\"type\":", avro);
            decimal(out, schema);
            out.extend_from_slice(&properties);
            out.push(b'}');
        }
        Shape::Array(items) => {
            out.extend_from_slice(b"{\"type\":\"array\",\"items\":");
            write(out, items, space, known);
            described(out, schema);
            out.push(b'}');
        }
        Shape::Map(values) => {
            out.extend_from_slice(b"{\"type\":\"map\",\"values\":");
            write(out, values, space, known);
            described(out, schema);
            out.push(b'}');
        }
    }
}

fn structure<'a>(
    out: &mut Vec<u8>,
    schema: &'a Schema,
    members: &'a [(String, Schema)],
    space: Option<&'a str>,
    known: &mut Vec<&'a str>,
) {
    let full = schema.name.as_deref().unwrap_or_default();
    let (own, name) = match full.rsplit_once('.') {
        Some((own, name)) => (Some(own), name),
        None => (None, full),
    };
    if known.contains(&full) {
        return text::string(out, if own == space { name } else { full });
    }
    known.push(full);
    out.extend_from_slice(b"{\"type\":\"record\"");
    member(out, ",\"name\":", name);
    if own != space {
        member(out, ",\"namespace\":", own.unwrap_or_default());
    }
    out.extend_from_slice(b",\"fields\":[");
    for (index, (name, schema)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        member(out, "{\"name\":", name);
        out.extend_from_slice(b",\"type\":");
        write(out, schema, own, known);
        match (schema.default, schema.optional) {
            (Some(default), _) => member(out, ",\"default\":", default),
            (None, true) => out.extend_from_slice(b",\"default\":null"),
            (None, false) => {}
        }
        out.push(b'}');
    }
    out.push(b']');
    described(out, schema);
    out.push(b'}');
}

/// What Connect knows of a schema and Avro does not.
fn described(out: &mut Vec<u8>, schema: &Schema) {
    if let Some(doc) = schema.doc {
        member(out, ",\"connect.doc\":", doc);
    }
    if let Some(version) = schema.version {
        out.extend_from_slice(b",\"connect.version\":");
        text::integer(out, version);
    }
    if !schema.parameters.is_empty() {
        out.extend_from_slice(b",\"connect.parameters\":");
        for (index, (name, value)) in schema.parameters.iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            text::string(out, name);
            member(out, ":", value);
        }
        out.push(b'}');
    }
    if let Some(default) = schema.default {
        member(out, ",\"connect.default\":", default);
    }
    if let Some(name) = &schema.name {
        member(out, ",\"connect.name\":", name);
    }
}

fn parameter<'a>(schema: &'a Schema, name: &str) -> Option<&'a str> {
    let mut parameters = schema.parameters.iter();
    let found = parameters.find(|(key, _)| *key == name);
    found.map(|(_, value)| value.as_str())
}

fn decimal(out: &mut Vec<u8>, schema: &Schema) {
    if schema.name.as_deref() != Some("org.apache.kafka.connect.data.Decimal") {
        return;
    }
    for (label, value) in [
        (",\"scale\":", parameter(schema, "scale")),
        (
            ",\"precision\":",
            Some(parameter(schema, "connect.decimal.precision").unwrap_or(DIGITS)),
        ),
    ] {
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(value.unwrap_or("0").as_bytes());
    }
}

fn logical_type(schema: &Schema) -> Option<&'static str> {
    match schema.name.as_deref()? {
        "org.apache.kafka.connect.data.Decimal" => {
            let number = |name| parameter(schema, name).and_then(|it| it.parse::<i32>().ok());
            let digits = number("connect.decimal.precision").unwrap_or(64);
            // Avro has no decimals whose scale lies outside of their digits.
            let scale = number("scale").unwrap_or(0);
            (scale >= 0 && scale <= digits).then_some("decimal")
        }
        "org.apache.kafka.connect.data.Date" => Some("date"),
        "org.apache.kafka.connect.data.Time" => Some("time-millis"),
        "org.apache.kafka.connect.data.Timestamp" => Some("timestamp-millis"),
        _ => None,
    }
}

fn member(out: &mut Vec<u8>, label: &str, value: &str) {
    out.extend_from_slice(label.as_bytes());
    text::string(out, value);
}
