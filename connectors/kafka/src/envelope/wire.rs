//! The two ways in which values stand in a record: as JSON text, and as Avro's binary encoding.
//!
//! Invariant: what is appended is one whole value of the type that the schema says; JSON's text is
//! Connect's `JsonConverter`'s to the letter, Avro's bytes those of its specification ("Binary
//! Encoding"), arrays and maps in one block, as Java's encoder writes them.

use super::text;

/// A way of writing values.
pub(super) trait Wire {
    /// Whether a value can only be of its column's type; JSON also takes text for what is no number.
    const TYPED: bool;
    /// A quotation mark inside of [`Wire::ascii`].
    const QUOTE: &'static [u8];

    /// No value, in a place that may have none.
    fn null(out: &mut Vec<u8>);
    /// A value follows, in a place that may have none.
    fn some(out: &mut Vec<u8>);
    /// A value follows, in a place that may have none and whose default is a value.
    fn some_by_default(out: &mut Vec<u8>);
    fn boolean(out: &mut Vec<u8>, value: bool);
    /// Any integer up to 64 bits.
    fn integer(out: &mut Vec<u8>, value: i64);
    fn float(out: &mut Vec<u8>, value: f32);
    fn double(out: &mut Vec<u8>, value: f64);
    fn string(out: &mut Vec<u8>, value: &str);
    /// Text that needs no escaping, but for [`Wire::QUOTE`].
    fn ascii(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>));
    fn bytes(out: &mut Vec<u8>, value: &[u8]);
    /// A structure begins.
    fn open(out: &mut Vec<u8>);
    /// A member of it follows; the label is its name in quotes, and a colon.
    fn label(out: &mut Vec<u8>, first: bool, label: &[u8]);
    /// A structure ends.
    fn close(out: &mut Vec<u8>);
    /// A list or a map begins.
    fn begin(out: &mut Vec<u8>, map: bool, length: usize);
    /// An element of a list follows.
    fn item(out: &mut Vec<u8>, first: bool);
    /// An entry of a map follows.
    fn entry(out: &mut Vec<u8>, first: bool, key: &str);
    /// A list or a map ends.
    fn end(out: &mut Vec<u8>, map: bool);
}

/// JSON text.
pub(super) struct Json;

impl Wire for Json {
    const TYPED: bool = false;
    const QUOTE: &'static [u8] = b"\\\"";

    fn null(out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
    }
    fn some(_: &mut Vec<u8>) {}
    fn some_by_default(_: &mut Vec<u8>) {}
    fn boolean(out: &mut Vec<u8>, value: bool) {
        out.extend_from_slice(if value { b"true" } else { b"false" });
    }
    fn integer(out: &mut Vec<u8>, value: i64) {
        text::integer(out, value);
    }
    fn float(out: &mut Vec<u8>, value: f32) {
        text::float(out, value);
    }
    fn double(out: &mut Vec<u8>, value: f64) {
        text::double(out, value);
    }
    fn string(out: &mut Vec<u8>, value: &str) {
        text::string(out, value);
    }
    fn ascii(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        out.push(b'"');
        write(out);
        out.push(b'"');
    }
    fn bytes(out: &mut Vec<u8>, value: &[u8]) {
        Self::ascii(out, |out| text::base64(out, value));
    }
    fn open(out: &mut Vec<u8>) {
        out.push(b'{');
    }
    fn label(out: &mut Vec<u8>, first: bool, label: &[u8]) {
        Self::item(out, first);
        out.extend_from_slice(label);
    }
    fn close(out: &mut Vec<u8>) {
        out.push(b'}');
    }
    fn begin(out: &mut Vec<u8>, map: bool, _: usize) {
        out.push(if map { b'{' } else { b'[' });
    }
    fn item(out: &mut Vec<u8>, first: bool) {
        if !first {
            out.push(b',');
        }
    }
    fn entry(out: &mut Vec<u8>, first: bool, key: &str) {
        Self::item(out, first);
        text::string(out, key);
        out.push(b':');
    }
    fn end(out: &mut Vec<u8>, map: bool) {
        out.push(if map { b'}' } else { b']' });
    }
}

/// Avro's binary encoding. A place that may have no value is a union of null and its type, in this
/// order; where the default is a value, the other way round.
pub(super) struct Avro;

impl Wire for Avro {
    const TYPED: bool = true;
    const QUOTE: &'static [u8] = b"\"";

    fn null(out: &mut Vec<u8>) {
        out.push(0);
    }
    fn some(out: &mut Vec<u8>) {
        out.push(2);
    }
    fn some_by_default(out: &mut Vec<u8>) {
        out.push(0);
    }
    fn boolean(out: &mut Vec<u8>, value: bool) {
        out.push(u8::from(value));
    }
    fn integer(out: &mut Vec<u8>, value: i64) {
        let mut bytes = [0; 10];
        let length = varint(&mut bytes, value);
        out.extend_from_slice(&bytes[..length]);
    }
    fn float(out: &mut Vec<u8>, value: f32) {
        out.extend_from_slice(&value.to_le_bytes());
    }
    fn double(out: &mut Vec<u8>, value: f64) {
        out.extend_from_slice(&value.to_le_bytes());
    }
    fn string(out: &mut Vec<u8>, value: &str) {
        Self::bytes(out, value.as_bytes());
    }
    fn ascii(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        // The length stands before the text: nearly always in one byte, whose place is kept.
        let start = out.len();
        out.push(0);
        write(out);
        let mut bytes = [0; 10];
        let written = out.len() - start - 1;
        let length = varint(&mut bytes, i64::try_from(written).unwrap_or(i64::MAX));
        out[start] = bytes[0];
        if length > 1 {
            out.splice(start + 1..start + 1, bytes[1..length].iter().copied());
        }
    }
    fn bytes(out: &mut Vec<u8>, value: &[u8]) {
        Self::integer(out, i64::try_from(value.len()).unwrap_or(i64::MAX));
        out.extend_from_slice(value);
    }
    fn open(_: &mut Vec<u8>) {}
    fn label(_: &mut Vec<u8>, _: bool, _: &[u8]) {}
    fn close(_: &mut Vec<u8>) {}
    fn begin(out: &mut Vec<u8>, _: bool, length: usize) {
        if length > 0 {
            Self::integer(out, i64::try_from(length).unwrap_or(i64::MAX));
        }
    }
    fn item(_: &mut Vec<u8>, _: bool) {}
    fn entry(out: &mut Vec<u8>, _: bool, key: &str) {
        Self::string(out, key);
    }
    fn end(out: &mut Vec<u8>, _: bool) {
        out.push(0);
    }
}

/// A number, small ones of either sign in few bytes; says how many.
fn varint(out: &mut [u8; 10], value: i64) -> usize {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut length = 0;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        out[length] = if rest == 0 { low } else { low | 0x80 };
        length += 1;
        if rest == 0 {
            return length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn numbers_are_as_avro_specifies() {
        for (value, bytes) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (-64, vec![0x7f]),
            (64, vec![0x80, 1]),
            (
                i64::MIN,
                vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            assert_eq!(written(|out| Avro::integer(out, value)), bytes, "{value}");
        }
    }

    #[test]
    fn text_of_any_length_has_its_length_before_it() {
        for length in [0, 1, 63, 64, 8191, 8192, 100_000] {
            let long = "x".repeat(length);
            assert_eq!(
                written(|out| Avro::ascii(out, |out| out.extend_from_slice(long.as_bytes()))),
                written(|out| Avro::string(out, &long)),
                "{length}"
            );
        }
    }
}
