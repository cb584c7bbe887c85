//! The MySQL source alone, without the daemon: the source suite on both families, ways to connect, and what is
//! refused rather than continued.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cdc_api::testing::conformance::source::{Action, Database};
use cdc_api::testing::probe::{self, next_commit};
use cdc_api::{
    BatchLimits, Checkpoint, Chunk, Error, ErrorKind, Result, Snapshot, Source, TableId,
    TableSchema,
};
use cdc_integration::mysql::{FLAVORS, Flavor, Mysql, Wanted};
use cdc_integration::server::{Server as _, Session as _};
use cdc_mysql::{MysqlConfig, MysqlSource};
use tokio::task::JoinHandle;
use tokio::time::timeout;

struct Fresh {
    server: Mysql,
    session: <Mysql as cdc_integration::server::Server>::Session,
}

impl Fresh {
    async fn of(flavor: Flavor) -> Self {
        let server = Mysql::start(flavor).await;
        let session = server.session().await;
        let set_up = session
            .execute("SET SESSION sql_mode = 'ANSI_QUOTES'; CREATE DATABASE suite")
            .await;
        set_up.expect("an empty database");
        Self { server, session }
    }

    async fn run(&self, actions: &[Action], end: &str) -> Result<()> {
        let mut statements = vec!["START TRANSACTION".to_owned()];
        for action in actions {
            match action {
                // A statement empties one table here.
                Action::Truncate(tables) => {
                    let truncate = |table| Action::Truncate(vec![table]).sql();
                    statements.extend(tables.iter().cloned().map(truncate));
                }
                action => statements.push(action.sql()),
            }
        }
        statements.push(end.to_owned());
        self.session
            .execute(&statements.join("; "))
            .await
            .map_err(|refusal| Error::data(refusal.text))
    }
}

#[async_trait]
impl Database for Fresh {
    fn schema(&self) -> String {
        "suite".to_owned()
    }

    fn source(&mut self) -> Arc<dyn Source> {
        Arc::new(source(&self.server.url("root", ""), ""))
    }

    async fn commit(&mut self, actions: &[Action]) -> Result<()> {
        self.run(actions, "COMMIT").await
    }

    /// Statements that end a transaction cannot be rolled back.
    async fn roll_back(&mut self, actions: &[Action]) -> Result<()> {
        let ends = |action: &Action| {
            matches!(
                action,
                Action::Create(_) | Action::Truncate(_) | Action::AddColumn(..)
            )
        };
        if actions.iter().any(ends) {
            return Ok(());
        }
        self.run(actions, "ROLLBACK").await
    }
}

/// A folder for a source to remember in.
fn folder() -> std::path::PathBuf {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a folder")
        .keep()
}

/// The source of every table in `suite`; `more` are further keys, as JSON.
fn source(url: &str, more: &str) -> MysqlSource {
    let json = format!(r#"{{"url": "{url}", "tables": ["suite.*"]{more}}}"#);
    let config: MysqlConfig = serde_json::from_str(&json).expect("a configuration");
    MysqlSource::new(config, "suite", &folder()).expect("a source")
}

mod on_mysql {
    async fn fresh() -> super::Fresh {
        super::Fresh::of(super::Flavor::MySql).await
    }
    cdc_api::source_conformance!(fresh);
}

mod on_mariadb {
    async fn fresh() -> super::Fresh {
        super::Fresh::of(super::Flavor::MariaDb).await
    }
    cdc_api::source_conformance!(fresh);
}

/// A captured table `t` with a row, and where its stream begins.
async fn begin(server: &Mysql, source: &MysqlSource) -> (Vec<Arc<TableSchema>>, Checkpoint) {
    server
        .execute("CREATE DATABASE suite; CREATE TABLE suite.t (id int PRIMARY KEY, v text)")
        .await;
    let (tables, origin) = probe::capture_all(source).await;
    server
        .execute("INSERT INTO suite.t VALUES (1, 'one')")
        .await;
    (tables, origin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_while_it_is_found_is_no_error_of_the_others() {
    let server = Mysql::start(Flavor::MySql).await;
    let source = source(&server.url("root", ""), "");
    let (tables, _) = begin(&server, &source).await;
    server.execute("DROP TABLE suite.t").await;
    source.capture(&tables).await.expect("the log tells it");
    let read = source.snapshot(&tables).await.err();
    let error = read.expect("it cannot be read");
    assert_eq!(error.table(), Some(tables[0].id), "{error}");
}

/// What the source says about a connection: its first finding, or why there is none.
async fn connection(url: &str) -> Result<()> {
    probe::connects(&source(url, "")).await
}

async fn refused(url: &str, kind: ErrorKind, hint: &str) {
    probe::assert_refused(&source(url, ""), url, kind, (hint, "geheim")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_connect_works_and_every_refusal_has_a_remedy() {
    for flavor in FLAVORS {
        let server = Wanted::flavor(flavor).tls().start().await;
        let create = "CREATE USER cdc@'%' IDENTIFIED BY 'geheim'; CREATE USER safe@'%' IDENTIFIED BY 'geheim' REQUIRE SSL;";
        server.execute(create).await;
        let at = |user: &str, more: &str| {
            format!("mysql://{user}:geheim@127.0.0.1:{}/{more}", server.port())
        };
        let root = format!("sslrootcert={}", server.certificate().display());
        for more in [
            // Over a plain connection the password is encrypted, or hashed.
            String::new(),
            "?sslmode=prefer".to_owned(),
            "?sslmode=require".to_owned(),
            format!("?sslmode=verify-ca&{root}"),
            format!("?sslmode=verify-full&{root}"),
        ] {
            connection(&at("cdc", &more))
                .await
                .unwrap_or_else(|error| panic!("{flavor} {more}: {error}"));
        }
        let socket = format!("mysql://root@/?socket={}", server.socket().display());
        connection(&socket).await.expect("the Unix socket");
        connection(&at("safe", "?sslmode=require"))
            .await
            .expect("TLS is what it requires");
        refused(&at("safe", ""), ErrorKind::Auth, "").await;
        // By its certificate alone; the server's own is its authority.
        server
            .execute("CREATE USER known@'%' REQUIRE X509; CREATE USER pair@'%' IDENTIFIED BY 'geheim' REQUIRE X509")
            .await;
        let shown = format!(
            "sslcert={}&sslkey={}",
            server.certificate().display(),
            server.key().display()
        );
        connection(
            &at("known", &format!("?sslmode=verify-full&{root}&{shown}")).replace(":geheim", ""),
        )
        .await
        .expect("its certificate is enough");
        connection(&at("pair", &format!("?sslmode=require&{shown}")))
            .await
            .expect("certificate and password");
        refused(&at("pair", "?sslmode=require"), ErrorKind::Auth, "").await;
        refused(
            &at("cdc", "").replace("geheim", "falsch"),
            ErrorKind::Auth,
            "ALTER USER 'cdc'@'%'",
        )
        .await;
        refused(&at("nobody", ""), ErrorKind::Auth, "CREATE USER").await;
        refused(&at("cdc", "nowhere"), ErrorKind::Auth, "GRANT SELECT").await;
        refused(
            &format!("mysql://root@127.0.0.1:{}/nowhere", server.port()),
            ErrorKind::Config,
            "SHOW DATABASES",
        )
        .await;
        refused(
            &at("cdc", "?sslmode=verify-full"),
            ErrorKind::Config,
            "sslrootcert",
        )
        .await;
        refused(
            "mysql://cdc:geheim@no-such-host.invalid/?sslmode=disable",
            ErrorKind::Transient,
            "source.url",
        )
        .await;
        refused(
            "mysql://cdc:geheim@127.0.0.1:1/",
            ErrorKind::Transient,
            "bind_address",
        )
        .await;
    }
}

/// The server has the password's hash in its cache or not: the password goes by two ways, over plain connections too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cached_password_and_one_that_is_not_are_both_shown_over_every_connection() {
    let server = Wanted::flavor(Flavor::MySql).tls().start().await;
    server
        .execute("CREATE USER cdc@'%' IDENTIFIED WITH caching_sha2_password BY 'geheim'")
        .await;
    let url = format!("mysql://cdc:geheim@127.0.0.1:{}/", server.port());
    let socket = format!("mysql://cdc:geheim@/?socket={}", server.socket().display());
    for url in [url.clone(), format!("{url}?sslmode=require"), socket] {
        server.execute("FLUSH PRIVILEGES").await;
        for way in ["in full", "from the cache"] {
            connection(&url)
                .await
                .unwrap_or_else(|error| panic!("{url} {way}: {error}"));
        }
        let wrong = url.replace("geheim", "falsch");
        refused(&wrong, ErrorKind::Auth, "ALTER USER").await;
    }
}

/// What starting at `from` is refused with.
async fn lost(source: &MysqlSource, from: &Checkpoint, tables: &[Arc<TableSchema>]) -> Error {
    let outcome = match source.start(from, tables, BatchLimits::default()).await {
        Ok(mut stream) => next_commit(stream.as_mut()).await.map(drop),
        Err(error) => Err(error),
    };
    let error = outcome.expect_err("the log cannot continue");
    assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");
    assert!(
        error.hint_text().is_some_and(|hint| hint.contains("cdc ")),
        "{error}"
    );
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_purged_is_lost() {
    for flavor in FLAVORS {
        let server = Mysql::start(flavor).await;
        let source = source(&server.url("root", ""), "");
        let (tables, origin) = begin(&server, &source).await;
        server.execute("FLUSH BINARY LOGS").await;
        server.purge_logs().await;
        lost(&source, &origin, &tables).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_reset_is_lost_although_it_has_passed_the_old_numbers() {
    for flavor in FLAVORS {
        let server = Mysql::start(flavor).await;
        let source = source(&server.url("root", ""), "");
        let (tables, origin) = begin(&server, &source).await;
        let mut stream = source
            .start(&origin, &tables, BatchLimits::default())
            .await
            .expect("a stream");
        let (rows, checkpoint) = next_commit(stream.as_mut()).await.expect("a row");
        assert_eq!(rows, 1);
        drop(stream);
        let reset = match flavor {
            Flavor::MySql => "RESET BINARY LOGS AND GTIDS",
            Flavor::MariaDb => "RESET MASTER",
        };
        server.execute(reset).await;
        lost(&source, &checkpoint, &tables).await;
        for id in 2..20 {
            let insert = format!("INSERT INTO suite.t VALUES ({id}, 'again')");
            server.execute(&insert).await;
        }
        lost(&source, &checkpoint, &tables).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_another_server_is_refused() {
    for flavor in FLAVORS {
        let (one, other) = (Mysql::start(flavor).await, Mysql::start(flavor).await);
        let ours = source(&one.url("root", ""), "");
        let (tables, origin) = begin(&one, &ours).await;
        begin(&other, &source(&other.url("root", ""), "")).await;
        let theirs = source(&other.url("root", ""), "");
        lost(&theirs, &origin, &tables).await;
    }
}

/// A stream that somebody reads, and a view beside it.
async fn streaming(
    source: &MysqlSource,
    tables: &[Arc<TableSchema>],
    origin: &Checkpoint,
) -> (JoinHandle<()>, Arc<dyn Snapshot>) {
    let mut stream = source
        .start(origin, tables, BatchLimits::default())
        .await
        .expect("a stream");
    let polled = tokio::spawn(async move { while stream.next().await.is_ok() {} });
    (polled, source.snapshot(tables).await.expect("a view"))
}

/// Why a chunk cannot be read any more.
async fn unreadable(view: &dyn Snapshot, table: TableId, chunk: &Chunk) -> Error {
    let read = match view.read(table, chunk, BatchLimits::default()).await {
        Ok(mut reader) => reader.next().await.map(drop),
        Err(error) => Err(error),
    };
    read.expect_err("the view is older than the table's definition")
}

/// While the copy reads it holds no lock for longer than a chunk, or gives way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_change_does_not_wait_for_a_copy() {
    for flavor in FLAVORS {
        let server = Mysql::start(flavor).await;
        let source = source(&server.url("root", ""), "");
        let (tables, origin) = begin(&server, &source).await;
        let (polled, view) = streaming(&source, &tables, &origin).await;
        let table = tables[0].id;
        let chunks = view.chunks(table, 1 << 20).await.expect("a plan");
        let mut reader = view
            .read(table, &chunks[0], BatchLimits::default())
            .await
            .expect("a reader");
        while reader.next().await.expect("rows").is_some() {}
        let altered = server.execute("ALTER TABLE suite.t ADD COLUMN w int");
        timeout(Duration::from_secs(20), altered)
            .await
            .expect("the schema change goes on");
        let error = unreadable(view.as_ref(), table, &chunks[0]).await;
        assert!(error.is_transient(), "{flavor}: {error}");
        polled.abort();
    }
}

/// The server reads an older view by the names that columns have now, and has no error where each of them is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_does_not_take_one_column_for_another_when_their_names_are_exchanged() {
    for flavor in FLAVORS {
        let server = Mysql::start(flavor).await;
        let source = source(&server.url("root", ""), "");
        let (tables, origin) = begin(&server, &source).await;
        server
            .execute("ALTER TABLE suite.t ADD COLUMN a int DEFAULT 1, ADD COLUMN b int DEFAULT 2")
            .await;
        let (polled, view) = streaming(&source, &tables, &origin).await;
        let table = tables[0].id;
        let chunks = view.chunks(table, 1 << 20).await.expect("a plan");
        server
            .execute("ALTER TABLE suite.t RENAME COLUMN a TO b, RENAME COLUMN b TO a")
            .await;
        let error = unreadable(view.as_ref(), table, &chunks[0]).await;
        assert!(error.is_transient(), "{flavor}: {error}");
        polled.abort();
    }
}
