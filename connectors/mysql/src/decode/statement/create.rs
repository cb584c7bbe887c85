//! `CREATE TABLE`: the table that it makes, where every word of it is understood.

use cdc_api::TableName;
use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{Session, tokens};
use crate::decode::definition::change::{Change, NewColumn};

/// A table as a statement makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTable {
    /// Nothing happens where it is there (`IF NOT EXISTS`).
    pub(crate) unless_there: bool,
    /// What it is; `None` where that is not understood.
    pub(crate) made: Option<Made>,
}

/// What a table is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// Another table (`LIKE`).
    Like(TableName),
    /// These columns.
    Of {
        /// In their order.
        columns: Vec<NewColumn>,
        /// Names of the primary key's columns.
        key: Vec<String>,
        /// The character set of columns that say none; `None`: the database's.
        charset: Option<String>,
    },
}

/// Reads a `CREATE TABLE`; `None` where it is something else.
pub(crate) fn new_table(text: &str, session: &Session<'_>) -> Option<NewTable> {
    let tokens = tokens(text)?;
    let mut reader = Reader {
        tokens: &tokens,
        session,
    };
    reader.skip("CREATE").then_some(())?;
    let _ = reader.skip("OR") && reader.skip("REPLACE");
    reader.skip("TABLE").then_some(())?;
    let unless_there = reader.if_not_exists();
    reader.name()?;
    let made = match session.doubtful {
        true => None,
        false => reader.made_of(),
    };
    Some(NewTable { unless_there, made })
}

impl Reader<'_> {
    /// What follows the table's name.
    fn made_of(&mut self) -> Option<Made> {
        if self.skip("LIKE") {
            return self.name().map(Made::Like);
        }
        let mut inside = self.parentheses()?;
        if inside.skip("LIKE") {
            return inside.name().map(Made::Like);
        }
        let (mut columns, mut key) = (Vec::new(), Vec::new());
        for mut part in inside.split() {
            if !part.is_key() {
                columns.push(part.column()?.column?.0);
                continue;
            }
            for change in part.add_key()? {
                if let Change::Key(names) = change {
                    key = names;
                }
            }
        }
        let alone = columns.iter().find(|it| it.key);
        key.extend(alone.map(|it| it.name.clone()));
        Some(Made::Of {
            columns,
            key,
            charset: self.charset_of_table()?,
        })
    }

    /// What the options behind the columns say of the character set. `None` where they are not
    /// understood.
    #[expect(clippy::option_option, reason = "not understood, and not said")]
    fn charset_of_table(&mut self) -> Option<Option<String>> {
        let partitions = (0..self.tokens.len()).find(|place| self.nth_is(*place, "PARTITION"));
        self.tokens = &self.tokens[..partitions.unwrap_or(self.tokens.len())];
        // MySQL logs so what is made of a SELECT, whose rows follow.
        if let [rest @ .., Token::Word(_), Token::Word(last)] = self.tokens
            && last.value.eq_ignore_ascii_case("TRANSACTION")
        {
            self.tokens = rest;
        }
        let mut charset = None;
        for mut part in self.split() {
            for change in part.options()? {
                if let Change::Charset(name) = change {
                    charset = Some(name);
                }
            }
        }
        Some(charset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<NewTable> {
        let session = Session {
            schema: "shop",
            ..Session::default()
        };
        new_table(text, &session)
    }

    /// Columns, key and character set.
    fn of(text: &str) -> Option<(Vec<String>, Vec<String>, Option<String>)> {
        match read(&format!("CREATE TABLE t {text}"))?.made? {
            Made::Like(_) => None,
            Made::Of {
                columns,
                key,
                charset,
            } => {
                let columns = columns.iter();
                let columns = columns.map(|it| format!("{} {}", it.name, it.made.text));
                Some((columns.collect(), key, charset))
            }
        }
    }

    #[test]
    fn a_table_is_its_columns_key_and_character_set() {
        let told = |columns: &[&str], key: &[&str], charset: Option<&str>| {
            let owned = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
            Some((owned(columns), owned(key), charset.map(str::to_owned)))
        };
        let columns = ["id int", "v varchar(9)"];
        for text in [
            "(id int PRIMARY KEY, v varchar(9)) ENGINE=InnoDB DEFAULT CHARSET=latin1 COMMENT='a,b'",
            "(id int, v varchar(9), INDEX (v), CONSTRAINT c PRIMARY KEY (id)) CHARACTER SET latin1",
            "(`id` int, v varchar(9), PRIMARY KEY (id)) COLLATE latin1_bin PARTITION BY KEY (id) \
             (PARTITION p ENGINE=InnoDB)",
            "(id int, v varchar(9), PRIMARY KEY (id)) CHARSET latin1 START TRANSACTION",
        ] {
            assert_eq!(of(text), told(&columns, &["id"], Some("latin1")), "{text}");
        }
        assert_eq!(of("(id int, v varchar(9))"), told(&columns, &[], None));
    }

    #[test]
    fn what_is_not_understood_is_not_told() {
        for text in [
            "(id hologram)",
            "(id int) WHATEVER=1",
            "(id int, PERIOD FOR SYSTEM_TIME (a, b))",
            "SELECT 1",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        for text in ["CREATE VIEW v AS SELECT 1", "DROP TABLE t", "CREATE TABLE"] {
            assert_eq!(read(text), None, "{text}");
        }
        let like = read("CREATE TABLE IF NOT EXISTS t (LIKE other.o)").expect("is read");
        let made = Made::Like(TableName::new("other", "o"));
        assert_eq!((like.unless_there, like.made), (true, Some(made)));
    }
}
