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

/// A UUID in its usual order. Records hold the last part first, so that those made one after
/// another lie together, but for versions 6 and later, which sort by themselves (told by version
/// and variant at the usual place).
pub(crate) fn uuid_of_record(bytes: &[u8]) -> Result<[u8; 16], ValueError> {
    let record: [u8; 16] = padded(bytes)?;
    let mut uuid = [0; 16];
    uuid[..4].copy_from_slice(&record[12..]);
    uuid[4..6].copy_from_slice(&record[10..12]);
    uuid[6..8].copy_from_slice(&record[8..10]);
    uuid[8..10].copy_from_slice(&record[6..8]);
    uuid[10..].copy_from_slice(&record[..6]);
    Ok(uuid)
}

/// Appends an INET6 as the server prints it.
pub(crate) fn write_inet6(bytes: &[u8], text: &mut String) -> Result<(), ValueError> {
    let address = Ipv6Addr::from(padded::<16>(bytes)?);
    // Writing to a string cannot fail.
    let _ = write!(text, "{address}");
    Ok(())
}

/// Appends an INET4 as the server prints it.
pub(crate) fn write_inet4(bytes: &[u8], text: &mut String) -> Result<(), ValueError> {
    let _ = write!(text, "{}", Ipv4Addr::from(padded::<4>(bytes)?));
    Ok(())
}
