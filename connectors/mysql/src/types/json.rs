//! JSON: from the server's binary form to the text that the server prints.
//!
//! Owns the binary format of `sql-common/json_binary.h`: offsets within values, two sizes of
//! numbers, opaque values of other types. Invariant: work is bounded by the value's own size, also
//! where its offsets make no sense.

use std::fmt::Write;

use super::temporal::{time_of_packed, unpacked};
use super::{ValueError, number};
use crate::wire::Wire;

type Written = Result<(), ValueError>;

/// Levels of nesting; the server allows 100.
const DEPTH: u32 = 128;

const MALFORMED: ValueError = ValueError::Malformed;

/// Appends the text of a document.
///
/// # Errors
/// When it is none.
pub(super) fn write(document: &[u8], text: &mut String) -> Written {
    // INSERT IGNORE can leave such a value behind, which the server reads as null.
    let Some((kind, value)) = document.split_first() else {
        text.push_str("null");
        return Ok(());
    };
    let mut writer = Writer {
        text,
        left: document.len(),
    };
    writer.value(*kind, value, DEPTH)
}

struct Writer<'a> {
    text: &'a mut String,
    /// Values that may still come: each has bytes of its own.
    left: usize,
}

impl Writer<'_> {
    fn value(&mut self, kind: u8, bytes: &[u8], depth: u32) -> Written {
        self.left = self.left.checked_sub(1).ok_or(MALFORMED)?;
        let mut wire = Wire(bytes);
        match kind {
            0x00 | 0x01 => self.container(bytes, kind == 0x01, true, depth),
            0x02 | 0x03 => self.container(bytes, kind == 0x03, false, depth),
            0x04 => self.literal(wire.u8()?),
            0x05 => self.plain(wire.u16()?.cast_signed()),
            0x06 => self.plain(wire.u16()?),
            0x07 => self.plain(wire.u32()?.cast_signed()),
            0x08 => self.plain(wire.u32()?),
            0x09 => self.plain(wire.u64()?.cast_signed()),
            0x0a => self.plain(wire.u64()?),
            0x0b => {
                write_double(f64::from_bits(wire.u64()?), self.text);
                Ok(())
            }
            0x0c => {
                let length = length(&mut wire)?;
                self.string(wire.take(length)?)
            }
            0x0f => {
                let field_type = wire.u8()?;
                let length = length(&mut wire)?;
                self.opaque(field_type, wire.take(length)?)
            }
            _ => Err(MALFORMED),
        }
    }

    fn plain(&mut self, value: impl std::fmt::Display) -> Written {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
        Ok(())
    }

    fn literal(&mut self, number: u8) -> Written {
        self.text.push_str(match number {
            0 => "null",
            1 => "true",
            2 => "false",
            _ => return Err(MALFORMED),
        });
        Ok(())
    }

    fn container(&mut self, bytes: &[u8], large: bool, object: bool, depth: u32) -> Written {
        let depth = depth.checked_sub(1).ok_or(MALFORMED)?;
        let width = if large { 4 } else { 2 };
        let mut head = Wire(bytes);
        let number = |wire: &mut Wire<'_>| -> Result<usize, ValueError> {
            usize::try_from(wire.uint(width)?).map_err(|_| MALFORMED)
        };
        let count = number(&mut head)?;
        let size = number(&mut head)?;
        let bytes = bytes.get(..size).ok_or(MALFORMED)?;
        let keys = if object {
            let width = count.checked_mul(width + 2).ok_or(MALFORMED)?;
            head.take(width)?
        } else {
            &[]
        };
        let entries = head.take(count.checked_mul(width + 1).ok_or(MALFORMED)?)?;
        let (mut keys, mut entries) = (Wire(keys), Wire(entries));
        self.text.push(if object { '{' } else { '[' });
        for index in 0..count {
            if index > 0 {
                self.text.push_str(", ");
            }
            if object {
                let offset = number(&mut keys)?;
                let length = usize::from(keys.u16()?);
                let key = bytes.get(offset..).and_then(|rest| rest.get(..length));
                self.string(key.ok_or(MALFORMED)?)?;
                self.text.push_str(": ");
            }
            let kind = entries.u8()?;
            let place = entries.take(width)?;
            let inlined = match kind {
                0x04..=0x06 => true,
                0x07 | 0x08 => large,
                _ => false,
            };
            let value = if inlined {
                place
            } else {
                let offset = number(&mut Wire(place))?;
                bytes.get(offset..).ok_or(MALFORMED)?
            };
            self.value(kind, value, depth)?;
        }
        self.text.push(if object { '}' } else { ']' });
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Written {
        let string = std::str::from_utf8(bytes).map_err(|_| ValueError::Encoding)?;
        self.text.push('"');
        let mut start = 0;
        for (place, byte) in string.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                0x08 => "\\b",
                0x0c => "\\f",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..0x20 => "",
                _ => continue,
            };
            self.text.push_str(&string[start..place]);
            start = place + 1;
            if escape.is_empty() {
                let _ = write!(self.text, "\\u{byte:04x}");
            } else {
                self.text.push_str(escape);
            }
        }
        self.text.push_str(&string[start..]);
        self.text.push('"');
        Ok(())
    }

    /// A value of another type of the server's, by the type's number.
    fn opaque(&mut self, field_type: u8, bytes: &[u8]) -> Written {
        const TIMESTAMP: u8 = 7;
        const DATE: u8 = 10;
        const TIME: u8 = 11;
        const DATETIME: u8 = 12;
        const DECIMAL: u8 = 246;
        match field_type {
            DECIMAL => {
                let [precision, scale, packed @ ..] = bytes else {
                    return Err(MALFORMED);
                };
                if *precision > 65 || scale > precision {
                    return Err(MALFORMED);
                }
                number::write_packed(packed, *precision, *scale, self.text)
            }
            DATE | DATETIME | TIMESTAMP => {
                let packed = Wire(bytes).u64()?;
                let micro = u32::try_from(packed & 0xff_ffff).unwrap_or(0);
                let civil = unpacked(packed >> 24, micro.min(999_999));
                self.text.push('"');
                if field_type == DATE {
                    civil.write_date(self.text);
                } else {
                    civil.write(6, self.text);
                }
                self.text.push('"');
                Ok(())
            }
            TIME => {
                let micros = time_of_packed(Wire(bytes).u64()?.cast_signed())?;
                self.text.push('"');
                write_time(micros, self.text);
                self.text.push('"');
                Ok(())
            }
            _ => {
                let _ = write!(self.text, "\"base64:type{field_type}:");
                write_base64(bytes, self.text);
                self.text.push('"');
                Ok(())
            }
        }
    }
}

/// A length in groups of seven bits, the lowest first; five bytes at most.
fn length(wire: &mut Wire<'_>) -> Result<usize, ValueError> {
    let mut length = 0usize;
    for group in 0..5 {
        let byte = wire.u8()?;
        length |= usize::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(MALFORMED)
}

/// A time with six digits of a second.
fn write_time(micros: i64, text: &mut String) {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    let _ = write!(
        text,
        "{sign}{:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        micros % 1_000_000
    );
}

/// The shortest number that reads back the same, as the server writes it: plain between 1e-15 and
/// 1e15, else with an exponent; always with a sign that it is a double.
pub(super) fn write_double(value: f64, text: &mut String) {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-15..15).contains(&exponent) {
        let plain = format!("{value}");
        text.push_str(&plain);
        if !plain.contains('.') {
            text.push_str(".0");
        }
    } else {
        let _ = write!(text, "{mantissa}e{exponent}");
    }
}

/// Base64 in lines of 76 characters, as the server breaks them.
fn write_base64(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (index, group) in bytes.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            text.push('\n');
        }
        let number = group
            .iter()
            .fold(0u32, |all, byte| all << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            if digit <= group.len() {
                let value = number >> (18 - 6 * digit) & 63;
                text.push(char::from(DIGITS[value as usize]));
            } else {
                text.push('=');
            }
        }
    }
}
