//! The binary without a server: help, refusals, exit codes, completions, pipes.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; where it stands says why"
)]

#[path = "cli/daemon.rs"]
mod daemon;

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn cdc(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cdc"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    cdc(folder, arguments).output().unwrap()
}

/// Exit code, stdout and stderr as one text, without what differs from run to run.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let text = format!(
        "$ cdc {}\nexit code {}\n--- stdout\n{}--- stderr\n{}",
        arguments.join(" "),
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    text.replace(&folder.display().to_string(), "FOLDER")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

fn write_config(folder: &Path, more: &str) {
    let text = format!(
        "name: shop\nsource:\n  type: postgres\n  url: postgres://cdc:geheim@127.0.0.1:1/shop\n  \
         tables: [public.*]\nsinks:\n  warehouse:\n    type: duckdb\n    path: shop.duckdb\nadmin:\n  \
         listen: off\n{more}"
    );
    std::fs::write(folder.join("cdc.yaml"), text).unwrap();
}

const COMMANDS: [&str; 14] = [
    "run",
    "check",
    "init",
    "snapshot",
    "status",
    "wait",
    "query",
    "verify",
    "pause",
    "resume",
    "reload",
    "teardown",
    "demo",
    "completions",
];

#[test]
fn help_names_every_command_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(said(folder.path(), &["--help"]));
    for command in COMMANDS {
        let text = said(folder.path(), &[command, "--help"]);
        assert!(text.contains("exit code 0"), "{text}");
        assert!(text.contains("Example"), "{command} has no example");
        insta::assert_snapshot!(format!("help_{command}"), text);
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [&[&str]; 6] = [
        &[],
        &["stauts"],
        &["run", "--fast"],
        &["query"],
        &["query", "--format", "xml", "SELECT 1"],
        &["wait", "--timeout", "60"],
    ];
    for (number, arguments) in cases.iter().enumerate() {
        let text = said(folder.path(), arguments);
        assert!(
            text.contains("exit code 2\n--- stdout\n--- stderr\n"),
            "{text}"
        );
        insta::assert_snapshot!(format!("usage_{number}"), text);
    }
}

#[test]
fn without_a_configuration_the_remedy_is_named() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(said(folder.path(), &["run"]));
    let output = cdc(folder.path(), &["status"])
        .env("CDC_CONFIG", "other.yaml")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: other.yaml: cannot read"));
    let text = said(folder.path(), &["status", "-c", "third.yaml"]);
    assert!(text.contains("error: third.yaml: cannot read"), "{text}");
}

#[test]
fn unknown_keys_name_line_and_nearest_word() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "jurnal:\n  keep: 1h\n");
    insta::assert_snapshot!(said(folder.path(), &["check"]));
    write_config(folder.path(), "");
    let text = std::fs::read_to_string(folder.path().join("cdc.yaml")).unwrap();
    std::fs::write(
        folder.path().join("cdc.yaml"),
        text.replace("tables:", "tabels:"),
    )
    .unwrap();
    insta::assert_snapshot!(said(folder.path(), &["run"]));
}

#[test]
fn without_a_daemon_commands_say_so() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    let commands: [&[&str]; 9] = [
        &["status"],
        &["status", "--watch"],
        &["wait", "--timeout", "300ms"],
        &["query", "SELECT 1"],
        &["verify"],
        &["pause"],
        &["resume"],
        &["reload"],
        &["snapshot", "--detach"],
    ];
    let texts: Vec<_> = commands
        .iter()
        .map(|arguments| said(folder.path(), arguments))
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_source_that_is_not_there_is_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    let output = run(folder.path(), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &found.as_array().unwrap()[0];
    assert_eq!(first["part"], "source");
    assert_eq!(first["severity"], "error");
    let all = format!("{output:?}");
    assert!(!all.contains("geheim"), "{all}");
}

#[test]
fn init_refuses_what_it_must_not_replace() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    insta::assert_snapshot!(said(
        folder.path(),
        &["init", "postgres://u:p@127.0.0.1:1/shop"]
    ));
    let text = said(
        folder.path(),
        &["init", "oracle://u:p@h/shop", "-c", "new.yaml"],
    );
    assert!(
        text.contains("exit code 2") && text.contains("mysql://"),
        "{text}"
    );
    let url = "postgres://u:geheim@127.0.0.1:1/x";
    let output = run(folder.path(), &["init", url, "-c", "new.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("hint: ") && !stderr.contains("geheim"),
        "{stderr}"
    );
    assert!(!folder.path().join("new.yaml").exists());
}

#[test]
fn teardown_asks_first() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    insta::assert_snapshot!(said(folder.path(), &["teardown"]));
}

#[test]
fn completions_are_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(folder.path(), &["completions", shell]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            COMMANDS.iter().all(|command| script.contains(command)),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = cdc(folder.path(), &["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = cdc(folder.path(), &["completions", "bash"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot write to stdout"), "{stderr}");
}
