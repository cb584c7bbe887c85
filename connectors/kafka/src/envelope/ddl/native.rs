//! What Debezium's parser makes of a MySQL type: its name, JDBC's number of it, and its numbers.
//!
//! Invariant: fails open. A type that is not known keeps its name, as JDBC's `OTHER`.

/// A type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Native {
    /// `java.sql.Types`.
    pub(super) jdbc: i64,
    /// Its name with what stands behind it, in upper case.
    pub(super) name: String,
    pub(super) length: Option<i64>,
    pub(super) scale: Option<i64>,
    /// Of ENUM and SET, as SQL.
    pub(super) members: Option<Vec<String>>,
}

impl Native {
    /// The type as the catalog spells it: `decimal(10,2) unsigned`.
    pub(super) fn of(source_type: &str) -> Self {
        let end = source_type
            .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
            .unwrap_or(source_type.len());
        let (name, rest) = source_type.split_at(end);
        let (arguments, rest) = arguments(rest);
        let mut full = name.to_ascii_uppercase();
        for word in rest.split_ascii_whitespace() {
            if ["unsigned", "zerofill"].contains(&word.to_ascii_lowercase().as_str()) {
                full.push(' ');
                full.push_str(&word.to_ascii_uppercase());
            }
        }
        let name = name.to_ascii_lowercase();
        let listed = name == "enum" || name == "set";
        let number = |index: usize| arguments.get(index).and_then(|it| it.trim().parse().ok());
        let (length, scale) = match name.as_str() {
            "enum" => (Some(1), None),
            // As many letters and commas as its longest value would have if members were letters.
            "set" => {
                let members = i64::try_from(arguments.len()).unwrap_or(i64::MAX);
                (Some((members.saturating_mul(2) - 1).max(0)), None)
            }
            _ => (number(0), number(1)),
        };
        Self {
            jdbc: jdbc(&name),
            name: full,
            length,
            scale,
            members: listed.then(|| arguments.iter().map(|it| (*it).to_owned()).collect()),
        }
    }
}

fn jdbc(name: &str) -> i64 {
    match name {
        "tinyint" | "smallint" => 5,
        "mediumint" | "int" | "year" => 4,
        "bigint" => -5,
        "float" => 6,
        "double" => 8,
        "decimal" => 3,
        "bit" => -7,
        "date" => 91,
        "time" => 92,
        "datetime" => 93,
        "timestamp" => 2014,
        "char" | "enum" | "set" => 1,
        "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => 12,
        "binary" => -2,
        "varbinary" => -3,
        "tinyblob" | "blob" | "mediumblob" | "longblob" => 2004,
        _ => 1111,
    }
}

/// What stands between the parentheses that come next, parted by its commas, and what follows them.
fn arguments(rest: &str) -> (Vec<&str>, &str) {
    let Some(inside) = rest.strip_prefix('(') else {
        return (Vec::new(), rest);
    };
    let mut arguments = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (place, char) in inside.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '\'' => quoted = !quoted,
            ',' | ')' if !quoted => {
                arguments.push(&inside[start..place]);
                start = place + 1;
                if char == ')' {
                    break;
                }
            }
            _ => {}
        }
    }
    (arguments, inside.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_as_debezium_names_them() {
        for (text, jdbc, name, length, scale) in [
            ("int", 4, "INT", None, None),
            (
                "int(10) unsigned zerofill",
                4,
                "INT UNSIGNED ZEROFILL",
                Some(10),
                None,
            ),
            ("tinyint(1)", 5, "TINYINT", Some(1), None),
            (
                "decimal(12,3) unsigned",
                3,
                "DECIMAL UNSIGNED",
                Some(12),
                Some(3),
            ),
            ("timestamp(3)", 2014, "TIMESTAMP", Some(3), None),
            ("datetime", 93, "DATETIME", None, None),
            (
                "varchar(9) /*M!100301 COMPRESSED*/",
                12,
                "VARCHAR",
                Some(9),
                None,
            ),
            ("longblob", 2004, "LONGBLOB", None, None),
            ("geomcollection", 1111, "GEOMCOLLECTION", None, None),
            ("hologram(3", 1111, "HOLOGRAM", None, None),
        ] {
            let native = Native::of(text);
            let told = (
                native.jdbc,
                native.name.as_str(),
                native.length,
                native.scale,
            );
            assert_eq!(told, (jdbc, name, length, scale), "{text}");
        }
    }

    #[test]
    fn members_are_as_sql_writes_them() {
        let native = Native::of(r"enum('a','b''),','\\')");
        assert_eq!(
            native.members,
            Some(vec!["'a'".into(), "'b''),'".into(), r"'\\'".into()])
        );
        assert_eq!((native.length, native.jdbc), (Some(1), 1));
        assert_eq!(Native::of("set('x','y')").length, Some(3));
        assert_eq!(Native::of("set('x'").members, Some(Vec::new()));
    }
}
