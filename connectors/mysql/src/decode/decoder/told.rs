//! What statements are told as, where they are.
//!
//! Invariant: a statement is told before what else it does, with its number. What a table is afterwards
//! is what the log's statements have made of it since it was in a snapshot, or what made it says;
//! where that is not known for certain it is not told.

use std::collections::BTreeMap;
use std::sync::Arc;

use cdc_api::{
    ChangeEvent, ChangedTable, ColumnDefinition, Notice, Result, Said, SchemaChange, TableChange,
    TableDefinition, TableName,
};

use super::Decoder;
use crate::config::SchemaChanges;
use crate::decode::definition::change::NewColumn;
use crate::decode::definition::{Defined, DefinedColumn, Definition, same_name};
use crate::decode::event::Query;
use crate::decode::statement::create::{Made, NewTable, new_table};
use crate::decode::statement::outline::Outline;
use crate::decode::statement::{Alteration, Effect};
use crate::position::scale;

impl Decoder {
    /// Tells a statement with these effects, whose number is `self.seq`.
    pub(super) fn tell(&mut self, query: &Query<'_>, effects: &[Effect]) -> Result<()> {
        if self.tells == SchemaChanges::None || effects.is_empty() {
            return Ok(());
        }
        let mut changes = self.changes(query, effects);
        if self.tells == SchemaChanges::Captured {
            changes.retain(
                |it| !matches!(&it.table, Some(table) if table.change == TableChange::Other),
            );
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.report_rows()?;
        let transaction = self.open.as_ref().map(|open| open.transaction.run(1));
        self.events.push_back(ChangeEvent::Notice(Arc::new(Notice {
            seq: self.seq,
            offset: scale(&self.file, self.offset),
            commit_time: transaction
                .as_ref()
                .map_or(self.done.time, |run| run.commit_time),
            transaction,
            said: Said::Schema(changes),
        })));
        Ok(())
    }

    fn changes(&self, query: &Query<'_>, effects: &[Effect]) -> Vec<SchemaChange> {
        let written = self.written(query);
        let outline = Outline::of(&written.text);
        if let [Effect::Altered(name, alteration), more @ ..] = effects {
            let change = self.altered_table(&outline, name, alteration, more);
            return change.into_iter().collect();
        }
        let mut changes = Vec::new();
        // What tables are after the renames before.
        let mut now: BTreeMap<&TableName, Option<TableDefinition>> = BTreeMap::new();
        for (index, effect) in effects.iter().enumerate() {
            let whole = || outline.whole().to_owned();
            match effect {
                Effect::Created(name) if self.tells_of(name) => {
                    let made = new_table(&written.text, &self.session(&written));
                    changes.push(self.created_table(name, whole(), made));
                }
                // It is made anew by the same statement.
                Effect::Dropped(name) if effects.contains(&Effect::Created(name.clone())) => {}
                Effect::Dropped(name) if self.tells_of(name) => {
                    let statement = dropping(outline.whole(), name);
                    changes.push(table(TableChange::Drop, name, statement, None));
                }
                Effect::Renamed(from, to) => {
                    let before = now.remove(from).unwrap_or_else(|| self.definition(from));
                    if self.tells_of(from) || self.tells_of(to) {
                        let part = outline.part(index).unwrap_or_default();
                        let statement = match (effects.len(), index) {
                            (1, _) => whole(),
                            (_, 0) => part.to_owned(),
                            _ => format!("RENAME TABLE {part}"),
                        };
                        let change = TableChange::Rename(from.clone());
                        changes.push(table(change, to, statement, before.clone()));
                    }
                    now.insert(to, before);
                }
                Effect::Database(name) | Effect::DroppedSchema(name)
                    if self.tells_of_database(name) =>
                {
                    changes.push(SchemaChange {
                        database: name.clone(),
                        statement: whole(),
                        table: None,
                    });
                }
                _ => {}
            }
        }
        changes
    }

    /// `ALTER TABLE`, and what makes and drops indices.
    fn altered_table(
        &self,
        outline: &Outline<'_>,
        name: &TableName,
        alteration: &Alteration,
        more: &[Effect],
    ) -> Option<SchemaChange> {
        let renamed = more.iter().find_map(|it| match it {
            Effect::Renamed(_, to) => Some(to),
            _ => None,
        });
        let after = renamed.unwrap_or(name);
        if !self.tells_of(name) && !self.tells_of(after) {
            return None;
        }
        let statement = outline.whole().to_owned();
        let harmless = alteration.changes.as_ref().is_some_and(Vec::is_empty);
        let first = statement.split_ascii_whitespace().next()?;
        if harmless && !first.eq_ignore_ascii_case("ALTER") {
            return Some(table(TableChange::Other, name, statement, None));
        }
        let definition = match (self.defined(name), &alteration.changes) {
            (Some(definition), Some(changes)) if changes.is_empty() => Some(told(definition)),
            (Some(definition), Some(changes)) => {
                definition.after(changes, self.seq).ok().as_ref().map(told)
            }
            _ => None,
        };
        let change = match renamed {
            Some(_) => TableChange::Rename(name.clone()),
            None => TableChange::Alter,
        };
        Some(table(change, after, statement, definition))
    }

    fn created_table(
        &self,
        name: &TableName,
        statement: String,
        made: Option<NewTable>,
    ) -> SchemaChange {
        let unless_there = made.as_ref().is_some_and(|it| it.unless_there);
        if unless_there && self.defined(name).is_some() {
            return table(TableChange::Other, name, statement, None);
        }
        let definition = match made.and_then(|it| it.made) {
            None => None,
            Some(Made::Like(other)) => self.definition(&other),
            Some(Made::Of {
                columns,
                key,
                charset,
            }) => made_of(&columns, key, charset),
        };
        table(TableChange::Create, name, statement, definition)
    }

    fn defined(&self, name: &TableName) -> Option<&Definition> {
        let index = *self.by_name.get(name)?;
        match &self.tables[index].defined {
            Some(Defined::Known(definition)) => Some(definition),
            _ => None,
        }
    }

    fn definition(&self, name: &TableName) -> Option<TableDefinition> {
        self.defined(name).map(told)
    }

    fn tells_of(&self, name: &TableName) -> bool {
        self.tells == SchemaChanges::All || self.knows(name) || (self.wants)(name)
    }

    fn tells_of_database(&self, name: &str) -> bool {
        let mut tables = self.tables.iter().map(|table| &table.name);
        self.tells == SchemaChanges::All
            || tables.any(|table| table.schema == name && self.tells_of(table))
    }
}

fn table(
    change: TableChange,
    name: &TableName,
    statement: String,
    definition: Option<TableDefinition>,
) -> SchemaChange {
    SchemaChange {
        database: name.schema.clone(),
        statement,
        table: Some(ChangedTable {
            change,
            name: name.clone(),
            definition,
        }),
    }
}

/// The part of a `DROP TABLE` about one table. The servers log it with names in backticks.
fn dropping(statement: &str, name: &TableName) -> String {
    match statement.find('`') {
        Some(names) => format!(
            "{}`{}`.`{}`",
            &statement[..names],
            name.schema.replace('`', "``"),
            name.table.replace('`', "``")
        ),
        None => statement.to_owned(),
    }
}

fn told(definition: &Definition) -> TableDefinition {
    TableDefinition {
        charset: definition.charset.clone(),
        key: definition.key.clone(),
        columns: definition.columns.iter().map(told_column).collect(),
    }
}

fn told_column(column: &DefinedColumn) -> ColumnDefinition {
    ColumnDefinition {
        name: column.name.clone(),
        source_type: column.column_type.clone(),
        charset: column.charset.clone(),
        nullable: column.nullable,
        auto_increment: column.auto_increment,
    }
}

/// A table of these columns. Where its character set is the database's, which the statement does not
/// say, that of its columns is not told either.
fn made_of(
    columns: &[NewColumn],
    key: Vec<String>,
    charset: Option<String>,
) -> Option<TableDefinition> {
    let columns = columns.iter().map(|column| {
        match column.defined(charset.as_deref()) {
            Ok(column) => Some(told_column(&column)),
            // The size of its type depends on the character set.
            Err(_) if column.made.room.is_some() => None,
            Err(_) => Some(ColumnDefinition {
                name: column.name.clone(),
                source_type: column.made.text.clone(),
                charset: None,
                nullable: column.nullable,
                auto_increment: Some(column.auto_increment),
            }),
        }
    });
    let mut columns = columns.collect::<Option<Vec<_>>>()?;
    let named = key.iter().map(|name| {
        let column = columns.iter_mut().find(|it| same_name(&it.name, name))?;
        column.nullable = Some(false);
        Some(column.name.clone())
    });
    let key = named.collect::<Option<Vec<_>>>()?;
    Some(TableDefinition {
        charset,
        key,
        columns,
    })
}

#[cfg(test)]
mod tests;
