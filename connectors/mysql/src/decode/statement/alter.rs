//! `ALTER TABLE`, part by part: what it does to rows beside the log, what it adds, and, where all of
//! it is understood, what it makes of the table's definition.

use cdc_api::TableName;
use sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::{Added, Alteration, Effect};
use crate::decode::definition::change::{Change, ColumnPlace};
use crate::decode::definition::same_name;

/// One part.
#[derive(Default)]
struct Spec {
    effect: Option<Effect>,
    added: Vec<Added>,
    /// `None`: not understood.
    changes: Option<Vec<Change>>,
    /// Whether values are converted.
    converts: bool,
    /// Whether a column gets another name.
    renames: bool,
}

impl Spec {
    fn harmless() -> Self {
        Self::of(Vec::new())
    }

    fn of(changes: Vec<Change>) -> Self {
        Self {
            changes: Some(changes),
            ..Self::default()
        }
    }

    fn with(self, effect: Effect) -> Self {
        Self {
            effect: Some(effect),
            ..self
        }
    }
}

/// Options of a table that change no shape, and have a value.
const OPTIONS: [&str; 36] = [
    "ALGORITHM",
    "AUTOEXTEND_SIZE",
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "COMMENT",
    "COMPRESSION",
    "CONNECTION",
    "DELAY_KEY_WRITE",
    "ENCRYPTED",
    "ENCRYPTION",
    "ENCRYPTION_KEY_ID",
    "ENGINE",
    "ENGINE_ATTRIBUTE",
    "IETF_QUOTES",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "LOCK",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "PAGE_CHECKSUM",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "PASSWORD",
    "ROW_FORMAT",
    "SECONDARY_ENGINE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "SEQUENCE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "STORAGE",
    "TABLESPACE",
    "TRANSACTIONAL",
    "TYPE",
];

impl Reader<'_> {
    /// `ALTER TABLE`, its first two words skipped.
    pub(super) fn alter_table(&mut self) -> Option<Vec<Effect>> {
        self.if_exists();
        let name = self.name()?;
        if self.skip("WAIT") {
            self.token();
        } else {
            self.skip("NOWAIT");
        }
        let mut added = Vec::new();
        let mut changes = (!self.session.doubtful).then(Vec::new);
        let mut effects = Vec::new();
        let parts = match self.nth_is(1, "PARTITION") {
            // Nothing stands beside it; its commas are between partitions.
            true => vec![*self],
            false => self.split(),
        };
        let (mut cuts, mut renames) = (false, false);
        for mut part in parts {
            let spec = part.spec(&name);
            cuts |= spec.converts && !self.session.strict;
            renames |= spec.renames;
            added.extend(spec.added);
            effects.extend(spec.effect);
            match (&mut changes, spec.changes) {
                (Some(changes), Some(more)) => changes.extend(more),
                _ => changes = None,
            }
        }
        let alteration = Alteration {
            added,
            changes,
            cuts,
            renames,
        };
        effects.insert(0, Effect::Altered(name, alteration));
        Some(effects)
    }

    /// `DROP INDEX` and `CREATE INDEX`, from the word INDEX on.
    pub(super) fn index(&mut self, drops: bool) -> Vec<Effect> {
        let key = drops
            && matches!(self.tokens.get(1), Some(Token::Word(word)) if word.value.eq_ignore_ascii_case("PRIMARY"));
        while !self.tokens.is_empty() && !self.skip("ON") {
            self.token();
        }
        let changes = if key {
            vec![Change::DropKey]
        } else {
            Vec::new()
        };
        let altered = self.name().map(|name| {
            Effect::Altered(
                name,
                Alteration {
                    added: Vec::new(),
                    changes: Some(changes),
                    cuts: false,
                    renames: false,
                },
            )
        });
        altered.into_iter().collect()
    }

    fn is_partition(&self) -> bool {
        self.is("PARTITION") || self.is("PARTITIONS")
    }

    fn spec(&mut self, table: &TableName) -> Spec {
        let unlogged = |what| Effect::Unlogged(table.clone(), what);
        let gone = |what| Spec::harmless().with(unlogged(what));
        if self.skip("ADD") {
            return self.add();
        }
        if self.skip("DROP") {
            if self.is_partition() {
                return gone("ALTER TABLE … DROP PARTITION");
            }
            return Spec {
                changes: self.drop_part(),
                ..Spec::default()
            };
        }
        if self.skip("TRUNCATE") {
            return gone("ALTER TABLE … TRUNCATE PARTITION");
        }
        if self.skip("EXCHANGE") {
            return gone("ALTER TABLE … EXCHANGE PARTITION");
        }
        if self.skip("CONVERT") {
            // TO CHARACTER SET; of MariaDB also PARTITION … TO TABLE, TABLE … TO PARTITION.
            if !self.skip("TO") {
                return gone("ALTER TABLE … CONVERT PARTITION");
            }
            return Spec {
                changes: self.convert(),
                converts: true,
                ..Spec::default()
            };
        }
        if self.is("DISCARD") || self.is("IMPORT") {
            return gone("ALTER TABLE … IMPORT TABLESPACE");
        }
        if self.skip("RENAME") {
            return self.rename_part(table);
        }
        if self.skip("MODIFY") {
            return self.become_column(false);
        }
        if self.skip("CHANGE") {
            return self.become_column(true);
        }
        if self.skip("ALTER") {
            // Defaults, visibility, checks.
            return Spec::harmless();
        }
        const HARMLESS: [&str; 14] = [
            "ENABLE",
            "DISABLE",
            "FORCE",
            "ORDER",
            "PARTITION",
            "REMOVE",
            "REORGANIZE",
            "REBUILD",
            "OPTIMIZE",
            "ANALYZE",
            "CHECK",
            "REPAIR",
            "COALESCE",
            "WITHOUT",
        ];
        if HARMLESS.iter().any(|word| self.is(word)) || self.tokens.is_empty() {
            return Spec::harmless();
        }
        Spec {
            changes: self.options(),
            ..Spec::default()
        }
    }

    /// `ADD`, its first word skipped.
    fn add(&mut self) -> Spec {
        if self.is_partition() {
            return Spec::harmless();
        }
        if self.is_key() {
            return Spec {
                changes: self.add_key(),
                ..Spec::default()
            };
        }
        if (self.is("SYSTEM") && self.nth_is(1, "VERSIONING"))
            || (self.is("PERIOD") && self.nth_is(1, "FOR"))
        {
            return Spec::default();
        }
        self.skip("COLUMN");
        let unless_there = self.if_not_exists();
        if let Some(inside) = self.parentheses() {
            let mut whole = Spec::harmless();
            for mut part in inside.split() {
                let spec = match part.is_key() {
                    true => Spec {
                        changes: part.add_key(),
                        ..Spec::default()
                    },
                    false => part.add_column(unless_there),
                };
                whole.added.extend(spec.added);
                whole.changes = match (whole.changes, spec.changes) {
                    (Some(all), Some(more)) => Some([all, more].concat()),
                    _ => None,
                };
            }
            return whole;
        }
        self.add_column(unless_there)
    }

    fn add_column(&mut self, unless_there: bool) -> Spec {
        let Some(made) = self.column() else {
            return Spec::default();
        };
        let change = |(column, place)| Change::Add {
            column,
            place,
            unless_there,
        };
        Spec {
            added: vec![made.added],
            changes: made.column.map(|made| vec![change(made)]),
            ..Spec::default()
        }
    }

    /// Whether a key or a constraint comes next, and no column.
    pub(super) fn is_key(&self) -> bool {
        const WORDS: [&str; 9] = [
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
        WORDS.iter().any(|word| self.is(word))
            || (self.is("VECTOR") && (self.nth_is(1, "INDEX") || self.nth_is(1, "KEY")))
    }

    /// A key or a constraint.
    pub(super) fn add_key(&mut self) -> Option<Vec<Change>> {
        if self.skip("CONSTRAINT")
            && !["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]
                .iter()
                .any(|word| self.is(word))
        {
            self.if_not_exists();
            self.word()?;
        }
        if !self.skip("PRIMARY") {
            return Some(Vec::new());
        }
        self.skip("KEY").then_some(())?;
        if self.if_not_exists() {
            return None;
        }
        while !self.next_is(&Token::LParen) {
            // USING BTREE, a name that does not count.
            self.word()?;
        }
        let mut names = Vec::new();
        for mut part in self.parentheses()?.split() {
            names.push(part.word()?);
            let _ = part.parentheses();
            part.skip_any(&["ASC", "DESC"]);
            part.tokens.is_empty().then_some(())?;
        }
        Some(vec![Change::Key(names)])
    }

    /// `DROP`, its first word skipped.
    fn drop_part(&mut self) -> Option<Vec<Change>> {
        if self.is("PRIMARY") && self.nth_is(1, "KEY") {
            return Some(vec![Change::DropKey]);
        }
        if self.skip_any(&["INDEX", "KEY", "CONSTRAINT"]) {
            self.if_exists();
            let primary = same_name(&self.word()?, "PRIMARY");
            return Some(if primary {
                vec![Change::DropKey]
            } else {
                Vec::new()
            });
        }
        if self.is("CHECK") || (self.is("FOREIGN") && self.nth_is(1, "KEY")) {
            return Some(Vec::new());
        }
        if (self.is("SYSTEM") && self.nth_is(1, "VERSIONING"))
            || (self.is("PERIOD") && self.nth_is(1, "FOR"))
        {
            return None;
        }
        self.skip("COLUMN");
        let if_there = self.if_exists();
        let name = self.word()?;
        self.skip_any(&["RESTRICT", "CASCADE"]);
        let drop = Change::Drop { name, if_there };
        self.tokens.is_empty().then(|| vec![drop])
    }

    /// `CONVERT TO`, these words skipped.
    fn convert(&mut self) -> Option<Vec<Change>> {
        let charset = self.charset_option()?;
        if self.skip("COLLATE") {
            self.collation()?;
        }
        self.tokens
            .is_empty()
            .then(|| vec![Change::Convert(charset)])
    }

    /// `CHARACTER SET name`, `CHARSET = name`.
    fn charset_option(&mut self) -> Option<String> {
        let said =
            self.skip("CHARSET") || (self.skip_any(&["CHARACTER", "CHAR"]) && self.skip("SET"));
        said.then_some(())?;
        self.charset()
    }

    /// `RENAME`, its first word skipped.
    fn rename_part(&mut self, table: &TableName) -> Spec {
        if self.skip("COLUMN") {
            self.if_exists();
            let names = self
                .word()
                .zip(self.skip("TO").then(|| self.word()).flatten());
            return Spec {
                changes: names.map(|(from, to)| vec![Change::Rename(from, to)]),
                renames: true,
                ..Spec::default()
            };
        }
        if self.is("INDEX") || self.is("KEY") {
            return Spec::harmless();
        }
        self.skip_any(&["TO", "AS"]);
        Spec::harmless().with(match self.name() {
            Some(name) => Effect::Renamed(table.clone(), name),
            None => Effect::Unlogged(table.clone(), "ALTER TABLE … RENAME"),
        })
    }

    /// `MODIFY` and `CHANGE`, their first word skipped.
    fn become_column(&mut self, names: bool) -> Spec {
        self.skip("COLUMN");
        let if_there = self.if_exists();
        let before = *self;
        let old = self.word();
        if !names {
            *self = before;
        }
        let made = self.column();
        let same = match (&old, &made) {
            (Some(old), Some(made)) => same_name(old, &made.added.name),
            _ => false,
        };
        let change = |name, (column, place): (_, ColumnPlace)| Change::Become {
            name,
            column,
            place,
            if_there,
        };
        let made = made.and_then(|made| made.column);
        Spec {
            changes: old.zip(made).map(|(old, made)| vec![change(old, made)]),
            converts: true,
            renames: names && !same,
            ..Spec::default()
        }
    }

    /// Options of the table, beside each other.
    pub(super) fn options(&mut self) -> Option<Vec<Change>> {
        let mut changes: Vec<Change> = Vec::new();
        while !self.tokens.is_empty() {
            self.skip("DEFAULT");
            if self.is("CHARSET") || self.is("CHARACTER") || self.is("CHAR") {
                changes.push(Change::Charset(self.charset_option()?));
            } else if self.skip("COLLATE") {
                // Where both are said they agree.
                changes.push(Change::Charset(self.collation()??));
            } else if self.skip_any(&["DATA", "INDEX"]) {
                self.skip("DIRECTORY").then_some(())?;
                self.skip_token(&Token::Eq);
                self.text()?;
            } else if self.skip("UNION") {
                self.skip_token(&Token::Eq);
                self.parentheses()?;
            } else if self.skip_any(&OPTIONS) {
                self.skip_token(&Token::Eq);
                self.token()?;
            } else {
                return None;
            }
        }
        Some(changes)
    }
}
