//! A column's definition within a statement: what older rows hold in it, and, where every word of it
//! is understood, its type.

use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{Added, Existing};
use crate::decode::definition::change::{Characters, ColumnPlace, NewColumn, NewType};
use crate::decode::definition::charset_of;

/// A column that a statement makes.
pub(super) struct Made {
    /// What older rows hold, should it be added.
    pub(super) added: Added,
    /// What it is, and where it comes to stand; `None` where that is not understood.
    pub(super) column: Option<(NewColumn, ColumnPlace)>,
}

/// What the attributes say.
struct Attributes {
    unsigned: bool,
    auto_increment: bool,
    characters: Option<String>,
    nullable: Option<bool>,
    generated: bool,
    key: bool,
    existing: Existing,
    place: ColumnPlace,
    understood: bool,
}

impl Reader<'_> {
    /// `name type attributes [FIRST | AFTER name]`, to the end.
    pub(super) fn column(&mut self) -> Option<Made> {
        let name = self.word()?;
        let serial = self.is("SERIAL");
        let made = self.made();
        let mut said = Attributes {
            unsigned: serial,
            auto_increment: serial,
            characters: None,
            nullable: serial.then_some(false),
            generated: false,
            key: false,
            existing: if serial {
                Existing::Unknown
            } else {
                Existing::Null
            },
            place: ColumnPlace::Unsaid,
            understood: made.is_some(),
        };
        while !self.tokens.is_empty() {
            let before = *self;
            if self.attribute(&mut said).is_none() {
                said.understood = false;
                *self = before;
                // A word, or all that is in parentheses: no words in them count.
                if self.parentheses().is_none() {
                    self.token();
                }
            }
        }
        let not_null = said.nullable == Some(false) || said.key;
        let existing = match said.existing.clone() {
            _ if said.generated => Existing::Unknown,
            Existing::Null if not_null => Existing::Zero,
            existing => existing,
        };
        let column = made.filter(|_| said.understood).and_then(|made| {
            let column = NewColumn {
                name: name.clone(),
                nullable: match said.nullable {
                    // explicit_defaults_for_timestamp decides.
                    None if made.text.starts_with("timestamp") => None,
                    None => Some(!said.key),
                    said => said,
                },
                made: typed(made, &said)?,
                generated: said.generated,
                auto_increment: said.auto_increment,
                key: said.key,
                existing: existing.clone(),
            };
            Some((column, said.place.clone()))
        });
        Some(Made {
            added: Added { name, existing },
            column,
        })
    }

    /// The type, without its attributes.
    fn made(&mut self) -> Option<NewType> {
        let before = *self;
        let made = self.type_name();
        if made.is_none() {
            *self = before;
        }
        made
    }

    fn type_name(&mut self) -> Option<NewType> {
        let plain = |text: String| NewType {
            text,
            characters: Characters::None,
            room: None,
        };
        let word = self.keyword()?;
        let integer = match word.as_str() {
            "tinyint" | "int1" => Some("tinyint"),
            "smallint" | "int2" => Some("smallint"),
            "mediumint" | "int3" | "middleint" => Some("mediumint"),
            "int" | "integer" | "int4" => Some("int"),
            "bigint" | "int8" => Some("bigint"),
            _ => None,
        };
        if let Some(name) = integer {
            let width = self.numbers(1)?;
            return Some(plain(format!("{name}{}", listed(&width))));
        }
        Some(match word.as_str() {
            "bool" | "boolean" => plain("tinyint(1)".to_owned()),
            "serial" => plain("bigint".to_owned()),
            "float" | "float4" => match self.numbers(2)?.as_slice() {
                [0..25] => plain("float".to_owned()),
                [25..54] => plain("double".to_owned()),
                [_] => return None,
                digits => plain(format!("float{}", listed(digits))),
            },
            "double" | "float8" | "real" => {
                self.skip("PRECISION");
                let digits = self.numbers(2)?;
                plain(format!("double{}", listed(&digits)))
            }
            "decimal" | "dec" | "numeric" | "fixed" => {
                let digits = self.numbers(2)?;
                let (precision, scale) = (digits.first(), digits.get(1));
                plain(format!(
                    "decimal({},{})",
                    precision.filter(|it| **it > 0).unwrap_or(&10),
                    scale.unwrap_or(&0)
                ))
            }
            "bit" => {
                let bits = self.numbers(1)?;
                plain(format!("bit({})", bits.first().unwrap_or(&1)))
            }
            "year" => {
                self.numbers(1)?;
                plain("year".to_owned())
            }
            "date" | "uuid" | "inet6" | "inet4" | "geometry" | "point" | "linestring"
            | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection" => plain(word),
            "time" | "datetime" | "timestamp" => {
                let digits = self.numbers(1)?;
                match digits.as_slice() {
                    [] | [0] => plain(word),
                    digits => plain(format!("{word}{}", listed(digits))),
                }
            }
            "vector" => {
                let dimensions = self.numbers(1)?;
                plain(format!("vector({})", dimensions.first().unwrap_or(&2048)))
            }
            "json" if self.session.maria => NewType {
                text: "longtext".to_owned(),
                characters: Characters::Named("utf8mb4".to_owned()),
                room: None,
            },
            "json" => plain(word),
            "binary" | "varbinary" => {
                let length = self.numbers(1)?;
                plain(format!("{word}({})", length.first().unwrap_or(&1)))
            }
            "enum" | "set" => {
                let members = self.members()?;
                NewType {
                    characters: Characters::Table,
                    ..plain(format!("{word}({members})"))
                }
            }
            "tinyblob" | "mediumblob" | "longblob" => plain(word),
            "blob" => NewType {
                room: self.numbers(1)?.first().copied(),
                ..plain(word)
            },
            "tinytext" | "mediumtext" | "longtext" | "text" => NewType {
                room: match word.as_str() {
                    "text" => self.numbers(1)?.first().copied(),
                    _ => None,
                },
                characters: Characters::Table,
                text: word,
            },
            "long" => {
                if self.skip("VARBINARY") {
                    return Some(plain("mediumblob".to_owned()));
                }
                if self.skip_any(&["CHAR", "CHARACTER"]) {
                    self.skip("VARYING").then_some(())?;
                } else {
                    self.skip_any(&["VARCHAR", "VARCHARACTER"]);
                }
                NewType {
                    characters: Characters::Table,
                    ..plain("mediumtext".to_owned())
                }
            }
            "nvarchar" => self.characters(true, true)?,
            "nchar" => {
                let varying = self.skip_any(&["VARYING", "VARCHAR", "VARCHARACTER"]);
                self.characters(varying, true)?
            }
            "national" => {
                let word = self.keyword()?;
                let varying = match word.as_str() {
                    "varchar" | "varcharacter" => true,
                    "char" | "character" => self.skip("VARYING"),
                    _ => return None,
                };
                self.characters(varying, true)?
            }
            "varchar" | "varcharacter" => self.characters(true, false)?,
            "char" | "character" => {
                let varying = self.skip("VARYING");
                self.characters(varying, false)?
            }
            _ => return None,
        })
    }

    /// The rest of CHAR or VARCHAR.
    fn characters(&mut self, varying: bool, national: bool) -> Option<NewType> {
        let length = self.numbers(1)?.first().copied();
        let text = match (varying, length) {
            (true, None) => return None,
            (true, Some(length)) => format!("varchar({length})"),
            (false, length) => format!("char({})", length.unwrap_or(1)),
        };
        let characters = match national {
            true => Characters::Named("utf8mb3".to_owned()),
            false => Characters::Table,
        };
        Some(NewType {
            text,
            characters,
            room: None,
        })
    }

    /// Numbers in parentheses, if there are any; `None` where there is something else in them.
    fn numbers(&mut self, most: usize) -> Option<Vec<u64>> {
        if !self.next_is(&Token::LParen) {
            return Some(Vec::new());
        }
        let mut numbers = Vec::new();
        for mut part in self.parentheses()?.split() {
            numbers.push(part.number()?);
            part.tokens.is_empty().then_some(())?;
        }
        (numbers.len() <= most).then_some(numbers)
    }

    /// The members of ENUM or SET, as the catalog spells them.
    fn members(&mut self) -> Option<String> {
        let mut members = Vec::new();
        for mut part in self.parentheses()?.split() {
            let member = part.text()?;
            part.tokens.is_empty().then_some(())?;
            let member = member.trim_end_matches(' ');
            members.push(format!(
                "'{}'",
                member.replace('\\', "\\\\").replace('\'', "''")
            ));
        }
        Some(members.join(","))
    }

    /// One attribute; `None`, and perhaps part of it skipped, where it is not understood.
    fn attribute(&mut self, said: &mut Attributes) -> Option<()> {
        let word = self.keyword()?;
        match word.as_str() {
            "unsigned" | "zerofill" => said.unsigned = true,
            "signed" | "binary" | "visible" | "invisible" | "virtual" | "stored" | "persistent" => {
            }
            "ascii" => said.characters = Some("latin1".to_owned()),
            "unicode" => said.characters = Some("ucs2".to_owned()),
            "byte" => said.characters = Some("binary".to_owned()),
            "charset" => said.characters = Some(self.charset()?),
            "character" | "char" if self.skip("SET") => said.characters = Some(self.charset()?),
            "collate" => {
                if let Some(charset) = self.collation()?
                    && said.characters.is_none()
                {
                    said.characters = Some(charset);
                }
            }
            "not" => {
                self.skip("NULL").then_some(())?;
                said.nullable = Some(false);
            }
            "null" => said.nullable = Some(true),
            "default" => said.existing = self.default()?,
            "on" => {
                self.skip("UPDATE").then_some(())?;
                self.keyword()?;
                let _ = self.parentheses();
            }
            "auto_increment" => {
                said.auto_increment = true;
                said.nullable = Some(false);
                said.existing = Existing::Unknown;
            }
            "unique" => {
                self.skip("KEY");
            }
            "primary" => {
                said.key = true;
                self.skip("KEY").then_some(())?;
            }
            "key" => said.key = true,
            "serial" => {
                (self.skip("DEFAULT") && self.skip("VALUE")).then_some(())?;
                said.auto_increment = true;
                said.nullable = Some(false);
                said.existing = Existing::Unknown;
            }
            "comment" => drop(self.text()?),
            "column_format" | "storage" => drop(self.keyword()?),
            "generated" | "as" => {
                said.generated = true;
                if word == "generated" {
                    (self.skip("ALWAYS") && self.skip("AS")).then_some(())?;
                }
                self.parentheses()?;
            }
            "srid" => drop(self.number()?),
            "ref_system_id" => {
                self.skip_token(&Token::Eq);
                self.number()?;
            }
            "engine_attribute" | "secondary_engine_attribute" => {
                self.skip_token(&Token::Eq);
                self.text()?;
            }
            "compressed" if self.session.maria => {
                if self.skip_token(&Token::Eq) {
                    self.word_or_text()?;
                }
            }
            "references" => self.references()?,
            "constraint" => {
                if !self.is("CHECK") {
                    self.word()?;
                }
                self.is("CHECK").then_some(())?;
            }
            "check" => {
                self.parentheses()?;
                self.skip("NOT");
                self.skip("ENFORCED");
            }
            "first" => said.place = ColumnPlace::First,
            "after" => said.place = ColumnPlace::After(self.word()?),
            _ => return None,
        }
        Some(())
    }

    /// `REFERENCES table (columns) rules`, its first word skipped.
    fn references(&mut self) -> Option<()> {
        self.name()?;
        let _ = self.parentheses();
        loop {
            if self.skip("MATCH") {
                self.keyword()?;
            } else if self.is("ON") && (self.nth_is(1, "DELETE") || self.nth_is(1, "UPDATE")) {
                self.token();
                self.token();
                match self.keyword()?.as_str() {
                    "restrict" | "cascade" => {}
                    "set" => self.skip_any(&["NULL", "DEFAULT"]).then_some(())?,
                    "no" => self.skip("ACTION").then_some(())?,
                    _ => return None,
                }
            } else {
                return Some(());
            }
        }
    }

    /// The name of a character set that the servers know by it.
    pub(super) fn charset(&mut self) -> Option<String> {
        self.skip_token(&Token::Eq);
        let name = self.word_or_text()?.to_ascii_lowercase();
        match name.as_str() {
            "default" => None,
            "utf8" => Some("utf8mb3".to_owned()),
            _ => Some(name),
        }
    }

    /// The character set of a collation; `Some(None)` where it fits several.
    pub(super) fn collation(&mut self) -> Option<Option<String>> {
        self.skip_token(&Token::Eq);
        let name = self.word_or_text()?.to_ascii_lowercase();
        match charset_of(&name) {
            Some("utf8") => Some(Some("utf8mb3".to_owned())),
            Some(charset) => Some(Some(charset.to_owned())),
            None => name.starts_with("uca1400").then_some(None),
        }
    }

    /// The default of a column, its first word skipped.
    fn default(&mut self) -> Option<Existing> {
        if self.next_is(&Token::LParen) {
            self.parentheses()?;
            return Some(Existing::Unknown);
        }
        let existing = self.constant()?;
        // Texts beside each other are one.
        match self.tokens.first() {
            Some(Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)) => {
                self.token();
                Some(Existing::Unknown)
            }
            _ => Some(existing),
        }
    }

    fn constant(&mut self) -> Option<Existing> {
        if self.skip("NULL") {
            return Some(Existing::Null);
        }
        if self.skip("TRUE") {
            return Some(Existing::Constant("1".to_owned()));
        }
        if self.skip("FALSE") {
            return Some(Existing::Constant("0".to_owned()));
        }
        let sign = match self.skip_token(&Token::Minus) {
            true => "-",
            false => {
                self.skip_token(&Token::Plus);
                ""
            }
        };
        Some(match self.token()? {
            Token::Number(number, _) => Existing::Constant(format!("{sign}{number}")),
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => {
                Existing::Constant(text.clone())
            }
            Token::SingleQuotedByteStringLiteral(bits) => Existing::Constant(bits.clone()),
            Token::Word(_) => {
                // A function.
                let _ = self.parentheses();
                Existing::Unknown
            }
            _ => Existing::Unknown,
        })
    }
}

fn listed(numbers: &[u64]) -> String {
    if numbers.is_empty() {
        return String::new();
    }
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    format!("({})", numbers.join(","))
}

/// The type with what its attributes say.
fn typed(mut made: NewType, said: &Attributes) -> Option<NewType> {
    if said.unsigned {
        made.text.push_str(" unsigned");
    }
    if let Some(charset) = &said.characters {
        match made.characters {
            Characters::None => return None,
            _ => made.characters = Characters::Named(charset.clone()),
        }
    }
    Some(made)
}
