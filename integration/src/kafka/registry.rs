//! A throw-away schema registry (Apicurio, which has Confluent's interface, too) on a free port, in memory.
//!
//! Invariant: subjects and schemas end with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::java;
use crate::{eventually, free_port, unprivileged};

/// A running registry. Dropped: killed.
#[derive(Debug)]
pub struct Registry {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Registry {
    /// A registry that answers, and lets a schema change as Confluent's does by default: so that who has the new
    /// one can read the old.
    pub async fn start() -> Self {
        Self::start_at(free_port(), &[]).await
    }

    /// The same on a port of choice, with settings of its own.
    pub async fn start_at(port: u16, settings: &[&str]) -> Self {
        let folder = unprivileged::folder("cdc-registry-");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = unprivileged::command(&java(), folder.path(), "KILL");
        let jar = unprivileged::servers().join("registry-2/runner.jar");
        assert!(
            jar.exists(),
            "{} is not there: run integration/setup",
            jar.display()
        );
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Dquarkus.http.host=127.0.0.1")
            .arg(format!("-Dquarkus.http.port={port}"))
            .args(settings)
            .arg("-jar")
            .arg(jar)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let child = command.spawn().expect("java starts");
        let registry = Self {
            folder,
            port,
            child,
        };
        eventually("the registry answers", Duration::from_secs(120), || async {
            match registry.ask("PUT", "/config", "{\"compatibility\":\"BACKWARD\"}") {
                Ok((200, _)) => Ok(()),
                Ok((status, _)) => Err(format!("it says {status}")),
                Err(error) => Err(format!("{error}\n{}", registry.log())),
            }
        })
        .await;
        registry
    }

    /// Where `/subjects` is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The text of a schema by its number.
    ///
    /// # Panics
    ///
    /// Where there is no such schema.
    #[must_use]
    pub fn schema(&self, id: u32) -> String {
        let (status, answer) = self
            .ask("GET", &format!("/schemas/ids/{id}"), "")
            .expect("it answers");
        assert_eq!(status, 200, "schema {id}: {answer}");
        answer["schema"].as_str().expect("a text").to_owned()
    }

    /// What is filed, by name.
    ///
    /// # Panics
    ///
    /// Where it does not answer.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        let (_, answer) = self.ask("GET", "/subjects", "").expect("it answers");
        serde_json::from_value(answer).expect("a list")
    }

    /// Status and answer to a request.
    ///
    /// # Errors
    ///
    /// Where it cannot be asked.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "{method} /apis/ccompat/v7{path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        let parsed = serde_json::from_str(body).unwrap_or(Value::Null);
        Ok((status.unwrap_or(0), parsed))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
