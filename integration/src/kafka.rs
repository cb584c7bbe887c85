//! A throw-away Kafka broker (KRaft, one node) in a temporary folder on free ports, and a consumer that
//! reads committed records.
//!
//! Invariant: what a consumer here returns is committed and complete up to the end of its topic.

pub mod content;
pub mod debezium;
pub mod registry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::{eventually, free_port, unprivileged};

/// A running broker. Dropped: stopped at once, its folder removed.
#[derive(Debug)]
pub struct Kafka {
    folder: tempfile::TempDir,
    port: u16,
    controller: u16,
    /// What clients are told to connect to.
    advertised: u16,
    child: Option<Child>,
    settings: Vec<(String, String)>,
}

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its key, text.
    pub key: Option<String>,
    /// Its value, text; None of a tombstone.
    pub value: Option<String>,
    /// Key and value as they are.
    pub bytes: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// Its headers.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl Kafka {
    /// A broker that answers.
    pub async fn start() -> Self {
        Self::start_with(&[], None).await
    }

    /// The same with settings of its own, and a port that clients are told to connect to (of a proxy).
    pub async fn start_with(settings: &[(&str, &str)], advertised: Option<u16>) -> Self {
        let mut broker = Self::prepare(settings, advertised);
        broker.boot().await;
        broker
    }

    fn prepare(settings: &[(&str, &str)], advertised: Option<u16>) -> Self {
        let folder = unprivileged::folder("cdc-kafka-");
        let port = free_port();
        let broker = Self {
            folder,
            port,
            controller: free_port(),
            advertised: advertised.unwrap_or(port),
            child: None,
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let file = broker.folder.path().join("server.properties");
        unprivileged::write(&file, &broker.properties());
        let mut format = broker.java();
        format
            .args([
                "kafka.tools.StorageTool",
                "format",
                "-t",
                "cdcCDCcdcCDCcdcCDCcdcA",
                "-c",
            ])
            .arg(&file);
        unprivileged::succeed(&mut format);
        broker
    }

    fn properties(&self) -> String {
        let Self {
            port,
            controller,
            advertised,
            ..
        } = self;
        let mut text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=2\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
             broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500\n\
             auto.create.topics.enable=false\n",
            self.folder.path().join("data").display()
        );
        for (key, value) in &self.settings {
            text.push_str(&format!("{key}={value}\n"));
        }
        text
    }

    fn java(&self) -> Command {
        let jars = jars("kafka-4");
        let mut command = unprivileged::command(&java(), self.folder.path(), "KILL");
        command
            .args([
                "-Xms96m",
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
            ])
            .arg("-Dlog4j2.level=WARN")
            .arg("-cp")
            .arg(format!("{}/*", jars.display()));
        command
    }

    /// Starts the broker again after [`kill`](Self::kill), on the same port.
    pub async fn boot(&mut self) {
        assert!(self.child.is_none(), "the broker is running already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the broker's log");
        let mut command = self.java();
        command
            .arg("kafka.Kafka")
            .arg(self.folder.path().join("server.properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().expect("java starts"));
        let (port, log) = (self.port, self.log_path());
        eventually("Kafka answers", Duration::from_secs(120), || {
            let log = log.clone();
            async move {
                tokio::task::spawn_blocking(move || answers(port))
                    .await
                    .expect("does not panic")
                    .map_err(|error| {
                        format!(
                            "{error}\n{}",
                            std::fs::read_to_string(&log).unwrap_or_default()
                        )
                    })
            }
        })
        .await;
    }

    /// Ends the broker as a crash would, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the broker can be killed");
            child.wait().expect("the broker can be awaited");
        }
    }

    /// `host:port`, past any proxy.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the broker has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

fn answers(port: u16) -> Result<(), String> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", format!("127.0.0.1:{port}"))
        .set("group.id", "probe")
        .set("log_level", "0")
        .create()
        .map_err(|error| error.to_string())?;
    let metadata = client
        .fetch_metadata(None, Duration::from_secs(2))
        .map_err(|error| error.to_string())?;
    match metadata.brokers().len() {
        0 => Err("no broker".to_owned()),
        _ => Ok(()),
    }
}

fn java() -> PathBuf {
    let found = std::env::var_os("JAVA").map(PathBuf::from);
    found.unwrap_or_else(|| PathBuf::from("/usr/bin/java"))
}

/// The folder of a Java program's jars that `integration/setup` has fetched.
#[must_use]
pub fn jars(program: &str) -> PathBuf {
    let jars = unprivileged::servers().join(program).join("jars");
    assert!(
        jars.is_dir(),
        "{} is not there: run integration/setup",
        jars.display()
    );
    jars
}

/// A broker for all tests of this process, which lives as long as it.
pub fn shared() -> String {
    static BROKERS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BROKERS
        .get_or_init(|| {
            let (tell, told) = mpsc::channel();
            // The broker ends with the thread that started it: this one never does.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let broker = runtime.block_on(Kafka::start());
                tell.send(broker.brokers()).expect("somebody waits");
                loop {
                    std::thread::park();
                }
            });
            told.recv().expect("the broker starts")
        })
        .clone()
}

/// Every committed record of a topic, partition by partition; none where there is no such topic.
///
/// # Errors
/// In words, when the broker does not answer within half a minute.
pub fn consume(brokers: &str, topic: &str) -> Result<Option<Vec<Consumed>>, String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "20")
        .set("log_level", "0")
        .create()
        .map_err(|error| error.to_string())?;
    let metadata = consumer
        .fetch_metadata(Some(topic), Duration::from_secs(30))
        .map_err(|error| error.to_string())?;
    let partitions = metadata
        .topics()
        .first()
        .map_or(0, |it| it.partitions().len());
    if partitions == 0 {
        return Ok(None);
    }
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        let partition = i32::try_from(partition).expect("few partitions");
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .map_err(|error| error.to_string())?;
    }
    consumer
        .assign(&assignment)
        .map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    let mut open = partitions;
    let mut heard = Instant::now();
    while open > 0 {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                records.push(Consumed {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message
                        .key()
                        .map(|key| String::from_utf8_lossy(key).into_owned()),
                    value: message
                        .payload()
                        .map(|value| String::from_utf8_lossy(value).into_owned()),
                    bytes: (
                        message.key().map(<[u8]>::to_vec),
                        message.payload().map(<[u8]>::to_vec),
                    ),
                    headers: message.headers().map_or_else(BTreeMap::new, |headers| {
                        headers
                            .iter()
                            .map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec()))
                            .collect()
                    }),
                });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) if heard.elapsed() > Duration::from_secs(30) => {
                return Err(error.to_string());
            }
            None if heard.elapsed() > Duration::from_secs(30) => {
                return Err(format!("{topic}: the broker does not answer"));
            }
            _ => {}
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(Some(records))
}
