//! What is wrong is said with its remedy, and nothing is lost once it is mended.

use std::time::Duration;

use cdc_integration::daemon::{Daemon, PASSWORD, standard_config};
use cdc_integration::postgres::{Stop, Wanted};
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::Server as _;
use cdc_integration::small_disk::SmallDisk;

const TABLE: &str = "CREATE TABLE shop.t (id int PRIMARY KEY, v text); INSERT INTO shop.t SELECT i, 'Zaphod' FROM generate_series(1, 1000) i;";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_not_shown() {
    let mut scene = Scene::new(
        Wanted::version(15).hba("host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256"),
        &format!("{TABLE} CREATE ROLE cdc LOGIN SUPERUSER REPLICATION PASSWORD '{PASSWORD}';"),
    )
    .await;
    scene.configure("cdc:${DB_PASSWORD}", "");
    scene.assert_password_matters().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_logical_wal_is_refused_with_the_setting() {
    let mut scene = Scene::new(Wanted::version(15).set("wal_level", "replica"), TABLE).await;
    let said = scene.daemon.refused(&["check"]);
    assert!(
        said.contains("wal_level") && said.contains("logical"),
        "{said}"
    );
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(
        said.contains("wal_level") && said.contains("logical"),
        "{said}"
    );
    scene.server.set("wal_level", "logical");
    scene.server.restart(Stop::Fast).await;
    if scene.daemon.ended().is_some() {
        scene.daemon.start();
    } else {
        scene.daemon.kill();
        scene.daemon.start();
    }
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privileges_are_named_with_the_statements_that_grant_them() {
    let mut scene = Scene::new(Wanted::version(15), &format!("{TABLE} CREATE ROLE cdc LOGIN; CREATE PUBLICATION given FOR TABLE shop.t WITH (publish_via_partition_root = true);")).await;
    let url = scene.server.url("cdc", "postgres");
    let config = standard_config(&url, r#"["shop.*"]"#).replace(
        "  tables:",
        "  publication: given\n  manage_publication: given\n  tables:",
    );
    scene.daemon.configure(&config);
    let said = scene.daemon.refused(&["check"]).to_uppercase();
    assert!(said.contains("REPLICATION"), "{said}");
    scene.execute("ALTER ROLE cdc REPLICATION").await;
    let said = scene.daemon.refused(&["check"]).to_uppercase();
    assert!(said.contains("GRANT"), "{said}");
    scene
        .execute("GRANT USAGE ON SCHEMA shop TO cdc; GRANT SELECT ON shop.t TO cdc")
        .await;
    scene
        .daemon
        .succeed(&["check"])
        .expect("nothing is missing now");
    scene.daemon.start_streaming().await;
    scene
        .execute("UPDATE shop.t SET v = 'x' WHERE id = 1")
        .await;
    scene.assert_equal().await;
}

/// Published without an identity, its updates would fail in the application.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_an_identity_stops_alone_and_the_application_goes_on() {
    let mut scene = Scene::new(
        Wanted::version(15),
        &format!("{TABLE} CREATE TABLE shop.bare (v int); INSERT INTO shop.bare VALUES (1), (1);"),
    )
    .await;
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(
        said.contains("bare") && said.contains("REPLICA IDENTITY"),
        "{said}"
    );
    scene.execute("UPDATE shop.bare SET v = 2; UPDATE shop.t SET v = 'x' WHERE id = 1; DELETE FROM shop.bare WHERE v = 7").await;
    scene
        .reads("SELECT v AS c0 FROM shop.t WHERE id = 1", "x")
        .await;
    scene
        .execute("ALTER TABLE shop.bare REPLICA IDENTITY FULL")
        .await;
    scene.daemon.succeed(&["reload"]).expect("reload");
    scene
        .daemon
        .succeed(&["snapshot", "--detach", "shop.bare"])
        .expect("the table is taken now");
    scene.daemon.streaming().await;
    scene.execute("UPDATE shop.bare SET v = 3").await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_read_is_named_with_file_and_line() {
    let daemon = Daemon::with_config("name: shop\n  source: [\n");
    let said = daemon.refused(&["check"]);
    assert!(said.contains("cdc.yaml"), "{said}");
    daemon.configure(
        &standard_config("postgres://u@127.0.0.1:1/db", r#"["shop.*"]"#)
            .replace("    path:", "    pth:"),
    );
    for command in ["check", "run"] {
        let said = daemon.refused(&[command]);
        assert!(
            said.contains("pth") && said.contains("path"),
            "suggests the key: {said}"
        );
        assert!(said.contains("cdc.yaml:"), "names the line: {said}");
    }
    std::fs::remove_file(daemon.path("cdc.yaml")).expect("the file is there");
    let said = daemon.refused(&["check"]);
    assert!(said.contains("cdc.yaml"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_a_daemon_say_that_none_runs() {
    let daemon = Daemon::new("postgres://postgres@127.0.0.1:1/postgres", r#"["shop.*"]"#);
    for command in [
        &["status"][..],
        &["wait"],
        &["query", "SELECT 1"],
        &["pause"],
    ] {
        let said = daemon.refused(command);
        assert!(said.contains("cdc run"), "says what to do: {said}");
    }
}

/// The lake is out of order, so that it needs the journal; one byte in it is flipped while no daemon runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_byte_in_the_journal_is_noticed_and_nothing_is_lost() {
    let mut scene = Scene::streaming(15, TABLE).await;
    scene.assert_equal().await;
    let (lake, aside) = (scene.daemon.path("lake"), scene.daemon.path("lake.aside"));
    std::fs::rename(&lake, &aside).expect("the lake can be moved away");
    std::fs::write(&lake, "a file in the way").expect("a file");
    for n in 0..20 {
        scene.execute(&format!("INSERT INTO shop.t SELECT {n} * 1000 + 10000 + i, 'Zaphod' || md5(i::text) || md5({n} || i::text) FROM generate_series(1, 1000) i")).await;
    }
    let journal = scene.daemon.path("data").join("journal");
    let size = || {
        let entries = std::fs::read_dir(&journal).expect("the journal");
        entries
            .filter_map(|e| e.ok()?.metadata().ok())
            .map(|m| m.len())
            .sum::<u64>()
    };
    cdc_integration::eventually("the journal holds the changes", LIMIT, || async {
        if size() > 200_000 {
            Ok(())
        } else {
            Err(format!("{} bytes", size()))
        }
    })
    .await;
    // Ended in order, so that all of it is durable: a byte that is not could as well be the torn end of a crash.
    scene.daemon.terminate().await;
    std::fs::remove_file(&lake).expect("the file in the way");
    std::fs::rename(&aside, &lake).expect("the lake is back");
    let mut files: Vec<_> = std::fs::read_dir(&journal)
        .expect("the journal")
        .filter_map(|e| Some(e.ok()?.path()))
        .collect();
    files.retain(|path| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.len() > 50_000)
    });
    files.sort();
    let file = files.first().expect("a segment with changes");
    let mut bytes = std::fs::read(file).expect("the segment");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x40;
    std::fs::write(file, bytes).expect("the segment can be written");
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await;
    assert!(said.contains("journal"), "says what is corrupt: {said}");
    assert!(
        said.contains("hint")
            || said.contains("remove")
            || said.contains("delete")
            || said.contains("cdc snapshot"),
        "says what to do: {said}"
    );
    // The source still has everything: acknowledged is what the sinks have.
    scene.daemon.kill();
    std::fs::remove_dir_all(&journal).expect("nobody uses it now");
    scene.daemon.start_streaming().await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_clearly_and_goes_on_when_there_is_room() {
    let mut scene = Scene::new(Wanted::version(15), TABLE).await;
    let data = scene.daemon.path("data");
    std::fs::create_dir(&data).expect("the data directory");
    let disk = SmallDisk::mount(&data, 24);
    scene.configure("postgres", "journal:\n  compression: none\n");
    if disk.is_none() {
        scene.daemon.limit_file_size(24 << 20);
    }
    scene.daemon.start_streaming().await;
    scene.execute("INSERT INTO shop.t SELECT i, repeat('Zaphod ' || i, 30) FROM generate_series(100000, 400000) i").await;
    let said = scene.daemon.refusal(LIMIT).await.to_lowercase();
    assert!(
        said.contains("no space") || said.contains("full") || said.contains("too large"),
        "says what is wrong: {said}"
    );
    match &disk {
        Some(disk) => disk.resize(2_000),
        None => scene.daemon.limit_file_size(u64::MAX),
    }
    if scene.daemon.ended().is_none() && disk.is_none() {
        scene.daemon.kill();
    }
    if scene.daemon.pid().is_none() {
        scene.daemon.start();
    }
    scene.daemon.streaming().await;
    scene.assert_equal().await;
    scene.daemon.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warehouse_file_locked_by_another_is_waited_for_while_the_lake_goes_on() {
    let mut scene = Scene::streaming(15, TABLE).await;
    scene.assert_equal().await;
    assert!(scene.daemon.terminate().await.success());
    let other = duckdb::Connection::open(scene.daemon.path("warehouse.duckdb"))
        .expect("nobody else has it open");
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await.to_lowercase();
    assert!(
        said.contains("lock") || said.contains("another process") || said.contains("open"),
        "says what is wrong: {said}"
    );
    scene
        .execute("UPDATE shop.t SET v = 'meanwhile' WHERE id < 10")
        .await;
    let commands = scene.daemon.commands();
    cdc_integration::eventually("the lake goes on", LIMIT, || {
        let reached = commands.succeed(&["wait", "--sink", "lake", "--timeout", "20s"]);
        async move { reached.map(drop) }
    })
    .await;
    drop(other);
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut scene = Scene::new(Wanted::version(18), TABLE).await;
    scene.server.stop(Stop::Fast);
    scene.daemon.start();
    let said = scene.daemon.refusal(LIMIT).await.to_lowercase();
    assert!(said.contains("connect"), "says what is wrong: {said}");
    assert!(
        scene.daemon.ended().is_none(),
        "a server that restarts is no reason to end"
    );
    scene.server.boot().await;
    scene.daemon.streaming().await;
    scene.assert_equal().await;
}

/// TLS as PostgreSQL's own clients do it.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_as_far_as_sslmode_says() {
    let mut scene = Scene::new(
        Wanted::version(15)
            .tls()
            .hba("hostssl all all 127.0.0.1/32 scram-sha-256"),
        &format!("{TABLE} CREATE ROLE cdc LOGIN SUPERUSER PASSWORD '{PASSWORD}';"),
    )
    .await;
    let port = scene.server.port();
    let url = |parameters: &str| {
        format!("postgres://cdc:{PASSWORD}@127.0.0.1:{port}/postgres?{parameters}")
    };
    let with = |parameters: &str| {
        scene
            .daemon
            .configure(&standard_config(&url(parameters), r#"["shop.*"]"#));
    };
    with("sslmode=disable");
    let said = scene.daemon.refused(&["check"]);
    assert!(!said.contains(PASSWORD), "the password is shown: {said}");
    with("sslmode=require");
    scene.daemon.succeed(&["check"]).expect("nothing verified");
    with("sslmode=verify-full");
    let said = scene.daemon.refused(&["check"]);
    assert!(said.contains("sslrootcert"), "{said}");
    let root = scene.server.certificate();
    with(&format!(
        "sslmode=verify-full&sslrootcert={}",
        root.display()
    ));
    scene.daemon.succeed(&["check"]).expect("verified");
    scene.daemon.start_streaming().await;
    scene.assert_equal().await;
    tokio::time::timeout(Duration::from_secs(60), scene.daemon.terminate())
        .await
        .expect("it ends");
}
