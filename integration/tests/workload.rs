//! The workload itself: seeds replay the same work, and what it promises holds at the source.

use std::net::SocketAddr;
use std::time::Duration;

use cdc_integration::compare::{self, text_rows};
use cdc_integration::eventually;
use cdc_integration::postgres::{Postgres, Stop, connect};
use cdc_integration::proxy::{Path, Proxy};
use cdc_integration::workload::{Mix, SCHEMAS, SUM, TOTAL, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_replays_the_same_work_and_the_sum_is_constant() {
    let mut contents = Vec::new();
    for version in [15, 18] {
        let server = Postgres::start(version).await;
        let url = server.socket_url("postgres", "postgres");
        let mut workload = Workload::create(
            &url,
            7,
            Mix {
                ddl: true,
                big: true,
                truncate: true,
            },
        )
        .await;
        for _ in 0..4_000 {
            workload.step().await;
        }
        workload.settle().await;
        assert!(workload.committed > 300, "{workload:?}");
        assert!(workload.rolled_back > 10, "{workload:?}");
        assert_eq!(server.value(SUM).await, Some(TOTAL.to_string()));
        let client = server.client().await;
        let mut content = Vec::new();
        for table in compare::tables(&client, &SCHEMAS)
            .await
            .expect("the catalog")
        {
            // What is taken from the clock differs between two runs.
            if table.name == "customer" || table.name == "visit" {
                continue;
            }
            content.push((
                table.name.clone(),
                compare::source(&client, &table).await.expect("the source"),
            ));
        }
        contents.push(content);
    }
    for ((name, first), (_, second)) in contents[0].iter().zip(&contents[1]) {
        assert!(
            first == second,
            "{name} differs between two runs of one seed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workload_survives_restarts_of_the_server() {
    let mut server = Postgres::start(15).await;
    let mut workload = Workload::create(
        &server.socket_url("postgres", "postgres"),
        3,
        Mix::default(),
    )
    .await;
    for _ in 0..3 {
        for _ in 0..200 {
            workload.step().await;
        }
        server.restart(Stop::Immediate).await;
    }
    workload.settle().await;
    assert_eq!(server.value(SUM).await, Some(TOTAL.to_string()));
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
