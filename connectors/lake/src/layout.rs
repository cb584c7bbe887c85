//! Where things lie in the lake: the lake's folder, a table's folder, the bookkeeping's paths.
//!
//! Invariant: two tables never share a folder unless the layout makes them, and no table's folder
//! lies in `_cdc`. All paths are relative to the lake's folder, with `/`.

use std::path::PathBuf;

use cdc_api::{CopyId, Error, Result, TableName};

/// The bookkeeping's folder.
pub(crate) const BOOKKEEPING: &str = "_cdc";
/// Numbered manifest entries.
pub(crate) const MANIFEST: &str = "_cdc/manifest";
/// Finished and unfinished data files that are in no table's folder yet.
pub(crate) const STAGED: &str = "_cdc/staged";
/// One folder a copy, with its notes.
pub(crate) const COPIES: &str = "_cdc/copies";
/// Earlier generations of tables.
pub(crate) const EARLIER: &str = "_cdc/earlier";
/// One SQL statement a table, which reads the table as it is now.
pub(crate) const QUERIES: &str = "_cdc/current";
/// Half-written notes and folders on their way.
pub(crate) const TEMPORARY: &str = "_cdc/tmp";

/// The local path of a lake's URL.
pub(crate) fn local_path(url: &str) -> Result<PathBuf> {
    let wrong = |what: &str| {
        Error::config(format!("lake setting `url` {what}"))
            .hint("set `url` to a folder, for example `./lake` or `file:///var/lib/lake`")
    };
    if url.is_empty() {
        return Err(wrong("is empty"));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok(PathBuf::from(url));
    };
    if scheme != "file" {
        return Err(wrong(&format!(
            "has the scheme `{scheme}`, which is not supported"
        )));
    }
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(wrong("names a host; a file URL has three slashes"));
    }
    let decoded = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| wrong("is not UTF-8 once decoded"))?;
    Ok(PathBuf::from(decoded.as_ref()))
}

/// The layout setting, checked.
#[derive(Debug, Clone)]
pub(crate) struct Layout(String);

impl Layout {
    pub(crate) fn parse(template: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::config(format!("lake setting `layout` {what}")).hint(
                "set `layout` to a relative folder with `{table}`, for example `{schema}/{table}`",
            )
        };
        if !template.contains("{table}") {
            return Err(wrong("does not contain `{table}`"));
        }
        let plain = template.replace("{schema}", "s").replace("{table}", "t");
        if plain.contains(['{', '}', '*', '?', '[', ']', '\\', '\0']) {
            return Err(wrong("has a character or placeholder that it may not have"));
        }
        for part in plain.split('/') {
            if part.is_empty() || part.starts_with(['_', '.']) {
                return Err(wrong(
                    "has an empty part, or one that begins with `_` or `.`",
                ));
            }
        }
        Ok(Self(template.to_owned()))
    }

    /// The folder of a table.
    pub(crate) fn folder(&self, name: &TableName) -> String {
        self.0
            .split('/')
            .map(|part| {
                // A name is encoded as a whole part, so that its first character counts as first.
                let mut folder = String::new();
                let mut rest = part;
                while let Some(at) = rest.find('{') {
                    folder.push_str(&rest[..at]);
                    let (value, length) = if rest[at..].starts_with("{schema}") {
                        (&name.schema, "{schema}".len())
                    } else {
                        (&name.table, "{table}".len())
                    };
                    folder.push_str(&encode(value, folder.is_empty()));
                    rest = &rest[at + length..];
                }
                folder.push_str(rest);
                folder
            })
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// A name as part of a path. Encoded is what separates paths, what globs and Hive partitions give
/// a meaning to, control characters, and a leading `_` or `.`, which readers skip as hidden.
fn encode(name: &str, first: bool) -> String {
    let mut text = String::with_capacity(name.len());
    for (index, char) in name.char_indices() {
        let special = char.is_control()
            || "/\\%*?[]{}\"':<>|=#&".contains(char)
            || (first && index == 0 && matches!(char, '_' | '.' | ' '))
            || (index + char.len_utf8() == name.len() && matches!(char, '.' | ' '));
        if special {
            let mut bytes = [0; 4];
            for byte in char.encode_utf8(&mut bytes).bytes() {
                text.push_str(percent_encoding::percent_encode_byte(byte));
            }
        } else {
            text.push(char);
        }
    }
    text
}

/// Where a data file lies before it is in its table's folder. The name ends so that no glob for
/// Parquet files matches it.
pub(crate) fn staged(file: &str) -> String {
    format!("{STAGED}/{file}.staged")
}

/// The name of a data file, by the first `seq` in it: names sort as their rows do.
pub(crate) fn file_name(first_seq: u64, unique: u64) -> String {
    format!("{first_seq:020}-{unique:016x}.parquet")
}

/// Whether a file's name is one that [`file_name`] gives; others in a table's folder are not ours
/// and are left alone.
pub(crate) fn is_data_file(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() == 45
        && name.ends_with(".parquet")
        && bytes[20] == b'-'
        && bytes[..20].iter().all(u8::is_ascii_digit)
        && bytes[21..37].iter().all(u8::is_ascii_hexdigit)
}

/// The manifest entry `number`.
pub(crate) fn manifest_entry(number: u64) -> String {
    format!("{MANIFEST}/{number:020}.json")
}

/// The notes of a copy.
pub(crate) fn copy_folder(copy: CopyId) -> String {
    format!("{COPIES}/{:020}", copy.0)
}

/// The statement that reads the table in `folder` as it is now.
pub(crate) fn query(folder: &str) -> String {
    format!("{QUERIES}/{folder}.sql")
}

/// The folder of a replaced generation of the table in `folder`.
pub(crate) fn earlier_folder(folder: &str, copy: CopyId) -> String {
    format!("{EARLIER}/{folder}/{:020}", copy.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(layout: &str, schema: &str, table: &str) -> String {
        Layout::parse(layout)
            .expect("is a layout")
            .folder(&TableName::new(schema, table))
    }

    #[test]
    fn plain_names_stay_and_odd_ones_are_encoded() {
        assert_eq!(
            folder("{schema}/{table}", "public", "orders"),
            "public/orders"
        );
        assert_eq!(
            folder("{schema}/{table}", "_cdc", "staged"),
            "%5Fcdc/staged"
        );
        assert_eq!(
            folder("{schema}/{table}", "..", "a/b*=%"),
            "%2E%2E/a%2Fb%2A%3D%25"
        );
        assert_eq!(folder("{schema}/{table}", "Größe", "日本"), "Größe/日本");
        assert_eq!(
            folder("raw/{schema}.{table}", "a", "{table}"),
            "raw/a.%7Btable%7D"
        );
    }

    #[test]
    fn different_names_never_share_a_folder() {
        let odd = [
            "a", "a%2Fb", "a/b", "_a", "%5Fa", ".", "a.", "a%2E", " a", "A",
        ];
        let folders: std::collections::BTreeSet<_> = odd
            .iter()
            .map(|name| folder("{schema}/{table}", "s", name))
            .collect();
        assert_eq!(folders.len(), odd.len());
    }

    #[test]
    fn layouts_that_leave_the_lake_are_refused() {
        for wrong in [
            "{schema}",
            "../{table}",
            "_cdc/{table}",
            "/{table}",
            "{table}/",
            "{tab}{table}",
        ] {
            assert!(Layout::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_are_folders() {
        assert_eq!(local_path("./lake").ok(), Some(PathBuf::from("./lake")));
        assert_eq!(
            local_path("file:///a%20b/c").ok(),
            Some(PathBuf::from("/a b/c"))
        );
        assert!(local_path("s3://bucket/x").is_err());
        assert!(local_path("file://host/x").is_err());
        assert!(local_path("").is_err());
    }

    #[test]
    fn only_our_own_names_are_data_files() {
        assert!(is_data_file(&file_name(7, u64::MAX)));
        assert!(is_data_file(&file_name(u64::MAX, 0)));
        assert!(!is_data_file("part-0.parquet"));
        assert!(!is_data_file("_SUCCESS"));
    }
}
