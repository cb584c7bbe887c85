//! Small values of fixed form: integers, hexadecimal, UUIDs, bit strings, UTF-8.

use std::str;

use super::ValueError;

/// Exactly so many bytes.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ValueError> {
    bytes.try_into().map_err(|_| ValueError::Malformed)
}

/// Text, if it is UTF-8.
pub(super) fn utf8(text: &[u8]) -> Result<&str, ValueError> {
    str::from_utf8(text).map_err(|_| ValueError::Encoding)
}

/// A decimal integer.
pub(super) fn integer(text: &[u8]) -> Result<i64, ValueError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 19 {
        return Err(ValueError::Malformed);
    }
    // 19 digits fit an u64.
    let mut value = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(ValueError::Malformed);
        }
        value = value * 10 + u64::from(digit);
    }
    if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
    .ok_or(ValueError::Malformed)
}

fn nibble(byte: u8) -> Result<u8, ValueError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(ValueError::Malformed),
    }
}

/// Writes the bytes that hexadecimal digits stand for.
pub(super) fn unhex(text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    if !text.len().is_multiple_of(2) {
        return Err(ValueError::Malformed);
    }
    out.reserve(text.len() / 2);
    for pair in text.chunks_exact(2) {
        out.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Ok(())
}

/// A UUID; hyphens may stand anywhere.
pub(super) fn uuid(text: &[u8]) -> Result<[u8; 16], ValueError> {
    let mut value = [0; 16];
    let mut digits = text.iter().filter(|byte| **byte != b'-');
    for byte in &mut value {
        let high = digits.next().ok_or(ValueError::Malformed)?;
        let low = digits.next().ok_or(ValueError::Malformed)?;
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    match digits.next() {
        None => Ok(value),
        Some(_) => Err(ValueError::Malformed),
    }
}

/// Writes the binary form of a bit string, its length in bits and its bytes, as 0s and 1s.
pub(super) fn bits(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let (length, bytes) = bytes.split_first_chunk().ok_or(ValueError::Malformed)?;
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| ValueError::Malformed)?;
    if bytes.len() != length.div_ceil(8) {
        return Err(ValueError::Malformed);
    }
    out.extend((0..length).map(|bit| b'0' + (bytes[bit / 8] >> (7 - bit % 8) & 1)));
    Ok(())
}
