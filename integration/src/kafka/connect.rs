//! Kafka Connect's own converter on records of ours.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use super::{jars, java};
use crate::unprivileged;

/// What the program in `source` makes of records, topic and JSON: the text of each as the converter writes it again.
///
/// # Panics
/// With the converter's words, where it cannot read one.
#[must_use]
pub fn converted(source: &Path, schemas: bool, records: &[(String, String)]) -> Vec<String> {
    let folder = unprivileged::folder("cdc-connect-");
    let program = folder.path().join("Converter.java");
    let text = std::fs::read_to_string(source).expect("the program's text");
    unprivileged::write(&program, &text);
    let mut command = unprivileged::command(&java(), folder.path(), "KILL");
    let mut child = command
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-cp"])
        .arg(format!("{}/*", jars("debezium-3").display()))
        .arg(&program)
        .arg(schemas.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("java starts");
    let mut input = child.stdin.take().expect("is piped");
    let lines: String = records
        .iter()
        .map(|(topic, json)| format!("{topic}\t{json}\n"))
        .collect();
    // Beside the reading of what it prints, which would else fill its pipe.
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("can be awaited");
    let written = writing.join().expect("does not panic");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && written.is_ok(), "{words}");
    let text = String::from_utf8(output.stdout).expect("prints UTF-8");
    text.lines().map(str::to_owned).collect()
}
