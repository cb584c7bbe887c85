//! TABLE_MAP: what a table looked like when its rows were logged.
//!
//! Two depths: [`TableMap::parse`] says name, number and how values lie in row images, which is all
//! that passing rows over needs; [`TableMap::columns`] makes the columns, the same as the catalog
//! describes them: out of the optional metadata (`binlog_row_metadata=FULL`), or, where that is not
//! whole, out of the table's definition. Invariant: a definition that does not fit what the map does
//! say is not used. The fixed part of a column is `column`'s, the optional metadata `said`'s.

mod column;
mod said;

use std::sync::Arc;

use cdc_api::{Error, Result, TableName};

use super::definition::Definition;
use crate::types::charset::Collations;
use crate::types::{Charset, ColumnKind, ColumnType, Geometry, TypeOptions};
use crate::wire::{Short, Wire};
pub(crate) use column::MapColumn;
use column::{bits, code, column};
use said::Said;

/// A table map, its fixed part read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableMap {
    /// The table.
    pub(crate) name: TableName,
    /// By column.
    pub(crate) columns: Vec<MapColumn>,
    /// The optional metadata, unread.
    optional: Vec<u8>,
}

/// A column with all that the metadata tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedColumn {
    /// The name.
    pub(crate) name: String,
    /// The type.
    pub(crate) column_type: ColumnType,
    /// Whether it admits NULL.
    pub(crate) nullable: bool,
}

/// A table map's number, without reading the rest.
pub(crate) fn number(body: &[u8]) -> Result<u64, Short> {
    Wire(body).u48()
}

impl TableMap {
    /// Reads the fixed part.
    ///
    /// # Errors
    /// `Data` where it ends too early.
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        let mut wire = Wire(body);
        wire.u48()?;
        wire.u16()?;
        let mut part = || -> Result<String> {
            let bytes = wire.counted()?;
            wire.u8()?;
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::data("the name of a table is not text"))
        };
        let name = TableName::new(part()?, part()?);
        let count = wire.count()?;
        let codes = wire.take(count)?;
        let mut metadata = Wire(wire.counted()?);
        let nullable = wire.take(count.div_ceil(8))?;
        let columns = codes
            .iter()
            .enumerate()
            .map(|(index, code)| {
                column(*code, &mut metadata).map(|column| MapColumn {
                    nullable: nullable[index / 8] >> (index % 8) & 1 == 1,
                    ..column
                })
            })
            .collect::<Result<Vec<_>, Short>>()?;
        Ok(Self {
            name,
            columns,
            optional: wire.rest().to_vec(),
        })
    }

    /// The columns and the primary key (indices; of those indexed by a prefix too).
    ///
    /// # Errors
    /// `Unsupported` where the metadata is not whole and the definition is not known or does not
    /// fit, or where a type or character set is not known.
    pub(crate) fn columns(
        &self,
        collations: &Collations,
        options: TypeOptions,
        defined: Result<&Definition, &str>,
    ) -> Result<(Vec<NamedColumn>, Vec<usize>)> {
        let said = Said::read(&self.optional)?;
        let mut turn = Turn {
            said: &said,
            collations,
            numeric: 0,
            text: 0,
            listed: 0,
            enums: 0,
            sets: 0,
            geometries: 0,
            vectors: 0,
        };
        let names = said
            .names
            .as_ref()
            .filter(|names| names.len() == self.columns.len());
        let Some(names) = names else {
            let definition = defined.map_err(|why| self.unsaid(why))?;
            return self.by_definition(definition, turn, options);
        };
        let mut columns = Vec::with_capacity(names.len());
        for (column, name) in self.columns.iter().zip(names) {
            // The map leaves out the digits of times in the old format.
            let before = match defined {
                Ok(definition) if column.is_old() => {
                    let before = definition.columns.iter().find(|it| it.name == *name);
                    before.map(|it| it.resolve(options)).transpose()?
                }
                _ => None,
            };
            let kind = turn.kind(column, before.as_ref().map(|it| &it.kind))?;
            columns.push(NamedColumn {
                name: name.clone(),
                column_type: ColumnType::new(kind, options),
                nullable: column.nullable,
            });
        }
        let key = said
            .key
            .iter()
            .copied()
            .filter(|index| *index < columns.len())
            .collect();
        Ok((columns, key))
    }

    fn unsaid(&self, why: &str) -> Error {
        Error::unsupported(format!(
            "the log does not say the columns' names and types, and the table's definition is not \
             known: {why}"
        ))
        .hint(format!(
            "cdc snapshot {}; with SET PERSIST binlog_row_metadata = FULL (MariaDB: SET GLOBAL, and in \
             its option file) the log says them",
            self.name
        ))
    }

    /// The columns as the definition has them, where it fits everything that is said here.
    fn by_definition(
        &self,
        definition: &Definition,
        mut turn: Turn<'_>,
        options: TypeOptions,
    ) -> Result<(Vec<NamedColumn>, Vec<usize>)> {
        if definition.columns.len() != self.columns.len() {
            return Err(self.unsaid("rows have another number of columns than it has"));
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        for (column, defined) in self.columns.iter().zip(&definition.columns) {
            let wanted = defined.resolve(options)?;
            let mut kind = turn.kind(column, Some(&wanted.kind))?;
            if looks_like(&wanted.kind, &kind) {
                kind = wanted.kind.clone();
            }
            let nullable = defined.nullable.is_none_or(|it| it == column.nullable);
            if kind != wanted.kind || !nullable || !column.holds(&kind) {
                return Err(self.unsaid(&format!(
                    "the column {} is not in rows as it is in it",
                    cdc_api::schema::quote_identifier(&defined.name)
                )));
            }
            columns.push(NamedColumn {
                name: defined.name.clone(),
                column_type: wanted,
                nullable: column.nullable,
            });
        }
        let key = definition.key.iter().map(|name| {
            let place = definition.columns.iter().position(|it| it.is(name));
            place.ok_or_else(|| self.unsaid("its key has a column that it has not"))
        });
        Ok((columns, key.collect::<Result<_>>()?))
    }

    /// Whether a column is a time in the old format, which does not say its digits.
    pub(crate) fn has_old_times(&self) -> bool {
        self.columns.iter().any(MapColumn::is_old)
    }
}

/// Whether a type of MariaDB is one that looks like another in the log.
pub(crate) fn looks_like(said: &ColumnKind, logged: &ColumnKind) -> bool {
    let (bytes, fixed) = match logged {
        ColumnKind::Char { length, charset } => (length * charset.width(), true),
        ColumnKind::Binary { length } => (*length, true),
        ColumnKind::Varbinary { length } => (*length, false),
        _ => return false,
    };
    match said {
        ColumnKind::Uuid | ColumnKind::Inet6 => fixed && bytes == 16,
        ColumnKind::Inet4 => fixed && bytes == 4,
        ColumnKind::Vector { dimensions } => !fixed && dimensions.checked_mul(4) == Some(bytes),
        _ => false,
    }
}

/// How far each list of the metadata has been used up.
struct Turn<'a> {
    said: &'a Said,
    collations: &'a Collations,
    numeric: usize,
    text: usize,
    listed: usize,
    enums: usize,
    sets: usize,
    geometries: usize,
    vectors: usize,
}

fn next(place: &mut usize) -> usize {
    *place += 1;
    *place - 1
}

impl Turn<'_> {
    /// The column's type. `before`: what it is by the definition, which answers where the map does
    /// not.
    fn kind(&mut self, column: &MapColumn, before: Option<&ColumnKind>) -> Result<ColumnKind> {
        let metadata = column.metadata;
        let small = |value: u16| u8::try_from(value).unwrap_or(u8::MAX);
        if column.form.is_none() {
            return Err(Error::unsupported(format!(
                "a column has the type number {}, which this program does not know",
                column.kind
            ))
            .hint("leave the table out, or report the type as missing"));
        }
        Ok(match column.kind {
            code::TINY => self.integer(1, before)?,
            code::SHORT => self.integer(2, before)?,
            code::INT24 => self.integer(3, before)?,
            code::LONG => self.integer(4, before)?,
            code::LONGLONG => self.integer(8, before)?,
            code::FLOAT => ColumnKind::Float {
                unsigned: self.unsigned(before)?,
            },
            code::DOUBLE => ColumnKind::Double {
                unsigned: self.unsigned(before)?,
            },
            code::NEWDECIMAL => {
                let [precision, scale] = metadata.to_le_bytes();
                ColumnKind::Decimal {
                    precision,
                    scale,
                    unsigned: self.unsigned(before)?,
                }
            }
            code::BIT => ColumnKind::Bit {
                bits: small(bits(metadata)),
            },
            code::YEAR => {
                // Counted among the numeric types; MySQL says that it has a sign.
                self.unsigned(before)?;
                ColumnKind::Year
            }
            code::DATE | code::NEWDATE => ColumnKind::Date,
            code::DATETIME => ColumnKind::DateTime {
                digits: old_digits(before)?,
            },
            code::DATETIME2 => ColumnKind::DateTime {
                digits: small(metadata),
            },
            code::TIMESTAMP => ColumnKind::Timestamp {
                digits: old_digits(before)?,
            },
            code::TIMESTAMP2 => ColumnKind::Timestamp {
                digits: small(metadata),
            },
            code::TIME => ColumnKind::Time {
                digits: old_digits(before)?,
            },
            code::TIME2 => ColumnKind::Time {
                digits: small(metadata),
            },
            code::VARCHAR | code::VAR_STRING | code::VARCHAR_COMPRESSED => {
                match self.charset(before)? {
                    None => ColumnKind::Varbinary {
                        length: metadata.into(),
                    },
                    Some(charset) => ColumnKind::Varchar {
                        length: u32::from(metadata) / charset.width(),
                        charset,
                    },
                }
            }
            code::STRING => match self.charset(before)? {
                None => ColumnKind::Binary {
                    length: metadata.into(),
                },
                Some(charset) => ColumnKind::Char {
                    length: u32::from(metadata) / charset.width(),
                    charset,
                },
            },
            code::BLOB | code::BLOB_COMPRESSED => {
                let size = small(metadata);
                match self.charset(before)? {
                    None => ColumnKind::Blob { size },
                    Some(charset) => ColumnKind::Text { size, charset },
                }
            }
            code::JSON => ColumnKind::Json,
            code::ENUM => {
                let place = next(&mut self.enums);
                ColumnKind::Enum {
                    members: self.members(self.said.enums.get(place), before)?,
                }
            }
            code::SET => {
                let place = next(&mut self.sets);
                ColumnKind::Set {
                    members: self.members(self.said.sets.get(place), before)?,
                }
            }
            code::GEOMETRY => {
                if self.collations.of_geometry {
                    next(&mut self.text);
                }
                let place = next(&mut self.geometries);
                match (self.said.geometries.get(place), before) {
                    (None, Some(ColumnKind::Geometry(before))) => ColumnKind::Geometry(*before),
                    (number, _) => {
                        let number = number.copied().unwrap_or(0);
                        ColumnKind::Geometry(Geometry::of_number(number))
                    }
                }
            }
            code::VECTOR => {
                // It has a collation too, that of bytes.
                next(&mut self.text);
                let place = next(&mut self.vectors);
                let dimensions = match (self.said.vectors.get(place), before) {
                    (None, Some(ColumnKind::Vector { dimensions })) => *dimensions,
                    (said, _) => u32::try_from(said.copied().unwrap_or(2048)).unwrap_or(u32::MAX),
                };
                ColumnKind::Vector { dimensions }
            }
            _ => return Err(missing("type")),
        })
    }

    fn unsigned(&mut self, before: Option<&ColumnKind>) -> Result<bool> {
        let place = next(&mut self.numeric);
        match (&self.said.unsigned, before) {
            (Some(bits), _) => bits
                .get(place / 8)
                .map(|byte| byte << (place % 8) & 0x80 != 0)
                .ok_or_else(|| missing("sign")),
            (None, Some(before)) => Ok(matches!(
                before,
                ColumnKind::Integer { unsigned: true, .. }
                    | ColumnKind::Float { unsigned: true }
                    | ColumnKind::Double { unsigned: true }
                    | ColumnKind::Decimal { unsigned: true, .. }
            )),
            (None, None) => Err(missing("sign")),
        }
    }

    fn integer(&mut self, width: u8, before: Option<&ColumnKind>) -> Result<ColumnKind> {
        Ok(ColumnKind::Integer {
            width,
            unsigned: self.unsigned(before)?,
        })
    }

    /// The next text column's character set; `None`: bytes.
    fn charset(&mut self, before: Option<&ColumnKind>) -> Result<Option<Charset>> {
        let place = next(&mut self.text);
        match (self.said.text.of(place), before) {
            (Some(collation), _) => self.collations.charset(collation),
            (None, Some(before)) => Ok(match before {
                ColumnKind::Char { charset, .. }
                | ColumnKind::Varchar { charset, .. }
                | ColumnKind::Text { charset, .. } => Some(*charset),
                _ => None,
            }),
            (None, None) => Err(missing("collation")),
        }
    }

    /// The members of the next ENUM or SET.
    fn members(
        &mut self,
        list: Option<&Vec<Vec<u8>>>,
        before: Option<&ColumnKind>,
    ) -> Result<Arc<[Box<str>]>> {
        let place = next(&mut self.listed);
        if let (None, Some(ColumnKind::Enum { members } | ColumnKind::Set { members })) =
            (list, before)
        {
            return Ok(Arc::clone(members));
        }
        let collation = self
            .said
            .listed
            .of(place)
            .ok_or_else(|| missing("collation"))?;
        let charset = self.collations.charset(collation)?;
        let list = list.ok_or_else(|| missing("list of members"))?;
        list.iter()
            .map(|member| {
                let mut text = String::new();
                // Of the binary character set are those that were made without another.
                match charset {
                    None => text = String::from_utf8_lossy(member).into_owned(),
                    Some(charset) => charset.decode(member, &mut text).map_err(|_| no_text())?,
                }
                Ok(text.into_boxed_str())
            })
            .collect()
    }
}

/// MySQL 9.7 makes such members when it converts a table to another character set.
fn no_text() -> Error {
    Error::unsupported("a member of an ENUM or SET is not valid in its column's character set").hint(
        "ALTER TABLE … MODIFY the column with its members in the new character set, and correct the \
         values; then run cdc snapshot for the table",
    )
}

/// The digits of a time in the old format, of which none can be read but those without.
fn old_digits(before: Option<&ColumnKind>) -> Result<u8> {
    match before {
        Some(
            ColumnKind::DateTime { digits: 0 }
            | ColumnKind::Timestamp { digits: 0 }
            | ColumnKind::Time { digits: 0 },
        ) => Ok(0),
        _ => Err(Error::unsupported(
            "a column of dates or times is in the format before MySQL 5.6, in which fractions of a \
             second cannot be read",
        )
        .hint(
            "SET GLOBAL mysql56_temporal_format = ON; ALTER TABLE … FORCE; then run cdc snapshot for \
             the table",
        )),
    }
}

fn missing(what: &str) -> Error {
    Error::unsupported(format!("the log does not say a column's {what}")).hint(
        "SET PERSIST binlog_row_metadata = FULL (MariaDB: SET GLOBAL, and in its option file), \
         then run cdc snapshot for the table",
    )
}
