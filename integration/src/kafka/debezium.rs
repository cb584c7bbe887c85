//! Debezium's own engine on a database, as a child process whose records are read line by line.
//!
//! Invariant: keys and values are the engine's text, untouched.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use super::{jars, java};
use crate::{eventually, unprivileged};

/// A record of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its topic.
    pub topic: String,
    /// Its key, JSON; None where there is none.
    pub key: Option<String>,
    /// Its value, JSON; None of a tombstone.
    pub value: Option<String>,
    /// What the connector would store when it stopped here, JSON, where the program tells.
    pub offset: Option<String>,
}

/// A running engine. Dropped: killed.
#[derive(Debug)]
pub struct Debezium {
    folder: tempfile::TempDir,
    child: Child,
    events: Arc<Mutex<Vec<Event>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Debezium {
    /// Starts the engine by the program in `source`, with these settings; does not wait for anything.
    #[must_use]
    pub fn start(source: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_with(source, &[], settings)
    }

    /// The same with the jars of other programs behind its own.
    #[must_use]
    pub fn start_with(source: &Path, programs: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = unprivileged::folder("cdc-debezium-");
        let file = folder.path().join("settings");
        let text: String = settings
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        unprivileged::write(&file, &text);
        let program = folder.path().join("Engine.java");
        let text = std::fs::read_to_string(source).expect("the program's text");
        unprivileged::write(&program, &text);
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = unprivileged::command(&java(), folder.path(), "KILL");
        command
            .args([
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
            ])
            .arg(class_path(programs))
            .arg(&program)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().expect("java starts");
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let lines = BufReader::new(child.stdout.take().expect("is piped"));
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut parts = line.splitn(4, '\t').map(str::to_owned);
                let (Some(topic), Some(key), Some(value)) =
                    (parts.next(), parts.next(), parts.next())
                else {
                    // A line of its log.
                    continue;
                };
                let some = |text: String| (text != "null").then_some(text);
                seen.lock().expect("nobody panics").push(Event {
                    topic,
                    key: some(key),
                    value: some(value),
                    offset: parts.next(),
                });
            }
        });
        Self {
            folder,
            child,
            events,
            reader: Some(reader),
        }
    }

    /// The records so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().expect("nobody panics").clone()
    }

    /// Stops it in order, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&mut self) {
        unprivileged::signal(&self.child, Signal::TERM);
        let child = &mut self.child;
        eventually("the engine ends", Duration::from_secs(60), || {
            let ended = child.try_wait();
            async move {
                match ended {
                    Ok(Some(_)) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        self.read_out();
    }

    /// Kills it, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_out();
    }

    /// Waits for what it has printed to be read.
    fn read_out(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("does not panic");
        }
    }

    /// The offset in the file `offsets` that its settings name, JSON; None before it has stored one.
    #[must_use]
    pub fn stored_offset(&self) -> Option<String> {
        let stored = std::fs::read(self.folder.path().join("offsets")).ok()?;
        // A map of Java's, of bytes to bytes: the connector's name, and what it has stored.
        (0..stored.len())
            .filter(|at| stored[*at] == b'{')
            .filter_map(|at| {
                let mut values = serde_json::Deserializer::from_slice(&stored[at..]).into_iter();
                let value: serde_json::Value = values.next()?.ok()?;
                Some(value)
            })
            .find(|value| value.get("server").is_none())
            .map(|value| value.to_string())
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn class_path(programs: &[&str]) -> String {
    let programs = std::iter::once("debezium-3").chain(programs.iter().copied());
    let path: Vec<String> = programs
        .map(|program| format!("{}/*", jars(program).display()))
        .collect();
    path.join(":")
}

/// What a program in `source`, which has the engine's jars, prints for this input.
///
/// # Panics
///
/// With what it says where it fails.
#[must_use]
pub fn answer(source: &Path, input: &str) -> String {
    let mut child = std::process::Command::new(java())
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(class_path(&[]))
        .arg(source)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("java starts");
    let mut stdin = child.stdin.take().expect("is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    writer
        .join()
        .expect("does not panic")
        .expect("all is taken");
    String::from_utf8(output.stdout).expect("text")
}

impl Drop for Debezium {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
