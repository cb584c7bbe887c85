//! The configuration from outside: references, refusals, secrets, and `config/` kept true.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; where it stands says why"
)]

#[path = "config/outline.rs"]
mod outline;
#[path = "config/reference.rs"]
mod reference;
#[path = "config/schema.rs"]
mod schema;

use std::path::Path;
use std::time::Duration;

use cdc::config::load::parse;
use cdc::config::{Acknowledge, Config, Schedule};
use cdc_api::{ErrorKind, Result, TableName};

const SHORT: &str = "\
name: shop
source:
  type: postgres
  url: postgres://cdc:secret@localhost/shop
  tables: [public.*]
sinks:
  warehouse:
    type: duckdb
    path: shop.duckdb
";

/// Parses in an environment of three variables.
fn read(text: &str) -> Result<Config> {
    parse(text, Path::new("cdc.yaml"), &|name| match name {
        "DB_PASSWORD" => Some("hunter2\n]: {,\"'#".to_owned()),
        "PORT" => Some("7".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

/// The message and the hint of a refusal.
fn refusal(text: &str) -> String {
    let error = match read(text) {
        Ok(config) => connectors(&config).expect_err("it has to be refused"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    format!("{error} | {}", error.hint_text().unwrap_or("-"))
}

/// Has every connector read its section.
fn connectors(config: &Config) -> Result<()> {
    cdc::registry::source(config)?;
    for sink in &config.sinks {
        cdc::registry::sink(sink, &config.name)?;
    }
    Ok(())
}

#[test]
fn what_everyone_writes_is_short_and_the_rest_has_defaults() {
    let config = read(SHORT).unwrap();
    connectors(&config).unwrap();
    assert_eq!(config.data_dir, Path::new("./data"));
    assert_eq!(config.acknowledge, Acknowledge::Sinks);
    assert_eq!(config.admin.listen.as_deref(), Some("127.0.0.1:7010"));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(30));
    assert!(
        config
            .sink("warehouse")
            .unwrap()
            .takes(&TableName::new("any", "table"))
    );
}

#[test]
fn systemd_says_where_the_data_directory_is() {
    let within = |list: &str| {
        parse(SHORT, Path::new("cdc.yaml"), &|name| {
            (name == "STATE_DIRECTORY").then(|| list.to_owned())
        })
        .unwrap()
        .data_dir
    };
    assert_eq!(within("/var/lib/cdc"), Path::new("/var/lib/cdc"));
    assert_eq!(
        within("/var/lib/cdc:/var/lib/other"),
        Path::new("/var/lib/cdc")
    );
}

#[test]
fn units_schedules_and_patterns_are_read() {
    let text = format!(
        "{SHORT}    linger: 250ms\n    max_bytes: 1.5GB\n    tables: [public.o*]\n    snapshot: \
         {{schedule: \"03:00\"}}\nadmin: {{listen: off}}\njournal:\n  max_bytes: null\n"
    );
    let config = read(&text).unwrap();
    let sink = config.sink("warehouse").unwrap();
    assert_eq!(sink.delivery.linger, Some(Duration::from_millis(250)));
    assert_eq!(sink.delivery.max_bytes.0, 1_500_000_000);
    let three = Schedule::Daily(Duration::from_secs(3 * 3600));
    assert_eq!(sink.delivery.snapshot.schedule, Some(three));
    assert!(sink.takes(&TableName::new("public", "orders")));
    assert!(!sink.takes(&TableName::new("public", "items")));
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.journal.max_bytes, None);
}

#[test]
fn references_are_values_and_never_structure() {
    let with_url = |url: &str| SHORT.replace("postgres://cdc:secret@localhost/shop", url);
    #[derive(serde::Deserialize)]
    struct Url {
        url: String,
    }
    let url = |text: &str| -> Result<String> {
        read(&with_url(text))?
            .source
            .section
            .parse::<Url>()
            .map(|section| section.url)
    };
    assert_eq!(url("a${DB_PASSWORD}b").unwrap(), "ahunter2\n]: {,\"'#b");
    assert_eq!(url("${MISSING:-x}:${EMPTY:-y}:${EMPTY}").unwrap(), "x:y:");
    assert_eq!(url("$${DB_PASSWORD}$").unwrap(), "${DB_PASSWORD}$");
    // What a variable holds is not looked at again.
    let nested = parse(&with_url("${OUTER}"), Path::new("cdc.yaml"), &|name| {
        (name == "OUTER").then(|| "${INNER}".to_owned())
    });
    let nested: Url = nested.unwrap().source.section.parse().unwrap();
    assert_eq!(nested.url, "${INNER}");

    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "from: [a file]\n").unwrap();
    assert_eq!(
        url(&format!("file:{}", secret.display())).unwrap(),
        "from: [a file]"
    );

    for (text, what) in [
        ("${MISSING}", "environment variable `MISSING` is not set"),
        ("${OPEN", "without its `}`"),
        ("${not a name}", "name of an environment variable"),
        ("file:/does/not/exist", "cannot read file `/does/not/exist`"),
    ] {
        let said = refusal(&with_url(text));
        assert!(
            said.starts_with("cdc.yaml:4: ") && said.contains(what),
            "{said}"
        );
    }
}

#[test]
fn numbers_may_come_from_the_environment() {
    let config = read(&format!("{SHORT}snapshot: {{workers: \"${{PORT}}\"}}\n")).unwrap();
    assert_eq!(config.snapshot.workers, 7);
}

#[test]
fn refusals_name_line_key_and_nearest_word() {
    let cases = [
        ("unknown key at the top", format!("{SHORT}jurnal: {{}}\n")),
        (
            "unknown key below",
            format!("{SHORT}journal:\n  segment_size: 64MiB\n"),
        ),
        (
            "unknown key of a source",
            SHORT.replace("tables:", "tabels:"),
        ),
        (
            "unknown key of a sink",
            format!("{SHORT}    mdoe: upsert\n"),
        ),
        (
            "misspelt key of every sink",
            format!("{SHORT}    max_row: 5\n"),
        ),
        ("misspelt word", format!("{SHORT}    mode: upsrt\n")),
        (
            "misspelt word of ours",
            format!("{SHORT}acknowledge: sink\n"),
        ),
        (
            "unknown type",
            SHORT.replace("type: duckdb", "type: duckbd"),
        ),
        (
            "unknown source",
            SHORT.replace("type: postgres", "type: postgresql"),
        ),
        ("no type", SHORT.replace("    type: duckdb\n", "")),
        ("no name", SHORT.replace("name: shop\n", "")),
        ("no sinks", SHORT[..SHORT.find("sinks").unwrap()].to_owned()),
        (
            "empty sinks",
            format!("{}sinks: {{}}\n", &SHORT[..SHORT.find("sinks").unwrap()]),
        ),
        ("bad name", SHORT.replace("name: shop", "name: My-Shop")),
        ("bad sink name", SHORT.replace("warehouse:", "Ware House:")),
        ("no unit", format!("{SHORT}shutdown_timeout: 30\n")),
        (
            "bad size",
            format!("{SHORT}snapshot:\n  chunk_bytes: 64 megs\n"),
        ),
        (
            "bad schedule",
            format!("{SHORT}    snapshot: {{schedule: daily}}\n"),
        ),
        ("bad listen", format!("{SHORT}admin: {{listen: 7010}}\n")),
        (
            "bad level",
            format!("{SHORT}log: {{level: \"cdc=loud=very\"}}\n"),
        ),
        ("bad pattern", format!("{SHORT}    tables: [orders]\n")),
        (
            "a text where a list is",
            format!("{SHORT}    tables: public.*\n"),
        ),
        ("a list where a key is", format!("{SHORT}journal: [1]\n")),
        ("zero workers", format!("{SHORT}snapshot: {{workers: 0}}\n")),
        ("a key twice", format!("{SHORT}name: other\n")),
        ("an alias", format!("{SHORT}log: &x {{}}\n")),
        ("a tag", format!("{SHORT}log: !x {{}}\n")),
        ("no YAML", "name: [shop\nsource: }".to_owned()),
        ("two documents", format!("{SHORT}---\n{SHORT}")),
        ("nothing", String::new()),
        ("a list", "[]".to_owned()),
    ];
    let report: Vec<String> = cases
        .iter()
        .map(|(what, text)| format!("{what}\n  {}", refusal(text)))
        .collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn tables_that_include_nothing_are_refused_with_their_line() {
    for tables in ["tables: []", "tables: [\"!public.a\"]"] {
        let said = refusal(&SHORT.replace("tables: [public.*]", tables));
        assert!(
            said.contains("cdc.yaml:5: `source.tables`: no table pattern"),
            "{said}"
        );
        assert!(said.contains("tables: [public.*]"), "{said}");
    }
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let said = refusal(&format!("{SHORT}log: {}", "[".repeat(100_000)));
    assert!(
        said.contains("nested too deeply") || said.contains("not YAML"),
        "{said}"
    );
}

#[test]
fn secrets_are_in_no_debug_output_and_no_refusal() {
    let text = SHORT.replace(":secret@", ":${DB_PASSWORD}@");
    let config = read(&text).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!format!("{:?}", read(SHORT).unwrap()).contains("secret"));
    // A secret where it does not belong.
    for wrong in [
        format!("{text}acknowledge: \"${{DB_PASSWORD}}\"\n"),
        format!("{text}shutdown_timeout: \"${{DB_PASSWORD}}\"\n"),
        format!("{text}snapshot: {{workers: \"${{DB_PASSWORD}}\"}}\n"),
        format!("{text}journal: \"${{DB_PASSWORD}}\"\n"),
        format!("{text}    mode: \"${{DB_PASSWORD}}\"\n"),
        format!("{text}log: {{level: \"${{DB_PASSWORD}}\"}}\n"),
        text.replace("type: duckdb", "type: \"${DB_PASSWORD}\""),
        format!("{text}    tables: [\"${{DB_PASSWORD}}\"]\n"),
        text.replace("name: shop", "name: \"${DB_PASSWORD}\""),
    ] {
        let said = refusal(&wrong);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn examples_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace(
            "file:/run/secrets/shop-url",
            "postgres://u:p@localhost/shop",
        );
        let config = parse(&text, &path, &|name| {
            name.ends_with("_PASSWORD").then(|| "secret".to_owned())
        })
        .unwrap_or_else(|error| panic!("{error}"));
        connectors(&config).unwrap_or_else(|error| panic!("{error}"));
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn the_kubernetes_example_holds_a_valid_configuration() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes/cdc.yaml");
    let manifest = std::fs::read_to_string(path).unwrap();
    let inside = manifest.split_once("  cdc.yaml: |\n").unwrap().1;
    let lines = inside.lines().take_while(|line| line.starts_with("    "));
    let text: Vec<_> = lines
        .map(|line| line.trim_start_matches("    ").to_owned())
        .collect();
    let text: Vec<_> = text.iter().map(String::as_str).collect();
    assert!(text.len() > 10);
    // Four blanks belong to the manifest, the rest to the configuration.
    let text: Vec<_> = inside
        .lines()
        .take(text.len())
        .map(|line| line.strip_prefix("    ").unwrap())
        .collect();
    connectors(&read(&text.join("\n")).unwrap()).unwrap();
}
