//! A throw-away Kafka broker (KRaft, one node) in a temporary folder on free ports, and a consumer that
//! reads committed records.
//!
//! Invariant: what a consumer here returns is committed and complete up to the end of its topic.

pub mod connect;
pub mod content;
pub mod debezium;
pub mod registry;
pub mod secured;
pub mod tokens;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::proxy::Proxy;
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
    /// Its heap, as Java's arguments have it.
    heap: &'static [&'static str],
}

/// Enough for tests, which start many brokers.
const SMALL: &[&str] = &["-Xms96m", "-Xmx256m"];

/// With the small one the collector stops the broker for 15 to 30 ms once a second under load.
const LARGE: &[&str] = &["-Xms1g", "-Xmx1g", "-Xmn700m"];

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
        let port = free_port();
        let mut broker = Self::prepare(port, port);
        broker.format(&[]);
        broker.boot().await;
        broker
    }

    /// A broker whose collector's pauses are not what is measured. It takes longer for many records, whose memory is
    /// never twice the same.
    pub async fn start_large() -> Self {
        let port = free_port();
        let mut broker = Self::prepare(port, port);
        broker.heap = LARGE;
        broker.format(&[]);
        broker.boot().await;
        broker
    }

    /// A broker that clients reach through a proxy alone.
    pub async fn behind_proxy() -> (Self, Proxy) {
        let port = free_port();
        let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let mut broker = Self::prepare(port, proxy.port());
        broker.format(&[]);
        broker.boot().await;
        (broker, proxy)
    }

    fn prepare(port: u16, advertised: u16) -> Self {
        Self {
            folder: unprivileged::folder("cdc-kafka-"),
            port,
            controller: free_port(),
            advertised,
            child: None,
            settings: Vec::new(),
            heap: SMALL,
        }
    }

    /// Writes its settings, and formats its storage with more arguments.
    fn format(&self, arguments: &[&str]) {
        let broker = self;
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
            .arg(&file)
            .args(arguments);
        unprivileged::succeed(&mut format);
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
             broker.session.timeout.ms=6000\nbroker.heartbeat.interval.ms=1000\n\
             initial.broker.registration.timeout.ms=600000\n\
             auto.create.topics.enable=false\nlog.cleaner.dedupe.buffer.size=4194304\n",
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
            .args(self.heap)
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
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
        eventually("Kafka answers", Duration::from_secs(600), || {
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

/// Puts records (topic, key, value) into topics of one partition, which are made where they are not there.
///
/// # Panics
/// When the broker does not take them within half a minute.
pub fn produce(brokers: &str, records: &[(String, Option<&str>, Option<&str>)]) {
    let limit = Duration::from_secs(30);
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", brokers)
        .set("log_level", "0");
    let admin: AdminClient<DefaultClientContext> = settings.create().expect("a client");
    let topics: std::collections::BTreeSet<_> = records.iter().map(|it| it.0.as_str()).collect();
    let wanted: Vec<_> = topics
        .into_iter()
        .map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1)))
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(limit));
    let made = admin.create_topics(&wanted, &options);
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(made))
        .expect("the broker answers");
    let producer: ThreadedProducer<DefaultProducerContext> = settings.create().expect("a producer");
    for (topic, key, value) in records {
        let mut record = BaseRecord::<str, str>::to(topic).partition(0);
        record.key = *key;
        record.payload = *value;
        producer.send(record).expect("is queued");
    }
    producer.flush(limit).expect("is taken");
}

/// The consumers that read a broker's topics: of committed records, and of all. Kept, since a new one takes long until
/// it can ask.
struct Consumers {
    committed: BaseConsumer,
    all: BaseConsumer,
}

impl Consumers {
    fn of(brokers: &str) -> Result<Self, String> {
        let consumer = |isolation| {
            ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .set("group.id", "reader")
                .set("enable.auto.commit", "false")
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "earliest")
                .set("isolation.level", isolation)
                .set("fetch.wait.max.ms", "20")
                .set("log_level", "0")
                .create()
                .map_err(|error: KafkaError| error.to_string())
        };
        Ok(Self {
            committed: consumer("read_committed")?,
            all: consumer("read_uncommitted")?,
        })
    }
}

/// Every committed record of a topic, partition by partition; none where there is no such topic.
///
/// # Errors
/// In words, when the broker does not answer within half a minute.
pub fn consume(brokers: &str, topic: &str) -> Result<Option<Vec<Consumed>>, String> {
    static IDLE: Mutex<BTreeMap<String, Vec<Consumers>>> = Mutex::new(BTreeMap::new());
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let known = idle().get_mut(brokers).and_then(Vec::pop);
    let consumers = known.map_or_else(|| Consumers::of(brokers), Ok)?;
    let records = consume_with(&consumers, topic)?;
    idle()
        .entry(brokers.to_owned())
        .or_default()
        .push(consumers);
    Ok(records)
}

fn consume_with(consumers: &Consumers, topic: &str) -> Result<Option<Vec<Consumed>>, String> {
    let consumer = &consumers.committed;
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
            // A number: the library asks for "the beginning" only half a second after it has heard of a topic.
            .add_partition_offset(topic, partition, Offset::Offset(0))
            .map_err(|error| error.to_string())?;
    }
    settle(consumers, topic, partitions);
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
    consumer.unassign().map_err(|error| error.to_string())?;
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(Some(records))
}

/// A commit is answered before its end is marked in every partition, and until then nobody sees it: waits for a
/// moment until nothing in the topic is undecided. Of a transaction that stays open nothing is to be seen.
fn settle(consumers: &Consumers, topic: &str, partitions: usize) {
    let limit = Duration::from_secs(5);
    let Consumers { committed, all } = consumers;
    let start = Instant::now();
    for partition in 0..i32::try_from(partitions).unwrap_or(0) {
        let end = |of: &BaseConsumer| of.fetch_watermarks(topic, partition, limit).map(|it| it.1);
        while end(committed).ok() != end(all).ok() && start.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
