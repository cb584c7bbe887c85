//! Exact numbers as Connect has them: the unscaled number's bytes, big-endian two's complement, as
//! few as hold it.
//!
//! Invariant: no digit is lost, whatever the form.

use num_bigint::BigInt;

/// The bytes of a two's complement number without those that only repeat its sign.
pub(super) fn shortest(bytes: &[u8]) -> &[u8] {
    let mut start = 0;
    while start + 1 < bytes.len() {
        let sign = bytes[start + 1] & 0x80;
        if (bytes[start] == 0 && sign == 0) || (bytes[start] == 0xff && sign != 0) {
            start += 1;
        } else {
            break;
        }
    }
    &bytes[start..]
}

/// Scale and unscaled bytes of a number's text, without zeros at its end that say nothing (`-12.50`:
/// 1 and those of -125); `None` for what is no number (`NaN`, `Infinity`).
pub(super) fn parse(text: &str) -> Option<(i32, Vec<u8>)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut digits = String::with_capacity(text.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    let number: BigInt = digits.parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?;
    Some((scale, number.to_signed_bytes_be()))
}

/// The unscaled bytes of a number's text at a given scale; `None` where it does not fit exactly or
/// is no number.
pub(super) fn at_scale(text: &str, scale: usize) -> Option<Vec<u8>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.trim_end_matches('0');
    if digits.len() > scale {
        return None;
    }
    let number: BigInt = format!("{whole}{digits:0<scale$}").parse().ok()?;
    Some(number.to_signed_bytes_be())
}

/// The number in a money text of any locale with a point or a comma before two digits:
/// `-$1,234.50` is `-1234.50`.
pub(super) fn money(text: &str) -> Option<String> {
    let negative = text.contains('-') || text.contains('(');
    let digits: String = text
        .chars()
        .filter(|it| it.is_ascii_digit() || matches!(it, '.' | ','))
        .collect();
    let (whole, fraction) = match digits.rfind(['.', ',']) {
        Some(at) if digits.len() - at == 3 => (&digits[..at], &digits[at + 1..]),
        _ => (digits.as_str(), "00"),
    };
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    if whole.is_empty() {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    Some(format!("{sign}{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_bytes_as_hold_the_number() {
        for (value, bytes) in [
            (0i128, vec![0]),
            (127, vec![0x7f]),
            (128, vec![0, 0x80]),
            (-1, vec![0xff]),
            (-128, vec![0x80]),
            (-129, vec![0xff, 0x7f]),
            (12345, vec![0x30, 0x39]),
        ] {
            assert_eq!(shortest(&value.to_be_bytes()), bytes, "{value}");
            assert_eq!(parse(&value.to_string()), Some((0, bytes)));
        }
    }

    #[test]
    fn scales_are_kept_and_what_is_no_number_is_told() {
        assert_eq!(parse("-12.50"), Some((1, vec![0x83])));
        assert_eq!(parse("0.00"), Some((0, vec![0])));
        assert_eq!(parse("-0.05"), Some((2, vec![0xfb])));
        assert_eq!(parse("NaN"), None);
        assert_eq!(at_scale("1.5", 2), Some(vec![0, 0x96]));
        assert_eq!(at_scale("1.500", 2), Some(vec![0, 0x96]));
        assert_eq!(at_scale("1.555", 2), None);
    }

    #[test]
    fn money_of_some_locales() {
        assert_eq!(money("-$1,234.50").as_deref(), Some("-1234.50"));
        assert_eq!(money("1.234,50 €").as_deref(), Some("1234.50"));
        assert_eq!(money("¥1,234").as_deref(), Some("1234.00"));
        assert_eq!(money("none"), None);
    }
}
