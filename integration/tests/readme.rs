//! README's commands, run as they stand.
//!
//! Blocks fenced as ```` ```sh test ````, ```` ```sql test ```` and ```` ```yaml test ```` take part: the YAML is
//! `cdc.yaml`; SQL is run by the superuser in the database `shop`; then the shell blocks as one script, in their order,
//! with the built binary on the path. `localhost:5432` stands for the test's server, and a `cdc run` in the foreground
//! goes to the background, where README says "in another terminal".

use std::path::Path;
use std::process::{Command, Stdio};

use cdc_integration::commands::binary;
use cdc_integration::postgres::{Postgres, connect, describe};
use cdc_integration::server::Server as _;

/// The blocks of a language that are marked for this test.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                let mut words = info.split_whitespace();
                let wanted = words.next() == Some(language) && words.any(|word| word == "test");
                open = Some((wanted, String::new()));
            }
            (Some((wanted, block)), Some(_)) => {
                if *wanted {
                    found.push(std::mem::take(block));
                }
                open = None;
            }
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn only_marked_blocks_are_found() {
    let text = "```sh\nno\n```\n```sh test\nyes\n  indented\n```\n```sql test\nSELECT 1\n```\n```yaml\nno: 1\n```\n";
    assert_eq!(blocks(text, "sh"), ["yes\n  indented\n"]);
    assert_eq!(blocks(text, "sql"), ["SELECT 1\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_readme_work() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).expect("README.md");
    let scripts = blocks(&text, "sh");
    assert!(
        !scripts.is_empty(),
        "README.md has blocks fenced as ```sh test"
    );
    let server = Postgres::start(15).await;
    server.execute("CREATE DATABASE shop").await;
    let client = connect(&server.socket_url("postgres", "shop"))
        .await
        .expect("the new database");
    client
        .batch_execute(
            "CREATE TABLE public.customers (id int PRIMARY KEY, name text);
             CREATE TABLE public.orders (id int PRIMARY KEY, customer int, status text, placed timestamptz DEFAULT now());
             INSERT INTO public.customers SELECT i, 'customer ' || i FROM generate_series(1, 100) i;
             INSERT INTO public.orders SELECT i, 1 + i % 100, 'new' FROM generate_series(1, 1000) i;",
        )
        .await
        .expect("a small shop");
    for statements in blocks(&text, "sql") {
        if let Err(error) = client.batch_execute(&statements).await {
            panic!("{statements}\n{}", describe(&error));
        }
    }
    // As README says, a publication lists only tables that its owner owns.
    client
        .batch_execute(
            "ALTER TABLE public.customers OWNER TO cdc; ALTER TABLE public.orders OWNER TO cdc",
        )
        .await
        .expect("the role of the README");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = format!("127.0.0.1:{}", server.port());
    for yaml in blocks(&text, "yaml") {
        // The default port may be taken by another daemon on this machine.
        let yaml = format!("{yaml}admin:\n  listen: off\n").replace("localhost:5432", &local);
        std::fs::write(folder.path().join("cdc.yaml"), yaml)
            .expect("the configuration can be written");
    }
    let in_background = |line: &str| match line.split('#').next().map(str::trim) {
        Some("cdc run") => {
            "cdc run & until cdc status >/dev/null 2>&1; do sleep 0.1; done".to_owned()
        }
        _ => line.replace("localhost:5432", &local),
    };
    let script: Vec<String> = scripts
        .iter()
        .flat_map(|block| block.lines())
        .map(in_background)
        .collect();
    let script = script.join("\n");
    // What the script leaves in the background ends with it.
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\nset -x\n{script}"
    );
    let path = std::env::var("PATH").unwrap_or_default();
    let programs = binary();
    let programs = programs.parent().expect("a folder").display();
    let output = Command::new("timeout")
        .args(["--kill-after=10", "120", "bash", "-c", &script])
        .env("PATH", format!("{programs}:{path}"))
        .env("NO_COLOR", "1")
        .env("DB_PASSWORD", "secret")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "{}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
