//! Changes of definitions, beside what the servers make of them.

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
                auto_increment: None,
                id: None,
                existing: None,
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
    changed(&before(), sql)
}

fn changed(before: &Definition, sql: &str) -> Result<Definition, String> {
    let sql = format!("ALTER TABLE t {sql}");
    match statement::read(sql.as_bytes(), &statement::Session::default()) {
        Statement::Ddl(effects) => match effects.into_iter().next() {
            Some(Effect::Altered(_, alteration)) => match alteration.changes {
                Some(changes) => before.after(&changes, 7),
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
            "RENAME COLUMN id TO n, RENAME COLUMN n TO id",
            "n int!, a varchar(10) latin1, b text latin1, id int unsigned (n)",
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
        let after = after(&format!("ADD c {sql}")).unwrap_or_else(|error| panic!("{sql}: {error}"));
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

#[test]
fn columns_keep_what_they_are_under_other_names_and_places() {
    let mut before = before();
    for (id, column) in (1..).zip(&mut before.columns) {
        column.id = Some(id);
    }
    for (sql, wanted) in [
        (
            "RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            "id 1, b 2, a 3, n 4",
        ),
        (
            "CHANGE n id_ BIGINT FIRST, MODIFY b INT",
            "id_ 4, id 1, a 2, b 3",
        ),
        ("DROP a, RENAME COLUMN b TO a", "id 1, a 3, n 4"),
        // Made by the statement 7: in the upper bits.
        (
            "DROP a, ADD a INT, ADD c INT FIRST",
            "c 28673, id 1, b 3, n 4, a 28672",
        ),
    ] {
        let after = changed(&before, sql).expect("understood");
        let shown = after.columns.iter().map(|column| {
            let id = column.id.expect("an identity");
            format!("{} {id}", column.name)
        });
        assert_eq!(shown.collect::<Vec<_>>().join(", "), wanted, "{sql}");
    }
}
