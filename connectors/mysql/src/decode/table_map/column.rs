//! A column as the fixed part of a table map tells it: its type's number, and how its values lie in
//! row images.
//!
//! Leaves it to `table_map` what type that is.

use crate::types::ColumnKind;
use crate::types::append::{Form, FormKind, Size};
use crate::wire::{Short, Wire};

/// A column, as the fixed part tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapColumn {
    /// The type's number; of ENUM and SET their own.
    pub(super) kind: u8,
    pub(super) metadata: u16,
    /// Whether it admits NULL.
    pub(crate) nullable: bool,
    /// How values lie; `None` where the type is not known.
    pub(crate) form: Option<Form>,
}

impl MapColumn {
    /// Whether it is JSON, whose values may be given as differences.
    pub(crate) fn is_json(&self) -> bool {
        self.kind == code::JSON
    }

    /// Whether it is a time in the format before MySQL 5.6 (MariaDB's `mysql56_temporal_format=OFF`).
    pub(super) fn is_old(&self) -> bool {
        matches!(self.kind, code::TIMESTAMP | code::TIME | code::DATETIME)
    }

    /// Whether the values of an ENUM or SET have as many bytes as its members need.
    pub(super) fn holds(&self, kind: &ColumnKind) -> bool {
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

/// The types' numbers (`enum_field_types`).
pub(super) mod code {
    pub(crate) const DECIMAL: u8 = 0;
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A column by its type's number and its piece of the metadata.
pub(super) fn column(code: u8, metadata: &mut Wire<'_>) -> Result<MapColumn, Short> {
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
pub(super) fn bits(metadata: u16) -> u16 {
    let [rest, bytes] = metadata.to_le_bytes();
    u16::from(bytes) * 8 + u16::from(rest)
}
