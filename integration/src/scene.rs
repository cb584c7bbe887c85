//! One server, one daemon that replicates its schema `shop`, and the question whether both are equal.

use std::time::Duration;

use crate::daemon::{Daemon, PASSWORD, standard_config};
use crate::postgres::{Postgres, Wanted};
use crate::server::Server;
use crate::{compare, eventually, lake};

/// The schema that scenes replicate.
pub const SCHEMA: &str = "shop";

/// How long a condition may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A server and a daemon.
#[derive(Debug)]
pub struct Scene<S = Postgres> {
    /// The source.
    pub server: S,
    /// What replicates it.
    pub daemon: Daemon,
}

impl Scene {
    /// Starts a server, creates the schema `shop`, runs statements; the daemon is configured and not started.
    pub async fn new(wanted: Wanted, statements: &str) -> Self {
        Self::on(wanted.start().await, statements).await
    }

    /// The same with the daemon started and every table streaming.
    pub async fn streaming(version: u32, statements: &str) -> Self {
        Self::new(Wanted::version(version), statements)
            .await
            .started()
            .await
    }

    /// The standard configuration of this scene with more YAML at its end, and a user of choice.
    pub fn configure(&self, user: &str, more: &str) {
        let url = self.server.url(user, "postgres");
        let config = standard_config(&url, r#"["shop.*"]"#);
        self.daemon.configure(&format!("{config}{more}"));
    }

    /// The position up to which the server may drop its log for us.
    pub async fn confirmed(&self) -> Option<String> {
        let query = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE NOT temporary";
        self.server.value(query).await
    }
}

impl<S: Server + Sync> Scene<S> {
    /// Creates the schema `shop` on a server and runs statements; the daemon is configured and not started.
    pub async fn on(server: S, statements: &str) -> Self {
        server
            .execute(&format!("CREATE SCHEMA {SCHEMA}; {statements}"))
            .await;
        let daemon = Daemon::new(&S::url_at(server.port()), r#"["shop.*"]"#);
        Self { server, daemon }
    }

    /// The daemon started and every table streaming.
    pub async fn started(mut self) -> Self {
        self.daemon.start_streaming().await;
        self
    }

    /// Runs statements at the source.
    pub async fn execute(&self, statements: &str) {
        self.server.execute(statements).await;
    }

    /// Runs statements at the source to their end, and kills the daemon as soon as it streams meanwhile.
    pub async fn execute_while_killed(&mut self, statements: &str) {
        let Self { server, daemon } = self;
        let killed = async {
            daemon.streaming().await;
            daemon.kill();
        };
        tokio::join!(server.execute(statements), killed);
    }

    /// Lets the sinks catch up and compares both with the source, row by row.
    ///
    /// # Panics
    ///
    /// With the differences.
    pub async fn assert_equal(&mut self) {
        self.daemon.caught_up(LIMIT).await;
        let session = self.server.session().await;
        self.assert_warehouse(&session).await;
        if let Err(differences) = lake::equal(&session, &self.daemon.path("lake"), &[SCHEMA]).await
        {
            panic!("lake:\n{differences}\n{}", self.daemon.log_end());
        }
        self.daemon.assert_log_clean();
    }

    /// The daemon's user is in the configuration with `${DB_PASSWORD}`: a wrong one is said by the check and the
    /// daemon, and shown by neither; with the right one all goes on.
    ///
    /// # Panics
    ///
    /// When it is otherwise.
    pub async fn assert_password_matters(&mut self) {
        self.daemon
            .environment("DB_PASSWORD", &format!("not-{PASSWORD}"));
        let said = self.daemon.refused(&["check"]);
        assert!(said.contains("password"), "{said}");
        assert!(!said.contains(PASSWORD), "the password is shown: {said}");
        self.daemon.start();
        let said = self.daemon.refusal(LIMIT).await;
        assert!(said.contains("password"), "{said}");
        self.daemon.kill();
        self.daemon.environment("DB_PASSWORD", PASSWORD);
        self.daemon.start_streaming().await;
        self.assert_equal().await;
    }

    /// `cdc verify` finds source and warehouse equal, and no longer once `change` was made in the warehouse while the
    /// daemon was down.
    ///
    /// # Panics
    ///
    /// When it is otherwise.
    pub async fn assert_verify_finds(&mut self, change: &str) {
        self.daemon.caught_up(LIMIT).await;
        self.daemon
            .succeed(&["verify"])
            .expect("source and sink are equal");
        assert!(self.daemon.terminate().await.success());
        let connection = duckdb::Connection::open(self.daemon.path("warehouse.duckdb"))
            .expect("nobody else has it open");
        let changed = connection.execute(change, []).expect("it can be changed");
        assert_ne!(changed, 0, "nothing was changed");
        drop(connection);
        self.daemon.start_streaming().await;
        let _ = self.daemon.refused(&["verify"]);
    }

    /// As [`Self::assert_equal`] where columns were renamed, which the lake's own statements follow.
    ///
    /// # Panics
    ///
    /// With the differences.
    pub async fn assert_equal_by_statement(&mut self) {
        self.daemon.caught_up(LIMIT).await;
        let session = self.server.session().await;
        self.assert_warehouse(&session).await;
        let lake = self.daemon.path("lake");
        if let Err(differences) = lake::current_equal(&session, &lake, &[SCHEMA]).await {
            panic!("lake:\n{differences}\n{}", self.daemon.log_end());
        }
        self.daemon.assert_log_clean();
    }

    async fn assert_warehouse(&self, session: &S::Session) {
        let equal = compare::warehouse_equal(session, &self.daemon, &[SCHEMA]).await;
        if let Err(differences) = equal {
            panic!("warehouse:\n{differences}\n{}", self.daemon.log_end());
        }
    }

    /// Waits until the warehouse answers a query with this one value. For where `cdc wait` cannot succeed, since
    /// some table has stopped.
    ///
    /// # Panics
    ///
    /// When it does not in time.
    pub async fn reads(&self, sql: &str, wanted: &str) {
        let commands = self.daemon.commands();
        eventually(sql, LIMIT, || {
            let read = commands.value(sql);
            async move {
                match read? {
                    Some(value) if value == wanted => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
    }
}

/// The PostgreSQL versions that tests run against: `$CDC_VERSIONS` as `14,16`, else 15 and 18.
#[must_use]
pub fn versions() -> Vec<u32> {
    let wanted = std::env::var("CDC_VERSIONS").unwrap_or_else(|_| "15,18".into());
    let parse = |v: &str| {
        v.trim()
            .parse()
            .expect("CDC_VERSIONS is a list of major versions")
    };
    wanted.split(',').map(parse).collect()
}
