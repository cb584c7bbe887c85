//! A throw-away PostgreSQL in the demo's folder.
//!
//! Its programs are looked for, never installed. Started by root it runs as `nobody`, since PostgreSQL refuses root.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cdc_api::{Error, Result};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::{Client, NoTls};

/// A running server. Dropped: stopped at once.
pub(super) struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    version: String,
}

impl Server {
    /// Starts one in a folder of its own below `folder`; returns when its socket is there.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let programs = programs().ok_or_else(|| {
            Error::config("no PostgreSQL server programs (initdb, postgres) on this machine")
                .hint("install them, for example `apt-get install postgresql`, or set CDC_POSTGRES_BIN to their folder")
        })?;
        let version = output(Command::new(programs.join("postgres")).arg("--version"))?;
        let version = version
            .trim()
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .to_owned();
        let folder = folder.join("postgres");
        std::fs::create_dir(&folder).map_err(|error| failed("create a folder", &error))?;
        if geteuid().is_root() {
            let parent = folder.parent().unwrap_or(&folder);
            output(Command::new("chmod").arg("755").arg(parent))?;
            output(Command::new("chown").arg("nobody").arg(&folder))?;
        }
        let data = folder.join("data");
        let mut initdb = command(&programs.join("initdb"), &folder);
        initdb.arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        output(&mut initdb)?;
        let port = free_port()?;
        let log = std::fs::File::create(folder.join("log"))
            .map_err(|error| failed("create a log", &error))?;
        let mut postgres = command(&programs.join("postgres"), &folder);
        postgres
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(&folder);
        postgres.args([
            "-c",
            "wal_level=logical",
            "-c",
            "fsync=off",
            "-c",
            "max_wal_senders=10",
        ]);
        postgres
            .stdin(Stdio::null())
            .stderr(
                log.try_clone()
                    .map_err(|error| failed("share a log", &error))?,
            )
            .stdout(log);
        let child = postgres
            .spawn()
            .map_err(|error| failed("start PostgreSQL", &error))?;
        let mut server = Self {
            child,
            port,
            folder,
            version,
        };
        server.ready()?;
        Ok(server)
    }

    fn ready(&mut self) -> Result<()> {
        let start = Instant::now();
        let log = self.folder.join("log");
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains("ready to accept connections") {
                return Ok(());
            }
            let ended = self
                .child
                .try_wait()
                .map_err(|error| failed("watch PostgreSQL", &error))?
                .is_some();
            if ended || start.elapsed() > Duration::from_secs(30) {
                return Err(Error::internal(format!(
                    "PostgreSQL does not start: {}",
                    said.trim()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where others find it.
    pub(super) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// A session, driven in the background until either side ends it.
    pub(super) async fn connect(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls)
            .await
            .map_err(said)?;
        tokio::spawn(async move {
            // Its end is seen by the client's next call.
            let _ = connection.await;
        });
        Ok(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, and waiting for it says so too.
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let _ = self.child.wait();
    }
}

/// What the server answered.
pub(super) fn said(error: tokio_postgres::Error) -> Error {
    let text = error
        .as_db_error()
        .map_or_else(|| error.to_string(), |db| db.message().to_owned());
    Error::internal(format!("the demo's server says: {text}"))
}

/// What kept us from doing something.
pub(super) fn failed(what: &str, error: &std::io::Error) -> Error {
    Error::internal(format!("cannot {what}: {error}"))
}

/// A port of the loopback address that nobody listens on just now.
pub(super) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")
        .map_err(|error| failed("find a free port", &error))?;
    Ok(listener
        .local_addr()
        .map_err(|error| failed("find a free port", &error))?
        .port())
}

/// A program as the server's user, that also ends when this process is killed.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = if found("setpriv").is_some() {
        let mut command = Command::new("setpriv");
        if geteuid().is_root() {
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        }
        command.args(["--pdeathsig", "QUIT"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.env("HOME", folder).current_dir(folder);
    command
}

/// Standard output of a command that has to succeed.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("run a program", &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::internal(format!(
        "{program} failed: {}",
        stderr.trim()
    )))
}

/// The folder of the server's programs: as told, on the path, or where packages put them; the newest there.
fn programs() -> Option<PathBuf> {
    let complete =
        |folder: &PathBuf| folder.join("postgres").exists() && folder.join("initdb").exists();
    if let Some(told) = std::env::var_os("CDC_POSTGRES_BIN") {
        return Some(PathBuf::from(told)).filter(complete);
    }
    let on_path = ["postgres", "pg_ctl"].iter().filter_map(|name| found(name));
    let on_path =
        on_path.filter_map(|program| Some(program.canonicalize().ok()?.parent()?.to_owned()));
    let mut packaged: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    packaged.sort();
    on_path.chain(packaged.into_iter().rev()).find(complete)
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
