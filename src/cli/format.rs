//! Figures for people: `12.3 MiB`, `1,234,567`, `3m 20s`.

/// Bytes in the unit that leaves few digits.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = float(count);
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A number with commas.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A whole number of seconds, its two largest units.
pub(super) fn seconds(total: u64) -> String {
    let (days, hours) = (total / 86_400, total / 3600 % 24);
    let (minutes, seconds) = (total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {seconds}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A lag: exact below ten seconds, where a user may be waiting for it.
pub(super) fn lag(total: f64) -> String {
    if total < 10.0 {
        return format!("{total:.1}s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 10, and the cast saturates"
    )]
    seconds(total as u64)
}

/// A bar of ten characters.
pub(super) fn bar(percent: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 to 10"
    )]
    let full = (percent / 10.0).clamp(0.0, 10.0) as usize;
    "█".repeat(full) + &"░".repeat(10 - full)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people have few digits"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_say_their_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(12_900_000), "12.3 MiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(seconds(59), "59s");
        assert_eq!(seconds(200), "3m 20s");
        assert_eq!(seconds(7260), "2h 1m");
        assert_eq!(seconds(90_000), "1d 1h");
        assert_eq!(lag(0.25), "0.2s");
        assert_eq!(lag(61.0), "1m 1s");
        assert_eq!(bar(45.0), "████░░░░░░");
        assert_eq!(bar(250.0), "██████████");
    }
}
