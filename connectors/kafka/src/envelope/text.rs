//! Scalars as JSON text, to the letter as Java's Jackson writes them: strings, numbers, base64.
//!
//! Invariant: what is appended is one whole JSON value; digits of bytes come without their quotes.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A string in quotes. Control characters are escaped, and what lies beyond the basic plane (🦆) is
/// written as two escaped halves; everything else stays as it is.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// A string's inside.
pub(super) fn escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if (0x20..0xf0).contains(&byte) && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..index]);
        if byte >= 0xf0 {
            // The first of the four bytes of such a character.
            start = index + 4;
            let mut halves = [0; 2];
            for half in text[index..]
                .chars()
                .next()
                .unwrap_or_default()
                .encode_utf16(&mut halves)
            {
                let _ = write!(out, "\\u{half:04X}");
            }
            continue;
        }
        start = index + 1;
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[start..]);
}

/// A whole number.
pub(super) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A double, as `Double.toString` has it; what is no number is in quotes.
pub(super) fn double(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return not_finite(out, value);
    }
    let mut digits = Digits::default();
    // Writing to memory that is large enough cannot fail.
    let _ = write!(digits, "{value:e}");
    java_number(out, digits.text());
}

/// A float, as `Float.toString` has it.
pub(super) fn float(out: &mut Vec<u8>, value: f32) {
    if !value.is_finite() {
        return not_finite(out, f64::from(value));
    }
    let mut digits = Digits::default();
    let _ = write!(digits, "{value:e}");
    java_number(out, digits.text());
}

fn not_finite(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    });
}

/// The shortest digits and the exponent of a number: at most 17 digits, a sign and `e-324`.
#[derive(Default)]
struct Digits {
    bytes: [u8; 32],
    len: usize,
}

impl Digits {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("0e0")
    }
}

impl Write for Digits {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.bytes.len() - self.len;
        let len = bytes.len().min(room);
        self.bytes[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From `-1.25e-7` to Java's form: plain from 10⁻³ up to 10⁷, else with `E`; always with a point.
fn java_number(out: &mut Vec<u8>, shortest: &str) {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => mantissa,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole == "0" {
        out.extend_from_slice(b"0.0");
        return;
    }
    if !(-3..7).contains(&exponent) {
        out.extend_from_slice(whole.as_bytes());
        out.push(b'.');
        out.extend_from_slice(if fraction.is_empty() { "0" } else { fraction }.as_bytes());
        out.push(b'E');
        integer(out, exponent);
        return;
    }
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + exponent.unsigned_abs() as usize - 1, b'0');
        out.extend_from_slice(whole.as_bytes());
        out.extend_from_slice(fraction.as_bytes());
        return;
    }
    let before = exponent.unsigned_abs() as usize;
    out.extend_from_slice(whole.as_bytes());
    let (left, right) = fraction.split_at(before.min(fraction.len()));
    out.extend_from_slice(left.as_bytes());
    out.resize(out.len() + before - left.len(), b'0');
    out.push(b'.');
    out.extend_from_slice(if right.is_empty() { "0" } else { right }.as_bytes());
}

/// Bytes in base64, without quotes.
pub(super) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    encoded(out, bytes, &STANDARD);
}

/// Bytes in base64 with `-` and `_`, without quotes.
pub(super) fn base64_url_safe(out: &mut Vec<u8>, bytes: &[u8]) {
    encoded(out, bytes, &URL_SAFE);
}

fn encoded(out: &mut Vec<u8>, bytes: &[u8], engine: &impl Engine) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let len = engine.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + len);
}

/// Bytes in hexadecimal digits, without quotes.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn doubles_are_as_java_writes_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.234_567_8e10, "1.2345678E10"),
            (123_456.789, "123456.789"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::MAX, "1.7976931348623157E308"),
            (5e-324, "5.0E-324"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(written(|out| super::double(out, value)), text);
        }
        assert_eq!(written(|out| super::float(out, 1.1)), "1.1");
        assert_eq!(written(|out| super::float(out, -1.5e30)), "-1.5E30");
    }

    #[test]
    fn strings_are_escaped_as_jackson_does() {
        assert_eq!(
            written(|out| super::string(out, "a\"b\\c\n\u{1f}\u{7f}ü/\t漢🦆🦆x")),
            "\"a\\\"b\\\\c\\n\\u001F\u{7f}ü/\\t漢\\uD83E\\uDD86\\uD83E\\uDD86x\""
        );
    }

    #[test]
    fn bytes_in_their_three_forms() {
        assert_eq!(written(|out| super::base64(out, &[0xfb, 0xff])), "+/8=");
        assert_eq!(
            written(|out| super::base64_url_safe(out, &[0xfb, 0xff])),
            "-_8="
        );
        assert_eq!(written(|out| super::hex(out, &[0xfb, 0x0f])), "fb0f");
    }
}
