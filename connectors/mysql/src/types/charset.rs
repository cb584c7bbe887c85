//! Character sets: from a column's bytes to UTF-8, as the server's own conversion does it.
//!
//! Invariant: the text is the same as the server sends under `SET NAMES utf8mb4`: also where a byte
//! stands for nothing, which the server shows as `?`.

mod single;

use std::fmt;

use cdc_api::{Error, Result};
use encoding_rs::Encoding;

use super::ValueError;

/// A character set.
#[derive(Clone, Copy)]
pub(crate) struct Charset(&'static Entry);

struct Entry {
    name: &'static str,
    /// Bytes of a character, at most.
    width: u32,
    codec: Codec,
}

#[derive(Clone, Copy)]
enum Codec {
    /// The bytes are the text.
    Utf8,
    /// A character each byte.
    Single(&'static [char; 256]),
    /// UTF-16 and UCS-2, big-endian.
    Utf16Be,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-32, big-endian.
    Utf32,
    /// Characters of one to four bytes.
    Multi(&'static Encoding),
}

impl fmt::Debug for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl PartialEq for Charset {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Charset {}

impl Charset {
    /// By the server's name of it.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let name = match name {
            "utf8" => "utf8mb3",
            name => name,
        };
        ENTRIES.iter().find(|entry| entry.name == name).map(Self)
    }

    /// The error of a table with a character set that is not known.
    pub(crate) fn unknown(name: &str) -> Error {
        Error::unsupported(format!("the character set {name} is not known"))
            .hint("ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4")
    }

    /// Bytes of a character, at most (`mbmaxlen`).
    pub(crate) fn width(self) -> u32 {
        self.0.width
    }

    /// Whether the bytes are UTF-8 already.
    pub(crate) fn is_utf8(self) -> bool {
        matches!(self.0.codec, Codec::Utf8)
    }

    /// Appends the text of `bytes` to `text`.
    ///
    /// # Errors
    /// When they are no text in this character set.
    pub(crate) fn decode(self, bytes: &[u8], text: &mut String) -> Result<(), ValueError> {
        match self.0.codec {
            Codec::Utf8 => {
                text.push_str(std::str::from_utf8(bytes).map_err(|_| ValueError::Encoding)?);
            }
            Codec::Single(table) => {
                text.extend(bytes.iter().map(|byte| table[usize::from(*byte)]));
            }
            Codec::Utf16Be => units(bytes, u16::from_be_bytes, text)?,
            Codec::Utf16Le => units(bytes, u16::from_le_bytes, text)?,
            Codec::Utf32 => {
                let (characters, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(ValueError::Encoding);
                }
                for character in characters {
                    let number = u32::from_be_bytes(*character);
                    text.push(char::from_u32(number).ok_or(ValueError::Encoding)?);
                }
            }
            Codec::Multi(encoding) => {
                let decoded = encoding
                    .decode_without_bom_handling_and_without_replacement(bytes)
                    .ok_or(ValueError::Encoding)?;
                text.push_str(&decoded);
            }
        }
        Ok(())
    }
}

fn units(bytes: &[u8], unit: fn([u8; 2]) -> u16, text: &mut String) -> Result<(), ValueError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(ValueError::Encoding);
    }
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        text.push(character.map_err(|_| ValueError::Encoding)?);
    }
    Ok(())
}

const fn entry(name: &'static str, width: u32, codec: Codec) -> Entry {
    Entry { name, width, codec }
}

static ENTRIES: &[Entry] = &[
    entry("utf8mb4", 4, Codec::Utf8),
    entry("utf8mb3", 3, Codec::Utf8),
    entry("latin1", 1, Codec::Single(&single::LATIN1)),
    entry("ucs2", 2, Codec::Utf16Be),
    entry("utf16", 4, Codec::Utf16Be),
    entry("utf16le", 4, Codec::Utf16Le),
    entry("utf32", 4, Codec::Utf32),
    entry("gbk", 2, Codec::Multi(encoding_rs::GBK)),
];

/// The collations of a server, which table maps name by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collations {
    names: std::collections::HashMap<u64, String>,
}

impl Collations {
    /// Number and character set of each collation; both columns are text. The second table is where
    /// MariaDB (10.10 and later) has those that fit several character sets.
    pub(crate) const QUERY_MYSQL: &str =
        "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS";
    /// The same of MariaDB from 10.10 on.
    pub(crate) const QUERY_MARIADB: &str = "SELECT ID, CHARACTER_SET_NAME \
         FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL";

    /// From the query's rows.
    pub(crate) fn new(rows: impl IntoIterator<Item = (u64, String)>) -> Self {
        Self {
            names: rows.into_iter().collect(),
        }
    }

    /// The character set of a collation; `None`: bytes.
    ///
    /// # Errors
    /// `Unsupported` where it is not known.
    pub(crate) fn charset(&self, collation: u64) -> Result<Option<Charset>> {
        let name = self
            .names
            .get(&collation)
            .ok_or_else(|| Charset::unknown(&format!("of collation {collation}")))?;
        match name.as_str() {
            "binary" => Ok(None),
            name => Charset::by_name(name)
                .map(Some)
                .ok_or_else(|| Charset::unknown(name)),
        }
    }
}
