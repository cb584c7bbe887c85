//! The PostgreSQL source alone, without the daemon: the source suite on the oldest and newest servers at hand,
//! ways to connect, and what is refused rather than continued.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cdc_api::testing::conformance::source::{Action, Database};
use cdc_api::testing::probe::{self, next_commit};
use cdc_api::{BatchLimits, Checkpoint, Error, ErrorKind, Result, Severity, Source, TableSchema};
use cdc_integration::postgres::{Postgres, Stop, Wanted, describe};
use cdc_integration::scene::{LIMIT, versions};
use cdc_integration::server::Server as _;
use cdc_postgres::{PostgresConfig, PostgresSource};
use tokio::time::timeout;
use tokio_postgres::Client;

struct Fresh {
    server: Postgres,
    client: Client,
}

impl Fresh {
    async fn of(version: u32) -> Self {
        let server = Postgres::start(version).await;
        Self {
            client: server.client().await,
            server,
        }
    }

    async fn run(&self, actions: &[Action], end: &str) -> Result<()> {
        let mut statements = vec!["BEGIN".to_owned()];
        statements.extend(actions.iter().map(Action::sql));
        statements.push(end.to_owned());
        let statements = statements.join("; ");
        self.client
            .batch_execute(&statements)
            .await
            .map_err(|error| Error::data(describe(&error)))
    }
}

#[async_trait]
impl Database for Fresh {
    fn schema(&self) -> String {
        "public".to_owned()
    }

    fn source(&mut self) -> Arc<dyn Source> {
        Arc::new(source(&self.server.url("postgres", "postgres"), ""))
    }

    async fn commit(&mut self, actions: &[Action]) -> Result<()> {
        self.run(actions, "COMMIT").await
    }

    async fn roll_back(&mut self, actions: &[Action]) -> Result<()> {
        self.run(actions, "ROLLBACK").await
    }
}

/// A folder for a source to remember in.
fn folder() -> std::path::PathBuf {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a folder")
        .keep()
}

/// The source of every table in `public`; `more` are further keys, as JSON.
fn source(url: &str, more: &str) -> PostgresSource {
    let json = format!(r#"{{"url": "{url}", "tables": ["public.*"]{more}}}"#);
    let config: PostgresConfig = serde_json::from_str(&json).expect("a configuration");
    PostgresSource::new(config, "suite", &folder()).expect("a source")
}

/// The first of the versions that tests run against.
fn oldest() -> u32 {
    versions()[0]
}

mod on_the_oldest {
    async fn fresh() -> super::Fresh {
        super::Fresh::of(super::oldest()).await
    }
    cdc_api::source_conformance!(fresh);
}

mod on_the_newest {
    async fn fresh() -> super::Fresh {
        let newest = super::versions().into_iter().next_back();
        super::Fresh::of(newest.expect("there is one")).await
    }
    cdc_api::source_conformance!(fresh);
}

/// A captured table `t` with a row, and where its stream begins.
async fn begin(server: &Postgres, source: &PostgresSource) -> (Vec<Arc<TableSchema>>, Checkpoint) {
    server
        .execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .await;
    let (tables, origin) = probe::capture_all(source).await;
    server.execute("INSERT INTO t VALUES (1, 'one')").await;
    (tables, origin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_while_it_is_found_is_no_error_of_the_others() {
    let server = Wanted::version(oldest()).start().await;
    let source = source(&server.url("postgres", "postgres"), "");
    server
        .execute("CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
        .await;
    let (tables, _) = begin(&server, &source).await;
    server.execute("DROP TABLE t").await;
    source
        .capture(&tables)
        .await
        .expect("the others are captured");
    source
        .generations(&tables)
        .await
        .expect("the others have one");
    let gone: Vec<_> = tables
        .iter()
        .filter(|it| it.name.table == "t")
        .cloned()
        .collect();
    let error = source
        .snapshot(&gone)
        .await
        .err()
        .expect("it cannot be read");
    assert_eq!(error.table(), Some(gone[0].id), "{error}");
    // Dropped while the publication waits for it.
    let holder = server.client().await;
    holder
        .batch_execute("BEGIN; DROP TABLE u")
        .await
        .expect("nobody has it");
    let published = "SELECT string_agg(tablename, ',') FROM pg_publication_tables";
    server
        .execute("ALTER PUBLICATION cdc_suite DROP TABLE other")
        .await;
    let waiting = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER PUBLICATION%'";
        cdc_integration::eventually("it waits", LIMIT, async || {
            match server.value(waits).await {
                Some(one) if one == "1" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        holder.batch_execute("COMMIT").await.expect("it is dropped");
    };
    let (captured, ()) = tokio::join!(source.capture(&tables), waiting);
    captured.expect("the other is captured");
    assert_eq!(server.value(published).await.as_deref(), Some("other"));
}

/// What the source says about a connection: its first finding, or why there is none.
async fn connection(url: &str) -> Result<()> {
    probe::connects(&source(url, "")).await
}

async fn refused(url: &str, kind: ErrorKind, hint: &str) {
    probe::assert_refused(&source(url, ""), url, kind, (hint, "geheim")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_authenticate_works_and_every_refusal_has_a_remedy() {
    let server = Wanted::version(oldest())
        .tls()
        .hba(
            "hostssl all scram 127.0.0.1/32 scram-sha-256\n\
             host all md5 127.0.0.1/32 md5\n\
             host all clear 127.0.0.1/32 password",
        )
        .start()
        .await;
    server
        .execute(
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE scram LOGIN PASSWORD 'geheim'; \
             SET password_encryption = md5; \
             CREATE ROLE md5 LOGIN PASSWORD 'geheim'; CREATE ROLE clear LOGIN PASSWORD 'geheim';",
        )
        .await;
    let ca = server.certificate();
    let ca = ca.display();
    let url = |user: &str, rest: &str| {
        format!(
            "postgres://{user}@localhost:{}/postgres{rest}",
            server.port()
        )
    };
    for good in [
        url("scram:geheim", "?sslmode=require"),
        url("scram:geheim", "?sslmode=prefer"),
        url("scram:geheim", &format!("?sslrootcert={ca}")),
        url(
            "scram:geheim",
            &format!("?sslmode=verify-full&sslrootcert={ca}&channel_binding=require"),
        ),
        url("md5:geheim", ""),
        url("clear:geheim", ""),
    ] {
        connection(&good).await.expect(&good);
    }
    refused(
        &url("scram:geheim", ""),
        ErrorKind::Auth,
        "pg_hba.conf: host \"postgres\" \"scram\"",
    )
    .await;
    refused(
        &url("scram:falsch", "?sslmode=require"),
        ErrorKind::Auth,
        "ALTER ROLE \"scram\"",
    )
    .await;
    refused(
        &url("scram", "?sslmode=require"),
        ErrorKind::Auth,
        "postgres://USER",
    )
    .await;
    refused(
        &url("scram:geheim", "?sslmode=verify-full"),
        ErrorKind::Config,
        "sslrootcert=",
    )
    .await;
    refused(
        &url("md5:geheim", "?sslmode=require&channel_binding=require"),
        ErrorKind::Auth,
        "scram-sha-256",
    )
    .await;
    let elsewhere = format!(
        "postgres://scram:geheim@127.0.0.2:{}/postgres?sslrootcert={ca}",
        server.port()
    );
    let error = connection(&elsewhere)
        .await
        .expect_err("nobody listens there");
    assert!(error.is_transient(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_not_spoken_to_in_the_open_unasked() {
    let server = Postgres::start(oldest()).await;
    let url = format!(
        "postgres://postgres@localhost:{}/postgres?sslmode=require",
        server.port()
    );
    refused(&url, ErrorKind::Config, "sslmode=disable").await;
    let socket = format!(
        "postgres://postgres@/postgres?host={}&port={}",
        server.folder().display(),
        server.port()
    );
    connection(&socket).await.expect("the Unix socket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_role_lacks_is_found_with_the_statements() {
    let server = Wanted::version(oldest())
        .set("wal_level", "replica")
        .start()
        .await;
    server
        .execute(
            "CREATE ROLE reader LOGIN; CREATE TABLE seen (id int PRIMARY KEY); \
             CREATE TABLE bare (id int); ALTER TABLE seen ENABLE ROW LEVEL SECURITY; \
             GRANT SELECT ON bare TO reader",
        )
        .await;
    let findings = source(&server.url("reader", "postgres"), "")
        .check()
        .await
        .expect("findings");
    for (subject, remedy) in [
        ("wal_level", "ALTER SYSTEM SET wal_level = logical"),
        (
            "privilege to replicate",
            "ALTER ROLE \"reader\" REPLICATION",
        ),
        (
            "privilege to create the publication",
            "GRANT CREATE ON DATABASE",
        ),
        (
            "privileges on public.seen",
            "GRANT SELECT ON \"public\".\"seen\"",
        ),
        ("privileges on public.seen", "BYPASSRLS"),
        ("table public.bare", "REPLICA IDENTITY FULL"),
    ] {
        assert!(
            findings.iter().any(|finding| {
                finding.severity == Severity::Error
                    && finding.subject == subject
                    && finding
                        .remedy
                        .as_ref()
                        .is_some_and(|text| text.contains(remedy))
            }),
            "{subject}: {remedy} in {findings:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_cannot_continue_is_refused() {
    let server = Postgres::start(oldest()).await;
    let source = source(&server.url("postgres", "postgres"), "");
    let (tables, origin) = begin(&server, &source).await;
    let start = || source.start(&origin, &tables, BatchLimits::default());

    let mut stream = start().await.expect("it starts");
    let (rows, checkpoint) = next_commit(stream.as_mut()).await.expect("a commit");
    assert_eq!((rows, checkpoint.seq), (1, 1));
    stream.acknowledge(&checkpoint.position).expect("ours");
    stream.close().await.expect("it closes");

    // Acknowledged means that the server may have forgotten what is before.
    let error = start().await.err().expect("the slot is ahead");
    assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("cdc teardown"))
    );
    let again = source
        .start(&checkpoint, &tables, BatchLimits::default())
        .await;
    again
        .expect("from the acknowledged checkpoint")
        .close()
        .await
        .expect("it closes");

    server
        .execute("SELECT pg_drop_replication_slot('cdc_suite')")
        .await;
    let again = source
        .start(&checkpoint, &tables, BatchLimits::default())
        .await;
    let error = again.err().expect("the slot is gone");
    assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");

    server.execute("INSERT INTO t VALUES (2, 'lost')").await;
    server
        .execute("SELECT pg_create_logical_replication_slot('cdc_suite', 'pgoutput')")
        .await;
    let again = source
        .start(&checkpoint, &tables, BatchLimits::default())
        .await;
    let error = again.err().expect("the slot is another one");
    assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_refused() {
    let server = Postgres::start(oldest()).await;
    let source = source(&server.url("postgres", "postgres"), "");
    let (tables, mut origin) = begin(&server, &source).await;
    let text = origin.position.as_str().to_owned();
    let system = server
        .value("SELECT system_identifier FROM pg_control_system()")
        .await
        .expect("a system id");
    for (from, to) in [
        (system.as_str(), "7000000000000000000"),
        (r#""timeline":1"#, r#""timeline":2"#),
        (r#""lsn":"0/"#, r#""lsn":"FF/"#),
    ] {
        origin.position = cdc_api::Position::new(text.replace(from, to));
        assert_ne!(origin.position.as_str(), text, "{from}");
        let started = source.start(&origin, &tables, BatchLimits::default()).await;
        let error = started.err().expect("it is not the same log");
        assert_eq!(error.kind(), ErrorKind::LogLost, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lives_while_nobody_reads() {
    let server = Wanted::version(oldest())
        .set("wal_sender_timeout", "6s")
        .start()
        .await;
    let source = source(&server.url("postgres", "postgres"), "");
    let (tables, origin) = begin(&server, &source).await;
    let limits = BatchLimits {
        rows: 1_000,
        bytes: 64 << 10,
    };
    let mut stream = source
        .start(&origin, &tables, limits)
        .await
        .expect("it starts");
    next_commit(stream.as_mut()).await.expect("a commit");
    // More than all buffers on the way hold, so that the sender is stopped.
    server
        .execute("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(2, 40001) i")
        .await;
    let pid = || async {
        server
            .value("SELECT active_pid FROM pg_replication_slots")
            .await
    };
    let before = pid().await.expect("a session");
    // Feedback every few seconds has to come through several time-outs of the server.
    cdc_integration::eventually("the server hears from us", Duration::from_secs(60), || {
        async {
            let reply = server
                .value(
                    "SELECT extract(epoch FROM now() - backend_start)::int FROM pg_stat_replication",
                )
                .await
                .ok_or("the session is gone")?;
            match reply.parse::<u32>() {
                Ok(age) if age > 15 => Ok(()),
                _ => Err(format!("{reply} s so far")),
            }
        }
    })
    .await;
    assert_eq!(pid().await.as_ref(), Some(&before), "the same session");
    let (mut rows, mut seq) = (0, 0);
    while seq < 40_001 {
        let (more, checkpoint) = next_commit(stream.as_mut()).await.expect("a commit");
        rows += more;
        seq = checkpoint.seq;
    }
    assert_eq!(rows, 40_000);
    stream.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_down_is_transient_and_nothing_comes_twice_or_not() {
    let mut server = Postgres::start(oldest()).await;
    let source = source(&server.url("postgres", "postgres"), "");
    let (tables, origin) = begin(&server, &source).await;
    let mut stream = source
        .start(&origin, &tables, BatchLimits::default())
        .await
        .expect("it starts");
    let (_, first) = next_commit(stream.as_mut()).await.expect("a commit");
    for how in [Stop::Fast, Stop::Immediate] {
        server.restart(how).await;
        let error = loop {
            match timeout(Duration::from_secs(30), stream.next())
                .await
                .expect("it ends")
            {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.is_transient(), "{error}");
        server
            .execute("INSERT INTO t SELECT max(id) + 1, 'more' FROM t")
            .await;
        stream = source
            .start(&first, &tables, BatchLimits::default())
            .await
            .expect("it starts again");
    }
    let (mut rows, mut seq) = (0, first.seq);
    while seq < first.seq + 2 {
        let (more, checkpoint) = next_commit(stream.as_mut()).await.expect("a commit");
        rows += more;
        seq = checkpoint.seq;
    }
    assert_eq!(rows, 2);
    stream.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_given_publication_and_slot_are_used_as_they_are() {
    let server = Postgres::start(oldest()).await;
    let source = source(
        &server.url("postgres", "postgres"),
        r##", "manage_slot": "given", "manage_publication": "given", "slot": "theirs",
           "publication": "Their \"own\"""##,
    );
    server
        .execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .await;
    let found = source.discover().await.expect("tables are found");
    let tables: Vec<_> = found.into_iter().map(|found| found.table).collect();
    let error = source.capture(&tables).await.expect_err("no publication");
    let create = error.hint_text().expect("the statement").to_owned();
    assert_eq!(error.kind(), ErrorKind::Config);
    server.execute(&create).await;
    source.capture(&tables).await.expect("made by hand");
    let error = source.origin().await.expect_err("no slot");
    server
        .execute(error.hint_text().expect("the statement"))
        .await;
    let origin = source.origin().await.expect("made by hand");
    server.execute("INSERT INTO t VALUES (1, 'one')").await;
    let mut stream = source
        .start(&origin, &tables, BatchLimits::default())
        .await
        .expect("it starts");
    assert_eq!(next_commit(stream.as_mut()).await.expect("a commit").0, 1);
    stream.close().await.expect("it closes");
    assert!(source.teardown().await.expect("nothing to do").is_empty());
    assert_eq!(
        server
            .value("SELECT count(*) FROM pg_replication_slots")
            .await,
        Some("1".to_owned())
    );
}
