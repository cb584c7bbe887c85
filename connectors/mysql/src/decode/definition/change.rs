//! What the parts of an `ALTER TABLE` make of a definition, in the server's order
//! (`mysql_prepare_alter_table`): columns that stay keep their places, with what becomes of them;
//! then come those that are added or moved, each where it is told to be.

use super::{DefinedColumn, Definition, same_name};
use crate::types::Charset;

/// One part of an `ALTER TABLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// `ADD COLUMN`.
    Add {
        /// The column.
        column: NewColumn,
        /// Where.
        place: ColumnPlace,
        /// Nothing happens where the column is there (`IF NOT EXISTS`).
        unless_there: bool,
    },
    /// `DROP COLUMN`.
    Drop {
        /// The column.
        name: String,
        /// Nothing happens where the column is not there (`IF EXISTS`).
        if_there: bool,
    },
    /// `MODIFY COLUMN`, `CHANGE COLUMN`.
    Become {
        /// The column's name before.
        name: String,
        /// The column.
        column: NewColumn,
        /// Where it moves, if it does.
        place: ColumnPlace,
        /// Nothing happens where the column is not there (`IF EXISTS`).
        if_there: bool,
    },
    /// `RENAME COLUMN`.
    Rename(String, String),
    /// `ADD PRIMARY KEY`, with its columns.
    Key(Vec<String>),
    /// `DROP PRIMARY KEY`.
    DropKey,
    /// `CHARACTER SET`: of columns that are made without one.
    Charset(String),
    /// `CONVERT TO CHARACTER SET`: of all columns that have one.
    Convert(String),
}

/// Where a column comes to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnPlace {
    /// Where it is, or behind all others.
    Unsaid,
    /// Before all others.
    First,
    /// Behind this one.
    After(String),
}

/// A column as a statement makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewColumn {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) made: NewType,
    /// Whether it admits NULL; `None` where that is the server's to decide.
    pub(crate) nullable: Option<bool>,
    /// Whether the server computes it.
    pub(crate) generated: bool,
    /// Whether it is the primary key.
    pub(crate) key: bool,
}

/// A type as a statement says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewType {
    /// In the catalog's spelling, but for what the character set decides.
    pub(crate) text: String,
    /// The character set.
    pub(crate) characters: Characters,
    /// `TEXT(n)`, `BLOB(n)`: the least type that has room for so many characters.
    pub(crate) room: Option<u64>,
}

/// The character set of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Characters {
    /// It has none.
    None,
    /// The table's.
    Table,
    /// This one.
    Named(String),
}

impl Definition {
    /// The definition after an `ALTER TABLE` of these parts.
    ///
    /// # Errors
    /// Why it is not known.
    pub(crate) fn after(&self, changes: &[Change]) -> Result<Self, String> {
        let mut charset = self.charset.clone();
        for change in changes {
            if let Change::Charset(name) | Change::Convert(name) = change {
                charset = Some(name.clone());
            }
        }
        let mut key = self.key.clone();
        if changes.contains(&Change::DropKey) {
            key.clear();
        }
        let mut columns = Vec::with_capacity(self.columns.len() + 1);
        let mut moved = Vec::new();
        for column in &self.columns {
            self.stays(
                column,
                changes,
                charset.as_deref(),
                &mut columns,
                &mut moved,
            )?;
        }
        for change in changes {
            match change {
                Change::Drop { name, if_there } if !if_there => self.column(name)?,
                Change::Become { name, if_there, .. } if !if_there => self.column(name)?,
                Change::Rename(name, _) => self.column(name)?,
                _ => {}
            }
            // In the key under its new name, or no longer.
            let renamed = match change {
                Change::Drop { name, .. } => Some((name, None)),
                Change::Become { name, column, .. } => Some((name, Some(&column.name))),
                Change::Rename(name, to) => Some((name, Some(to))),
                _ => None,
            };
            if let Some((name, to)) = renamed
                && let Some(place) = key.iter().position(|it| same_name(it, name))
            {
                match to {
                    None => drop(key.remove(place)),
                    Some(to) => key[place].clone_from(to),
                }
            }
        }
        for change in changes {
            let (column, place) = match change {
                Change::Add {
                    column,
                    place,
                    unless_there,
                } => {
                    if *unless_there && columns.iter().any(|it| it.is(&column.name)) {
                        continue;
                    }
                    (column.defined(charset.as_deref())?, place)
                }
                Change::Become { name, place, .. } if *place != ColumnPlace::Unsaid => {
                    let found = moved.iter().position(|(from, _)| same_name(from, name));
                    match found {
                        Some(found) => (moved.swap_remove(found).1, place),
                        None => continue,
                    }
                }
                _ => continue,
            };
            insert(&mut columns, column, place)?;
        }
        for change in changes {
            match change {
                Change::Key(names) => key.clone_from(names),
                Change::Add { column, .. } | Change::Become { column, .. } if column.key => {
                    key = vec![column.name.clone()];
                }
                Change::Convert(name) => {
                    for column in &mut columns {
                        column.convert(name)?;
                    }
                }
                _ => {}
            }
        }
        for name in &mut key {
            let found = columns.iter_mut().find(|it| it.is(name));
            let column =
                found.ok_or_else(|| "the primary key has a column that is not known".to_owned())?;
            column.nullable = Some(false);
            name.clone_from(&column.name);
        }
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].iter().any(|it| it.is(&column.name)) {
                return Err("a column was added that is there already".to_owned());
            }
        }
        Ok(Self {
            charset,
            columns,
            key,
        })
    }

    fn column(&self, name: &str) -> Result<(), String> {
        match self.columns.iter().any(|it| it.is(name)) {
            true => Ok(()),
            false => Err("a column was changed that is not known".to_owned()),
        }
    }

    /// What becomes of a column that is there.
    fn stays(
        &self,
        column: &DefinedColumn,
        changes: &[Change],
        charset: Option<&str>,
        columns: &mut Vec<DefinedColumn>,
        moved: &mut Vec<(String, DefinedColumn)>,
    ) -> Result<(), String> {
        let mut stays = column.clone();
        for change in changes {
            match change {
                Change::Drop { name, .. } if column.is(name) => return Ok(()),
                Change::Rename(from, to) if column.is(from) => stays.name.clone_from(to),
                Change::Become {
                    name,
                    column: new,
                    place,
                    ..
                } if column.is(name) => {
                    let new = new.defined(charset)?;
                    if *place != ColumnPlace::Unsaid {
                        moved.push((name.clone(), new));
                        return Ok(());
                    }
                    stays = new;
                }
                _ => {}
            }
        }
        columns.push(stays);
        Ok(())
    }
}

fn insert(
    columns: &mut Vec<DefinedColumn>,
    column: DefinedColumn,
    place: &ColumnPlace,
) -> Result<(), String> {
    let index = match place {
        ColumnPlace::Unsaid => columns.len(),
        ColumnPlace::First => 0,
        ColumnPlace::After(name) => {
            let found = columns.iter().position(|it| it.is(name));
            1 + found.ok_or_else(|| "a column was put behind one that is not known".to_owned())?
        }
    };
    columns.insert(index, column);
    Ok(())
}

impl NewColumn {
    /// The column in a table whose character set is `charset`.
    fn defined(&self, charset: Option<&str>) -> Result<DefinedColumn, String> {
        let charset = match &self.made.characters {
            Characters::None => None,
            Characters::Named(name) => Some(name.as_str()),
            Characters::Table => Some(charset.ok_or_else(|| {
                "a column was made with the table's character set, which is not known".to_owned()
            })?),
        };
        let mut column = DefinedColumn {
            name: self.name.clone(),
            column_type: self.made.text.clone(),
            charset: charset.map(str::to_owned),
            nullable: self.nullable,
            generated: self.generated,
        };
        if charset == Some("binary") {
            column.become_bytes();
        }
        if let Some(room) = self.made.room {
            let width = column.width()?;
            column.resize(room.saturating_mul(width));
        }
        Ok(column)
    }
}

/// The types of text by the bytes that they have room for, and those of bytes beside them.
const SIZES: [(&str, &str, u64); 4] = [
    ("tinytext", "tinyblob", 0xff),
    ("text", "blob", 0xffff),
    ("mediumtext", "mediumblob", 0xff_ffff),
    ("longtext", "longblob", 0xffff_ffff),
];

impl DefinedColumn {
    /// Bytes of a character, at most.
    fn width(&self) -> Result<u64, String> {
        match self.charset.as_deref() {
            None => Ok(1),
            Some(name) => Charset::by_name(name)
                .map(|charset| charset.width().into())
                .ok_or_else(|| "a column's character set is not known".to_owned()),
        }
    }

    /// Gives a TEXT or BLOB the least type that has room for so many bytes.
    fn resize(&mut self, bytes: u64) {
        let least = SIZES
            .iter()
            .find(|(_, _, most)| bytes <= *most)
            .unwrap_or(&SIZES[3]);
        for (text, blob, _) in SIZES {
            if self.column_type == text {
                least.0.clone_into(&mut self.column_type);
                return;
            }
            if self.column_type == blob {
                least.1.clone_into(&mut self.column_type);
                return;
            }
        }
    }

    /// Text in the character set `binary` is bytes; ENUM and SET stay what they are.
    fn become_bytes(&mut self) {
        let (name, rest) = match self.column_type.find('(') {
            Some(place) => self.column_type.split_at(place),
            None => (self.column_type.as_str(), ""),
        };
        let name = match name {
            "char" => "binary",
            "varchar" => "varbinary",
            "enum" | "set" => return,
            name => match SIZES.iter().find(|(text, ..)| *text == name) {
                Some((_, blob, _)) => blob,
                None => return,
            },
        };
        self.column_type = format!("{name}{rest}");
        self.charset = None;
    }

    /// `CONVERT TO CHARACTER SET`: as many characters as before have room.
    fn convert(&mut self, charset: &str) -> Result<(), String> {
        let Some(old) = &self.charset else {
            return Ok(());
        };
        let listed = self.column_type.starts_with("enum(") || self.column_type.starts_with("set(");
        let wide = |name: &str| ["ucs2", "utf16", "utf16le", "utf32"].contains(&name);
        let other = !(old.starts_with("utf8") && charset.starts_with("utf8"));
        // MySQL 9.7 takes the bytes of members for text of the other character set.
        if listed && (wide(old) || wide(charset) || other && !self.column_type.is_ascii()) {
            return Err("the members of an ENUM or SET were converted".to_owned());
        }
        let before = self.width()?;
        self.charset = Some(charset.to_owned());
        if charset == "binary" {
            self.become_bytes();
            return Ok(());
        }
        let size = SIZES.iter().find(|(text, ..)| *text == self.column_type);
        if let Some((_, _, most)) = size {
            self.resize(most / before * self.width()?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::statement::{self, Effect, Statement};

    fn definition(columns: &[(&str, &str, Option<&str>)], key: &[&str]) -> Definition {
        Definition {
            charset: Some("utf8mb4".to_owned()),
            columns: columns
                .iter()
                .map(|(name, column_type, charset)| DefinedColumn {
                    name: (*name).to_owned(),
                    column_type: (*column_type).to_owned(),
                    charset: charset.map(str::to_owned),
                    nullable: Some(!key.contains(name)),
                    generated: false,
                })
                .collect(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn before() -> Definition {
        definition(
            &[
                ("id", "int", None),
                ("a", "varchar(10)", Some("latin1")),
                ("b", "text", Some("latin1")),
                ("n", "int unsigned", None),
            ],
            &["id"],
        )
    }

    fn after(sql: &str) -> Result<Definition, String> {
        let sql = format!("ALTER TABLE t {sql}");
        match statement::read(sql.as_bytes(), &statement::Session::default()) {
            Statement::Ddl(effects) => match effects.into_iter().next() {
                Some(Effect::Altered(_, alteration)) => match alteration.changes {
                    Some(changes) => before().after(&changes),
                    None => Err("not understood".to_owned()),
                },
                other => panic!("{sql}: {other:?}"),
            },
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// Names and types, and the key.
    fn shown(definition: &Definition) -> String {
        let columns = definition.columns.iter().map(|it| {
            let charset = it
                .charset
                .as_ref()
                .map_or(String::new(), |it| format!(" {it}"));
            let null = match it.nullable {
                Some(true) => "",
                Some(false) => "!",
                None => "?",
            };
            let generated = if it.generated { " generated" } else { "" };
            format!("{} {}{charset}{generated}{null}", it.name, it.column_type)
        });
        format!(
            "{} ({})",
            columns.collect::<Vec<_>>().join(", "),
            definition.key.join(", ")
        )
    }

    #[test]
    fn columns_come_and_go_and_move_as_the_server_moves_them() {
        for (sql, wanted) in [
            (
                "ADD c BIGINT UNSIGNED",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned, c bigint unsigned (id)",
            ),
            (
                "ADD COLUMN c INT NOT NULL FIRST, ADD d CHAR(3) AFTER id",
                "c int!, id int!, d char(3) utf8mb4, a varchar(10) latin1, b text latin1, n int unsigned (id)",
            ),
            (
                "ADD (c INT, d INT, KEY (c))",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned, c int, d int (id)",
            ),
            (
                "ADD COLUMN IF NOT EXISTS a INT",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned (id)",
            ),
            ("DROP COLUMN a, DROP n", "id int!, b text latin1 (id)"),
            (
                "DROP COLUMN IF EXISTS zz",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned (id)",
            ),
            (
                "MODIFY n INT FIRST, MODIFY a VARCHAR(20)",
                "n int, id int!, a varchar(20) utf8mb4, b text latin1 (id)",
            ),
            (
                "MODIFY id BIGINT AFTER n",
                "a varchar(10) latin1, b text latin1, n int unsigned, id bigint! (id)",
            ),
            (
                "CHANGE COLUMN A A TINYINT(1) NOT NULL DEFAULT 5 COMMENT 'x, y' AFTER n",
                "id int!, b text latin1, n int unsigned, A tinyint(1)! (id)",
            ),
            (
                "RENAME COLUMN a TO b, RENAME COLUMN b TO a",
                "id int!, b varchar(10) latin1, a text latin1, n int unsigned (id)",
            ),
            (
                "CHANGE id key_ INT",
                "key_ int!, a varchar(10) latin1, b text latin1, n int unsigned (key_)",
            ),
            (
                "DROP PRIMARY KEY, ADD PRIMARY KEY (n, a(3) DESC)",
                "id int!, a varchar(10) latin1!, b text latin1, n int unsigned! (n, a)",
            ),
            (
                "DROP PRIMARY KEY",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned ()",
            ),
            (
                "DROP INDEX `PRIMARY`",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned ()",
            ),
            (
                "DROP id",
                "a varchar(10) latin1, b text latin1, n int unsigned ()",
            ),
            (
                "DROP id, ADD k INT AUTO_INCREMENT PRIMARY KEY FIRST",
                "k int!, a varchar(10) latin1, b text latin1, n int unsigned (k)",
            ),
        ] {
            let after = after(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(shown(&after), wanted, "{sql}");
        }
    }

    #[test]
    fn character_sets_of_table_and_columns() {
        for (sql, wanted) in [
            (
                "CONVERT TO CHARACTER SET utf8mb4",
                "id int!, a varchar(10) utf8mb4, b mediumtext utf8mb4, n int unsigned (id)",
            ),
            (
                "CONVERT TO CHARSET ascii COLLATE ascii_bin",
                "id int!, a varchar(10) ascii, b text ascii, n int unsigned (id)",
            ),
            (
                "CONVERT TO CHARACTER SET binary",
                "id int!, a varbinary(10), b blob, n int unsigned (id)",
            ),
            (
                "DEFAULT CHARACTER SET = gbk, ADD c TEXT",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned, c text gbk (id)",
            ),
            (
                "COLLATE latin2_bin, MODIFY a CHAR(2)",
                "id int!, a char(2) latin2, b text latin1, n int unsigned (id)",
            ),
            (
                "ADD c ENUM('a ','b\\'c\\\\') COLLATE utf8mb4_bin",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned, c enum('a','b''c\\\\') utf8mb4 (id)",
            ),
            (
                "ADD c CHAR(3) CHARACTER SET binary, ADD d TEXT(50), ADD e BLOB(300), ADD f TEXT(70)",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned, c binary(3), d tinytext utf8mb4, e blob, f text utf8mb4 (id)",
            ),
            (
                "ADD c NCHAR(3), ADD d NATIONAL VARCHAR(4), ADD e CHAR BYTE, ADD f CHAR(2) ASCII, ADD g LONG",
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned, c char(3) utf8mb3, d varchar(4) utf8mb3, e binary(1), f char(2) latin1, g mediumtext utf8mb4 (id)",
            ),
        ] {
            let after = after(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(shown(&after), wanted, "{sql}");
        }
    }

    #[test]
    fn every_spelling_of_a_type_is_the_catalogs() {
        for (sql, wanted) in [
            ("INTEGER(11) UNSIGNED ZEROFILL", "int(11) unsigned"),
            ("int8 zerofill", "bigint unsigned"),
            ("middleint", "mediumint"),
            ("BOOL", "tinyint(1)"),
            ("DOUBLE PRECISION", "double"),
            ("FLOAT(30)", "double"),
            ("float(7,3) unsigned", "float(7,3) unsigned"),
            ("DEC(12, 2)", "decimal(12,2)"),
            ("NUMERIC", "decimal(10,0)"),
            ("FIXED(5)", "decimal(5,0)"),
            ("BIT", "bit(1)"),
            (
                "DATETIME(6) ON UPDATE CURRENT_TIMESTAMP(6) DEFAULT NOW(6)",
                "datetime(6)",
            ),
            ("TIMESTAMP(3) NULL", "timestamp(3)"),
            ("YEAR(4)", "year"),
            ("GEOMETRYCOLLECTION SRID 4326", "geometrycollection"),
            ("VECTOR(3)", "vector(3)"),
            ("JSON", "json"),
            ("INT AS (id + 1) STORED", "int generated"),
            (
                "INT GENERATED ALWAYS AS (concat(')', id)) VIRTUAL NULL",
                "int generated",
            ),
            ("INT DEFAULT (uuid_short() + 1) INVISIBLE", "int"),
            ("VARBINARY(9) DEFAULT x'61'", "varbinary(9)"),
            ("INT REFERENCES p (id) ON DELETE SET NULL", "int"),
            ("INT CHECK (c > 0) NOT ENFORCED", "int"),
        ] {
            let wanted = format!(
                "id int!, a varchar(10) latin1, b text latin1, n int unsigned, c {wanted} (id)"
            );
            let after =
                after(&format!("ADD c {sql}")).unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(shown(&after), wanted, "{sql}");
        }
    }

    #[test]
    fn what_changes_no_shape_leaves_it() {
        for sql in [
            "ADD INDEX i (a), DROP INDEX j, ADD CONSTRAINT u UNIQUE (n), ADD CHECK (n > 0)",
            "ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES p (id) ON DELETE CASCADE, DROP FOREIGN KEY g",
            "ALTER COLUMN a SET DEFAULT 'x', ALTER n DROP DEFAULT, ALTER INDEX i INVISIBLE",
            "ENGINE=InnoDB, COMMENT = 'x', ROW_FORMAT=DYNAMIC KEY_BLOCK_SIZE 8",
            "ALGORITHM=INSTANT, LOCK=NONE, FORCE",
            "AUTO_INCREMENT = 100, ORDER BY a",
            "DISABLE KEYS",
            "RENAME INDEX a TO b",
            "PARTITION BY HASH (id) PARTITIONS 4",
            "REMOVE PARTITIONING",
            "ADD PARTITION (PARTITION p VALUES LESS THAN (5))",
            "REORGANIZE PARTITION p, q INTO (PARTITION r VALUES LESS THAN (5))",
        ] {
            assert_eq!(after(sql), Ok(before()), "{sql}");
        }
    }

    #[test]
    fn what_is_not_understood_leaves_nothing_known() {
        for sql in [
            "ADD c HOLOGRAM(3)",
            "ADD c INT SPARKLING",
            "ADD a INT",
            "ADD c INT AFTER zz",
            "DROP zz",
            "MODIFY zz INT",
            "DO SOMETHING",
            "ADD c CHAR(3) CHARACTER SET klingon, ADD d TEXT(10) CHARACTER SET klingon",
            "CONVERT TO CHARACTER SET DEFAULT",
            "ADD SYSTEM VERSIONING",
            "ADD PRIMARY KEY ((a + 1))",
            "ADD c ENUM(x'61')",
            "ADD c INT /*!99999 UNSIGNED */",
            "ADD c INT /*M!100301 UNSIGNED */",
        ] {
            assert!(after(sql).is_err(), "{sql}");
        }
    }
}
