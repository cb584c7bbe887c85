//! The workload itself: seeds replay the same work, and what it promises holds at the source.

use std::net::SocketAddr;
use std::time::Duration;

use cdc_integration::compare;
use cdc_integration::eventually;
use cdc_integration::mysql::{FLAVORS, Mysql};
use cdc_integration::postgres::{Postgres, connect, text_rows};
use cdc_integration::proxy::{Path, Proxy};
use cdc_integration::server::{Server, Session as _, Stop};
use cdc_integration::workload::{Mix, SCHEMAS, SUM, TOTAL, Workload};

/// Runs a seed and returns what is in the tables then.
async fn worked<S: Server + Sync>(server: S) -> Vec<(String, compare::Content)> {
    let mut workload = Workload::<S>::create(server.address(), 7, Mix::default()).await;
    for _ in 0..4_000 {
        workload.step().await;
    }
    workload.settle().await;
    assert!(workload.committed > 300, "{workload:?}");
    assert!(workload.rolled_back > 10, "{workload:?}");
    let session = server.session().await;
    let sum = session.rows(SUM).await;
    assert_eq!(sum, Ok(vec![vec![Some(TOTAL.to_string())]]));
    let mut contents = Vec::new();
    for table in session.tables(&SCHEMAS).await.expect("the catalog") {
        // What is taken from the clock differs between two runs.
        if table.name == "customer" || table.name == "visit" {
            continue;
        }
        let content = compare::source(&session, &table).await;
        contents.push((table.name.clone(), content.expect("the source")));
    }
    contents
}

fn assert_same(one: &[(String, compare::Content)], other: &[(String, compare::Content)]) {
    assert_eq!(one.len(), other.len());
    for ((name, one), (_, other)) in one.iter().zip(other) {
        assert!(one == other, "{name} differs between two runs of one seed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_replays_the_same_work_and_the_sum_is_constant() {
    let contents = [
        worked(Postgres::start(15).await).await,
        worked(Postgres::start(18).await).await,
    ];
    assert_same(&contents[0], &contents[1]);
    for flavor in FLAVORS {
        let contents = [
            worked(Mysql::start(flavor).await).await,
            worked(Mysql::start(flavor).await).await,
        ];
        assert_same(&contents[0], &contents[1]);
    }
}

async fn survives_restarts<S: Server + Sync>(mut server: S) {
    let mut workload = Workload::<S>::create(server.address(), 3, Mix::default()).await;
    for _ in 0..3 {
        for _ in 0..200 {
            workload.step().await;
        }
        server.restart(Stop::Immediate).await;
    }
    workload.settle().await;
    let sum = server.value(SUM).await;
    assert_eq!(sum, Some(TOTAL.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workload_survives_restarts_of_the_server() {
    survives_restarts(Postgres::start(15).await).await;
    for flavor in FLAVORS {
        survives_restarts(Mysql::start(flavor).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_path_loses_sessions_and_a_stalled_one_keeps_them() {
    let server = Postgres::start(15).await;
    let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let client = connect(&url).await.expect("the open path");
    proxy.set(Path::Stalled);
    let waiting =
        tokio::time::timeout(Duration::from_millis(300), client.simple_query("SELECT 1")).await;
    assert!(waiting.is_err(), "a stalled path lets nothing through");
    proxy.set(Path::Open);
    assert_eq!(
        text_rows(&client, "SELECT 2").await,
        Ok(vec![vec![Some("2".to_owned())]])
    );
    for end in [Proxy::cut, Proxy::reset] {
        let client = connect(&url).await.expect("the open path");
        end(&proxy);
        eventually("the session is lost", Duration::from_secs(5), || {
            let lost = client.is_closed();
            async move {
                if lost {
                    Ok(())
                } else {
                    Err("still open".into())
                }
            }
        })
        .await;
    }
    proxy.set(Path::Refused);
    assert!(connect(&url).await.is_err());
}
