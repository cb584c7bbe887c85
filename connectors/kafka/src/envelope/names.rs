//! Names of columns and of schemas as Avro takes them, by Debezium's `SchemaNameAdjuster`.
//!
//! Invariant: an ASCII letter stays what it is, and so does every name where none is asked for.

use crate::config::Names;

/// The name of a column.
pub(super) fn of_field(names: Names, name: &str) -> String {
    adjusted(names, name, false)
}

/// The full name of a schema, whose parts stand between points.
pub(super) fn of_schema(names: Names, name: &str) -> String {
    adjusted(names, name, true)
}

fn adjusted(names: Names, name: &str, points: bool) -> String {
    if names == Names::AsIs {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for (index, it) in name.chars().enumerate() {
        let digit = it.is_ascii_digit();
        let stays = it.is_ascii_alphabetic()
            || (index > 0 && (digit || (points && it == '.')))
            || (it == '_' && names == Names::Avro);
        match names {
            _ if stays => out.push(it),
            Names::AvroUnicode => {
                let mut halves = [0; 2];
                for half in it.encode_utf16(&mut halves) {
                    out.push_str(&format!("_u{half:04x}"));
                }
            }
            // A digit that comes first is kept.
            _ if digit => {
                out.push('_');
                out.push(it);
            }
            _ => out.push('_'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debezium 3.6 has them.
    #[test]
    fn names_are_debeziums() {
        for (name, avro, unicode) in [
            ("1a", "_1a", "_u0031a"),
            ("Id \"q", "Id__q", "Id_u0020_u0022q"),
            ("größe", "gr__e", "gr_u00f6_u00dfe"),
            ("a.b", "a_b", "a_u002eb"),
            ("_x", "_x", "_u005fx"),
        ] {
            assert_eq!(of_field(Names::Avro, name), avro);
            assert_eq!(of_field(Names::AvroUnicode, name), unicode);
            assert_eq!(of_field(Names::AsIs, name), name);
        }
        let topic = "shop.public.my-table";
        assert_eq!(of_schema(Names::Avro, topic), "shop.public.my_table");
        let unicode = "shop.public.my_u002dtable";
        assert_eq!(of_schema(Names::AvroUnicode, topic), unicode);
    }
}
