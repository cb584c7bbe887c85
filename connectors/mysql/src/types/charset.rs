//! Character sets: from a column's bytes to UTF-8, as the server's own conversion does it.
//!
//! Invariant: the text is the same as the server sends under `SET NAMES utf8mb4`: also where a byte
//! stands for nothing, which the server shows as `?`.

mod odd;
mod single;

use std::fmt;
use std::sync::LazyLock;

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
    /// Characters of one to four bytes, as the web's encoding has them.
    Multi(&'static Encoding),
    /// The same, but for some characters ([`odd::ODD`]).
    Odd(&'static Encoding, Shape),
}

/// How long characters are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Two bytes from 0x80 on.
    Two,
    /// The same; four where the second is a digit.
    Gb18030,
    /// The same; 0xa1 to 0xdf are one byte.
    Sjis,
    /// The same; three after 0x8f, and rows 85 to 94 are for private use.
    Euc,
}

impl Shape {
    fn length(self, bytes: &[u8]) -> usize {
        let second = bytes.get(1).copied().unwrap_or(0);
        let length = match (self, bytes.first().copied().unwrap_or(0)) {
            (_, ..0x80) => 1,
            (Self::Sjis, 0xa1..=0xdf) => 1,
            (Self::Gb18030, _) if second.is_ascii_digit() => 4,
            (Self::Euc, 0x8f) => 3,
            _ => 2,
        };
        length.min(bytes.len())
    }

    /// Characters for private use.
    fn private(self, character: &[u8]) -> Option<char> {
        let (first, row, place) = match *character {
            [row @ 0xf5..=0xfe, place @ 0xa1..=0xfe] => (0xe000, row, place),
            [0x8f, row @ 0xf5..=0xfe, place @ 0xa1..=0xfe] => (0xe3ac, row, place),
            _ => return None,
        };
        let number = u32::from(row - 0xf5) * 94 + u32::from(place - 0xa1);
        (self == Self::Euc)
            .then(|| char::from_u32(first + number))
            .flatten()
    }
}

fn multi(encoding: &'static Encoding, bytes: &[u8], text: &mut String) -> Result<(), ValueError> {
    let decoded = encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .ok_or(ValueError::Encoding)?;
    text.push_str(&decoded);
    Ok(())
}

fn odd(
    name: &str,
    encoding: &'static Encoding,
    shape: Shape,
    bytes: &[u8],
    text: &mut String,
) -> Result<(), ValueError> {
    let table = odd::ODD.iter().find(|(of, _)| *of == name);
    let table = table.map_or(&[][..], |(_, table)| *table);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (character, after) = rest.split_at(shape.length(rest));
        let code = character
            .iter()
            .fold(0, |all, byte| all << 8 | u32::from(*byte));
        let found = table.binary_search_by_key(&code, |(code, _)| *code).ok();
        match found
            .map(|place| table[place].1)
            .or_else(|| shape.private(character))
        {
            Some(odd) => text.push(odd),
            None => multi(encoding, character, text)?,
        }
        rest = after;
    }
    Ok(())
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
        let known = ENTRIES.iter().chain(SINGLE.iter());
        known.into_iter().find(|entry| entry.name == name).map(Self)
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
            Codec::Multi(encoding) => multi(encoding, bytes, text)?,
            Codec::Odd(encoding, shape) => odd(self.0.name, encoding, shape, bytes, text)?,
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
    entry("ucs2", 2, Codec::Utf16Be),
    entry("utf16", 4, Codec::Utf16Be),
    entry("utf16le", 4, Codec::Utf16Le),
    entry("utf32", 4, Codec::Utf32),
    entry("gbk", 2, Codec::Multi(encoding_rs::GBK)),
    entry("gb2312", 2, Codec::Odd(encoding_rs::GBK, Shape::Two)),
    entry(
        "gb18030",
        4,
        Codec::Odd(encoding_rs::GB18030, Shape::Gb18030),
    ),
    entry("big5", 2, Codec::Odd(encoding_rs::BIG5, Shape::Two)),
    entry("sjis", 2, Codec::Odd(encoding_rs::SHIFT_JIS, Shape::Sjis)),
    entry("cp932", 2, Codec::Multi(encoding_rs::SHIFT_JIS)),
    entry("ujis", 3, Codec::Odd(encoding_rs::EUC_JP, Shape::Euc)),
    entry("eucjpms", 3, Codec::Odd(encoding_rs::EUC_JP, Shape::Euc)),
    entry("euckr", 2, Codec::Multi(encoding_rs::EUC_KR)),
];

/// Those with one byte a character.
static SINGLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let tables = single::TABLES.iter();
    tables
        .map(|(name, table)| entry(name, 1, Codec::Single(table)))
        .collect()
});

/// The collations of a server, which table maps name by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collations {
    /// The character set of each, by number.
    pub(crate) names: std::collections::HashMap<u64, String>,
    /// Whether table maps name a collation for each GEOMETRY column too, as MariaDB's do.
    pub(crate) of_geometry: bool,
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
            of_geometry: false,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(charset: &str, bytes: &[u8]) -> Result<String, ValueError> {
        let mut text = String::new();
        let charset = Charset::by_name(charset).expect("known");
        charset.decode(bytes, &mut text).map(|()| text)
    }

    #[test]
    fn texts_of_every_kind_of_character_set() {
        for (charset, bytes, wanted) in [
            ("latin1", &b"\x80uro\x81"[..], "€uro\u{81}"),
            ("latin2", b"\xa3\xf3d\xbc", "Łódź"),
            ("ascii", b"a\x80", "a?"),
            ("utf8", "☃".as_bytes(), "☃"),
            ("utf16", b"\xd8\x3d\xde\x00", "😀"),
            ("utf16le", b"\x3d\xd8\x00\xde", "😀"),
            ("utf32", b"\0\x01\xf6\x00", "😀"),
            ("ucs2", b"\0\xe9", "é"),
            ("gbk", b"\xd6\xd0\xce\xc4", "中文"),
            ("cp932", b"\x93\xfa\x96\x7b", "日本"),
            ("sjis", b"a\xb1\x93\xfa\x5c", "aｱ日\\"),
            ("ujis", b"\xc6\xfc\xf5\xa1", "日\u{e000}"),
            ("euckr", b"\xc7\xd1", "한"),
            ("big5", b"\xa4\xa4", "中"),
            ("gb18030", b"\x94\x39\xfc\x36", "😀"),
            ("koi8r", b"\xf0", "П"),
        ] {
            assert_eq!(text(charset, bytes).as_deref(), Ok(wanted), "{charset}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for (charset, bytes) in [
            ("utf8mb4", &b"\xff"[..]),
            ("utf16", b"\xd8\x3d"),
            ("ucs2", b"a"),
            ("utf32", b"\0\x11\0\0"),
            ("gbk", b"\xd6"),
            ("ujis", b"\x8f\xa1"),
        ] {
            assert!(text(charset, bytes).is_err(), "{charset}");
        }
        assert!(Charset::by_name("klingon").is_none());
    }
}
