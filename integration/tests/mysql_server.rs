//! The throw-away MySQL and MariaDB servers themselves: what tests rely on when they start, crash and copy them.

use cdc_integration::mysql::{Client, FLAVORS, Flavor, Mysql, Stop, Wanted};
use cdc_integration::server::{Server as _, Session as _};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_to_be_followed_and_keeps_commits_through_a_crash() {
    for flavor in FLAVORS {
        let mut server = Mysql::start(flavor).await;
        for (variable, wanted) in [
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("binlog_row_metadata", "FULL"),
            ("log_bin", "1"),
            ("global.time_zone", "SYSTEM"),
        ] {
            let value = server.value(&format!("SELECT @@{variable}")).await;
            assert_eq!(value.as_deref(), Some(wanted), "{flavor} {variable}");
        }
        server
            .execute("CREATE DATABASE shop; CREATE TABLE shop.t (id int PRIMARY KEY); INSERT INTO shop.t VALUES (1)")
            .await;
        server.restart(Stop::Immediate).await;
        server.execute("INSERT INTO shop.t VALUES (2)").await;
        server.restart(Stop::Fast).await;
        assert_eq!(
            server.value("SELECT count(*) FROM shop.t").await.as_deref(),
            Some("2")
        );
        // By TCP, as the daemon comes.
        let options = mysql_async::Opts::from_url(&server.url("root", "shop")).expect("a URL");
        let client = Client::open(options).await.expect("TCP is open");
        let rows = client.rows("SELECT id FROM t ORDER BY id").await;
        assert_eq!(
            rows,
            Ok(vec![vec![Some("1".into())], vec![Some("2".into())]])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_have_an_identity_of_their_own_and_tls_where_wanted() {
    let (one, other) = (
        Mysql::start(Flavor::MySql).await,
        Mysql::start(Flavor::MySql).await,
    );
    let identity = "SELECT @@server_uuid";
    assert_ne!(one.value(identity).await, other.value(identity).await);
    for flavor in FLAVORS {
        let server = Wanted::flavor(flavor).tls().start().await;
        let tls = server.value("SHOW GLOBAL VARIABLES LIKE 'ssl_cert'").await;
        assert!(tls.is_some(), "{flavor}");
        assert!(server.certificate().exists());
        assert!(
            !server.log().contains("Failed to set up SSL"),
            "{}",
            server.log()
        );
    }
}
