//! Dates and times as Debezium writes them.
//!
//! Invariant: nothing here depends on a time zone of this machine.

use std::io::Write;

use super::text;

const DAY: i64 = 86_400_000_000;
/// What PostgreSQL's driver makes of an infinite timestamp, in milliseconds.
const FOREVER: i64 = 9_223_372_036_825_200;
const SINCE_EVER: i64 = -9_223_372_036_832_400;

/// Microseconds of a timestamp without time zone; infinities as PostgreSQL's driver has them.
pub(super) fn micros(value: i64) -> i64 {
    match value {
        i64::MAX => FOREVER * 1000,
        i64::MIN => SINCE_EVER * 1000,
        _ => value,
    }
}

/// The same in milliseconds.
pub(super) fn millis(value: i64) -> i64 {
    match value {
        i64::MAX => FOREVER,
        i64::MIN => SINCE_EVER,
        _ => value.div_euclid(1000),
    }
}

/// Year, month and day of a day since the epoch, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, u32, u32) {
    // Days are counted from 0000-03-01, in eras of 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = u32::try_from(day_of_year - (153 * month + 2) / 5 + 1).unwrap_or(1);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), day)
}

/// `2023-11-14T22:13:20.123456Z`, with as many digits of a second as `digits` says.
pub(super) fn zoned(out: &mut Vec<u8>, value: i64, digits: usize) {
    match value {
        i64::MAX => return out.extend_from_slice(b"infinity"),
        i64::MIN => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    date(out, value.div_euclid(DAY));
    out.push(b'T');
    clock(out, value.rem_euclid(DAY), digits);
    out.push(b'Z');
}

/// `2023-11-14Z`.
pub(super) fn iso_date(out: &mut Vec<u8>, days: i32) {
    date(out, i64::from(days));
    out.push(b'Z');
}

/// `22:13:20.5Z`; what is no time of a day, as MySQL has them, with its sign and hours: `-838:59:59Z`.
pub(super) fn iso_time(out: &mut Vec<u8>, micros: i64) {
    let time = match micros {
        DAY => 0,
        _ => micros.abs(),
    };
    if micros < 0 {
        out.push(b'-');
    }
    clock(out, time, 0);
    if time % 1_000_000 > 0 {
        trimmed(out, (time % 1_000_000).unsigned_abs());
    }
    out.push(b'Z');
}

/// `2023-11-14T22:13:20.5Z`.
pub(super) fn iso_timestamp(out: &mut Vec<u8>, value: i64) {
    let micros = micros(value);
    date(out, micros.div_euclid(DAY));
    out.push(b'T');
    iso_time(out, micros.rem_euclid(DAY));
}

/// `2023-11-14`.
fn date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil(days);
    // Writing to a vector cannot fail.
    let _ = match year {
        0..=9999 => write!(out, "{year:04}-{month:02}-{day:02}"),
        10_000.. => write!(out, "+{year}-{month:02}-{day:02}"),
        _ => write!(out, "-{:04}-{month:02}-{day:02}", -year),
    };
}

/// `22:13:20.123456`.
fn clock(out: &mut Vec<u8>, micros: i64, digits: usize) {
    let seconds = micros / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let _ = write!(out, "{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if digits > 0 {
        let fraction = micros % 1_000_000;
        let mut text = [0u8; 6];
        let _ = write!(text.as_mut_slice(), "{fraction:06}");
        out.push(b'.');
        out.extend_from_slice(&text[..digits.min(6)]);
    }
}

/// A time of day in UTC: `07:35:06.789Z`.
pub(super) fn zoned_time(out: &mut Vec<u8>, utc: i64) {
    let (seconds, fraction) = (utc / 1_000_000, utc % 1_000_000);
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction > 0 {
        trimmed(out, fraction.unsigned_abs());
    }
    out.push(b'Z');
}

/// A point, and the digits of a fraction of a second up to the last that is not 0.
fn trimmed(out: &mut Vec<u8>, micros: u64) {
    let mut digits = [0u8; 6];
    let _ = write!(digits.as_mut_slice(), "{micros:06}");
    let length = 6 - digits.iter().rev().take_while(|it| **it == b'0').count();
    out.push(b'.');
    out.extend_from_slice(&digits[..length]);
}

/// PostgreSQL's `04:05:06.789-03:30` in microseconds of a day in UTC; `None` where it is not of
/// this form.
pub(super) fn parse_zoned_time(value: &str) -> Option<i64> {
    let at = value.rfind(['+', '-'])?;
    let (time, zone) = value.split_at(at);
    let seconds = |text: &str| -> Option<i64> {
        let mut parts = text.split(':').map(str::parse::<i64>);
        let hours = parts.next()?.ok()?;
        let minutes = parts.next().unwrap_or(Ok(0)).ok()?;
        let seconds = parts.next().unwrap_or(Ok(0)).ok()?;
        Some(hours * 3600 + minutes * 60 + seconds)
    };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let fraction: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let offset = seconds(&zone[1..])?;
    let offset = if zone.starts_with('-') {
        -offset
    } else {
        offset
    };
    let micros = seconds(clock)? * 1_000_000 + fraction;
    Some((micros - offset * 1_000_000).rem_euclid(DAY))
}

/// An interval in microseconds, a month having 365.25 / 12 days.
pub(super) fn interval_micros(months: i32, days: i32, nanoseconds: i64) -> i64 {
    // Years first, then months, as Debezium counts: 365.25 days are 31,557,600 seconds, a month of
    // 30.4375 days is 2,629,800.
    let seconds = i64::from(months) * 2_629_800 + i64::from(days) * 86_400;
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(nanoseconds / 1000)
}

/// An interval in ISO 8601: `P1Y2M3DT4H5M6.7S`.
pub(super) fn interval_text(out: &mut Vec<u8>, months: i32, days: i32, nanoseconds: i64) {
    let micros = nanoseconds / 1000;
    let seconds = micros / 1_000_000;
    let fraction = (micros % 1_000_000).unsigned_abs();
    let _ = write!(
        out,
        "P{}Y{}M{days}DT{}H{}M",
        months / 12,
        months % 12,
        seconds / 3600,
        seconds / 60 % 60
    );
    if micros < 0 && seconds % 60 == 0 && fraction > 0 {
        out.push(b'-');
    }
    text::integer(out, seconds % 60);
    if fraction > 0 {
        trimmed(out, fraction);
    }
    out.push(b'S');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn timestamps_with_time_zone_are_utc() {
        let zoned = |value, digits| written(|out| zoned(out, value, digits));
        assert_eq!(
            zoned(1_700_000_000_123_456, 6),
            "2023-11-14T22:13:20.123456Z"
        );
        assert_eq!(zoned(-1, 6), "1969-12-31T23:59:59.999999Z");
        assert_eq!(zoned(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(zoned(951_782_400_000_000, 3), "2000-02-29T00:00:00.000Z");
        assert_eq!(zoned(i64::MAX, 6), "infinity");
        assert_eq!(zoned(253_402_300_800_000_000, 0), "+10000-01-01T00:00:00Z");
    }

    #[test]
    fn times_as_text_have_the_digits_that_they_need() {
        let time = |value| written(|out| iso_time(out, value));
        assert_eq!(time(80_000_500_000), "22:13:20.5Z");
        assert_eq!(time(86_400_000_000), "00:00:00Z");
        assert_eq!(time(-3_020_399_000_001), "-838:59:59.000001Z");
        let stamp = |value| written(|out| iso_timestamp(out, value));
        assert_eq!(stamp(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(written(|out| iso_date(out, -719_529)), "-0001-12-31Z");
    }

    #[test]
    fn times_with_time_zone_are_turned_to_utc() {
        let time = |value| {
            let utc = parse_zoned_time(value).expect("a time");
            written(|out| zoned_time(out, utc))
        };
        assert_eq!(time("04:05:06.789-03:30"), "07:35:06.789Z");
        assert_eq!(time("00:00:00+02"), "22:00:00Z");
        assert_eq!(parse_zoned_time("odd"), None);
    }

    #[test]
    fn intervals_in_both_forms() {
        assert_eq!(interval_micros(14, 3, 4_000_005_000), 37_076_404_000_005);
        let text = |months, days, nanos| written(|out| interval_text(out, months, days, nanos));
        assert_eq!(text(14, 3, 14_706_700_000_000), "P1Y2M3DT4H5M6.7S");
        assert_eq!(text(-1, 0, -1000), "P0Y-1M0DT0H0M-0.000001S");
    }

    #[test]
    fn infinities_are_the_drivers() {
        assert_eq!(micros(i64::MAX), 9_223_372_036_825_200_000);
        assert_eq!(millis(i64::MIN), -9_223_372_036_832_400);
    }
}
