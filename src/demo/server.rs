//! The demo's throw-away server: a temporary folder, a free port, no trace left.
//!
//! [`postgres`] and [`mysql`] find the programs and fill a data folder; running, ending and talking to a server is
//! here. It dies with this process even when that is killed. Started by root it runs as `nobody`, since servers refuse
//! root.

mod mysql;
mod postgres;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cdc_api::{Error, Result};
use mysql_async::prelude::Queryable as _;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::SimpleQueryMessage;

use super::Kind;

/// A running server. Dropped: stopped at once.
pub(super) struct Server {
    child: Child,
    kind: Kind,
    port: u16,
    folder: PathBuf,
    version: String,
}

/// How a kind of server is started, its data folder being ready.
struct Launch {
    version: String,
    command: Command,
    /// What it writes once it can be reached.
    ready: &'static str,
}

impl Server {
    /// Starts one in a folder of its own below `folder`; returns when it can be reached.
    pub(super) fn start(folder: &Path, kind: Kind) -> Result<Self> {
        let folder = folder.join("server");
        std::fs::create_dir(&folder).map_err(|error| failed("create a folder", &error))?;
        if geteuid().is_root() {
            let parent = folder.parent().unwrap_or(&folder);
            output(Command::new("chmod").arg("755").arg(parent))?;
            output(Command::new("chown").arg("nobody").arg(&folder))?;
        }
        let port = free_port()?;
        let mut launch = match kind {
            Kind::Postgres => postgres::prepare(&folder, port)?,
            Kind::Mysql | Kind::Mariadb => mysql::prepare(&folder, port, kind)?,
        };
        let log = std::fs::File::create(folder.join("log"))
            .map_err(|error| failed("create a log", &error))?;
        let errors = log
            .try_clone()
            .map_err(|error| failed("share a log", &error))?;
        let child = launch
            .command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| failed("start the server", &error))?;
        let mut server = Self {
            child,
            kind,
            port,
            folder,
            version: launch.version,
        };
        server.ready(launch.ready)?;
        Ok(server)
    }

    fn ready(&mut self, sign: &str) -> Result<()> {
        let start = Instant::now();
        let log = self.folder.join("log");
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains(sign) {
                return Ok(());
            }
            let ended = self
                .child
                .try_wait()
                .map_err(|error| failed("watch the server", &error))?
                .is_some();
            if ended || start.elapsed() > Duration::from_secs(30) {
                return Err(Error::internal(format!(
                    "{} does not start: {}",
                    self.kind.name(),
                    said.trim()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Where the daemon finds it.
    pub(super) fn url(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{}/postgres", self.port),
            Kind::Mysql | Kind::Mariadb => format!("mysql://root@127.0.0.1:{}", self.port),
        }
    }

    /// What someone at a terminal finds it by.
    pub(super) fn shell(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("psql {}", self.url()),
            kind => format!(
                "{} -h 127.0.0.1 -P {} -u root shop",
                kind.client(),
                self.port
            ),
        }
    }

    /// A session, driven in the background until either side ends it.
    pub(super) async fn connect(&self) -> Result<Session> {
        match self.kind {
            Kind::Postgres => {
                let (client, connection) =
                    tokio_postgres::connect(&self.url(), tokio_postgres::NoTls)
                        .await
                        .map_err(postgres::said)?;
                tokio::spawn(async move {
                    // Its end is seen by the client's next call.
                    let _ = connection.await;
                });
                Ok(Session::Postgres(client))
            }
            Kind::Mysql | Kind::Mariadb => {
                let options = mysql_async::Opts::from_url(&self.url()).map_err(|error| {
                    Error::internal(format!("the demo's own URL is wrong: {error}"))
                })?;
                let session = mysql_async::Conn::new(options).await;
                Ok(Session::Mysql(Some(session.map_err(mysql::said)?)))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let signal = match self.kind {
            Kind::Postgres => Signal::QUIT,
            Kind::Mysql | Kind::Mariadb => Signal::KILL,
        };
        // It may be gone already, and waiting for it says so too.
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let _ = self.child.wait();
    }
}

/// A session at the demo's server.
pub(super) enum Session {
    Postgres(tokio_postgres::Client),
    /// Nothing once it is lost.
    Mysql(Option<mysql_async::Conn>),
}

impl Session {
    /// Runs statements, separated by semicolons; the first error ends them.
    pub(super) async fn execute(&mut self, statements: &str) -> Result<()> {
        match self {
            Self::Postgres(client) => client
                .batch_execute(statements)
                .await
                .map_err(postgres::said),
            Self::Mysql(session) => {
                let open = session.as_mut().ok_or_else(lost)?;
                let outcome = open.query_drop(statements).await;
                if matches!(&outcome, Err(error) if !matches!(error, mysql_async::Error::Server(_)))
                {
                    *session = None;
                }
                outcome.map_err(mysql::said)
            }
        }
    }

    /// The values of a query's only column.
    pub(super) async fn lines(&mut self, query: &str) -> Result<Vec<String>> {
        match self {
            Self::Postgres(client) => {
                let messages = client.simple_query(query).await.map_err(postgres::said)?;
                let line = |message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                };
                Ok(messages.into_iter().filter_map(line).collect())
            }
            Self::Mysql(session) => {
                let open = session.as_mut().ok_or_else(lost)?;
                open.query(query).await.map_err(mysql::said)
            }
        }
    }

    /// Whether it may still be used.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Postgres(client) => !client.is_closed(),
            Self::Mysql(session) => session.is_some(),
        }
    }
}

fn lost() -> Error {
    Error::internal("the demo's server has gone")
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

/// A program as the server's user, that is sent `end` when this process is killed.
fn command(program: &Path, folder: &Path, end: &str) -> Command {
    let mut command = if found("setpriv").is_some() {
        let mut command = Command::new("setpriv");
        if geteuid().is_root() {
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        }
        command.args(["--pdeathsig", end]).arg(program);
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

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
