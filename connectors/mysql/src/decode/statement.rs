//! What a logged statement does: the ends of transactions, and the few kinds of DDL that concern
//! captured tables.
//!
//! Tokens are sqlparser's, MySQL's dialect ([`reader`]); its grammar knows too little of both
//! servers' DDL, so that of `ALTER TABLE` ([`alter`]), of columns ([`column`]) and of what `CREATE TABLE`
//! makes ([`create`]) is our own.
//! Invariant: fails closed. What could touch a table's rows without logging them is told as that
//! ([`Effect::Unlogged`], [`Statement::Rows`]), also where it is not understood; and a change of
//! shape of which one word is not understood is none that could be followed
//! ([`Alteration::changes`]).

mod alter;
mod column;
pub(crate) mod create;
pub(crate) mod outline;
mod reader;

use cdc_api::TableName;
use serde::{Deserialize, Serialize};
use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::definition::change::Change;
use super::event::xid;
use reader::Reader;

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
    /// It was altered.
    Altered(TableName, Alteration),
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
    /// A database was made or altered: nothing to its tables.
    Database(String),
}

/// How a table was altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alteration {
    /// Columns that were added.
    pub(crate) added: Vec<Added>,
    /// What becomes of its definition; `None` where that is not understood.
    pub(crate) changes: Option<Vec<Change>>,
    /// Whether values that do not fit a column's new type were cut, instead of refused.
    pub(crate) cuts: bool,
    /// Whether a column has another name: without its definition that could not be followed.
    pub(crate) renames: bool,
}

/// What a statement was run under, as far as its meaning depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Session<'a> {
    /// The default database.
    pub(crate) schema: &'a str,
    /// Whether the server is MariaDB.
    pub(crate) maria: bool,
    /// Whether the server keeps tables' names in lower case, however they are written.
    pub(crate) lower_names: bool,
    /// Whether texts may mean something else than they seem to.
    pub(crate) doubtful: bool,
    /// Whether its `sql_mode` refuses values that do not fit.
    pub(crate) strict: bool,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Reads a statement.
pub(crate) fn read(text: &[u8], session: &Session<'_>) -> Statement {
    if text.eq_ignore_ascii_case(b"BEGIN") {
        return Statement::Begin;
    }
    if text.eq_ignore_ascii_case(b"COMMIT") {
        return Statement::End;
    }
    let text = String::from_utf8_lossy(text);
    let Some(tokens) = tokens(&text) else {
        return Statement::Rows;
    };
    let session = Session {
        doubtful: session.doubtful || conditional(&text),
        ..*session
    };
    let mut reader = Reader {
        tokens: &tokens,
        session: &session,
    };
    reader.statement()
}

/// The tokens of a statement, without what stands between them.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let dialect = MySqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize().ok()?;
    let tokens = tokens.into_iter();
    let said = tokens.filter(|token| !matches!(token, Token::Whitespace(_)));
    Some(said.collect())
}

/// Whether a part of the text is only for some servers, perhaps not for this one.
fn conditional(text: &str) -> bool {
    let old = |rest: &str| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // All servers from MySQL 8.0 and MariaDB 10.6 on run these; MariaDB passes over some later.
        digits == 5 && rest[..5] < *"50700" || digits == 0
    };
    text.contains("/*M!") || text.split("/*!").skip(1).any(|rest| !old(rest))
}

impl Reader<'_> {
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
            self.if_not_exists();
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
        if self.skip_any(&["DATABASE", "SCHEMA"]) {
            self.if_not_exists();
            return Some(vec![Effect::Database(self.schema()?)]);
        }
        if let Some(place) =
            (0..self.tokens.len().min(4)).find(|place| self.nth_is(*place, "INDEX"))
        {
            self.tokens = &self.tokens[place..];
            return Some(self.index(false));
        }
        Some(Vec::new())
    }

    fn drop(&mut self) -> Option<Vec<Effect>> {
        if self.skip("TEMPORARY") {
            return Some(Vec::new());
        }
        if self.skip("TABLE") || self.skip("TABLES") {
            self.if_exists();
            let mut effects = vec![Effect::Dropped(self.name()?)];
            while self.skip_token(&Token::Comma) {
                effects.push(Effect::Dropped(self.name()?));
            }
            return Some(effects);
        }
        if self.skip("DATABASE") || self.skip("SCHEMA") {
            self.if_exists();
            return Some(vec![Effect::DroppedSchema(self.schema()?)]);
        }
        if self.is("INDEX") {
            return Some(self.index(true));
        }
        Some(Vec::new())
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
        while self.skip_any(&["ONLINE", "OFFLINE", "IGNORE"]) {}
        if self.skip("TABLE") {
            return self.alter_table();
        }
        if !self.skip_any(&["DATABASE", "SCHEMA"]) {
            return Some(Vec::new());
        }
        const OPTIONS: [&str; 8] = [
            "CHAR",
            "CHARACTER",
            "CHARSET",
            "COLLATE",
            "COMMENT",
            "DEFAULT",
            "ENCRYPTION",
            "READ",
        ];
        let name = match OPTIONS.iter().any(|word| self.is(word)) {
            true => self.session.schema.to_owned(),
            false => self.schema()?,
        };
        Some(vec![Effect::Database(name)])
    }
}

#[cfg(test)]
mod tests;
