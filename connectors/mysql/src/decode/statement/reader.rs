//! The tokens of a statement, read one after another.
//!
//! Tokens are sqlparser's; what stands between parentheses or in quotes is never taken for a word of
//! the statement's own.

use cdc_api::TableName;
use sqlparser::tokenizer::Token;

use super::Session;

/// What is left of a statement.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) session: &'a Session<'a>,
}

impl<'a> Reader<'a> {
    /// Whether the next token is this word, unquoted.
    pub(super) fn is(&self, word: &str) -> bool {
        self.nth_is(0, word)
    }

    pub(super) fn nth_is(&self, place: usize, word: &str) -> bool {
        matches!(self.tokens.get(place), Some(Token::Word(found))
            if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    pub(super) fn skip(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    /// Skips one of these words.
    pub(super) fn skip_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.skip(word))
    }

    pub(super) fn next_is(&self, token: &Token) -> bool {
        self.tokens.first() == Some(token)
    }

    pub(super) fn skip_token(&mut self, token: &Token) -> bool {
        let found = self.next_is(token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    pub(super) fn token(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// A name.
    pub(super) fn word(&mut self) -> Option<String> {
        match self.token()? {
            Token::Word(word) => Some(word.value.clone()),
            // Names in ANSI_QUOTES mode.
            Token::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A word of the language, in lower case.
    pub(super) fn keyword(&mut self) -> Option<String> {
        match self.tokens.first()? {
            Token::Word(word) if word.quote_style.is_none() => {
                self.tokens = &self.tokens[1..];
                Some(word.value.to_ascii_lowercase())
            }
            _ => None,
        }
    }

    /// A word or a text: the name of a character set.
    pub(super) fn word_or_text(&mut self) -> Option<String> {
        match self.token()? {
            Token::Word(word) => Some(word.value.clone()),
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn text(&mut self) -> Option<String> {
        match self.token()? {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        match self.token()? {
            Token::Number(number, _) => number.parse().ok(),
            _ => None,
        }
    }

    /// The name of a table.
    pub(super) fn name(&mut self) -> Option<TableName> {
        let first = self.word()?;
        let (schema, table) = match self.skip_token(&Token::Period) {
            true => (first, self.word()?),
            false => (self.session.schema.to_owned(), first),
        };
        Some(match self.session.lower_names {
            true => TableName::new(schema.to_lowercase(), table.to_lowercase()),
            false => TableName::new(schema, table),
        })
    }

    /// The name of a database.
    pub(super) fn schema(&mut self) -> Option<String> {
        let name = self.word()?;
        Some(match self.session.lower_names {
            true => name.to_lowercase(),
            false => name,
        })
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.skip("IF") && self.skip("EXISTS")
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.skip("IF") && self.skip("NOT") && self.skip("EXISTS")
    }

    /// What is in the parentheses that come next, which are skipped.
    pub(super) fn parentheses(&mut self) -> Option<Self> {
        if !self.next_is(&Token::LParen) {
            return None;
        }
        let end = self
            .depths()
            .position(|(depth, token)| depth == 0 && *token == Token::RParen)?;
        let inside = Self {
            tokens: &self.tokens[1..end],
            ..*self
        };
        self.tokens = &self.tokens[end + 1..];
        Some(inside)
    }

    /// The tokens with the depth of parentheses that they are in.
    pub(super) fn depths(&self) -> impl Iterator<Item = (usize, &'a Token)> + use<'a> {
        let mut depth = 0usize;
        self.tokens.iter().map(move |token| {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            (depth, token)
        })
    }

    /// The parts between commas that are in no parentheses.
    pub(super) fn split(&self) -> Vec<Self> {
        let commas: Vec<usize> = self
            .depths()
            .enumerate()
            .filter(|(_, (depth, token))| *depth == 0 && **token == Token::Comma)
            .map(|(place, _)| place)
            .collect();
        let mut parts = Vec::new();
        let mut start = 0;
        for comma in commas.into_iter().chain([self.tokens.len()]) {
            parts.push(Self {
                tokens: &self.tokens[start..comma],
                ..*self
            });
            start = comma + 1;
        }
        parts
    }
}
