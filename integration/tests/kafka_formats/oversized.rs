//! Records that are larger than one may be.

use std::time::Duration;

use cdc_integration::eventually;
use cdc_integration::free_port;
use cdc_integration::kafka::{Kafka, consume};
use cdc_integration::postgres::Wanted;
use cdc_integration::scene::Scene;

const LIMIT: Duration = Duration::from_secs(120);

const SCHEMA: &str = "CREATE TABLE shop.a (id int PRIMARY KEY, v text); CREATE TABLE shop.b (id int PRIMARY KEY); \
     INSERT INTO shop.a VALUES (1, 'x'), (2, repeat('x', 50000));";

async fn scene(broker: &Kafka, more: &str) -> Scene {
    let scene = Scene::new(Wanted::version(18), SCHEMA).await;
    scene.daemon.configure(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\nsinks:\n  \
         events:\n    type: kafka\n    brokers: {}\n    topics:\n      config: {{max.message.bytes: 20000}}\n{more}\
         admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        broker.brokers(),
        free_port()
    ));
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn they_go_among_the_dead_letters_and_their_table_goes_on() {
    let broker = Kafka::start().await;
    let more = "    on_oversized: dead_letter\n    properties: {batch.size: 10000}\n";
    let mut scene = scene(&broker, more).await;
    scene.daemon.start_streaming().await;
    for statement in [
        "INSERT INTO shop.a VALUES (3, repeat('y', 19000))",
        "INSERT INTO shop.a VALUES (4, repeat('z', 3000000)), (5, 'small'); INSERT INTO shop.b VALUES (1)",
        "UPDATE shop.a SET v = 'small' WHERE id = 2",
    ] {
        scene.execute(statement).await;
    }
    scene.daemon.caught_up(LIMIT).await;
    let records = |topic: &str| {
        consume(&broker.brokers(), topic)
            .expect("it answers")
            .expect("is there")
    };
    let keys = |topic: &str| {
        records(topic)
            .into_iter()
            .map(|it| it.key.expect("a key"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys("shop.shop.a"),
        ["{\"id\":1}", "{\"id\":3}", "{\"id\":5}", "{\"id\":2}"]
    );
    assert_eq!(keys("shop.dead_letter"), ["{\"id\":2}", "{\"id\":4}"]);
    assert_eq!(records("shop.shop.b").len(), 1);
    for (record, least) in records("shop.dead_letter").iter().zip([50_000, 3_000_000]) {
        let text = |name: &str| {
            String::from_utf8(record.headers[&format!("cdc.dead_letter.{name}")].clone())
                .expect("text")
        };
        assert_eq!(
            (
                text("reason").as_str(),
                text("topic").as_str(),
                text("table").as_str()
            ),
            ("record_too_large", "shop.shop.a", "shop.a")
        );
        assert!(text("bytes").parse::<u64>().expect("a number") > least);
        assert_eq!(text("limit"), "20000");
        assert_eq!(record.value, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_a_topic_would_not_take_are_told_with_the_remedy() {
    let broker = Kafka::start().await;
    let mut scene = scene(&broker, "    on_oversized: dead_letter\n").await;
    scene.daemon.start();
    let commands = scene.daemon.commands();
    eventually("its table stops", LIMIT, || async {
        let status = commands.status()?;
        let table = status.sinks[0]
            .tables
            .iter()
            .find(|it| it.table == "a")
            .ok_or("no table")?;
        let said = table.error.to_string();
        match (table.state.as_str(), said.contains("batch.size: 20000")) {
            ("failed", true) => Ok(()),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_they_stop_their_table_with_the_remedy_and_the_others_go_on() {
    let broker = Kafka::start().await;
    let mut scene = scene(
        &broker,
        "    properties: {batch.size: 10000}\n    compression: none\n",
    )
    .await;
    scene.daemon.start();
    let commands = scene.daemon.commands();
    scene.execute("INSERT INTO shop.b VALUES (1)").await;
    eventually("a stops and b goes on", LIMIT, || async {
        let status = commands.status()?;
        let table = |name: &str| status.sinks[0].tables.iter().find(|it| it.table == name);
        let (a, b) = (table("a").ok_or("no a")?, table("b").ok_or("no b")?);
        let records = consume(&broker.brokers(), "shop.shop.b")?
            .unwrap_or_default()
            .len();
        match (a.state.as_str(), b.state.as_str(), records) {
            ("failed", "streaming", 1)
                if a.error.to_string().contains("on_oversized: dead_letter") =>
            {
                Ok(())
            }
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
}
