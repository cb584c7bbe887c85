use cdc_api::{Said, TableDefinition, TransactionId, TransactionRun};

use super::*;

fn column(name: &str, source_type: &str, charset: Option<&str>) -> ColumnDefinition {
    ColumnDefinition {
        name: name.to_owned(),
        source_type: source_type.to_owned(),
        charset: charset.map(str::to_owned),
        nullable: Some(name != "id"),
        auto_increment: Some(name == "id"),
    }
}

fn changed(change: TableChange, name: &str, definition: Option<TableDefinition>) -> SchemaChange {
    SchemaChange {
        database: "inc".to_owned(),
        statement: format!("about \"{name}\""),
        table: Some(ChangedTable {
            change,
            name: TableName::new("inc", name),
            definition,
        }),
    }
}

fn defined() -> TableDefinition {
    TableDefinition {
        charset: Some("utf8mb4".to_owned()),
        key: vec!["id".to_owned()],
        columns: vec![
            column("id", "bigint unsigned", None),
            column("e", "enum('a','b')", Some("latin1")),
        ],
    }
}

/// Keys and values of a statement's changes, without the time of their making.
fn written(config: &KafkaConfig, changes: Vec<SchemaChange>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let origin = Origin {
        connector: Connector::Mysql,
        name: "p".to_owned(),
        database: "*".to_owned(),
    };
    let notice = Notice {
        seq: 12,
        offset: 20,
        transaction: Some(TransactionRun {
            end: 1,
            id: TransactionId::Text("g:1".into()),
            commit_offset: 30,
            commit_time: 1_700_000_000_123_456,
            first_seq: 12,
        }),
        commit_time: 1_700_000_000_123_456,
        said: Said::Schema(changes.clone()),
    };
    let mut statements = Statements::new(&origin, config);
    let mut commits = Commits::default();
    let records = changes.iter().map(|change| {
        let (key, value) = statements.change(&notice, &changes, change, &mut commits);
        (key.to_vec(), value.to_vec())
    });
    records.collect()
}

/// The same as text.
fn texts(changes: Vec<SchemaChange>) -> Vec<String> {
    let records = written(&KafkaConfig::new("localhost:9092"), changes);
    let text = |(key, value): (Vec<u8>, Vec<u8>)| {
        let value = String::from_utf8(value).expect("text");
        let (before, after) = value.split_once("},\"ts_ms\":").expect("the time");
        let after = &after[after.find(',').expect("more")..];
        let key = String::from_utf8(key).expect("text");
        format!("{key} {before}}}{after}")
    };
    records.into_iter().map(text).collect()
}

fn source(table: &str) -> String {
    format!(
        r#"{{"source":{{"version":"{}","connector":"mysql","name":"p","ts_ms":1700000000123,"snapshot":"false","db":"inc","sequence":null,"ts_us":1700000000123456,"ts_ns":1700000000123456000,"table":{table},"server_id":0,"gtid":"g:1","file":"","pos":20,"row":0,"thread":null,"query":null}}"#,
        env!("CARGO_PKG_VERSION")
    )
}

const KEY: &str = r#"{"databaseName":"inc"}"#;

#[test]
fn a_statement_is_as_debezium_writes_it() {
    let table = r#"{"defaultCharsetName":"utf8mb4","primaryKeyColumnNames":["id"],"columns":[{"name":"id","jdbcType":-5,"nativeType":null,"typeName":"BIGINT UNSIGNED","typeExpression":"BIGINT UNSIGNED","charsetName":null,"length":null,"scale":null,"position":1,"optional":false,"autoIncremented":true,"generated":true,"comment":null,"defaultValueExpression":null,"enumValues":null},{"name":"e","jdbcType":1,"nativeType":null,"typeName":"ENUM","typeExpression":"ENUM","charsetName":"latin1","length":1,"scale":null,"position":2,"optional":true,"autoIncremented":false,"generated":false,"comment":null,"defaultValueExpression":null,"enumValues":["'a'","'b'"]}],"comment":null}"#;
    let from = TableName::new("inc", "a");
    for (change, kind) in [
        (TableChange::Create, "CREATE"),
        (TableChange::Alter, "ALTER"),
        (TableChange::Rename(from), "ALTER"),
    ] {
        assert_eq!(
            texts(vec![changed(change, "b", Some(defined()))]),
            [format!(
                r#"{KEY} {source},"databaseName":"inc","schemaName":null,"ddl":"about \"b\"","tableChanges":[{{"type":"{kind}","id":"\"inc\".\"b\"","table":{table}}}]}}"#,
                source = source("\"b\"")
            )]
        );
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let rest = |name: &str, changes: &str| {
        format!(
            r#","databaseName":"inc","schemaName":null,"ddl":"about \"{name}\"","tableChanges":{changes}}}"#
        )
    };
    let one = |change, name| texts(vec![changed(change, name, None)]).remove(0);
    assert_eq!(
        one(TableChange::Alter, "b"),
        format!("{KEY} {}{}", source("\"b\""), rest("b", "[]"))
    );
    // Debezium does not say the table of an index.
    assert_eq!(
        one(TableChange::Other, "b"),
        format!("{KEY} {}{}", source("\"\""), rest("b", "[]"))
    );
    let gone =
        |name: &str| format!(r#"[{{"type":"DROP","id":"\"inc\".\"{name}\"","table":null}}]"#);
    let both = ["b", "c"].map(|name| changed(TableChange::Drop, name, None));
    assert_eq!(
        texts(both.to_vec()),
        ["b", "c"].map(|name| format!("{KEY} {}{}", source("\"b,c\""), rest(name, &gone(name))))
    );
    let database = SchemaChange {
        table: None,
        ..changed(TableChange::Other, "db", None)
    };
    assert_eq!(
        texts(vec![database]),
        [format!("{KEY} {}{}", source("null"), rest("db", "[]"))]
    );
}

#[test]
fn in_avro_a_statement_has_the_members_of_its_schema() {
    let config = KafkaConfig {
        format: Format::Avro,
        ..KafkaConfig::new("localhost:9092")
    };
    let written = written(&config, vec![changed(TableChange::Drop, "b", None)]);
    assert_eq!(written[0].0, b"\x06inc");
    // Its database, no schema, the statement; one change, without a table.
    let end = b"\x02\x06inc\x00\x02\x12about \"b\"\x02\x08DROP\x12\"inc\".\"b\"\x00\x00";
    assert!(written[0].1.ends_with(end), "{:?}", written[0].1);
}
