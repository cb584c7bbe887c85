//! Throw-away PostgreSQL servers in temporary folders on free ports.
//!
//! A server is a direct child: it is stopped, or killed, by its process id, and dies with the thread that
//! started it, so that a test which is itself killed leaves nothing behind. Started by root it runs as
//! `nobody`, since PostgreSQL refuses root. Data is not synced to disk; a *process* crash loses nothing by that.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::compare::{Row, Table};
use crate::server::{Refusal, Server, Session};
use crate::workload::Script;
use crate::{compare, eventually, free_port, unprivileged, workload};

pub use crate::server::Stop;

/// What to start: version and deviations from a server that is ready for logical replication.
#[derive(Debug, Clone)]
pub struct Wanted {
    version: u32,
    settings: Vec<(String, String)>,
    hba: Option<String>,
    tls: bool,
}

impl Wanted {
    /// A server of a major version with `wal_level = logical`, open to every local user.
    #[must_use]
    pub fn version(version: u32) -> Self {
        let defaults = [
            ("wal_level", "logical"),
            ("max_wal_senders", "20"),
            ("max_replication_slots", "20"),
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("shared_buffers", "64MB"),
            ("max_prepared_transactions", "10"),
            ("wal_sender_timeout", "60s"),
        ];
        Self {
            version,
            settings: defaults.map(|(k, v)| (k.into(), v.into())).into(),
            hba: None,
            tls: false,
        }
    }

    /// One server setting; the last one of a name counts.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The whole of `pg_hba.conf`. The superuser's entry for the Unix socket is put before it.
    #[must_use]
    pub fn hba(mut self, text: &str) -> Self {
        self.hba = Some(text.into());
        self
    }

    /// TLS with a certificate of its own making for `localhost` and 127.0.0.1; see [`Postgres::certificate`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it; returns when it answers.
    pub async fn start(self) -> Postgres {
        Postgres::create(self).await
    }
}

/// A running server. Dropped: stopped at once, its folder removed.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    wanted: Wanted,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// A server of a major version, ready for logical replication.
    pub async fn start(version: u32) -> Self {
        Wanted::version(version).start().await
    }

    async fn create(wanted: Wanted) -> Self {
        let programs = programs(wanted.version);
        let folder = unprivileged::folder("cdc-postgres-");
        let mut server = Self {
            folder,
            programs,
            wanted,
            port: free_port(),
            child: None,
        };
        let data = server.data();
        let mut initdb = server.command("initdb");
        initdb.arg("-D").arg(&data);
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        unprivileged::succeed(&mut initdb);
        if let Some(hba) = &server.wanted.hba {
            server.write("pg_hba.conf", &format!("local all postgres trust\n{hba}\n"));
        }
        if server.wanted.tls {
            server.make_certificate();
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
            .open(self.log_path())
            .expect("the server's log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        command
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(self.folder.path());
        for (name, value) in &self.wanted.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        if self.wanted.tls {
            command.args(["-c", "ssl=on"]);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().expect("postgres starts"));
        let socket = self.socket_url("postgres", "postgres");
        let log = self.log_path();
        let child = self.child.as_mut().expect("just started");
        let mut exited = None;
        eventually("PostgreSQL answers", Duration::from_secs(60), || {
            if exited.is_none() {
                exited = child.try_wait().expect("the child can be asked");
            }
            let gone = exited;
            let socket = socket.clone();
            let log = log.clone();
            async move {
                if let Some(status) = gone {
                    panic!(
                        "PostgreSQL ended, {status}:\n{}",
                        std::fs::read_to_string(&log).unwrap_or_default()
                    );
                }
                match tokio_postgres::connect(&socket, NoTls).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
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
                Stop::Fast => Signal::INT,
                Stop::Immediate => Signal::QUIT,
            },
        );
        child.wait().expect("the child can be awaited");
    }

    /// Makes it a standby and promotes it, which begins a new timeline.
    pub async fn promote(&mut self) {
        self.stop(Stop::Fast);
        self.write("standby.signal", "");
        self.boot().await;
        assert_eq!(
            self.value("SELECT pg_promote()").await.as_deref(),
            Some("t")
        );
    }

    /// Changes a setting for the next [`boot`](Self::boot).
    pub fn set(&mut self, name: &str, value: &str) {
        self.wanted.settings.push((name.into(), value.into()));
    }

    /// The process whose children are the sessions.
    ///
    /// # Panics
    ///
    /// When the server is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// The major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.wanted.version
    }

    /// The folder that holds the Unix socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `postgres://USER@127.0.0.1:PORT/DATABASE`.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// The same over the Unix socket, in key-value form.
    #[must_use]
    pub fn socket_url(&self, user: &str, database: &str) -> String {
        format!(
            "host={} port={} user={user} dbname={database}",
            self.folder.path().display(),
            self.port
        )
    }

    /// A superuser's session over the Unix socket, so that faults of a TCP path do not touch it.
    pub async fn client(&self) -> Client {
        self.client_of("postgres").await
    }

    /// A superuser's session in a database.
    pub async fn client_of(&self, database: &str) -> Client {
        connect(&self.socket_url("postgres", database))
            .await
            .unwrap_or_else(|error| panic!("PostgreSQL refuses a session: {error}\n{}", self.log()))
    }

    /// What the server has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The certificate that the server shows, which is its own authority.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.crt")
    }

    fn make_certificate(&self) {
        unprivileged::make_certificate(
            self.folder(),
            &self.data().join("server.key"),
            &self.certificate(),
        );
        let text = std::fs::read_to_string(self.certificate()).expect("the certificate just made");
        self.write("server.crt", &text);
    }

    /// Writes a file of the data folder, owned by the server's user.
    fn write(&self, name: &str, text: &str) {
        unprivileged::write(&self.data().join(name), text);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn command(&self, program: &str) -> Command {
        unprivileged::command(&self.programs.join(program), self.folder(), "QUIT")
    }
}

impl Server for Postgres {
    type Session = Client;
    type Address = String;

    fn script() -> &'static Script {
        &workload::postgres::SCRIPT
    }

    fn address(&self) -> String {
        self.socket_url("postgres", "postgres")
    }

    async fn connect(address: &String) -> Result<Client, String> {
        connect(address).await.map_err(|e| describe(&e))
    }

    fn url_at(port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
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

impl Session for Client {
    async fn execute(&self, statements: &str) -> Result<(), Refusal> {
        self.batch_execute(statements).await.map_err(|error| {
            // The server goes away (57P…), or a copy holds schema changes off for longer than we wait (55P03).
            let code = error.as_db_error().map(|db| db.code().code().to_owned());
            Refusal {
                text: describe(&error),
                expected: self.is_closed()
                    || code.is_none_or(|c| c.starts_with("57P") || c == "55P03"),
            }
        })
    }

    async fn rows(&self, query: &str) -> Result<Vec<Row>, String> {
        text_rows(self, query).await
    }

    async fn tables(&self, schemas: &[&str]) -> Result<Vec<Table>, String> {
        compare::postgres::tables(self, schemas).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
        if std::thread::panicking() {
            // A test that fails tells what the server said, and leaves its folder to look into.
            let folder = self.folder.path().display();
            let _ = writeln!(std::io::stderr(), "the server's folder: {folder}");
            let _ = writeln!(std::io::stderr(), "{}", self.log_end());
            self.folder.disable_cleanup(true);
        }
    }
}

/// A session whose connection is driven in the background until either side ends it.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        // Its end is seen by the client's next call.
        let _ = connection.await;
    });
    Ok(client)
}

/// The rows of a query by the simple protocol, as PostgreSQL prints them.
pub async fn text_rows(client: &Client, query: &str) -> Result<Vec<Row>, String> {
    let messages = client
        .simple_query(query)
        .await
        .map_err(|e| format!("{}\n{query}", describe(&e)))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len())
                .map(|i| row.get(i).map(str::to_owned))
                .collect(),
        ),
        _ => None,
    });
    Ok(rows.collect())
}

/// An error with the server's own words.
#[must_use]
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

/// Where the programs of a major version are: Debian's own, or what `integration/setup` fetched.
fn programs(version: u32) -> PathBuf {
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
    if debian.join("postgres").exists() {
        return debian;
    }
    let fetched = unprivileged::servers().join(format!("postgres-{version}/bin"));
    assert!(
        fetched.join("postgres").exists(),
        "PostgreSQL {version} is not here: POSTGRES={version} integration/setup"
    );
    fetched
}
