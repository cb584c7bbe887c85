//! Arrays of one dimension in both forms, element by element.
//!
//! Invariant: elements are given in order and none is missed; an array that a list cannot hold
//! (several dimensions, or one that does not count from 1) is refused in both forms alike.

use super::ValueError;

/// Calls `item` with each element of an array literal, unescaped; `None` is NULL. `scratch` is
/// overwritten.
pub(crate) fn each_of_text(
    text: &[u8],
    delimiter: u8,
    scratch: &mut Vec<u8>,
    mut item: impl FnMut(Option<&[u8]>) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let mut rest = match text {
        b"{}" => return Ok(()),
        [b'{', rest @ ..] => rest,
        // Bounds are written out only where they are not the usual ones.
        [b'[', ..] => return Err(ValueError::Dimensions),
        _ => return Err(ValueError::Malformed),
    };
    loop {
        match rest.first().ok_or(ValueError::Malformed)? {
            b'{' => return Err(ValueError::Dimensions),
            b'"' => {
                rest = unquote(&rest[1..], scratch)?;
                item(Some(scratch))?;
            }
            _ => {
                let end = rest
                    .iter()
                    .position(|byte| *byte == delimiter || *byte == b'}')
                    .ok_or(ValueError::Malformed)?;
                let (element, after) = rest.split_at(end);
                rest = after;
                match element {
                    b"" => return Err(ValueError::Malformed),
                    b"NULL" => item(None)?,
                    element => item(Some(element))?,
                }
            }
        }
        match rest.split_first() {
            Some((b'}', b"")) => return Ok(()),
            Some((byte, after)) if *byte == delimiter => rest = after,
            _ => return Err(ValueError::Malformed),
        }
    }
}

/// Copies a quoted element into `out` and gives what follows its closing quote.
fn unquote<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], ValueError> {
    out.clear();
    loop {
        let end = text
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\'))
            .ok_or(ValueError::Malformed)?;
        out.extend_from_slice(&text[..end]);
        let after = &text[end + 1..];
        if text[end] == b'"' {
            return Ok(after);
        }
        let (escaped, rest) = after.split_first().ok_or(ValueError::Malformed)?;
        out.push(*escaped);
        text = rest;
    }
}

/// Calls `item` with each element of the binary form; `None` is NULL.
pub(crate) fn each_of_binary(
    bytes: &[u8],
    mut item: impl FnMut(Option<&[u8]>) -> Result<(), ValueError>,
) -> Result<(), ValueError> {
    let mut rest = bytes;
    let mut number = || -> Result<i32, ValueError> {
        let (number, after) = rest.split_first_chunk().ok_or(ValueError::Malformed)?;
        rest = after;
        Ok(i32::from_be_bytes(*number))
    };
    let dimensions = number()?;
    let _has_nulls = number()?;
    let _element = number()?;
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = number()?;
            if number()? != 1 {
                return Err(ValueError::Dimensions);
            }
            count
        }
        2.. => return Err(ValueError::Dimensions),
        _ => return Err(ValueError::Malformed),
    };
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk().ok_or(ValueError::Malformed)?;
        rest = after;
        match i32::from_be_bytes(*length) {
            -1 => item(None)?,
            length => {
                let (element, after) = usize::try_from(length)
                    .ok()
                    .and_then(|length| rest.split_at_checked(length))
                    .ok_or(ValueError::Malformed)?;
                rest = after;
                item(Some(element))?;
            }
        }
    }
    if rest.is_empty() && count >= 0 {
        Ok(())
    } else {
        Err(ValueError::Malformed)
    }
}
