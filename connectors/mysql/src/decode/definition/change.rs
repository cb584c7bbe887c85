//! What the parts of an `ALTER TABLE` make of a definition, in the server's order
//! (`mysql_prepare_alter_table`): columns that stay keep their places, with what becomes of them;
//! then come those that are added or moved, each where it is told to be.

use super::{DefinedColumn, Definition, fresh, same_name};
use crate::decode::statement::Existing;
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
    /// Whether the server numbers its rows.
    pub(crate) auto_increment: bool,
    /// Whether it is the primary key.
    pub(crate) key: bool,
    /// What older rows hold in it, should it be added.
    pub(crate) existing: Existing,
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
    /// The definition after an `ALTER TABLE` of these parts, whose number in the log is `seq`.
    ///
    /// # Errors
    /// Why it is not known.
    pub(crate) fn after(&self, changes: &[Change], seq: u64) -> Result<Self, String> {
        let mut used: Vec<u64> = self.columns.iter().filter_map(|it| it.id).collect();
        let mut charset = self.charset.clone();
        for change in changes {
            if let Change::Charset(name) | Change::Convert(name) = change {
                charset = Some(name.clone());
            }
        }
        let mut key: Vec<String> = match changes.contains(&Change::DropKey) {
            true => Vec::new(),
            false => self
                .key
                .iter()
                .filter_map(|it| renamed(it, changes))
                .collect(),
        };
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
                    let mut made = column.defined(charset.as_deref())?;
                    made.id = Some(fresh(seq, &mut used));
                    made.existing = Some(column.existing.clone());
                    (made, place)
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
                    let mut new = new.defined(charset)?;
                    new.id = column.id;
                    new.existing.clone_from(&column.existing);
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

/// A column's name after these changes; `None` where it is dropped. All of them name columns as they
/// were before.
pub(crate) fn renamed(column: &str, changes: &[Change]) -> Option<String> {
    for change in changes {
        match change {
            Change::Drop { name, .. } if same_name(name, column) => return None,
            Change::Become {
                name, column: new, ..
            } if same_name(name, column) => {
                return Some(new.name.clone());
            }
            Change::Rename(name, to) if same_name(name, column) => return Some(to.clone()),
            _ => {}
        }
    }
    Some(column.to_owned())
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
    ///
    /// # Errors
    /// Where its character set is that of the table, and not known.
    pub(crate) fn defined(&self, charset: Option<&str>) -> Result<DefinedColumn, String> {
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
            auto_increment: Some(self.auto_increment),
            id: None,
            existing: None,
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
mod tests;
