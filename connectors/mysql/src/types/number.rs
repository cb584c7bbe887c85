//! DECIMAL in both forms: the log's packed digits and the protocol's text, to scaled integers.
//!
//! Invariant: exact or refused.

use arrow::datatypes::i256;

use super::ValueError;

/// Bytes of 0 to 9 digits that do not fill a group.
const PACKED: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Bytes that DECIMAL(precision, scale) takes in the log and in packed form everywhere.
pub(crate) fn packed_width(precision: u8, scale: u8) -> usize {
    let whole = usize::from(precision.saturating_sub(scale));
    let scale = usize::from(scale);
    whole / 9 * 4 + PACKED[whole % 9] + scale / 9 * 4 + PACKED[scale % 9]
}

/// The integers that decimals are kept in.
pub(crate) trait Unscaled: Copy {
    /// Zero.
    const ZERO: Self;
    /// `self * power + value`, or `None` beyond the type's range.
    fn shifted(self, power: u32, value: u32) -> Option<Self>;
    /// The number with the other sign.
    fn negated(self) -> Self;
}

impl Unscaled for i128 {
    const ZERO: Self = 0;

    #[inline]
    fn shifted(self, power: u32, value: u32) -> Option<Self> {
        self.checked_mul(Self::from(power))?
            .checked_add(Self::from(value))
    }

    fn negated(self) -> Self {
        -self
    }
}

impl Unscaled for i256 {
    const ZERO: Self = i256::ZERO;

    #[inline]
    fn shifted(self, power: u32, value: u32) -> Option<Self> {
        self.checked_mul(Self::from_i128(i128::from(power)))?
            .checked_add(Self::from_i128(i128::from(value)))
    }

    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

/// A number in packed form: groups of nine digits in four bytes, big-endian, the highest bit
/// inverted; all bits inverted where it is negative.
///
/// # Errors
/// When it is not of [`packed_width`] bytes, or a group has more digits than it may.
#[inline]
pub(crate) fn of_packed<A: Unscaled>(
    bytes: &[u8],
    precision: u8,
    scale: u8,
) -> Result<A, ValueError> {
    let malformed = ValueError::Malformed;
    if bytes.len() != packed_width(precision, scale) {
        return Err(malformed);
    }
    let first = *bytes.first().ok_or(malformed)?;
    let mask = if first & 0x80 == 0 { 0xff } else { 0 };
    let whole = usize::from(precision.saturating_sub(scale));
    let scale = usize::from(scale);
    let mut number = A::ZERO;
    let mut place = 0;
    let mut group = |digits: usize| -> Result<(), ValueError> {
        let width = if digits == 9 { 4 } else { PACKED[digits] };
        let mut value = 0u32;
        for index in 0..width {
            let mut byte = bytes[place + index] ^ mask;
            if place + index == 0 {
                byte ^= 0x80;
            }
            value = value << 8 | u32::from(byte);
        }
        place += width;
        let power = 10u32.pow(u32::try_from(digits).unwrap_or(9));
        if value >= power {
            return Err(malformed);
        }
        number = number.shifted(power, value).ok_or(malformed)?;
        Ok(())
    };
    if whole % 9 > 0 {
        group(whole % 9)?;
    }
    for _ in 0..whole / 9 + scale / 9 {
        group(9)?;
    }
    if scale % 9 > 0 {
        group(scale % 9)?;
    }
    Ok(if mask == 0 { number } else { number.negated() })
}

/// A number in text: `-12.340`, with as many digits behind the point as `scale`, or fewer.
///
/// # Errors
/// When it is none, or has more.
pub(crate) fn of_text<A: Unscaled>(text: &[u8], scale: u8) -> Result<A, ValueError> {
    let malformed = ValueError::Malformed;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let mut number = A::ZERO;
    let mut behind: Option<u8> = None;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                number = number
                    .shifted(10, u32::from(byte - b'0'))
                    .ok_or(malformed)?;
                if let Some(behind) = &mut behind {
                    *behind += 1;
                    if *behind > scale {
                        return Err(malformed);
                    }
                }
            }
            b'.' if behind.is_none() => behind = Some(0),
            _ => return Err(malformed),
        }
    }
    if digits.is_empty() {
        return Err(malformed);
    }
    for _ in behind.unwrap_or(0)..scale {
        number = number.shifted(10, 0).ok_or(malformed)?;
    }
    Ok(if negative { number.negated() } else { number })
}

/// Appends a packed number's text, as the server prints it.
///
/// # Errors
/// As [`of_packed`].
pub(crate) fn write_packed(
    bytes: &[u8],
    precision: u8,
    scale: u8,
    text: &mut String,
) -> Result<(), ValueError> {
    let number: i256 = of_packed(bytes, precision, scale)?;
    let digits = number.to_string();
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.as_str()),
    };
    let scale = usize::from(scale);
    text.push_str(sign);
    let whole = digits.len().saturating_sub(scale);
    text.push_str(if whole == 0 { "0" } else { &digits[..whole] });
    if scale > 0 {
        text.push('.');
        for _ in digits.len()..scale {
            text.push('0');
        }
        text.push_str(&digits[whole..]);
    }
    Ok(())
}
