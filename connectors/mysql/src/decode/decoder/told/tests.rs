use super::super::tests::{MYSQL, begin, of, statement};
use super::*;
use crate::decode::golden::{drain, events};

fn definition(charset: &str) -> Definition {
    let column = |name: &str, column_type: &str, charset: Option<&str>| DefinedColumn {
        name: name.to_owned(),
        column_type: column_type.to_owned(),
        charset: charset.map(str::to_owned),
        nullable: Some(name != "id"),
        generated: false,
        auto_increment: Some(name == "id"),
        id: None,
        existing: None,
    };
    Definition {
        charset: Some(charset.to_owned()),
        columns: vec![
            column("id", "int", None),
            column("v", "varchar(9)", Some(charset)),
        ],
        key: vec!["id".to_owned()],
    }
}

fn name(table: &str) -> TableName {
    TableName::new("g", table)
}

/// What a statement is told as where the tables `t` and `u` have been in a snapshot, and `w` is
/// wanted; everything that it gives.
fn given(tells: SchemaChanges, text: &str) -> Vec<ChangeEvent> {
    let mut decoder = of(MYSQL, 100);
    decoder.wants = Box::new(|name| name.table == "w");
    decoder.tells = tells;
    for (table, charset) in [("t", "utf8mb4"), ("u", "latin1")] {
        let index = decoder.table(name(table));
        decoder.tables[index].defined = Some(Defined::Known(Arc::new(definition(charset))));
    }
    for event in [&events(MYSQL)[0], &begin(), &statement(text)] {
        decoder.event(event).expect("a whole event");
    }
    let mut given = drain(&mut decoder).expect("a whole event");
    decoder.flush().expect("nothing is open");
    given.extend(drain(&mut decoder).expect("nothing is open"));
    given
}

fn changes(tells: SchemaChanges, text: &str) -> Vec<SchemaChange> {
    let said = given(tells, text)
        .into_iter()
        .filter_map(|event| match event {
            ChangeEvent::Notice(notice) => Some(notice.said.clone()),
            _ => None,
        });
    said.flat_map(|said| match said {
        Said::Schema(changes) => changes,
        Said::Message { .. } => panic!("{text}: a message"),
    })
    .collect()
}

/// What was done to which table, what it is, and the statement, a line a change.
fn told(text: &str) -> Vec<String> {
    let changes = changes(SchemaChanges::All, text);
    changes.iter().map(shown).collect()
}

fn shown(change: &SchemaChange) -> String {
    let Some(table) = &change.table else {
        return format!("{}: {}", change.database, change.statement);
    };
    assert_eq!(change.database, table.name.schema);
    let kind = match &table.change {
        TableChange::Rename(from) => format!("Rename {from}"),
        other => format!("{other:?}"),
    };
    let definition = table.definition.as_ref().map(|it| {
        let columns: Vec<String> = it.columns.iter().map(shown_column).collect();
        let charset = it.charset.as_deref().unwrap_or("?");
        format!(" ({}) {:?} {charset}", columns.join(", "), it.key)
    });
    let definition = definition.unwrap_or_default();
    format!("{kind} {}{definition}: {}", table.name, change.statement)
}

fn shown_column(column: &ColumnDefinition) -> String {
    let mut text = format!("{} {}", column.name, column.source_type);
    if let Some(charset) = &column.charset {
        text.push_str(&format!(" {charset}"));
    }
    text.push_str(match column.nullable {
        Some(true) => "",
        Some(false) => " not null",
        None => " perhaps null",
    });
    if column.auto_increment == Some(true) {
        text.push_str(" numbered");
    }
    text
}

const T: &str = "(id int not null numbered, v varchar(9) utf8mb4) [\"id\"] utf8mb4";
const U: &str = "(id int not null numbered, v varchar(9) latin1) [\"id\"] latin1";

#[test]
fn a_table_is_told_as_a_statement_leaves_it() {
    for (text, after) in [
        (
            "ALTER TABLE t ADD d decimal(5) unsigned FIRST, RENAME COLUMN v TO w",
            "(d decimal(5,0) unsigned, id int not null numbered, w varchar(9) utf8mb4) [\"id\"] utf8mb4",
        ),
        (
            "ALTER TABLE t DROP v, MODIFY id bigint NOT NULL",
            "(id bigint not null) [\"id\"] utf8mb4",
        ),
        ("ALTER TABLE t COMMENT 'a, b'", T),
    ] {
        assert_eq!(told(text), [format!("Alter g.t {after}: {text}")]);
    }
    assert_eq!(
        told("ALTER TABLE t ADD COLUMN x hologram"),
        ["Alter g.t: ALTER TABLE t ADD COLUMN x hologram"]
    );
    // What it was is not known.
    assert_eq!(
        told("/* a */ ALTER TABLE n DROP x -- b"),
        ["Alter g.n: ALTER TABLE n DROP x"]
    );
    for text in [
        "CREATE UNIQUE INDEX i ON t (v)",
        "DROP INDEX i ON t",
        "CREATE TABLE IF NOT EXISTS t (a int)",
    ] {
        assert_eq!(told(text), [format!("Other g.t: {text}")]);
    }
}

#[test]
fn a_table_is_told_as_what_makes_it_says() {
    for (text, made) in [
        (
            "CREATE TABLE n (ID serial, v varchar(3), e enum('a') CHARACTER SET latin1, x text(9) \
             CHARACTER SET utf8mb4, ts timestamp, PRIMARY KEY (id))",
            "(ID bigint unsigned not null numbered, v varchar(3), e enum('a') latin1, \
             x tinytext utf8mb4, ts timestamp perhaps null) [\"ID\"] ?",
        ),
        (
            "CREATE TABLE n (v varchar(3), b char(1) CHARACTER SET binary) CHARSET latin1",
            "(v varchar(3) latin1, b binary(1)) [] latin1",
        ),
        ("CREATE TABLE n LIKE u", U),
    ] {
        assert_eq!(told(text), [format!("Create g.n {made}: {text}")]);
    }
    for text in ["CREATE TABLE n (v text(9))", "CREATE TABLE n (v hologram)"] {
        assert_eq!(told(text), [format!("Create g.n: {text}")]);
    }
    let text = "CREATE OR REPLACE TABLE t LIKE u";
    assert_eq!(told(text), [format!("Create g.t {U}: {text}")]);
}

#[test]
fn of_several_tables_each_is_told_by_itself() {
    assert_eq!(
        told("RENAME TABLE `t` TO x, u TO /* a, b */ `t`, x TO `u`"),
        [
            format!("Rename g.t g.x {T}: RENAME TABLE `t` TO x"),
            format!("Rename g.u g.t {U}: RENAME TABLE u TO /* a, b */ `t`"),
            format!("Rename g.x g.u {T}: RENAME TABLE x TO `u`"),
        ]
    );
    let text = "ALTER TABLE t RENAME TO x, DROP v";
    let left = "(id int not null numbered) [\"id\"] utf8mb4";
    assert_eq!(told(text), [format!("Rename g.t g.x {left}: {text}")]);
    assert_eq!(
        told("DROP TABLE IF EXISTS `t`,`h`.`o``d` /* generated by server */"),
        [
            "Drop g.t: DROP TABLE IF EXISTS `g`.`t`",
            "Drop h.o`d: DROP TABLE IF EXISTS `h`.`o``d`"
        ]
    );
}

#[test]
fn only_what_was_asked_for_is_told() {
    for (text, captured) in [
        ("CREATE TABLE w (a int)", true),
        ("CREATE TABLE n (a int)", false),
        ("RENAME TABLE n TO w", true),
        ("ALTER TABLE n RENAME TO w", true),
        ("ALTER TABLE n ADD a int", false),
        ("DROP DATABASE g", true),
        ("ALTER DATABASE COLLATE latin1_bin", true),
        ("CREATE DATABASE h", false),
        ("CREATE INDEX i ON t (v)", false),
    ] {
        assert_eq!(changes(SchemaChanges::None, text), [], "{text}");
        let one = changes(SchemaChanges::All, text);
        assert_eq!(one.len(), 1, "{text}");
        let wanted = if captured { one } else { Vec::new() };
        assert_eq!(changes(SchemaChanges::Captured, text), wanted, "{text}");
    }
    for text in ["TRUNCATE t", "CREATE VIEW v AS SELECT 1", "CREATE USER u"] {
        assert_eq!(changes(SchemaChanges::All, text), [], "{text}");
    }
}

#[test]
fn a_statement_is_told_before_what_it_does_and_takes_no_number_more() {
    let text = "DROP TABLE `w`";
    let silent = given(SchemaChanges::None, text);
    let [
        ChangeEvent::Commit(_),
        ChangeEvent::Failed { seq, .. },
        ChangeEvent::Commit(end),
    ] = silent.as_slice()
    else {
        panic!("{silent:?}");
    };
    let given = given(SchemaChanges::All, text);
    let [
        ChangeEvent::Commit(_),
        ChangeEvent::Notice(notice),
        ChangeEvent::Failed { seq: failed, .. },
        ChangeEvent::Commit(checkpoint),
    ] = given.as_slice()
    else {
        panic!("{given:?}");
    };
    assert_eq!((notice.seq, failed), (*seq, seq));
    assert_eq!(checkpoint, end);
    let run = notice.transaction.as_ref().expect("it is one by itself");
    assert_eq!((run.end, run.first_seq), (1, notice.seq));
    assert_eq!(run.commit_time, notice.commit_time);
    assert!(notice.offset > 0 && notice.offset <= end.offset);
}
