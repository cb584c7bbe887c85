//! Where a statement's own text begins and ends, and where its commas are.
//!
//! Invariant: what stands in quotes, comments and parentheses is no part of the outline; comments that
//! servers run are.

use std::ops::Range;

/// A statement's text by its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outline<'a> {
    text: &'a str,
    /// What stands between commas that are in no parentheses, without comments around it.
    parts: Vec<Range<usize>>,
}

impl<'a> Outline<'a> {
    /// The outline of a text.
    pub(crate) fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut part: Option<Range<usize>> = None;
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(&byte) = bytes.get(at) {
            let rest = &text.as_bytes()[at..];
            let end = match byte {
                b'\'' | b'"' | b'`' => at + quoted(rest),
                b'/' if rest.starts_with(b"/*")
                    && !rest.starts_with(b"/*!")
                    && !rest.starts_with(b"/*M!") =>
                {
                    at = end_of(rest, b"*/").map_or(bytes.len(), |end| at + end);
                    continue;
                }
                b'#' | b'-' if byte == b'#' || dashes(rest) => {
                    at = end_of(rest, b"\n").map_or(bytes.len(), |end| at + end);
                    continue;
                }
                b',' if depth == 0 => {
                    parts.extend(part.take());
                    at += 1;
                    continue;
                }
                b';' if depth == 0 => break,
                byte if byte.is_ascii_whitespace() => {
                    at += 1;
                    continue;
                }
                _ => at + 1,
            };
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            part.get_or_insert(at..at).end = end;
            at = end;
        }
        parts.extend(part);
        Self { text, parts }
    }

    /// The statement.
    pub(crate) fn whole(&self) -> &'a str {
        match (self.parts.first(), self.parts.last()) {
            (Some(first), Some(last)) => self.text.get(first.start..last.end).unwrap_or_default(),
            _ => "",
        }
    }

    /// One of the parts between its commas.
    pub(crate) fn part(&self, index: usize) -> Option<&'a str> {
        self.text.get(self.parts.get(index)?.clone())
    }
}

/// Two dashes before a space begin a comment.
fn dashes(rest: &[u8]) -> bool {
    rest.starts_with(b"--") && rest.get(2).is_none_or(u8::is_ascii_whitespace)
}

/// How long what is in quotes is, with them.
fn quoted(rest: &[u8]) -> usize {
    let quote = rest[0];
    let mut at = 1;
    while let Some(&byte) = rest.get(at) {
        at += 1;
        match byte {
            b'\\' if quote != b'`' => at += 1,
            // Two of them are one within; the second begins another text right behind.
            byte if byte == quote => return at,
            _ => {}
        }
    }
    rest.len()
}

fn end_of(rest: &[u8], what: &[u8]) -> Option<usize> {
    let found = rest.windows(what.len()).position(|it| it == what)?;
    Some(found + what.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_around_a_statement_are_no_part_of_it() {
        for text in [
            "ALTER TABLE t ADD `a,;` text DEFAULT '; -- ''', ADD b int",
            "/* a, */ ALTER TABLE t ADD `a,;` text DEFAULT '; -- ''', ADD b int /* b */ ; -- c",
            "-- a\n# b\n\tALTER TABLE t ADD `a,;` text DEFAULT '; -- ''', ADD b int#",
        ] {
            let outline = Outline::of(text);
            let whole = "ALTER TABLE t ADD `a,;` text DEFAULT '; -- ''', ADD b int";
            assert_eq!(outline.whole(), whole, "{text}");
            assert_eq!(outline.part(1), Some("ADD b int"));
            assert_eq!(outline.part(2), None);
        }
        let inside = "CREATE TABLE t (a int /* b */, c int--1) /*!50100 PARTITION BY KEY () */";
        assert_eq!(Outline::of(inside).whole(), inside);
        assert_eq!(Outline::of(inside).part(0), Some(inside));
    }

    #[test]
    fn what_does_not_end_ends_with_the_text() {
        for text in ["", "/* a", "--", "'a", "\"\\", "(", ",,", "-- a", "a -- ü"] {
            let outline = Outline::of(text);
            assert!(text.contains(outline.whole()), "{text}");
        }
        assert_eq!(Outline::of("a 'ü").whole(), "a 'ü");
    }
}
