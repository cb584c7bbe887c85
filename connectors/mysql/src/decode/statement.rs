//! What a logged statement does: the ends of transactions, and the few kinds of DDL that concern
//! captured tables.
//!
//! Tokens are sqlparser's; of their grammar only as much is read as tells which tables are changed
//! and how. Invariant: fails closed. What could touch a table's rows without logging them is told as
//! that ([`Effect::Unlogged`], [`Statement::Rows`]), also where it is not understood.

use cdc_api::TableName;
use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::event::xid;

/// A logged statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// `BEGIN`.
    Begin,
    /// `COMMIT`, and `ROLLBACK` of what could not be rolled back.
    End,
    /// `SAVEPOINT`, and other marks within a transaction.
    Nothing,
    /// `ROLLBACK TO`: rows before it do not all count.
    RollbackTo,
    /// `XA START`.
    XaStart(Vec<u8>),
    /// `XA COMMIT`.
    XaCommit(Vec<u8>),
    /// `XA ROLLBACK`.
    XaRollback(Vec<u8>),
    /// Rows were changed, and the log holds only the statement.
    Rows,
    /// What it does to tables; nothing at all for users, views, routines.
    Ddl(Vec<Effect>),
}

/// What a statement does to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It was made, and may replace another one.
    Created(TableName),
    /// It was altered; these columns were added.
    Altered(TableName, Vec<Added>),
    /// Its rows changed in ways that are not logged.
    Unlogged(TableName, &'static str),
    /// It is empty.
    Truncated(TableName),
    /// It is gone.
    Dropped(TableName),
    /// It has another name.
    Renamed(TableName, TableName),
    /// All tables of a database are gone.
    DroppedSchema(String),
}

/// A column that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Added {
    /// Its name.
    pub(crate) name: String,
    /// What older rows hold in it.
    pub(crate) existing: Existing,
}

/// What older rows hold in an added column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Existing {
    /// NULL.
    Null,
    /// NOT NULL without a default: the type's own zero.
    Zero,
    /// A constant, in the server's text.
    Constant(String),
    /// Something that differs from row to row, or is not known.
    Unknown,
}

/// Reads a statement. `schema` is the default database.
pub(crate) fn read(text: &[u8], schema: &str) -> Statement {
    if text.eq_ignore_ascii_case(b"BEGIN") {
        return Statement::Begin;
    }
    if text.eq_ignore_ascii_case(b"COMMIT") {
        return Statement::End;
    }
    let text = String::from_utf8_lossy(text);
    let dialect = MySqlDialect {};
    let Ok(tokens) = Tokenizer::new(&dialect, &text).tokenize() else {
        return Statement::Rows;
    };
    let tokens = tokens
        .into_iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect::<Vec<_>>();
    let mut reader = Reader {
        tokens: &tokens,
        schema,
    };
    reader.statement()
}

struct Reader<'a> {
    tokens: &'a [Token],
    schema: &'a str,
}

impl Reader<'_> {
    /// Whether the next token is this word, unquoted.
    fn is(&self, word: &str) -> bool {
        self.nth_is(0, word)
    }

    fn nth_is(&self, place: usize, word: &str) -> bool {
        matches!(self.tokens.get(place), Some(Token::Word(found))
            if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    fn skip(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn token(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn word(&mut self) -> Option<String> {
        match self.token()? {
            Token::Word(word) => Some(word.value.clone()),
            // Names in ANSI_QUOTES mode.
            Token::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn name(&mut self) -> Option<TableName> {
        let first = self.word()?;
        if self.tokens.first() == Some(&Token::Period) {
            self.token();
            let table = self.word()?;
            return Some(TableName::new(first, table));
        }
        Some(TableName::new(self.schema, first))
    }

    fn statement(&mut self) -> Statement {
        let effects = if self.skip("ROLLBACK") {
            return if self.skip("TO") || self.nth_is(1, "TO") {
                Statement::RollbackTo
            } else {
                Statement::End
            };
        } else if self.skip("XA") {
            return self.xa();
        } else if self.is("SAVEPOINT") || self.is("RELEASE") {
            return Statement::Nothing;
        } else if self.skip("CREATE") {
            self.create()
        } else if self.skip("ALTER") {
            self.alter()
        } else if self.skip("DROP") {
            self.drop()
        } else if self.skip("RENAME") {
            self.rename()
        } else if self.skip("TRUNCATE") {
            self.skip("TABLE");
            self.name().map(|name| vec![Effect::Truncated(name)])
        } else {
            const HARMLESS: [&str; 18] = [
                "GRANT",
                "REVOKE",
                "SET",
                "FLUSH",
                "ANALYZE",
                "OPTIMIZE",
                "REPAIR",
                "CHECK",
                "INSTALL",
                "UNINSTALL",
                "USE",
                "RESET",
                "PURGE",
                "LOCK",
                "UNLOCK",
                "CACHE",
                "START",
                "COMMIT",
            ];
            let harmless = HARMLESS.iter().any(|word| self.is(word)) || self.tokens.is_empty();
            harmless.then(Vec::new)
        };
        effects.map_or(Statement::Rows, Statement::Ddl)
    }

    fn xa(&mut self) -> Statement {
        let word = self.word().unwrap_or_default().to_ascii_uppercase();
        let name = self.xid();
        match (word.as_str(), name) {
            ("START" | "BEGIN", Some(name)) => Statement::XaStart(name),
            ("COMMIT", Some(name)) => Statement::XaCommit(name),
            ("ROLLBACK", Some(name)) => Statement::XaRollback(name),
            ("END" | "PREPARE", _) => Statement::Nothing,
            _ => Statement::Rows,
        }
    }

    /// `X'6162',X'63',1`, as the server logs it.
    fn xid(&mut self) -> Option<Vec<u8>> {
        let mut part = || -> Option<Vec<u8>> {
            let bytes = match self.token()? {
                Token::HexStringLiteral(hex) => hex
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                    .collect::<Option<_>>()?,
                Token::SingleQuotedString(text) => text.clone().into_bytes(),
                _ => return None,
            };
            if self.tokens.first() == Some(&Token::Comma) {
                self.token();
            }
            Some(bytes)
        };
        let global = part()?;
        let branch = part().unwrap_or_default();
        let format = match self.token() {
            Some(Token::Number(number, _)) => number.parse().ok()?,
            None => 1,
            _ => return None,
        };
        let length = global.len();
        let data = [global, branch].concat();
        Some(xid(format, &data, length))
    }

    /// Everything that `CREATE` makes; `None`: perhaps rows that are not logged.
    fn create(&mut self) -> Option<Vec<Effect>> {
        let replaces = self.skip("OR") && self.skip("REPLACE");
        if self.skip("TEMPORARY") {
            return Some(Vec::new());
        }
        if self.skip("TABLE") {
            if self.skip("IF") {
                self.skip("NOT");
                self.skip("EXISTS");
            }
            let name = self.name()?;
            let rows = self.depths().any(|(depth, token)| {
                depth == 0
                    && matches!(token, Token::Word(word)
                        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("SELECT"))
            });
            return Some(match rows {
                true => vec![Effect::Unlogged(name, "CREATE TABLE … SELECT")],
                false if replaces => vec![Effect::Dropped(name.clone()), Effect::Created(name)],
                false => vec![Effect::Created(name)],
            });
        }
        // An index changes the key at most, which the next table map says.
        if let Some(place) =
            (0..self.tokens.len().min(4)).find(|place| self.nth_is(*place, "INDEX"))
        {
            self.tokens = &self.tokens[place..];
            return Some(self.index());
        }
        Some(Vec::new())
    }

    fn index(&mut self) -> Vec<Effect> {
        while !self.tokens.is_empty() && !self.skip("ON") {
            self.token();
        }
        let altered = self.name().map(|name| Effect::Altered(name, Vec::new()));
        altered.into_iter().collect()
    }

    fn drop(&mut self) -> Option<Vec<Effect>> {
        if self.skip("TEMPORARY") {
            return Some(Vec::new());
        }
        if self.skip("TABLE") || self.skip("TABLES") {
            self.if_exists();
            let mut effects = vec![Effect::Dropped(self.name()?)];
            while self.tokens.first() == Some(&Token::Comma) {
                self.token();
                effects.push(Effect::Dropped(self.name()?));
            }
            return Some(effects);
        }
        if self.skip("DATABASE") || self.skip("SCHEMA") {
            self.if_exists();
            return Some(vec![Effect::DroppedSchema(self.word()?)]);
        }
        if self.is("INDEX") {
            return Some(self.index());
        }
        Some(Vec::new())
    }

    fn if_exists(&mut self) {
        if self.skip("IF") {
            self.skip("EXISTS");
        }
    }

    fn rename(&mut self) -> Option<Vec<Effect>> {
        if !self.skip("TABLE") && !self.skip("TABLES") {
            // RENAME USER.
            return Some(Vec::new());
        }
        self.if_exists();
        let mut effects = Vec::new();
        loop {
            let from = self.name()?;
            while !self.tokens.is_empty() && !self.skip("TO") {
                // WAIT n, NOWAIT.
                self.token();
            }
            effects.push(Effect::Renamed(from, self.name()?));
            if self.token() != Some(&Token::Comma) {
                return Some(effects);
            }
        }
    }

    fn alter(&mut self) -> Option<Vec<Effect>> {
        while self.skip("ONLINE") || self.skip("OFFLINE") || self.skip("IGNORE") {}
        if !self.skip("TABLE") {
            return Some(Vec::new());
        }
        self.if_exists();
        let name = self.name()?;
        let mut added = Vec::new();
        let mut effects = Vec::new();
        let specs = self.split();
        for spec in specs {
            let mut reader = Reader {
                tokens: spec,
                schema: self.schema,
            };
            match reader.spec(&name) {
                Spec::Harmless => {}
                Spec::Added(columns) => added.extend(columns),
                Spec::Effect(effect) => effects.push(effect),
            }
        }
        effects.insert(0, Effect::Altered(name, added));
        Some(effects)
    }

    /// The tokens with the depth of parentheses that they are in.
    fn depths(&self) -> impl Iterator<Item = (usize, &Token)> {
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
    fn split(&self) -> Vec<&[Token]> {
        let commas: Vec<usize> = self
            .depths()
            .enumerate()
            .filter(|(_, (depth, token))| *depth == 0 && **token == Token::Comma)
            .map(|(place, _)| place)
            .collect();
        let mut parts = Vec::new();
        let mut start = 0;
        for comma in commas.into_iter().chain([self.tokens.len()]) {
            parts.push(&self.tokens[start..comma]);
            start = comma + 1;
        }
        parts
    }

    /// One of the changes of an ALTER TABLE.
    fn spec(&mut self, table: &TableName) -> Spec {
        let unlogged = |what| Spec::Effect(Effect::Unlogged(table.clone(), what));
        let partition = |reader: &Self| reader.is("PARTITION") || reader.is("PARTITIONS");
        if self.skip("ADD") {
            if partition(self) {
                return Spec::Harmless;
            }
            const NOT_COLUMNS: [&str; 9] = [
                "INDEX",
                "KEY",
                "UNIQUE",
                "FULLTEXT",
                "SPATIAL",
                "PRIMARY",
                "CONSTRAINT",
                "FOREIGN",
                "CHECK",
            ];
            if NOT_COLUMNS.iter().any(|word| self.is(word)) || self.is("VECTOR") {
                return Spec::Harmless;
            }
            self.skip("COLUMN");
            if self.skip("IF") {
                self.skip("NOT");
                self.skip("EXISTS");
            }
            if self.tokens.first() == Some(&Token::LParen) {
                self.token();
                let end = self.tokens.len().saturating_sub(1);
                self.tokens = &self.tokens[..end];
                let parts = self.split();
                let columns = parts.into_iter().filter_map(|tokens| {
                    let schema = self.schema;
                    Reader { tokens, schema }.added()
                });
                return Spec::Added(columns.collect());
            }
            return Spec::Added(self.added().into_iter().collect());
        }
        if self.skip("DROP") {
            return match partition(self) {
                true => unlogged("ALTER TABLE … DROP PARTITION"),
                false => Spec::Harmless,
            };
        }
        if self.skip("TRUNCATE") {
            return unlogged("ALTER TABLE … TRUNCATE PARTITION");
        }
        if self.skip("EXCHANGE") {
            return unlogged("ALTER TABLE … EXCHANGE PARTITION");
        }
        if self.skip("CONVERT") {
            return match self.skip("TO") {
                // TO CHARACTER SET; of MariaDB also PARTITION … TO TABLE, TABLE … TO PARTITION.
                true => Spec::Harmless,
                false => unlogged("ALTER TABLE … CONVERT PARTITION"),
            };
        }
        if self.is("DISCARD") || self.is("IMPORT") {
            return unlogged("ALTER TABLE … IMPORT TABLESPACE");
        }
        if self.skip("RENAME") {
            if self.skip("COLUMN") {
                return unlogged("ALTER TABLE … RENAME COLUMN");
            }
            if self.is("INDEX") || self.is("KEY") {
                return Spec::Harmless;
            }
            let _ = self.skip("TO") || self.skip("AS");
            return match self.name() {
                Some(name) => Spec::Effect(Effect::Renamed(table.clone(), name)),
                None => unlogged("ALTER TABLE … RENAME"),
            };
        }
        if self.skip("CHANGE") {
            self.skip("COLUMN");
            self.if_exists();
            let (old, new) = (self.word(), self.word());
            return match (old, new) {
                (Some(old), Some(new)) if old.eq_ignore_ascii_case(&new) => Spec::Harmless,
                _ => unlogged("ALTER TABLE … CHANGE COLUMN with another name"),
            };
        }
        // Types that change show in the next table map.
        Spec::Harmless
    }

    /// A column's definition.
    fn added(&mut self) -> Option<Added> {
        let name = self.word()?;
        let mut existing = Existing::Null;
        let mut not_null = false;
        while !self.tokens.is_empty() {
            if self.skip("NOT") {
                not_null |= self.skip("NULL");
            } else if self.skip("PRIMARY") {
                not_null = true;
            } else if self.is("AUTO_INCREMENT")
                || self.is("GENERATED")
                || self.is("AS")
                || self.is("SERIAL")
            {
                existing = Existing::Unknown;
                break;
            } else if self.skip("DEFAULT") {
                existing = self.constant();
            } else if matches!(self.tokens.first(), Some(Token::LParen)) {
                // The type's arguments, a CHECK's condition: no words in them count.
                let mut depth = 0usize;
                while let Some(token) = self.token() {
                    match token {
                        Token::LParen => depth += 1,
                        Token::RParen => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            } else {
                self.token();
            }
        }
        if existing == Existing::Null && not_null {
            existing = Existing::Zero;
        }
        Some(Added { name, existing })
    }

    fn constant(&mut self) -> Existing {
        if self.skip("NULL") {
            return Existing::Null;
        }
        if self.skip("TRUE") {
            return Existing::Constant("1".to_owned());
        }
        if self.skip("FALSE") {
            return Existing::Constant("0".to_owned());
        }
        let sign = match self.tokens.first() {
            Some(Token::Minus) => {
                self.token();
                "-"
            }
            Some(Token::Plus) => {
                self.token();
                ""
            }
            _ => "",
        };
        match self.token() {
            Some(Token::Number(number, _)) => Existing::Constant(format!("{sign}{number}")),
            Some(Token::SingleQuotedString(text) | Token::DoubleQuotedString(text)) => {
                Existing::Constant(text.clone())
            }
            Some(Token::SingleQuotedByteStringLiteral(bits)) => Existing::Constant(bits.clone()),
            _ => Existing::Unknown,
        }
    }
}

enum Spec {
    Harmless,
    Added(Vec<Added>),
    Effect(Effect),
}

#[cfg(test)]
mod tests;
