//! TABLE_MAP: what a table looked like when its rows were logged.
//!
//! Two depths: [`TableMap::parse`] says name, number and how values lie in row images, which is all
//! that passing rows over needs; [`TableMap::columns`] makes the columns, the same as the catalog
//! describes them: out of the optional metadata (`binlog_row_metadata=FULL`), or, where that is not
//! whole, out of the table's definition. Invariant: a definition that does not fit what the map does
//! say is not used.

use std::collections::HashMap;
use std::sync::Arc;

use cdc_api::{Error, Result, TableName};

use super::definition::Definition;
use crate::types::append::{Form, FormKind, Size};
use crate::types::charset::Collations;
use crate::types::{Charset, ColumnKind, ColumnType, Geometry, TypeOptions};
use crate::wire::{Short, Wire};

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

/// A column, as the fixed part tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapColumn {
    /// The type's number; of ENUM and SET their own.
    kind: u8,
    metadata: u16,
    /// Whether it admits NULL.
    pub(crate) nullable: bool,
    /// How values lie; `None` where the type is not known.
    pub(crate) form: Option<Form>,
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

impl MapColumn {
    /// Whether it is JSON, whose values may be given as differences.
    pub(crate) fn is_json(&self) -> bool {
        self.kind == code::JSON
    }

    /// Whether it is a time in the format before MySQL 5.6 (MariaDB's `mysql56_temporal_format=OFF`).
    fn is_old(&self) -> bool {
        matches!(self.kind, code::TIMESTAMP | code::TIME | code::DATETIME)
    }

    /// Whether the values of an ENUM or SET have as many bytes as its members need.
    fn holds(&self, kind: &ColumnKind) -> bool {
        let bytes = match kind {
            ColumnKind::Enum { members } if members.len() < 256 => 1,
            ColumnKind::Enum { .. } => 2,
            ColumnKind::Set { members } => match members.len().div_ceil(8) {
                bytes @ ..=4 => bytes,
                _ => 8,
            },
            _ => return true,
        };
        usize::from(self.metadata) == bytes
    }
}

mod code {
    pub(super) const DECIMAL: u8 = 0;
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const NEWDATE: u8 = 14;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const BLOB_COMPRESSED: u8 = 140;
    pub(super) const VARCHAR_COMPRESSED: u8 = 141;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
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

/// A column by its type's number and its piece of the metadata.
fn column(code: u8, metadata: &mut Wire<'_>) -> Result<MapColumn, Short> {
    let fixed = |width| Some((Size::Fixed(width), FormKind::Plain));
    let old = |width| Some((Size::Fixed(width), FormKind::OldTemporal));
    let mut kind = code;
    let mut value = 0u16;
    let form = match code {
        code::TINY => fixed(1),
        code::YEAR => fixed(1),
        code::SHORT => fixed(2),
        code::INT24 => fixed(3),
        code::LONG => fixed(4),
        code::LONGLONG => fixed(8),
        code::FLOAT | code::DOUBLE => {
            value = u16::from(metadata.u8()?);
            fixed(usize::from(value))
        }
        code::DATE | code::NEWDATE => fixed(3),
        code::TIMESTAMP => old(4),
        code::TIME => old(3),
        code::DATETIME => old(8),
        code::TIMESTAMP2 | code::DATETIME2 | code::TIME2 => {
            let digits = metadata.u8()?;
            value = u16::from(digits);
            let whole = match code {
                code::TIMESTAMP2 => 4,
                code::DATETIME2 => 5,
                _ => 3,
            };
            let width = whole + crate::types::temporal::fraction_width(digits);
            (digits <= 6).then_some((Size::Fixed(width), FormKind::Fraction(digits)))
        }
        code::NEWDECIMAL => {
            value = metadata.u16()?;
            let [precision, scale] = value.to_le_bytes();
            let known = (1..=65).contains(&precision) && scale <= precision;
            known
                .then(|| fixed(crate::types::number::packed_width(precision, scale)))
                .flatten()
        }
        code::VARCHAR | code::VAR_STRING | code::VARCHAR_COMPRESSED => {
            value = metadata.u16()?;
            let width = if value > 255 { 2 } else { 1 };
            let compressed = code == code::VARCHAR_COMPRESSED;
            // One byte says how it is compressed.
            value -= u16::from(compressed && value > 0);
            Some((Size::Prefixed(width), compression(compressed)))
        }
        code::BIT => {
            value = metadata.u16()?;
            let bits = bits(value);
            (1..=64)
                .contains(&bits)
                .then(|| fixed(usize::from(bits).div_ceil(8)))
                .flatten()
        }
        code::BLOB | code::BLOB_COMPRESSED | code::JSON | code::GEOMETRY | code::VECTOR => {
            let width = metadata.u8()?;
            value = u16::from(width);
            let compressed = code == code::BLOB_COMPRESSED;
            (1..=4)
                .contains(&width)
                .then(|| (Size::Prefixed(usize::from(width)), compression(compressed)))
        }
        code::STRING | code::ENUM | code::SET => {
            // The first byte is the real type; of long CHARs two of its bits are the length's.
            let [real, low] = metadata.u16()?.to_le_bytes();
            match real {
                code::ENUM | code::SET => {
                    kind = real;
                    value = u16::from(low);
                    (1..=8)
                        .contains(&low)
                        .then(|| fixed(usize::from(low)))
                        .flatten()
                }
                _ => {
                    kind = code::STRING;
                    let high = u16::from(!real & 0x30) << 4;
                    value = high | u16::from(low);
                    let width = if value > 255 { 2 } else { 1 };
                    Some((Size::Prefixed(width), FormKind::Plain))
                }
            }
        }
        code::DECIMAL => None,
        _ => None,
    };
    Ok(MapColumn {
        kind,
        metadata: value,
        nullable: true,
        form: form.map(|(size, kind)| Form { size, kind }),
    })
}

fn compression(compressed: bool) -> FormKind {
    match compressed {
        true => FormKind::Compressed,
        false => FormKind::Plain,
    }
}

/// The bits of a BIT column: whole bytes in the high byte, the rest in the low one.
fn bits(metadata: u16) -> u16 {
    let [rest, bytes] = metadata.to_le_bytes();
    u16::from(bytes) * 8 + u16::from(rest)
}

/// The optional metadata (`Table_map_event::Optional_metadata_fields`), read.
#[derive(Debug, Default)]
struct Said {
    /// A bit for each numeric column, the highest first.
    unsigned: Option<Vec<u8>>,
    names: Option<Vec<String>>,
    key: Vec<usize>,
    /// Of text columns, of ENUM and SET columns.
    text: Collated,
    listed: Collated,
    enums: Vec<Vec<Vec<u8>>>,
    sets: Vec<Vec<Vec<u8>>>,
    geometries: Vec<u64>,
    vectors: Vec<u64>,
}

/// Collations of some columns.
#[derive(Debug, Default)]
enum Collated {
    #[default]
    Unsaid,
    /// One for all but some, by their place among these columns.
    Mostly(u64, HashMap<u64, u64>),
    /// One each.
    Each(Vec<u64>),
}

impl Collated {
    fn of(&self, place: usize) -> Option<u64> {
        match self {
            Self::Unsaid => None,
            Self::Mostly(most, others) => {
                Some(others.get(&(place as u64)).copied().unwrap_or(*most))
            }
            Self::Each(all) => all.get(place).copied(),
        }
    }

    fn mostly(mut wire: Wire<'_>) -> Result<Self, Short> {
        let most = wire.count()? as u64;
        let mut others = HashMap::new();
        while !wire.is_empty() {
            others.insert(wire.count()? as u64, wire.count()? as u64);
        }
        Ok(Self::Mostly(most, others))
    }

    fn each(wire: Wire<'_>) -> Result<Self, Short> {
        Ok(Self::Each(counts(wire)?))
    }
}

fn counts(mut wire: Wire<'_>) -> Result<Vec<u64>, Short> {
    let mut all = Vec::new();
    while !wire.is_empty() {
        all.push(wire.count()? as u64);
    }
    Ok(all)
}

fn lists(mut wire: Wire<'_>) -> Result<Vec<Vec<Vec<u8>>>, Short> {
    let mut lists = Vec::new();
    while !wire.is_empty() {
        let count = wire.count()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(wire.counted()?.to_vec());
        }
        lists.push(list);
    }
    Ok(lists)
}

impl Said {
    fn read(optional: &[u8]) -> Result<Self> {
        let mut said = Self::default();
        let mut wire = Wire(optional);
        while !wire.is_empty() {
            let field = wire.u8()?;
            let value = Wire(wire.counted()?);
            match field {
                1 => said.unsigned = Some(value.0.to_vec()),
                2 => said.text = Collated::mostly(value)?,
                3 => said.text = Collated::each(value)?,
                4 => {
                    let mut value = value;
                    let mut names = Vec::new();
                    while !value.is_empty() {
                        let name = String::from_utf8(value.counted()?.to_vec())
                            .map_err(|_| Error::data("the name of a column is not text"))?;
                        names.push(name);
                    }
                    said.names = Some(names);
                }
                5 => said.sets = lists(value)?,
                6 => said.enums = lists(value)?,
                7 => said.geometries = counts(value)?,
                8 => {
                    let places = counts(value)?;
                    said.key = places
                        .iter()
                        .filter_map(|place| usize::try_from(*place).ok())
                        .collect();
                }
                9 => {
                    // Pairs of column and length of the prefix.
                    let pairs = counts(value)?;
                    said.key = pairs
                        .chunks(2)
                        .filter_map(|pair| usize::try_from(*pair.first()?).ok())
                        .collect();
                }
                10 => said.listed = Collated::mostly(value)?,
                11 => said.listed = Collated::each(value)?,
                13 => said.vectors = counts(value)?,
                // Visibility says nothing here: invisible columns are captured like others.
                _ => {}
            }
        }
        Ok(said)
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
                    Some(charset) => charset
                        .decode(member, &mut text)
                        .map_err(|error| Error::unsupported(error.message()))?,
                }
                Ok(text.into_boxed_str())
            })
            .collect()
    }
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
