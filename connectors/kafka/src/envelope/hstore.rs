//! PostgreSQL's hstore text (`"a"=>"1", "b"=>NULL`) as JSON or as a map.
//!
//! Invariant: keys and values are kept to the letter, whatever stands in them.

use super::wire::{Json, Wire};

/// A JSON object in a string.
pub(super) fn json<W: Wire>(out: &mut Vec<u8>, value: &str) {
    let mut object = Vec::with_capacity(value.len());
    map::<Json>(&mut object, value);
    W::string(out, &String::from_utf8_lossy(&object));
}

/// A map of text to text or nothing.
pub(super) fn map<W: Wire>(out: &mut Vec<u8>, value: &str) {
    W::begin(out, true, entries(value).count());
    for (index, (key, value)) in entries(value).enumerate() {
        W::entry(out, index == 0, &key);
        match value {
            Some(value) => {
                W::some(out);
                W::string(out, &value);
            }
            None => W::null(out),
        }
    }
    W::end(out, true);
}

fn entries(mut rest: &str) -> impl Iterator<Item = (String, Option<String>)> {
    std::iter::from_fn(move || {
        let (key, after) = word(rest)?;
        let after = after.trim_start().strip_prefix("=>")?;
        let (value, after) = word(after)?;
        rest = after.trim_start().trim_start_matches(',');
        Some((key.unwrap_or_default(), value))
    })
}

/// The next word and what follows it; `None` inside: NULL.
fn word(input: &str) -> Option<(Option<String>, &str)> {
    let input = input.trim_start();
    if let Some(rest) = input.strip_prefix("NULL") {
        return Some((None, rest));
    }
    let inner = input.strip_prefix('"')?;
    let mut word = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Some(word), &inner[at + 1..])),
            '\\' => word.push(characters.next()?.1),
            _ => word.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_every_kind() {
        let mut out = Vec::new();
        map::<Json>(&mut out, r#""a"=>"1", "b \"q\" \\"=>NULL, ""=>"NULL, =>""#);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            r#"{"a":"1","b \"q\" \\":null,"":"NULL, =>"}"#
        );
        let mut out = Vec::new();
        json::<Json>(&mut out, "");
        assert_eq!(out, b"\"{}\"");
    }
}
