//! Values that carry their unit: `10s`, `64MiB`, `03:00`.
//!
//! Invariant: what is read means the same wherever it stands; a bare number is refused where a
//! unit is needed, but for 0.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cdc_api::TableSelection;
use serde::de::{Deserializer, Error as _, Unexpected};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes, written `64MiB`, `1.5GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const SIZES: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many times 2²⁰ bytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// As an amount of memory; saturating where the machine's words are shorter.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a size such as `64MiB`, `1.5GB` or a number of bytes";
        let text = text.trim();
        let split = text
            .find(|char: char| !char.is_ascii_digit() && char != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = unit.trim();
        let factor = if unit.is_empty() {
            1
        } else {
            SIZES
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or(EXPECTED)?
                .1
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or(EXPECTED);
        }
        let fraction: f64 = number.parse().map_err(|_| EXPECTED)?;
        if factor == 1 || !fraction.is_finite() {
            return Err(EXPECTED);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "digits and a point: not negative; a fraction of a unit need not be exact, \
                      and the cast saturates"
        )]
        Ok(Self((fraction * factor as f64).round() as u64))
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in &SIZES[..4] {
            if self.0 >= *factor && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{name}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// When something recurs; a function of the clock alone, so that restarts change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// At every multiple of this since the Unix epoch: `24h` is every midnight UTC.
    Every(Duration),
    /// Every day at this time after midnight UTC: `03:00`.
    Daily(Duration),
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Schedule {
    /// The first time of the schedule strictly after `time`; both since the Unix epoch.
    pub fn next_after(self, time: Duration) -> Duration {
        let (period, shift) = match self {
            Self::Every(period) => (period, Duration::ZERO),
            Self::Daily(shift) => (DAY, shift),
        };
        let nanos = period.as_nanos();
        let passed = (time + period - shift).as_nanos() / nanos;
        let next = passed * nanos + shift.as_nanos();
        Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX))
    }
}

impl FromStr for Schedule {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an interval of a minute at least, such as `24h`, or a time of day in UTC such as `03:00`";
        if let Some((hours, minutes)) = text.split_once(':') {
            let number = |text: &str, below: u64| {
                (text.len() == 2)
                    .then(|| text.parse::<u64>().ok())
                    .flatten()
                    .filter(|&number| number < below)
                    .ok_or(EXPECTED)
            };
            let seconds = number(hours, 24)? * 3600 + number(minutes, 60)? * 60;
            return Ok(Self::Daily(Duration::from_secs(seconds)));
        }
        match parse_duration(text) {
            Ok(period) if period >= Duration::from_secs(60) => Ok(Self::Every(period)),
            _ => Err(EXPECTED),
        }
    }
}

/// Parses `10s`, `500ms`, `1h30m`, `0`; units ms, s, m, h, d.
///
/// # Errors
/// What was expected, for the end of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a duration such as `10s`, `500ms`, `1h30m` (units ms, s, m, h, d)";
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(EXPECTED);
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|char: char| !char.is_ascii_digit())
            .ok_or(EXPECTED)?;
        let number: u64 = rest[..digits].parse().map_err(|_| EXPECTED)?;
        rest = &rest[digits..];
        let letters = rest
            .find(|char: char| !char.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let millis = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(EXPECTED),
        };
        rest = &rest[letters..];
        let part = number.checked_mul(millis).ok_or(EXPECTED)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or(EXPECTED)?;
    }
    Ok(total)
}

/// A text that is parsed, and refused with what was expected.
fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = &'static str>,
    D: Deserializer<'de>,
{
    text(deserializer, T::from_str)
}

fn text<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|expected| D::Error::invalid_value(Unexpected::Str(&text), &expected))
}

/// For `deserialize_with`: a duration.
///
/// # Errors
/// The deserializer's.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    text(deserializer, parse_duration)
}

/// For `deserialize_with`: a duration, or null.
///
/// # Errors
/// The deserializer's.
pub fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "duration")] Duration);
    Ok(Option::<Given>::deserialize(deserializer)?.map(|given| given.0))
}

/// For `deserialize_with`: a schedule, or null.
///
/// # Errors
/// The deserializer's.
pub(super) fn optional_schedule<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Schedule>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "parsed")] Schedule);
    Ok(Option::<Given>::deserialize(deserializer)?.map(|given| given.0))
}

/// For `deserialize_with`: table patterns, or null.
///
/// # Errors
/// The deserializer's.
pub(super) fn table_selection<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TableSelection>, D::Error> {
    let Some(patterns) = Option::<Vec<String>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    match TableSelection::parse(&patterns) {
        Ok(selection) => Ok(Some(selection)),
        Err(error) => Err(D::Error::custom(match error.hint_text() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })),
    }
}

/// For `deserialize_with`: `host:port`, or `off`.
///
/// # Errors
/// The deserializer's.
pub(super) fn listen<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    text(deserializer, |text| {
        if text == "off" || text == "false" {
            return Ok(None);
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Some(text.to_owned()))
            }
            _ => Err("`host:port` such as `127.0.0.1:7010`, or `off`"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_with_their_unit() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1.5GB", 1_500_000_000),
            ("2 KiB", 2048),
            ("4096", 4096),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1.5",
            "64 mib",
            "-1MiB",
            "1.2.3MB",
            "99999999TiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for (bytes, text) in [
            (64 << 20, "64MiB"),
            (10 << 30, "10GiB"),
            (1500, "1500"),
            (0, "0"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "s",
            "10 s",
            "1.5s",
            "-1s",
            "10sec",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn schedules_depend_on_the_clock_alone() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let daily: Schedule = "03:00".parse().expect("a time of day");
        assert_eq!(daily.next_after(hours(0)), hours(3));
        assert_eq!(daily.next_after(hours(3)), hours(27));
        assert_eq!(daily.next_after(hours(26)), hours(27));
        let every: Schedule = "6h".parse().expect("an interval");
        assert_eq!(every.next_after(hours(0)), hours(6));
        assert_eq!(every.next_after(hours(7)), hours(12));
        for text in ["3:00", "24:00", "03:60", "5s", "daily", ""] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
