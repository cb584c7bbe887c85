//! PostgreSQL's hstore text (`"a"=>"1", "b"=>NULL`) as JSON.
//!
//! Invariant: keys and values are kept to the letter, whatever stands in them.

use super::text;

/// A JSON object in a string.
pub(super) fn json(out: &mut Vec<u8>, value: &str) {
    let mut object = Vec::with_capacity(value.len());
    map(&mut object, value);
    text::string(out, &String::from_utf8_lossy(&object));
}

/// A JSON object.
pub(super) fn map(out: &mut Vec<u8>, value: &str) {
    out.push(b'{');
    let mut rest = value;
    let mut first = true;
    while let Some((key, after)) = word(rest) {
        let Some(after) = after.trim_start().strip_prefix("=>") else {
            break;
        };
        let Some((value, after)) = word(after) else {
            break;
        };
        if !first {
            out.push(b',');
        }
        first = false;
        text::string(out, &key.unwrap_or_default());
        out.push(b':');
        match value {
            Some(value) => text::string(out, &value),
            None => out.extend_from_slice(b"null"),
        }
        rest = after.trim_start().trim_start_matches(',');
    }
    out.push(b'}');
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
        map(&mut out, r#""a"=>"1", "b \"q\" \\"=>NULL, ""=>"NULL, =>""#);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            r#"{"a":"1","b \"q\" \\":null,"":"NULL, =>"}"#
        );
        let mut out = Vec::new();
        json(&mut out, "");
        assert_eq!(out, b"\"{}\"");
    }
}
