//! How the Kafka sink reaches its brokers: TLS, passwords and tokens, and paths that are cut, slowed and reset.

use std::path::Path as File;
use std::time::Duration;

use cdc_api::{ErrorKind, Finding, Severity, Sink};
use cdc_integration::free_port;
use cdc_integration::kafka::secured::{GUEST, PASSWORD, Secured, USER};
use cdc_integration::kafka::tokens::{self, CLIENT};
use cdc_integration::kafka::{self, Kafka as Broker};
use cdc_integration::postgres::Wanted;
use cdc_integration::proxy::{Path, Proxy};
use cdc_integration::scene::{LIMIT, Scene};
use cdc_integration::server::Server;
use cdc_kafka::{Connector, Kafka, KafkaConfig};

fn sink(brokers: String, properties: &[(&str, &str)]) -> Kafka {
    let mut config = KafkaConfig::new(brokers);
    for (key, value) in properties {
        config
            .properties
            .insert((*key).to_owned(), (*value).to_owned());
    }
    Kafka::new(config, "shop", "events", Connector::Postgresql, "shop").expect("a sink")
}

/// It is opened, which makes topics, writes in a transaction and reads back; and the preflight is content.
async fn works(what: &str, mut sink: Kafka) {
    if let Err(error) = sink.open().await {
        panic!("{what}: {error} ({:?})", error.hint_text());
    }
    let findings = sink.check().await.expect("is made");
    assert!(
        findings.iter().all(|it| it.severity == Severity::Ok),
        "{what}: {findings:?}"
    );
}

/// It is refused at once, and the preflight says so with a remedy that holds `remedy`; no secret is told.
async fn refused(what: &str, mut sink: Kafka, kind: ErrorKind, remedy: &str) {
    let error = sink.open().await.expect_err(what);
    assert_eq!(error.kind(), kind, "{what}: {error}");
    assert!(
        !format!("{error:?}").contains(PASSWORD),
        "{what}: {error:?}"
    );
    let hint = error.hint_text().unwrap_or_default();
    assert!(hint.contains(remedy), "{what}: {error}: {hint}");
    let findings = sink.check().await.expect("is made");
    let told = |it: &&Finding| it.severity == Severity::Error;
    let worst = findings.iter().find(told).expect(what);
    let said = worst.remedy.clone().unwrap_or_default();
    assert!(said.contains(remedy), "{what}: {worst:?}");
}

fn text(path: &File) -> &str {
    path.to_str().expect("is plain")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_passwords_and_tokens_are_asked_for_and_checked() {
    let secured = Secured::start().await;
    let (own, foreign) = (secured.authority(), secured.foreign_authority());
    let tls = |authority| {
        [
            ("security.protocol", "ssl"),
            ("ssl.ca.location", text(authority)),
        ]
    };
    let at = |host: &str, port: u16| format!("{host}:{port}");
    works("TLS", sink(at("localhost", secured.tls), &tls(&own))).await;
    let wrong = sink(at("localhost", secured.tls), &tls(&foreign));
    refused(
        "a foreign authority",
        wrong,
        ErrorKind::Auth,
        "ssl.ca.location",
    )
    .await;
    let wrong = sink(at("127.0.0.2", secured.tls), &tls(&own));
    refused(
        "a name that is another's",
        wrong,
        ErrorKind::Auth,
        "advertised.listeners",
    )
    .await;
    let wrong = sink(at("localhost", secured.sasl), &tls(&own));
    refused(
        "TLS where none is spoken",
        wrong,
        ErrorKind::Config,
        "security.protocol",
    )
    .await;
    refused(
        "no TLS where it is spoken",
        sink(at("localhost", secured.tls), &[]),
        ErrorKind::Config,
        "security.protocol",
    )
    .await;
    refused(
        "nobody where one is asked for",
        sink(at("127.0.0.1", secured.sasl), &[]),
        ErrorKind::Config,
        "security.protocol",
    )
    .await;

    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let user = |password| {
            [
                ("security.protocol", "sasl_plaintext"),
                ("sasl.mechanism", mechanism),
                ("sasl.username", USER),
                ("sasl.password", password),
            ]
        };
        let right = sink(at("127.0.0.1", secured.sasl), &user(PASSWORD));
        works(mechanism, right).await;
        let wrong = sink(at("127.0.0.1", secured.sasl), &user("wrong"));
        refused(mechanism, wrong, ErrorKind::Auth, "sasl.password").await;
    }
    let both = [
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", text(&own)),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", USER),
        ("sasl.password", PASSWORD),
    ];
    works("TLS and SCRAM", sink(at("localhost", secured.both), &both)).await;
    let token = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.oauthbearer.config", "principal=alice"),
    ];
    works("a token", sink(at("127.0.0.1", secured.sasl), &token)).await;
    let expired = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        (
            "sasl.oauthbearer.config",
            "principalClaimName=who principal=alice",
        ),
    ];
    let wrong = sink(at("127.0.0.1", secured.sasl), &expired);
    refused("a token of nobody", wrong, ErrorKind::Auth, "sasl.").await;

    let endpoint = tokens::endpoint();
    let oidc = |secret| {
        [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.client.id", CLIENT),
            ("sasl.oauthbearer.client.secret", secret),
            ("sasl.oauthbearer.token.endpoint.url", endpoint.as_str()),
        ]
    };
    let right = sink(at("127.0.0.1", secured.sasl), &oidc(PASSWORD));
    works("a token that is asked for", right).await;
    let wrong = sink(at("127.0.0.1", secured.sasl), &oidc("wrong"));
    refused(
        "no token",
        wrong,
        ErrorKind::Auth,
        "sasl.oauthbearer.client.secret",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_user_may_not_is_told_with_the_command_that_allows_it() {
    let secured = Secured::start().await;
    let guest = || {
        let settings = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", GUEST),
            ("sasl.password", PASSWORD),
        ];
        sink(format!("127.0.0.1:{}", secured.sasl), &settings)
    };
    let topic = "--operation All --topic __cdc.shop.events ";
    refused("no topic", guest(), ErrorKind::Auth, topic).await;
    secured.allow("topic", "__cdc.shop.events");
    let error = guest().open().await.expect_err("has no transactional id");
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    let hint = error.hint_text().unwrap_or_default();
    let id = "--operation All --transactional-id cdc.shop.events ";
    assert!(hint.contains(id), "{error}: {hint}");
    secured.allow("transactional-id", "cdc.shop.events");
    works("both are allowed", guest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_cut_slowed_and_reset_loses_nothing_and_repeats_nothing() {
    let (broker, proxy) = Broker::behind_proxy().await;
    let mut scene = Scene::new(
        Wanted::version(18),
        "CREATE TABLE shop.t (id int PRIMARY KEY, v text); CREATE TABLE shop.u (id int PRIMARY KEY, n int);",
    )
    .await;
    scene.daemon.configure(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\n\
         sinks:\n{}admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        kafka::content::section(&format!("127.0.0.1:{}", proxy.port())),
        free_port()
    ));
    scene.daemon.start_streaming().await;
    type Fault = fn(&Proxy);
    let faults: [(&str, Fault); 5] = [
        ("cut", |proxy| proxy.cut()),
        ("reset", |proxy| proxy.reset()),
        ("slow", |proxy| proxy.set(Path::Slow(20_000))),
        ("stalled", |proxy| proxy.set(Path::Stalled)),
        ("refused", |proxy| {
            proxy.set(Path::Refused);
            proxy.cut();
        }),
    ];
    let mut id = 0;
    for (name, fault) in faults {
        for step in 0..40 {
            if step == 10 {
                fault(&proxy);
            }
            id += 1;
            scene
                .execute(&format!(
                    "BEGIN; INSERT INTO shop.t VALUES ({id}, repeat('x', 1000)); \
                     INSERT INTO shop.u VALUES ({id}, {step}); UPDATE shop.t SET v = 'y' WHERE id % 7 = {step} % 7; \
                     DELETE FROM shop.u WHERE id = {id} - 5; COMMIT"
                ))
                .await;
        }
        proxy.set(Path::Open);
        scene.daemon.caught_up(LIMIT).await;
        let session = scene.server.session().await;
        if let Err(what) = kafka::content::equal(&session, &broker.brokers(), &["shop"]).await {
            panic!("{name}: {what}\n{}", scene.daemon.log_end());
        }
    }
    let carried = proxy.accepted();
    assert!(
        carried > 10,
        "the daemon came again through the proxy: {carried}"
    );
    scene.daemon.assert_log_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_gone_are_told_and_found_again() {
    let mut broker = Broker::start().await;
    let mut scene = Scene::new(
        Wanted::version(18),
        "CREATE TABLE shop.t (id int PRIMARY KEY, v text)",
    )
    .await;
    scene.daemon.configure(&format!(
        "name: shop\ndata_dir: ./data\nsource:\n  type: postgres\n  url: {}\n  tables: [\"shop.*\"]\n\
         sinks:\n{}admin:\n  listen: 127.0.0.1:{}\n",
        scene.server.url("postgres", "postgres"),
        kafka::content::section(&broker.brokers()),
        free_port()
    ));
    scene.daemon.start_streaming().await;
    broker.kill();
    scene.execute("INSERT INTO shop.t VALUES (1, 'a')").await;
    scene
        .daemon
        .until("the loss is told", Duration::from_secs(60), |status| {
            let error = status.sinks[0].error.to_string();
            match error.contains("no broker can be reached") {
                true => Ok(()),
                false => Err(error),
            }
        })
        .await;
    broker.boot().await;
    scene.daemon.caught_up(LIMIT).await;
    let session = scene.server.session().await;
    if let Err(what) = kafka::content::equal(&session, &broker.brokers(), &["shop"]).await {
        panic!("{what}\n{}", scene.daemon.log_end());
    }
}
