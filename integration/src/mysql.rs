//! Throw-away MySQL and MariaDB servers in temporary folders on free ports.
//!
//! A server is a direct child: it is stopped, or killed, by its process id, and dies with the thread that started
//! it. Started by root it runs as `nobody`. Its data folder is a copy of one that was initialised once and is kept
//! beside the programs. Data is not synced to disk; a *process* crash loses nothing by that.

mod client;
mod programs;

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder};
use rustix::process::Signal;

use crate::server::{Server, Session as _};
use crate::workload::Script;
use crate::{eventually, free_port, unprivileged, workload};
use programs::Programs;

pub use client::Client;

pub use crate::server::Stop;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// MySQL 9.
    MySql,
    /// MariaDB 10.11.
    MariaDb,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        })
    }
}

/// Both, for tests that hold for either.
pub const FLAVORS: [Flavor; 2] = [Flavor::MySql, Flavor::MariaDb];

/// Makes `work.n`, which holds the numbers from 0 to 9999 as `i`: neither server has a series of them.
pub const NUMBERS: &str = "CREATE SCHEMA work; CREATE TABLE work.n (i int PRIMARY KEY); \
    INSERT INTO work.n VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9); \
    INSERT INTO work.n SELECT a.i + 10 * b.i + 100 * c.i + 1000 * d.i FROM work.n a, work.n b, work.n c, work.n d \
      WHERE b.i + c.i + d.i > 0;";

/// What to start: flavor and deviations from a server whose binlog can be followed.
#[derive(Debug, Clone)]
pub struct Wanted {
    flavor: Flavor,
    settings: Vec<(String, String)>,
    tls: bool,
}

impl Wanted {
    /// A server with a binlog of whole rows and full metadata, and a root without password.
    #[must_use]
    pub fn flavor(flavor: Flavor) -> Self {
        let mut settings = vec![
            ("log-bin", "binlog"),
            ("binlog-format", "ROW"),
            ("binlog-row-image", "FULL"),
            ("binlog-row-metadata", "FULL"),
            ("binlog-checksum", "CRC32"),
            ("sync-binlog", "0"),
            ("innodb-flush-log-at-trx-commit", "2"),
            ("innodb-buffer-pool-size", "64M"),
            ("skip-name-resolve", "ON"),
            ("character-set-server", "utf8mb4"),
            ("max-allowed-packet", "256M"),
            ("innodb-lock-wait-timeout", "5"),
            ("lock-wait-timeout", "30"),
        ];
        match flavor {
            Flavor::MySql => settings.extend([
                ("gtid-mode", "ON"),
                ("enforce-gtid-consistency", "ON"),
                ("mysqlx", "OFF"),
                ("secure-file-priv", "NULL"),
                ("innodb-redo-log-capacity", "33554432"),
            ]),
            Flavor::MariaDb => settings.extend([
                ("gtid-strict-mode", "ON"),
                ("innodb-log-file-size", "32M"),
                ("thread-handling", "one-thread-per-connection"),
            ]),
        }
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut settings: Vec<_> = settings.into_iter().map(own).collect();
        let id = rand::random_range(2..2_000_000_000_u32);
        settings.push(("server-id".into(), id.to_string()));
        Self {
            flavor,
            settings,
            tls: false,
        }
    }

    /// One server setting, named as on its command line; the last one of a name counts.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Leaves a setting at the server's own default.
    #[must_use]
    pub fn unset(mut self, name: &str) -> Self {
        self.settings.retain(|(set, _)| set != name);
        self
    }

    /// TLS with the certificate [`Mysql::certificate`], for `localhost` and 127.0.0.1. Without it MySQL shows one of
    /// its own making, and MariaDB none.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it; returns when it answers.
    pub async fn start(self) -> Mysql {
        Mysql::create(self).await
    }
}

/// A running server. Dropped: killed, its folder removed.
#[derive(Debug)]
pub struct Mysql {
    folder: tempfile::TempDir,
    programs: Programs,
    wanted: Wanted,
    port: u16,
    child: Option<Child>,
}

impl Mysql {
    /// A server of a flavor whose binlog can be followed.
    pub async fn start(flavor: Flavor) -> Self {
        Wanted::flavor(flavor).start().await
    }

    async fn create(wanted: Wanted) -> Self {
        let programs = Programs::of(wanted.flavor);
        let template = programs.template();
        let folder = unprivileged::folder(&format!("cdc-{}-", wanted.flavor));
        let mut server = Self {
            folder,
            programs,
            wanted,
            port: free_port(),
            child: None,
        };
        programs::copy(&template, &server.data());
        // Every server has an identity of its own; MySQL makes one where there is none.
        let _ = std::fs::remove_file(server.data().join("auto.cnf"));
        let root = "CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY '';\n\
                    GRANT ALL PRIVILEGES ON *.* TO root@'%' WITH GRANT OPTION;\n";
        unprivileged::write(
            &server.path("init.sql"),
            &format!("SET sql_log_bin = 0;\n{root}"),
        );
        if server.wanted.tls {
            unprivileged::make_certificate(
                server.folder(),
                &server.path("server.key"),
                &server.certificate(),
            );
        }
        server.boot().await;
        server
    }

    /// Starts the server again after [`stop`](Self::stop) or a crash, on the same port.
    pub async fn boot(&mut self) {
        assert!(self.child.is_none(), "the server is running already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("server.log"))
            .expect("the server's log");
        let mut command = self.programs.server(self.folder());
        command
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.path("pid").display()))
            .arg(format!("--tmpdir={}", self.folder().display()))
            .arg(format!("--init-file={}", self.path("init.sql").display()))
            .arg(format!("--port={}", self.port))
            .arg("--bind-address=127.0.0.1");
        for (name, value) in &self.wanted.settings {
            command.arg(format!("--{name}={value}"));
        }
        if self.wanted.tls {
            for (name, path) in [
                ("ssl-key", self.path("server.key")),
                ("ssl-cert", self.certificate()),
                ("ssl-ca", self.certificate()),
            ] {
                command.arg(format!("--{name}={}", path.display()));
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().expect("the server starts"));
        let opts = self.options("root", "");
        let path = self.path("server.log");
        let child = self.child.as_mut().expect("just started");
        let mut exited = None;
        eventually("the server answers", Duration::from_secs(60), || {
            if exited.is_none() {
                exited = child.try_wait().expect("the child can be asked");
            }
            let gone = exited;
            let opts = opts.clone();
            let path = path.clone();
            async move {
                if let Some(status) = gone {
                    panic!(
                        "the server ended, {status}:\n{}",
                        std::fs::read_to_string(&path).unwrap_or_default()
                    );
                }
                let session = Conn::new(opts).await.map_err(|e| e.to_string())?;
                session.disconnect().await.map_err(|e| e.to_string())
            }
        })
        .await;
    }

    /// Stops the server and waits for its end.
    pub fn stop(&mut self, how: Stop) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        unprivileged::signal(
            &child,
            match how {
                Stop::Fast => Signal::TERM,
                Stop::Immediate => Signal::KILL,
            },
        );
        child.wait().expect("the child can be awaited");
    }

    /// Changes a setting for the next [`boot`](Self::boot).
    pub fn set(&mut self, name: &str, value: &str) {
        self.wanted.settings.push((name.into(), value.into()));
    }

    /// The server's process.
    ///
    /// # Panics
    ///
    /// When the server is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Whose server it is.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.wanted.flavor
    }

    /// The server's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of its data and its binlogs, which `nobody` owns.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The certificate that a server [`with TLS`](Wanted::tls) shows, which is its own authority.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("server.crt")
    }

    /// The private key of that certificate.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.path("server.key")
    }

    /// `mysql://USER@127.0.0.1:PORT/DATABASE`, as a configuration has it.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// How a user without password reaches it: by the Unix socket, so that faults of a TCP path do not touch it.
    #[must_use]
    pub fn options(&self, user: &str, database: &str) -> Opts {
        OptsBuilder::default()
            .socket(Some(self.socket().display().to_string()))
            .user(Some(user))
            .db_name((!database.is_empty()).then_some(database))
            .max_allowed_packet(Some(256 << 20))
            .into()
    }

    /// A user's session, in UTC and UTF-8.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn client_of(&self, user: &str) -> Client {
        Client::open(self.options(user, ""))
            .await
            .unwrap_or_else(|error| panic!("no session of {user}: {error}\n{}", self.log_end()))
    }

    /// A program of the server's own package, as `mysqlbinlog`, that runs as the server's user.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        self.programs.program(name, self.folder())
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// What the server has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Purges every log but the one that is written now. A server keeps a log for as long as a connection that read
    /// it is listed, which it is until the server next writes to it, and MariaDB one that it might recover by: asked
    /// again until none is left.
    pub async fn purge_logs(&self) {
        let status = match self.flavor() {
            Flavor::MySql => "SHOW BINARY LOG STATUS",
            Flavor::MariaDb => "SHOW MASTER STATUS",
        };
        let file = self.value(status).await.expect("there is a log");
        eventually("the logs are purged", Duration::from_secs(60), async || {
            self.execute(&format!("PURGE BINARY LOGS TO '{file}'"))
                .await;
            let logs = self.session().await.rows("SHOW BINARY LOGS").await?;
            match logs.len() {
                1 => Ok(()),
                more => Err(format!("{more} logs")),
            }
        })
        .await;
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
        if std::thread::panicking() {
            // A test that fails tells what the server said, since its folder goes now.
            let _ = writeln!(std::io::stderr(), "{}", self.log_end());
        }
    }
}

impl Server for Mysql {
    type Session = Client;
    type Address = Opts;

    fn script() -> &'static Script {
        &workload::mysql::SCRIPT
    }

    fn address(&self) -> Opts {
        self.options("root", "")
    }

    async fn connect(address: &Opts) -> Result<Client, String> {
        Client::open(address.clone())
            .await
            .map_err(|error| error.to_string())
    }

    fn url_at(port: u16) -> String {
        format!("mysql://root@127.0.0.1:{port}")
    }

    fn port(&self) -> u16 {
        self.port
    }

    async fn restart(&mut self, how: Stop) {
        self.stop(how);
        self.boot().await;
    }

    fn log_end(&self) -> String {
        unprivileged::log_end(&self.log())
    }
}
