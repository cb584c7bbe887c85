//! `numeric` in both forms: to scaled integers of 128 and 256 bits, to text and to double.
//!
//! Invariant: exact or refused. A digit that the scale does not hold is an error, never rounded;
//! NaN and infinities come out as `None`, never as a number.

use std::io::Write;

use arrow::datatypes::i256;

use super::ValueError;

const POWERS: [u64; 19] = {
    let mut powers = [1; 19];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// The integers that decimals are kept in.
pub(crate) trait Unscaled: Copy + PartialOrd {
    /// Zero.
    const ZERO: Self;
    /// The number itself.
    fn from_u64(value: u64) -> Self;
    /// `self * power + value`, or `None` beyond the type's range.
    fn shifted(self, power: u64, value: u64) -> Option<Self>;
    /// The number with the other sign.
    fn negated(self) -> Self;
}

impl Unscaled for i128 {
    const ZERO: Self = 0;

    fn from_u64(value: u64) -> Self {
        Self::from(value)
    }

    fn shifted(self, power: u64, value: u64) -> Option<Self> {
        self.checked_mul(Self::from(power))?
            .checked_add(Self::from(value))
    }

    fn negated(self) -> Self {
        -self
    }
}

impl Unscaled for i256 {
    const ZERO: Self = i256::ZERO;

    fn from_u64(value: u64) -> Self {
        Self::from_i128(i128::from(value))
    }

    fn shifted(self, power: u64, value: u64) -> Option<Self> {
        self.checked_mul(Self::from_u64(power))?
            .checked_add(Self::from_u64(value))
    }

    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

/// 10 to the power of `precision`, the first number that does not fit; at most 76, of 128 bits 38.
pub(crate) fn limit<A: Unscaled>(precision: u8) -> A {
    let mut limit = A::from_u64(1);
    for _ in 0..precision {
        limit = limit.shifted(10, 0).unwrap_or(limit);
    }
    limit
}

/// Digits, gathered 18 at a time in a machine word.
struct Sum<A> {
    total: A,
    chunk: u64,
    digits: u32,
}

impl<A: Unscaled> Sum<A> {
    fn new() -> Self {
        Self {
            total: A::ZERO,
            chunk: 0,
            digits: 0,
        }
    }

    /// Appends a number of `digits` digits, 18 at most.
    fn push(&mut self, value: u64, digits: u32) -> Result<(), ValueError> {
        if self.digits + digits > 18 {
            self.flush()?;
        }
        self.chunk = self.chunk * POWERS[digits as usize] + value;
        self.digits += digits;
        Ok(())
    }

    fn zeros(&mut self, mut count: u32) -> Result<(), ValueError> {
        while count > 0 {
            let some = count.min(18);
            self.push(0, some)?;
            count -= some;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ValueError> {
        self.total = if self.total == A::ZERO {
            A::from_u64(self.chunk)
        } else {
            self.total
                .shifted(POWERS[self.digits as usize], self.chunk)
                .ok_or(ValueError::Precision)?
        };
        self.chunk = 0;
        self.digits = 0;
        Ok(())
    }

    fn finish(mut self, negative: bool, limit: A) -> Result<A, ValueError> {
        self.flush()?;
        if self.total >= limit {
            return Err(ValueError::Precision);
        }
        Ok(if negative {
            self.total.negated()
        } else {
            self.total
        })
    }
}

fn is_special(text: &[u8]) -> bool {
    matches!(text, b"NaN" | b"Infinity" | b"-Infinity")
}

/// The number times 10^`scale`, or `None` for NaN and infinities.
pub(crate) fn decimal_of_text<A: Unscaled>(
    text: &[u8],
    scale: u8,
    limit: A,
) -> Result<Option<A>, ValueError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut sum = Sum::new();
    let mut fraction: Option<u32> = None;
    let mut any = false;
    for &byte in digits {
        match (byte, &mut fraction) {
            (b'0'..=b'9', None) => sum.push(u64::from(byte - b'0'), 1)?,
            (b'0'..=b'9', Some(count)) => {
                if *count < u32::from(scale) {
                    sum.push(u64::from(byte - b'0'), 1)?;
                } else if byte != b'0' {
                    return Err(ValueError::Precision);
                }
                *count += 1;
            }
            (b'.', None) => {
                fraction = Some(0);
                continue;
            }
            _ if is_special(text) => return Ok(None),
            _ => return Err(ValueError::Malformed),
        }
        any = true;
    }
    if !any {
        return Err(ValueError::Malformed);
    }
    sum.zeros(u32::from(scale).saturating_sub(fraction.unwrap_or(0)))?;
    sum.finish(negative, limit).map(Some)
}

/// The binary form: groups of four decimal digits.
#[derive(Clone, Copy)]
struct Groups<'a> {
    groups: &'a [u8],
    /// The first group counts 10000^weight.
    weight: i32,
    negative: bool,
    /// Digits shown after the point.
    shown: usize,
}

enum Binary<'a> {
    Finite(Groups<'a>),
    NotANumber,
    Infinity { negative: bool },
}

impl<'a> Binary<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ValueError> {
        let (header, groups) = bytes
            .split_first_chunk::<8>()
            .ok_or(ValueError::Malformed)?;
        let [c0, c1, w0, w1, s0, s1, d0, d1] = *header;
        if groups.len() != usize::from(u16::from_be_bytes([c0, c1])) * 2 {
            return Err(ValueError::Malformed);
        }
        Ok(match u16::from_be_bytes([s0, s1]) {
            sign @ (0 | 0x4000) => Self::Finite(Groups {
                groups,
                weight: i32::from(i16::from_be_bytes([w0, w1])),
                negative: sign != 0,
                shown: usize::from(u16::from_be_bytes([d0, d1])),
            }),
            0xc000 => Self::NotANumber,
            0xd000 => Self::Infinity { negative: false },
            0xf000 => Self::Infinity { negative: true },
            _ => return Err(ValueError::Malformed),
        })
    }
}

impl Groups<'_> {
    fn iter(&self) -> impl Iterator<Item = Result<u16, ValueError>> {
        self.groups.chunks_exact(2).map(|pair| {
            let group = u16::from_be_bytes([pair[0], pair[1]]);
            if group < 10_000 {
                Ok(group)
            } else {
                Err(ValueError::Malformed)
            }
        })
    }
}

/// The number times 10^`scale`, or `None` for NaN and infinities.
pub(crate) fn decimal_of_binary<A: Unscaled>(
    bytes: &[u8],
    scale: u8,
    limit: A,
) -> Result<Option<A>, ValueError> {
    let Binary::Finite(number) = Binary::read(bytes)? else {
        return Ok(None);
    };
    let mut sum = Sum::new();
    // The power of ten, after scaling, that the lowest digit of the group counts.
    let mut power = 4 * number.weight + i32::from(scale);
    for group in number.iter() {
        let group = u64::from(group?);
        match u32::try_from(-power) {
            Err(_) | Ok(0) => sum.push(group, 4)?,
            Ok(below @ 1..=3) => {
                let unit = POWERS[below as usize];
                if group % unit != 0 {
                    return Err(ValueError::Precision);
                }
                sum.push(group / unit, 4 - below)?;
            }
            Ok(_) if group == 0 => {}
            Ok(_) => return Err(ValueError::Precision),
        }
        power -= 4;
    }
    if !number.groups.is_empty() {
        // The loop has gone one group too far.
        sum.zeros(u32::try_from(power + 4).unwrap_or(0))?;
    }
    sum.finish(number.negative, limit).map(Some)
}

/// Writes the text that the server's own output function gives.
pub(crate) fn write_text(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let number = match Binary::read(bytes)? {
        Binary::Finite(number) => number,
        Binary::NotANumber => {
            out.extend_from_slice(b"NaN");
            return Ok(());
        }
        Binary::Infinity { negative } => {
            let text: &[u8] = if negative { b"-Infinity" } else { b"Infinity" };
            out.extend_from_slice(text);
            return Ok(());
        }
    };
    if number.negative {
        out.push(b'-');
    }
    let written = "a Vec takes every write";
    let mut groups = number.iter();
    if number.weight < 0 {
        out.push(b'0');
    } else {
        for weight in (0..=number.weight).rev() {
            let group = groups.next().unwrap_or(Ok(0))?;
            if weight == number.weight {
                write!(out, "{group}").expect(written);
            } else {
                write!(out, "{group:04}").expect(written);
            }
        }
    }
    if number.shown > 0 {
        out.push(b'.');
        let end = out.len() + number.shown;
        let mut weight = -1;
        while out.len() < end {
            // Groups between the point and the first stored one are zero.
            let group = if weight > number.weight {
                0
            } else {
                groups.next().unwrap_or(Ok(0))?
            };
            write!(out, "{group:04}").expect(written);
            weight -= 1;
        }
        out.truncate(end);
    }
    Ok(())
}

/// The nearest double of the text form.
pub(crate) fn double_of_text(text: &[u8]) -> Result<f64, ValueError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(ValueError::Malformed)
}

/// The nearest double; `scratch` is overwritten.
pub(crate) fn double_of_binary(bytes: &[u8], scratch: &mut Vec<u8>) -> Result<f64, ValueError> {
    scratch.clear();
    write_text(bytes, scratch)?;
    double_of_text(scratch)
}
