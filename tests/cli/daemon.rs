//! `cdc run` with a source that nobody listens at: what a daemon does whatever its source does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ExitStatus, Stdio};

use super::{cdc, run, said};

struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    seen: String,
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        let mut child = cdc(folder, &["run"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Self {
            child,
            log,
            seen: String::new(),
        };
        daemon.until("cdc starts");
        daemon
    }

    /// Reads the log until a line holds `text`.
    fn until(&mut self, text: &str) {
        loop {
            let start = self.seen.len();
            let count = self.log.read_line(&mut self.seen).unwrap();
            assert!(count > 0, "the log ends without {text:?}:\n{}", self.seen);
            if self.seen[start..].contains(text) {
                return;
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end: exit status, and the whole log.
    fn end(mut self) -> (ExitStatus, String) {
        self.log.read_to_string(&mut self.seen).unwrap();
        let mut stdout = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        assert_eq!(stdout, "", "a daemon has no data to print");
        (self.child.wait().unwrap(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Only where a test has failed: it has ended otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn write_config(folder: &Path, port: u16, more: &str) {
    super::write_config(folder, more);
    let path = folder.join("cdc.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("listen: off", &format!("listen: 127.0.0.1:{port}"));
    std::fs::write(path, text).unwrap();
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_daemon_without_its_source_is_alive_and_not_ready_and_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    write_config(folder.path(), port, "");
    let daemon = Daemon::start(folder.path());

    assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"));
    let ready = get(port, "/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("the pipeline is"),
        "{ready}"
    );
    assert!(get(port, "/metrics").contains("cdc_ready{pipeline=\"shop\"} 0"));
    assert!(get(port, "/api/status").contains("\"name\":\"shop\""));
    // Nothing that reads data or changes anything is there.
    for path in ["/query", "/pause", "/snapshot", "/status"] {
        assert!(get(port, path).starts_with("HTTP/1.1 404"), "{path}");
    }

    let socket = std::fs::metadata(folder.path().join("data/cdc.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let output = run(folder.path(), &["status", "--json"]);
    assert!(output.status.success());
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["sinks"][0]["name"], "warehouse");
    assert!(run(folder.path(), &["status"]).status.success());

    daemon.signal("TERM");
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("geheim"), "{log}");
    assert!(!folder.path().join("data/cdc.sock").exists());
}

#[test]
fn a_second_daemon_on_the_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), free_port(), "");
    let daemon = Daemon::start(folder.path());
    write_config(folder.path(), free_port(), "");
    let second = said(folder.path(), &["run"]);
    let holder = format!("in use by process {}", daemon.child.id());
    assert!(
        second.contains("exit code 2") && second.contains(&holder),
        "{second}"
    );
    assert!(
        run(folder.path(), &["status"]).status.success(),
        "the first one goes on"
    );
    daemon.signal("INT");
    assert_eq!(daemon.end().0.code(), Some(0));
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), free_port(), "");
    let daemon = Daemon::start(folder.path());
    daemon.signal("KILL");
    assert_eq!(daemon.end().0.code(), None);
    assert!(folder.path().join("data/cdc.sock").exists());
    let text = said(folder.path(), &["status"]);
    assert!(text.contains("no daemon runs"), "{text}");
    let daemon = Daemon::start(folder.path());
    assert!(run(folder.path(), &["status"]).status.success());
    daemon.signal("TERM");
    assert_eq!(daemon.end().0.code(), Some(0));
}

#[test]
fn a_port_in_use_is_named_with_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    write_config(folder.path(), port, "");
    let text = said(folder.path(), &["run"]).replace(&port.to_string(), "PORT");
    insta::assert_snapshot!(text);
}

#[test]
fn a_hang_up_reads_the_configuration_again_and_a_wrong_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), free_port(), "");
    let mut daemon = Daemon::start(folder.path());
    write_config(folder.path(), free_port(), "jurnal: {}\n");
    daemon.signal("HUP");
    daemon.until("the old one stays in force");
    daemon.signal("TERM");
    assert_eq!(daemon.end().0.code(), Some(0));
}

#[test]
fn every_line_is_json_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), free_port(), "log: {format: json}\n");
    let daemon = Daemon::start(folder.path());
    daemon.signal("TERM");
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0));
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(
            value["message"].is_string() && value["timestamp"].is_string(),
            "{line}"
        );
    }
    // An error that ends the daemon, too.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    write_config(folder.path(), port, "log: {format: json}\n");
    let output = run(folder.path(), &["run"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let last: serde_json::Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(last["hint"].as_str().unwrap().contains("admin.listen"));
}
