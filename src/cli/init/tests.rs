//! The written file is valid, complete and without the password.

use std::sync::Arc;

use arrow::datatypes::DataType;
use cdc_api::{Column, Identity, TableId, TableSchema, TableSize};

use super::*;

fn found(schema: &str, table: &str, refused: Option<Error>) -> FoundTable {
    let columns = vec![Column::new("id", DataType::Int64, "bigint")];
    FoundTable {
        table: Arc::new(TableSchema::new(
            TableId(1),
            TableName::new(schema, table),
            1,
            columns,
            vec![0],
            Identity::Key,
        )),
        refused,
        size: TableSize {
            rows: 1_200_000,
            bytes: 130 << 20,
        },
    }
}

#[test]
fn the_password_is_taken_out_wherever_it_stands() {
    let reference = "${CDC_SOURCE_PASSWORD}";
    for (url, expected, password) in [
        (
            "postgres://u:p%40ss@h:5432/db",
            format!("postgres://u:{reference}@h:5432/db"),
            Some("p%40ss"),
        ),
        (
            "postgres://u:a:b@h/db?sslmode=require",
            format!("postgres://u:{reference}@h/db?sslmode=require"),
            Some("a:b"),
        ),
        (
            "postgresql://u@/db?host=/run&password=x",
            format!("postgresql://u@/db?host=/run&password={reference}"),
            Some("x"),
        ),
        (
            "postgres://u@h/db?password=x&host=y",
            format!("postgres://u@h/db?password={reference}&host=y"),
            Some("x"),
        ),
        (
            "postgres://u@h/${db}",
            "postgres://u@h/$${db}".to_owned(),
            None,
        ),
        ("postgres://u:@h/db", "postgres://u:@h/db".to_owned(), None),
    ] {
        let (text, found) = without_password(url).expect("a good URL");
        assert_eq!((text, found.as_deref()), (expected, password), "{url}");
    }
    for url in ["oracle://u:p@h/db", "u:p@h/db", ""] {
        let error = without_password(url).expect_err("no database of ours");
        assert!(!error.to_string().contains("p@h"), "{error}");
    }
}

#[test]
fn the_name_comes_from_the_database() {
    assert_eq!(name_of("postgres://u@h:1/shop?x=y"), "shop");
    assert_eq!(name_of("postgres://u@h/9-My Shop"), "my_shop");
    assert_eq!(name_of("postgres://u@h"), "pipeline");
    assert_eq!(name_of("mysql://u@h:3306"), "pipeline");
}

#[test]
fn the_connector_comes_from_the_scheme() {
    for (url, kind, tables) in [
        ("postgres://u@h/shop", "postgres", "\"*.*\""),
        ("mysql://u@h/shop", "mysql", "\"shop.*\""),
        ("mariadb://u@h", "mysql", "\"*.*\""),
    ] {
        let text = write("shop", url, &[]);
        assert!(text.contains(&format!("  type: {kind}\n")), "{text}");
        assert!(text.contains(&format!("tables: [{tables}]")), "{text}");
    }
}

#[test]
fn the_file_is_valid_and_names_what_was_found() {
    let refused = Error::unsupported("updates and deletes cannot be told apart")
        .hint("ALTER TABLE \"Odd Schema\".\"a\nb\" REPLICA IDENTITY FULL;");
    let tables = [
        found("public", "orders", None),
        found("public", "items", None),
        found("Odd Schema", "a\nb", Some(refused)),
    ];
    let text = write(
        "shop",
        "postgres://u:${CDC_SOURCE_PASSWORD}@h/shop",
        &tables,
    );
    insta::assert_snapshot!(text);
    let config = parse(&text, Path::new("cdc.yaml"), &|name| {
        (name == PASSWORD).then(|| "hunter2: [".to_owned())
    })
    .expect("what we write is valid");
    assert_eq!(config.name, "shop");
    assert!(!format!("{config:?}").contains("hunter2"));
}
