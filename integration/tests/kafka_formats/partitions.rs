//! Which partition a key goes to: the one that Java's own producer chooses, so that who moves over keeps the order of
//! a key.

use std::path::Path;
use std::time::Duration;

use cdc_integration::free_port;
use cdc_integration::kafka::debezium::answer;
use cdc_integration::kafka::{Kafka, consume};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_where_javas_producer_sends_them_and_topics_are_made_as_asked() {
    let broker = Kafka::start().await;
    let sql = "CREATE TABLE shop.a (id int PRIMARY KEY, v text); INSERT INTO shop.a SELECT g, 'x' FROM generate_series(1, 150) g; \
         CREATE TABLE shop.bag (v int); ALTER TABLE shop.bag REPLICA IDENTITY FULL; INSERT INTO shop.bag VALUES (1), (2);";
    let mut scene = Scene::new(Wanted::version(18), sql).await;
    scene.daemon.configure(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\nsinks:\n  \
         events:\n    type: kafka\n    brokers: {}\n    topics: {{partitions: 6, replication: 1}}\nadmin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        broker.brokers(),
        free_port()
    ));
    scene.daemon.start_streaming().await;
    scene.execute("UPDATE shop.a SET v = 'y'; INSERT INTO shop.a SELECT g, 'x' FROM generate_series(151, 300) g; INSERT INTO shop.bag VALUES (3)").await;
    scene.daemon.caught_up(Duration::from_secs(120)).await;
    let records = consume(&broker.brokers(), "shop.shop.a")
        .expect("it answers")
        .expect("is there");
    assert_eq!(records.len(), 450);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let keys: Vec<String> = records
        .iter()
        .map(|it| hex(it.key.as_deref().expect("a key").as_bytes()))
        .collect();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_formats/Partition.java");
    let wanted = answer(&program, &(keys.join("\n") + "\n"));
    let wanted: Vec<i32> = wanted
        .lines()
        .map(|it| it.parse().expect("a number"))
        .collect();
    let ours: Vec<i32> = records.iter().map(|it| it.partition).collect();
    assert_eq!(ours, wanted);
    assert!((0..6).all(|partition| ours.contains(&partition)));
    // Without a key all are in one, so that their order stands.
    let bag = consume(&broker.brokers(), "shop.shop.bag")
        .expect("it answers")
        .expect("is there");
    assert!(bag.len() == 3 && bag.iter().all(|it| it.partition == 0));
}
