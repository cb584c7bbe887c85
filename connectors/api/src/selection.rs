//! Which tables a pipeline captures: patterns of `schema.table` with `*` and `?`, SQL double
//! quotes where a name needs them, `!` to exclude.
//!
//! A table is selected when any including pattern matches and no excluding one does; their order
//! does not matter.

use crate::{Error, Result, TableName};

/// Parsed table patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSelection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    schema: Vec<Glob>,
    table: Vec<Glob>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glob {
    Any,
    One,
    Char(char),
}

impl TableSelection {
    /// Parses patterns such as `public.*`, `!public.audit_*`, `'"Odd ""Schema".*'`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`], naming the pattern and what is wrong with it.
    pub fn parse<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut selection = Self::default();
        for text in patterns {
            let text = text.as_ref().trim();
            match text.strip_prefix('!') {
                Some(rest) => selection.exclude.push(Pattern::parse(text, rest)?),
                None => selection.include.push(Pattern::parse(text, text)?),
            }
        }
        if selection.include.is_empty() {
            return Err(Error::config("no table pattern includes anything")
                .hint("list at least one pattern without `!`, for example `tables: [public.*]`"));
        }
        Ok(selection)
    }

    /// Whether the table is captured.
    pub fn matches(&self, name: &TableName) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        any(&self.include) && !any(&self.exclude)
    }
}

impl Pattern {
    fn parse(whole: &str, text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::config(format!("table pattern `{whole}` {what}")).hint(
                "write `schema.table`; `*` and `?` match, double quotes keep a name as it is, \
                 `!` in front excludes",
            )
        };
        let mut parts = vec![Vec::new()];
        let mut chars = text.chars().peekable();
        let mut quoted = false;
        while let Some(char) = chars.next() {
            let part = parts
                .last_mut()
                .expect("starts with one part and only grows");
            match char {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    part.push(Glob::Char('"'));
                }
                '"' => quoted = !quoted,
                _ if quoted => part.push(Glob::Char(char)),
                '.' => parts.push(Vec::new()),
                '*' => part.push(Glob::Any),
                '?' => part.push(Glob::One),
                _ => part.push(Glob::Char(char)),
            }
        }
        if quoted {
            return Err(wrong("has an open double quote"));
        }
        match <[_; 2]>::try_from(parts) {
            Ok([schema, table]) if !schema.is_empty() && !table.is_empty() => {
                Ok(Self { schema, table })
            }
            Ok(_) => Err(wrong("has an empty part")),
            Err(parts) => Err(wrong(&format!("has {} parts, not two", parts.len()))),
        }
    }

    fn matches(&self, name: &TableName) -> bool {
        glob(&self.schema, &name.schema) && glob(&self.table, &name.table)
    }
}

/// Iterative glob match: linear but for backtracking to the last `*`.
fn glob(pattern: &[Glob], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Glob::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Glob::One) => {
                p += 1;
                t += 1;
            }
            Some(Glob::Char(char)) if *char == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|glob| *glob == Glob::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(patterns: &[&str], schema: &str, table: &str) -> bool {
        TableSelection::parse(patterns)
            .expect("patterns parse")
            .matches(&TableName::new(schema, table))
    }

    #[test]
    fn excluding_patterns_win_whatever_their_order() {
        for patterns in [
            ["public.*", "!public.audit_*"],
            ["!public.audit_*", "public.*"],
        ] {
            assert!(selects(&patterns, "public", "orders"));
            assert!(!selects(&patterns, "public", "audit_log"));
            assert!(!selects(&patterns, "other", "orders"));
        }
    }

    #[test]
    fn quoted_parts_are_literal() {
        assert!(selects(&["\"Odd \"\"Schema\".*"], "Odd \"Schema", "x"));
        assert!(selects(&["\"a.b\".\"*\""], "a.b", "*"));
        assert!(!selects(&["\"a.b\".\"*\""], "a.b", "x"));
    }

    #[test]
    fn stars_backtrack() {
        assert!(selects(&["s.*ab?"], "s", "aabab1"));
        assert!(!selects(&["s.*ab?"], "s", "aabab"));
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        for (pattern, what) in [
            ("orders", "1 parts"),
            ("a.b.c", "3 parts"),
            ("\"a.b", "open double quote"),
            (".x", "empty part"),
        ] {
            let error = TableSelection::parse([pattern]).expect_err("refused");
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint_text().is_some());
        }
        assert!(TableSelection::parse(["!a.b"]).is_err());
    }
}
