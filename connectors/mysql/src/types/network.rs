//! MariaDB's fixed binary types as its records hold them: UUID, INET6, INET4.
//!
//! The log trims trailing zeros of all of them.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::ValueError;

fn padded<const N: usize>(bytes: &[u8]) -> Result<[u8; N], ValueError> {
    let mut whole = [0; N];
    whole
        .get_mut(..bytes.len())
        .ok_or(ValueError::Malformed)?
        .copy_from_slice(bytes);
    Ok(whole)
}

/// A UUID.
pub(crate) fn uuid_of_record(bytes: &[u8]) -> Result<[u8; 16], ValueError> {
    padded(bytes)
}

/// Appends an INET6 as the server prints it: the first of the longest runs of zeros is left out, also
/// a single one; addresses that stand for those of version 4 end in their form.
pub(crate) fn write_inet6(bytes: &[u8], text: &mut String) -> Result<(), ValueError> {
    let parts = Ipv6Addr::from(padded::<16>(bytes)?).segments();
    let (mut gap, mut length) = (0, 0);
    let mut place = 0;
    while place < 8 {
        let run = parts[place..].iter().take_while(|part| **part == 0).count();
        if run > length {
            (gap, length) = (place, run);
        }
        place += run.max(1);
    }
    let old = gap == 0 && (length == 6 || length == 5 && parts[5] == 0xffff);
    let mut place = 0;
    while place < 8 {
        if place == gap && length > 0 {
            text.push_str("::");
            place += length;
            continue;
        }
        if place > 0 && (length == 0 || place != gap + length) {
            text.push(':');
        }
        // Writing to a string cannot fail.
        if old && place == 6 {
            let [a, b] = parts[6].to_be_bytes();
            let [c, d] = parts[7].to_be_bytes();
            let _ = write!(text, "{}", Ipv4Addr::new(a, b, c, d));
            break;
        }
        let _ = write!(text, "{:x}", parts[place]);
        place += 1;
    }
    Ok(())
}

/// Appends an INET4 as the server prints it.
pub(crate) fn write_inet4(bytes: &[u8], text: &mut String) -> Result<(), ValueError> {
    let _ = write!(text, "{}", Ipv4Addr::from(padded::<4>(bytes)?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inet6_is_written_as_the_server_does() {
        for text in [
            "::",
            "::1",
            "::ffff:1.2.3.4",
            "::1.2.3.4",
            "1:0:0:2::3",
            "1::2:3:4:5:6:7",
            "fe80::1:0:0:1",
            "2001:db8::ff00:42:8329",
            "1:2:3:4:5:6:7:8",
            "1::",
        ] {
            let address: Ipv6Addr = text.parse().expect("an address");
            let mut written = String::new();
            write_inet6(&address.octets(), &mut written).expect("16 bytes");
            assert_eq!(written, text);
        }
        assert!(write_inet6(&[0; 17], &mut String::new()).is_err());
    }
}
