//! A column's type out of `information_schema.COLUMNS`.

use std::sync::Arc;

use cdc_api::{Error, Result};

use super::{Charset, ColumnKind, ColumnType, Geometry, TypeOptions};

impl ColumnType {
    /// The type by `COLUMN_TYPE` and `CHARACTER_SET_NAME` of `information_schema.COLUMNS`, read
    /// under `SET NAMES utf8mb4`.
    ///
    /// # Errors
    /// `Unsupported` where type or character set is not known.
    pub(crate) fn of_catalog(
        column_type: &str,
        charset: Option<&str>,
        options: TypeOptions,
    ) -> Result<Self> {
        let unknown = || {
            Error::unsupported(format!("the type {column_type} is not known"))
                .hint("leave the column out, or report the type as missing")
        };
        let text = column_type.trim();
        let end = text
            .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
            .unwrap_or(text.len());
        let name = text[..end].to_ascii_lowercase();
        let rest = &text[end..];
        let (arguments, after) = match rest.strip_prefix('(') {
            Some(inside) => split(inside).ok_or_else(unknown)?,
            None => (Vec::new(), rest),
        };
        let after = after.to_ascii_lowercase();
        let unsigned = after.contains("unsigned") || after.contains("zerofill");
        let number = |index: usize, default: u32| match arguments.get(index) {
            None => Ok(default),
            Some(text) => text.trim().parse::<u32>().map_err(|_| unknown()),
        };
        let small = |index: usize, default: u32| -> Result<u8> {
            u8::try_from(number(index, default)?).map_err(|_| unknown())
        };
        let charset = || -> Result<Charset> {
            let name = charset.ok_or_else(unknown)?;
            Charset::by_name(name).ok_or_else(|| Charset::unknown(name))
        };
        let integer = |width| ColumnKind::Integer { width, unsigned };
        let text_of = |size| -> Result<ColumnKind> {
            Ok(ColumnKind::Text {
                size,
                charset: charset()?,
            })
        };
        let members = || -> Arc<[Box<str>]> {
            arguments
                .iter()
                .map(|member| member.clone().into_boxed_str())
                .collect()
        };
        let kind = match name.as_str() {
            "tinyint" | "bool" | "boolean" => integer(1),
            "smallint" => integer(2),
            "mediumint" => integer(3),
            "int" | "integer" => integer(4),
            "bigint" => integer(8),
            "float" => ColumnKind::Float { unsigned },
            "double" | "real" => ColumnKind::Double { unsigned },
            "decimal" | "numeric" | "dec" | "fixed" => ColumnKind::Decimal {
                precision: small(0, 10)?,
                scale: small(1, 0)?,
                unsigned,
            },
            "bit" => ColumnKind::Bit { bits: small(0, 1)? },
            "year" => ColumnKind::Year,
            "date" => ColumnKind::Date,
            "datetime" => ColumnKind::DateTime {
                digits: small(0, 0)?,
            },
            "timestamp" => ColumnKind::Timestamp {
                digits: small(0, 0)?,
            },
            "time" => ColumnKind::Time {
                digits: small(0, 0)?,
            },
            "char" => ColumnKind::Char {
                length: number(0, 1)?,
                charset: charset()?,
            },
            "varchar" => ColumnKind::Varchar {
                length: number(0, 0)?,
                charset: charset()?,
            },
            "tinytext" => text_of(1)?,
            "text" => text_of(2)?,
            "mediumtext" => text_of(3)?,
            "longtext" => text_of(4)?,
            "binary" => ColumnKind::Binary {
                length: number(0, 1)?,
            },
            "varbinary" => ColumnKind::Varbinary {
                length: number(0, 0)?,
            },
            "tinyblob" => ColumnKind::Blob { size: 1 },
            "blob" => ColumnKind::Blob { size: 2 },
            "mediumblob" => ColumnKind::Blob { size: 3 },
            "longblob" => ColumnKind::Blob { size: 4 },
            "enum" => ColumnKind::Enum { members: members() },
            "set" => ColumnKind::Set { members: members() },
            "json" => ColumnKind::Json,
            "vector" => ColumnKind::Vector {
                dimensions: number(0, 2048)?,
            },
            "uuid" => ColumnKind::Uuid,
            "inet6" => ColumnKind::Inet6,
            "inet4" => ColumnKind::Inet4,
            name => ColumnKind::Geometry(Geometry::of_name(name).ok_or_else(unknown)?),
        };
        Ok(Self::new(kind, options))
    }
}

/// The arguments up to the closing parenthesis, quotes taken off, and what follows it.
fn split(inside: &str) -> Option<(Vec<String>, &str)> {
    let mut arguments = Vec::new();
    let mut argument = String::new();
    let mut quoted = false;
    let mut chars = inside.char_indices().peekable();
    while let Some((place, char)) = chars.next() {
        match char {
            '\'' if quoted && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
                argument.push('\'');
            }
            '\'' => quoted = !quoted,
            '\\' if quoted => argument.push(match chars.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'Z' => '\u{1a}',
                other => other,
            }),
            ',' if !quoted => arguments.push(std::mem::take(&mut argument)),
            ')' if !quoted => {
                arguments.push(argument);
                return Some((arguments, &inside[place + 1..]));
            }
            char => argument.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let charset = Some("utf8mb4");
        let column_type = ColumnType::of_catalog(text, charset, TypeOptions::default());
        column_type.expect("a type").source_type()
    }

    #[test]
    fn every_type_has_one_spelling() {
        for (text, one) in [
            ("int(11)", "int"),
            ("int(10) unsigned zerofill", "int unsigned"),
            ("tinyint(1)", "tinyint"),
            ("bigint unsigned", "bigint unsigned"),
            ("decimal(65,30) unsigned", "decimal(65,30) unsigned"),
            ("bit(9)", "bit(9)"),
            ("year(4)", "year"),
            ("datetime(6)", "datetime(6)"),
            ("timestamp", "timestamp"),
            ("varchar(500) /*M!100301 COMPRESSED*/", "varchar(500)"),
            ("mediumtext", "mediumtext"),
            ("geomcollection", "geometrycollection"),
            ("vector(3)", "vector(3)"),
            ("uuid", "uuid"),
            ("enum('a','b''c','ü,')", "enum('a','b''c','ü,')"),
            ("enum('x\\\\y','n\\nl')", "enum('x\\y','n\nl')"),
            ("set('p','q)')", "set('p','q)')"),
        ] {
            assert_eq!(of(text), one);
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in ["", "hologram(3)", "enum('a", "decimal(x)", "int("] {
            let charset = Some("utf8mb4");
            assert!(
                ColumnType::of_catalog(text, charset, TypeOptions::default()).is_err(),
                "{text}"
            );
        }
        assert!(ColumnType::of_catalog("text", Some("klingon"), TypeOptions::default()).is_err());
    }
}
