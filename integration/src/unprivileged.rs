//! Programs of servers: where they are, and how they run without root's rights and not longer than their test.
//!
//! Database servers refuse root, so a test that root runs starts them as `nobody`, in folders that `nobody` owns.
//! Every program started here dies with the thread that started it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// A temporary folder that the servers' user owns.
pub(crate) fn folder(prefix: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .expect("a temporary folder");
    give(folder.path());
    folder
}

/// Makes a file or folder the servers' user's own.
pub(crate) fn give(path: &Path) {
    if geteuid().is_root() {
        let status = Command::new("chown")
            .arg("nobody:nogroup")
            .arg(path)
            .status();
        assert!(
            status.is_ok_and(|s| s.success()),
            "chown of {}",
            path.display()
        );
    }
}

/// Writes a file that the servers' user owns.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the server's folder can be written");
    give(path);
}

/// A program that runs as the servers' user in `folder` and gets `end` when the thread that starts it is gone.
pub(crate) fn command(program: &Path, folder: &Path, end: &str) -> Command {
    let mut command = Command::new("setpriv");
    if geteuid().is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.args(["--pdeathsig", end]).arg(program);
    command
        .env("HOME", folder)
        .env_remove("LD_LIBRARY_PATH")
        .current_dir(folder);
    command
}

/// Runs a command that has to succeed.
pub(crate) fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Sends a signal to a child, which may be gone already: what follows waits for exactly that.
pub(crate) fn signal(child: &std::process::Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Makes a key and a certificate for `localhost` and 127.0.0.1 which is its own authority.
pub(crate) fn make_certificate(folder: &Path, key: &Path, certificate: &Path) {
    let mut openssl = command(Path::new("openssl"), folder, "KILL");
    openssl.args([
        "req", "-new", "-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt",
    ]);
    openssl.args([
        "ec_paramgen_curve:prime256v1",
        "-subj",
        "/CN=localhost",
        "-addext",
    ]);
    openssl
        .args(["subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(certificate);
    succeed(&mut openssl);
}

/// The folder that `integration/setup` puts servers into.
pub(crate) fn servers() -> PathBuf {
    if let Some(told) = std::env::var_os("CDC_SERVERS") {
        return PathBuf::from(told);
    }
    if geteuid().is_root() {
        return PathBuf::from("/var/cache/cdc/servers");
    }
    let home = std::env::var_os("HOME").expect("HOME is set");
    std::env::var_os("CDC_CACHE")
        .map_or_else(|| PathBuf::from(home).join(".cache/cdc"), PathBuf::from)
        .join("servers")
}

/// The last lines of a server's log, for the report of a failed test.
pub(crate) fn log_end(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(60)..].join("\n");
    format!("--- last lines of the server's log\n{last}")
}
