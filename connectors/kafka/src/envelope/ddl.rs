//! Statements that change schemas as Debezium's records for `<prefix>`, its topic of schema changes.
//!
//! Invariant: what is written are the members of the notice's schema, in its order; where something is
//! not known its member is null, or the list of changes empty.

mod native;

use cdc_api::{ChangedTable, ColumnDefinition, Notice, SchemaChange, TableChange, TableName};

use super::Connector;
use super::notices::Notices;
use super::schema::{self, Schema, Shape};
use super::source::{Commits, Origin, Row, SourceBlock};
use super::value::Now;
use super::wire::{Avro, Json, Wire};
use crate::config::{Format, KafkaConfig};
use native::Native;

/// Writes statements.
pub(crate) struct Statements {
    pub(crate) notices: Notices,
    origin: Origin,
}

impl Statements {
    pub(crate) fn new(origin: &Origin, config: &KafkaConfig) -> Self {
        let space = match origin.connector {
            Connector::Postgresql => "io.debezium.connector.postgresql",
            Connector::Mysql => "io.debezium.connector.mysql",
        };
        let schema =
            |members, name: &str| Schema::structure(members, &format!("{space}.{name}")).version(1);
        let value = vec![
            ("source".to_owned(), schema::source(origin.connector)),
            scalar("ts_ms", "int64", false),
            scalar("databaseName", "string", true),
            scalar("schemaName", "string", true),
            scalar("ddl", "string", true),
            ("tableChanges".to_owned(), list(change(), false)),
        ];
        let key = vec![scalar("databaseName", "string", false)];
        Self {
            notices: Notices::new(
                origin.name.clone(),
                config,
                schema(key, "SchemaChangeKey"),
                schema(value, "SchemaChangeValue"),
            ),
            origin: origin.clone(),
        }
    }

    /// Key and value of one of the changes that a statement made.
    pub(crate) fn change(
        &mut self,
        notice: &Notice,
        changes: &[SchemaChange],
        change: &SchemaChange,
        commits: &mut Commits,
    ) -> (&[u8], &[u8]) {
        let source = self.source(changes, change);
        match self.notices.format() {
            Format::Avro => self.write::<Avro>(source, notice, change, commits),
            Format::Json | Format::JsonWithSchema => {
                self.write::<Json>(source, notice, change, commits);
            }
        }
        self.notices.written()
    }

    /// Where it comes from: the block names all tables of its database that the statement changes.
    fn source(&self, changes: &[SchemaChange], change: &SchemaChange) -> SourceBlock {
        let Some(table) = &change.table else {
            return SourceBlock::of_database(&self.origin, &change.database);
        };
        let beside = changes.iter().filter(|it| it.database == change.database);
        let names: Vec<&str> = beside
            .filter_map(|it| it.table.as_ref())
            .map(|it| it.name.table.as_str())
            .collect();
        let names = match table.change {
            TableChange::Other => String::new(),
            _ => names.join(","),
        };
        SourceBlock::new(&self.origin, &TableName::new(&change.database, names))
    }

    fn write<W: Wire>(
        &mut self,
        mut source: SourceBlock,
        notice: &Notice,
        change: &SchemaChange,
        commits: &mut Commits,
    ) {
        source.notice::<W>(notice, commits);
        let (key, out) = self.notices.begin();
        W::open(key);
        W::label(key, true, b"\"databaseName\":");
        W::string(key, &change.database);
        W::close(key);
        W::open(out);
        W::label(out, true, b"\"source\":");
        source.write::<W>(out, Row::at(notice.offset));
        W::label(out, false, b"\"ts_ms\":");
        W::integer(out, Now::read::<W>().micros.div_euclid(1000));
        W::label(out, false, b"\"databaseName\":");
        W::some(out);
        W::string(out, &change.database);
        W::label(out, false, b"\"schemaName\":");
        W::null(out);
        W::label(out, false, b"\"ddl\":");
        W::some(out);
        W::string(out, &change.statement);
        W::label(out, false, b"\"tableChanges\":");
        let told = change.table.as_ref().and_then(|it| Some((it, kind(it)?)));
        W::begin(out, false, usize::from(told.is_some()));
        if let Some((table, kind)) = told {
            W::item(out, true);
            write_table::<W>(out, table, kind);
        }
        W::end(out, false);
        W::close(out);
        self.notices.end();
    }
}

/// What Debezium calls the change; `None` where it tells of none.
fn kind(table: &ChangedTable) -> Option<&'static str> {
    match (&table.change, &table.definition) {
        (TableChange::Drop, _) => Some("DROP"),
        (TableChange::Create, Some(_)) => Some("CREATE"),
        (TableChange::Alter | TableChange::Rename(_), Some(_)) => Some("ALTER"),
        (TableChange::Other, _) | (_, None) => None,
    }
}

fn write_table<W: Wire>(out: &mut Vec<u8>, table: &ChangedTable, kind: &str) {
    W::open(out);
    W::label(out, true, b"\"type\":");
    W::string(out, kind);
    W::label(out, false, b"\"id\":");
    W::string(out, &table.name.quoted());
    W::label(out, false, b"\"table\":");
    match &table.definition {
        None => W::null(out),
        Some(definition) => {
            W::some(out);
            W::open(out);
            W::label(out, true, b"\"defaultCharsetName\":");
            some::<W>(out, definition.charset.as_deref());
            W::label(out, false, b"\"primaryKeyColumnNames\":");
            texts::<W>(out, &definition.key);
            W::label(out, false, b"\"columns\":");
            W::begin(out, false, definition.columns.len());
            for (index, column) in definition.columns.iter().enumerate() {
                W::item(out, index == 0);
                write_column::<W>(out, column, index + 1);
            }
            W::end(out, false);
            W::label(out, false, b"\"comment\":");
            W::null(out);
            W::close(out);
        }
    }
    W::close(out);
}

fn write_column<W: Wire>(out: &mut Vec<u8>, column: &ColumnDefinition, position: usize) {
    let native = Native::of(&column.source_type);
    let number = |out: &mut Vec<u8>, value: Option<i64>| match value {
        None => W::null(out),
        Some(value) => {
            W::some(out);
            W::integer(out, value);
        }
    };
    let truth = |out: &mut Vec<u8>, value: Option<bool>| match value {
        None => W::null(out),
        Some(value) => {
            W::some(out);
            W::boolean(out, value);
        }
    };
    W::open(out);
    W::label(out, true, b"\"name\":");
    W::string(out, &column.name);
    W::label(out, false, b"\"jdbcType\":");
    W::integer(out, native.jdbc);
    W::label(out, false, b"\"nativeType\":");
    W::null(out);
    W::label(out, false, b"\"typeName\":");
    W::string(out, &native.name);
    W::label(out, false, b"\"typeExpression\":");
    some::<W>(out, Some(&native.name));
    W::label(out, false, b"\"charsetName\":");
    some::<W>(out, column.charset.as_deref());
    W::label(out, false, b"\"length\":");
    number(out, native.length);
    W::label(out, false, b"\"scale\":");
    number(out, native.scale);
    W::label(out, false, b"\"position\":");
    W::integer(out, i64::try_from(position).unwrap_or(i64::MAX));
    W::label(out, false, b"\"optional\":");
    truth(out, column.nullable);
    W::label(out, false, b"\"autoIncremented\":");
    truth(out, column.auto_increment);
    // What the server numbers, not what it computes.
    W::label(out, false, b"\"generated\":");
    truth(out, column.auto_increment);
    W::label(out, false, b"\"comment\":");
    W::null(out);
    W::label(out, false, b"\"defaultValueExpression\":");
    W::null(out);
    W::label(out, false, b"\"enumValues\":");
    match &native.members {
        None => W::null(out),
        Some(members) => texts::<W>(out, members),
    }
    W::close(out);
}

fn some<W: Wire>(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        None => W::null(out),
        Some(value) => {
            W::some(out);
            W::string(out, value);
        }
    }
}

/// A list of texts in a place that may have none.
fn texts<W: Wire>(out: &mut Vec<u8>, values: &[String]) {
    W::some(out);
    W::begin(out, false, values.len());
    for (index, value) in values.iter().enumerate() {
        W::item(out, index == 0);
        W::string(out, value);
    }
    W::end(out, false);
}

fn scalar(name: &str, kind: &'static str, optional: bool) -> (String, Schema) {
    (name.to_owned(), Schema::scalar(kind, optional))
}

fn list(items: Schema, optional: bool) -> Schema {
    Schema::plain(Shape::Array(Box::new(items)), optional)
}

/// The schema of what a statement did to a table.
fn change() -> Schema {
    const SPACE: &str = "io.debezium.connector.schema";
    let structure =
        |members, name: &str| Schema::structure(members, &format!("{SPACE}.{name}")).version(1);
    let column = structure(
        vec![
            scalar("name", "string", false),
            scalar("jdbcType", "int32", false),
            scalar("nativeType", "int32", true),
            scalar("typeName", "string", false),
            scalar("typeExpression", "string", true),
            scalar("charsetName", "string", true),
            scalar("length", "int32", true),
            scalar("scale", "int32", true),
            scalar("position", "int32", false),
            scalar("optional", "boolean", true),
            scalar("autoIncremented", "boolean", true),
            scalar("generated", "boolean", true),
            scalar("comment", "string", true),
            scalar("defaultValueExpression", "string", true),
            (
                "enumValues".to_owned(),
                list(Schema::scalar("string", false), true),
            ),
        ],
        "Column",
    );
    let key = list(Schema::scalar("string", false), true);
    let table = structure(
        vec![
            scalar("defaultCharsetName", "string", true),
            ("primaryKeyColumnNames".to_owned(), key),
            ("columns".to_owned(), list(column, false)),
            scalar("comment", "string", true),
        ],
        "Table",
    );
    structure(
        vec![
            scalar("type", "string", false),
            scalar("id", "string", false),
            ("table".to_owned(), table.optional()),
        ],
        "Change",
    )
}

#[cfg(test)]
mod tests;
