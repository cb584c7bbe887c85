//! A table's shape at a place in the log: what the table map says, what the catalog adds, and what
//! was known before.
//!
//! Invariant: columns, types and key are the log's alone, with what its statements made of the
//! definition in the last snapshot; the catalog, which may be later, adds only what the log cannot
//! say (MariaDB's UUID, INET and VECTOR, generated columns), where there is no such definition, and
//! for columns of the same name. A version number rises only when the shape differs.

use std::sync::Arc;

use cdc_api::{Column, Error, ErrorKind, ExistingValue, Identity, Result, TableName, TableSchema};

use super::definition::{DefinedColumn, Definition, identities};
use super::statement::{Added, Existing};
use super::table::TableVersion;
use super::table_map::{self, NamedColumn, TableMap};
use crate::position::table_id;
use crate::types::charset::Collations;
use crate::types::{ColumnKind, ColumnType, TypeOptions};

/// What the catalog says of a table now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// By column.
    pub(crate) columns: Vec<NotedColumn>,
}

/// What the catalog says of a column now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NotedColumn {
    /// `COLUMN_NAME`.
    pub(crate) name: String,
    /// `COLUMN_TYPE`.
    pub(crate) column_type: String,
    /// Whether it is generated, stored or virtual.
    pub(crate) generated: bool,
    /// What older rows hold, should it have been added.
    pub(crate) existing: Option<Existing>,
}

/// What a shape is made of, beside the table map.
pub(crate) struct Context<'a> {
    /// The table.
    pub(crate) name: &'a TableName,
    /// The server's collations.
    pub(crate) collations: &'a Collations,
    /// The configuration's choices.
    pub(crate) options: TypeOptions,
    /// The catalog, where it was asked and has the table.
    pub(crate) notes: Option<&'a Notes>,
    /// The shape before.
    pub(crate) known: Option<&'a Arc<TableSchema>>,
    /// Columns that the log says were added since.
    pub(crate) added: &'a [Added],
    /// Whether values that did not fit a new type of their column were cut since.
    pub(crate) cut: bool,
    /// The definition here, or why it is not known.
    pub(crate) defined: Result<&'a Definition, &'a str>,
    /// The log's number so far.
    pub(crate) seq: u64,
}

/// The version of a table that rows after `map` have.
///
/// # Errors
/// Of this table, where something cannot be represented.
pub(crate) fn version(map: &TableMap, context: &Context<'_>) -> Result<TableVersion> {
    let id = table_id(&map.name);
    shape(map, context).map_err(|error| match error.kind() {
        ErrorKind::Internal => error,
        _ => error.for_table(id),
    })
}

fn shape(map: &TableMap, context: &Context<'_>) -> Result<TableVersion> {
    let (named, mut key) = map.columns(context.collations, context.options, context.defined)?;
    // One that does not have these columns is not what the table is.
    let definition = context.defined.ok().filter(|it| {
        let names = it.columns.iter().map(|column| &column.name);
        names.eq(named.iter().map(|column| &column.name))
    });
    let names = named.iter().map(|column| column.name.as_str());
    let known = context.known.map(Arc::as_ref);
    if let (None, Ok(other), Some(known)) = (definition, context.defined, known)
        && renames(other, known)
    {
        return Err(Error::unsupported(
            "a column was renamed, and the log has other columns than it should have then",
        )
        .hint(format!("cdc snapshot {}", context.name)));
    }
    let ids = identities(names, definition, known, context.seq);
    let mut columns = Vec::with_capacity(named.len());
    let mut types = Vec::with_capacity(named.len());
    for (mut column, id) in named.into_iter().zip(ids) {
        overlay(&mut column, context);
        let defined = definition.and_then(|it| it.columns.iter().find(|it| it.name == column.name));
        columns.push(describe(&column, id, defined, context)?);
        types.push(column.column_type);
    }
    let identity = context.known.map_or(Identity::Full, |known| known.identity);
    if let Some(known) = context.known {
        // A key that the configuration or the catalog chose where the table has no primary one.
        if key.is_empty() && identity != Identity::Full {
            key = known
                .key_columns()
                .filter_map(|column| columns.iter().position(|it| same(it, column)))
                .collect();
        }
    }
    let number = context.known.map_or(1, |known| known.version + 1);
    let id = table_id(&map.name);
    let shape = TableSchema::new(id, map.name.clone(), number, columns, key, identity);
    let schema = match context.known {
        Some(known) if shape.same_shape(known) => Arc::clone(known),
        _ => Arc::new(shape),
    };
    let forms = map.columns.iter().map(|column| column.form);
    let forms = forms
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::unsupported("a column has a type that is not known"))?;
    TableVersion::new(schema, types, forms)
}

/// MariaDB's types that look like others in the log.
fn overlay(column: &mut NamedColumn, context: &Context<'_>) {
    if let Some(defined) = defined(context, &column.name) {
        if let Ok(said) = defined.resolve(context.options)
            && table_map::looks_like(&said.kind, &column.column_type.kind)
        {
            column.column_type = said;
        }
        return;
    }
    let noted = context
        .notes
        .and_then(|notes| notes.columns.iter().find(|it| it.name == column.name))
        .map(|noted| noted.column_type.as_str());
    let known = context
        .known
        .and_then(|known| known.columns.iter().find(|it| it.name == column.name))
        .map(|known| known.source_type.as_str());
    for said in [noted, known].into_iter().flatten() {
        if let Ok(said) = ColumnType::of_catalog(said, None, context.options)
            && table_map::looks_like(&said.kind, &column.column_type.kind)
        {
            column.column_type = said;
            return;
        }
    }
}

/// A column of the definition that is known.
fn defined<'a>(context: &Context<'a>, name: &str) -> Option<&'a DefinedColumn> {
    let definition = context.defined.ok()?;
    definition.columns.iter().find(|it| it.name == name)
}

/// Whether a column has another name in the definition than it had when it was told.
fn renames(definition: &Definition, known: &TableSchema) -> bool {
    definition.columns.iter().any(|defined| {
        let told = known.columns.iter().find(|it| it.id == defined.id);
        defined.id.is_some() && told.is_some_and(|told| told.name != defined.name)
    })
}

/// Whether two versions of a table mean the same column.
fn same(one: &Column, other: &Column) -> bool {
    match (one.id, other.id) {
        (Some(one), Some(other)) => one == other,
        _ => one.name == other.name,
    }
}

/// `in_it`: the column in the definition, where that is what the table is.
fn describe(
    named: &NamedColumn,
    id: Option<u64>,
    in_it: Option<&DefinedColumn>,
    context: &Context<'_>,
) -> Result<Column> {
    let mut column = named.column_type.column(&named.name);
    column.id = id;
    column.nullable = named.nullable;
    let noted = context
        .notes
        .and_then(|notes| notes.columns.iter().find(|it| it.name == named.name));
    let before = context
        .known
        .and_then(|known| known.columns.iter().find(|it| same(it, &column)));
    column.generated = match (defined(context, &named.name), noted, before) {
        (Some(defined), _, _) => defined.generated,
        (None, Some(noted), _) => noted.generated,
        (None, None, Some(before)) => before.generated,
        (None, None, None) => false,
    };
    if let Some(before) = before {
        narrowed(before, &column, context.name)?;
        if context.cut && before.source_type != column.source_type {
            return Err(cut(before, &column, context.name));
        }
        if before.source_type == column.source_type {
            column.existing.clone_from(&before.existing);
        }
        return Ok(column);
    }
    if context.known.is_none() {
        return Ok(column);
    }
    let logged = context
        .added
        .iter()
        .rev()
        .find(|added| added.name.eq_ignore_ascii_case(&named.name))
        .map(|added| &added.existing);
    let existing = match (in_it, logged) {
        _ if column.generated => Some(&Existing::Unknown),
        // A column that was there at the snapshot was told then.
        (Some(defined), _) => Some(defined.existing.as_ref().unwrap_or(&Existing::Unknown)),
        (None, Some(existing)) => Some(existing),
        (None, None) => noted.and_then(|noted| noted.existing.as_ref()),
    };
    column.existing = existing_value(&column, &named.column_type, existing, context.name)?;
    Ok(column)
}

/// What older rows hold in a column that was added, by what the log says of it.
fn existing_value(
    column: &Column,
    column_type: &ColumnType,
    existing: Option<&Existing>,
    table: &TableName,
) -> Result<Option<ExistingValue>> {
    let unknown = || {
        Error::unsupported(format!(
            "what older rows hold in the added column {} is not in the log",
            cdc_api::schema::quote_identifier(&column.name)
        ))
        .hint(format!("cdc snapshot {table}"))
    };
    Ok(Some(match existing {
        None | Some(Existing::Null) if column.nullable => return Ok(None),
        Some(Existing::Constant(text)) => column_type.existing(text)?,
        Some(Existing::Zero) => {
            column_type.existing(&zero(&column_type.kind).ok_or_else(unknown)?)?
        }
        _ => return Err(unknown()),
    }))
}

/// The table's columns as a snapshot describes them at `seq`, with what the stream knows of them: their
/// identities, and what older rows hold in those that were not told yet.
pub(crate) fn of_snapshot(
    shape: &TableSchema,
    definition: Option<&Definition>,
    known: Option<&TableSchema>,
    options: TypeOptions,
    seq: u64,
) -> TableSchema {
    let names = shape.columns.iter().map(|column| column.name.as_str());
    let ids = identities(names, definition, known, seq);
    let mut columns = shape.columns.clone();
    for (column, id) in columns.iter_mut().zip(ids) {
        column.id = id;
        let before = known.and_then(|known| known.columns.iter().find(|it| same(it, column)));
        let defined = definition.and_then(|it| it.columns.iter().find(|it| it.id == id));
        column.existing = match (before, defined) {
            (Some(before), _) if before.source_type == column.source_type => {
                before.existing.clone()
            }
            (None, Some(defined)) if id.is_some() => defined.resolve(options).ok().and_then(|it| {
                let existing = defined.existing.as_ref();
                existing_value(column, &it, existing, &shape.name).ok()?
            }),
            _ => None,
        };
    }
    let (id, name, key) = (shape.id, shape.name.clone(), shape.key.clone());
    TableSchema::new(id, name, shape.version, columns, key, shape.identity)
}

/// What an `ALTER TABLE` did to older rows that the log does not hold, and nobody can know: why the
/// table stops there.
///
/// # Errors
/// `Unsupported`, of this table.
pub(crate) fn altered(
    before: &Definition,
    after: &Definition,
    cuts: bool,
    name: &TableName,
    options: TypeOptions,
) -> Result<()> {
    let described = |defined: &DefinedColumn| -> Result<(ColumnType, Column)> {
        let column_type = defined.resolve(options)?;
        let mut column = column_type.column(&defined.name);
        column.nullable = defined.nullable != Some(false);
        Ok((column_type, column))
    };
    for defined in &after.columns {
        // What has no known type is told with the next row.
        let Ok((column_type, column)) = described(defined) else {
            continue;
        };
        let same = |it: &&DefinedColumn| match (it.id, defined.id) {
            (Some(one), Some(other)) => one == other,
            _ => it.name == defined.name,
        };
        match (before.columns.iter().find(same), &defined.existing) {
            (Some(old), _) => {
                let Ok((_, old)) = described(old) else {
                    continue;
                };
                narrowed(&old, &column, name)?;
                if cuts && old.source_type != column.source_type {
                    return Err(cut(&old, &column, name));
                }
            }
            (None, _) if defined.generated => {
                existing_value(&column, &column_type, Some(&Existing::Unknown), name)?;
            }
            (None, existing) => {
                existing_value(&column, &column_type, existing.as_ref(), name)?;
            }
        }
    }
    Ok(())
}

/// Values of a column may have been cut.
fn cut(before: &Column, after: &Column, table: &TableName) -> Error {
    Error::unsupported(format!(
        "the column {} was changed from {} to {} under an sql_mode that cuts values which do not fit",
        cdc_api::schema::quote_identifier(&after.name),
        before.source_type,
        after.source_type
    ))
    .hint(format!("cdc snapshot {table}"))
}

/// Refuses a change of type under which older values are others, though Arrow's type is the same.
fn narrowed(before: &Column, after: &Column, table: &TableName) -> Result<()> {
    let digits = |column: &Column| -> Option<(String, u8)> {
        let kind = ColumnType::of_catalog(&column.source_type, None, TypeOptions::default());
        match kind.ok()?.kind {
            ColumnKind::DateTime { digits } => Some(("datetime".to_owned(), digits)),
            ColumnKind::Timestamp { digits } => Some(("timestamp".to_owned(), digits)),
            ColumnKind::Time { digits } => Some(("time".to_owned(), digits)),
            _ => None,
        }
    };
    match (digits(before), digits(after)) {
        (Some((old, more)), Some((new, fewer))) if old == new && fewer < more => {
            Err(Error::unsupported(format!(
                "the column {} was changed from {} to {}, which rounds older values",
                cdc_api::schema::quote_identifier(&after.name),
                before.source_type,
                after.source_type
            ))
            .hint(format!("cdc snapshot {table}")))
        }
        _ => Ok(()),
    }
}

/// What a NOT NULL column without a default holds in older rows.
fn zero(kind: &ColumnKind) -> Option<String> {
    Some(match kind {
        ColumnKind::Integer { .. }
        | ColumnKind::Float { .. }
        | ColumnKind::Double { .. }
        | ColumnKind::Decimal { .. }
        | ColumnKind::Year => "0".to_owned(),
        ColumnKind::Bit { .. } => "0".to_owned(),
        ColumnKind::Char { .. }
        | ColumnKind::Varchar { .. }
        | ColumnKind::Text { .. }
        | ColumnKind::Binary { .. }
        | ColumnKind::Varbinary { .. }
        | ColumnKind::Blob { .. }
        | ColumnKind::Set { .. } => String::new(),
        ColumnKind::Enum { members } => members.first()?.to_string(),
        ColumnKind::Date => "0000-00-00".to_owned(),
        ColumnKind::DateTime { .. } | ColumnKind::Timestamp { .. } => {
            "0000-00-00 00:00:00".to_owned()
        }
        ColumnKind::Time { .. } => "00:00:00".to_owned(),
        _ => return None,
    })
}
