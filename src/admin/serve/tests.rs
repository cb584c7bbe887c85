//! Server and client over a real socket, with a scripted pipeline behind it.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use cdc_api::Difference;

use super::super::client::Client;
use super::super::control::{Copying, Reached, Verdict, channel};
use super::*;

fn config(folder: &Path) -> Config {
    let text = "name: shop\nsource: {type: postgres, url: x, tables: [a.b]}\n\
                sinks: {warehouse: {type: duckdb, path: x}}\nadmin: {listen: off}\n";
    let mut config = crate::config::load::parse(text, Path::new("cdc.yaml"), &|_| None)
        .expect("a configuration");
    config.data_dir = folder.join("data");
    config
}

/// Three batches; the last one may be an error.
struct Script {
    batches: Vec<Result<RecordBatch>>,
}

#[async_trait]
impl BatchReader for Script {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self.batches.is_empty() {
            true => Ok(None),
            false => self.batches.remove(0).map(Some),
        }
    }
}

fn batch(values: &[i64]) -> RecordBatch {
    let column = Arc::new(Int64Array::from(values.to_vec())) as _;
    RecordBatch::try_from_iter([("n", column)]).expect("a batch")
}

fn script(sql: &str) -> Result<Box<dyn BatchReader>> {
    let batches = match sql {
        "good" => vec![Ok(batch(&[1, 2])), Ok(batch(&[3]))],
        "empty" => vec![Ok(batch(&[]))],
        "nothing" => Vec::new(),
        "first" => vec![Err(Error::data("the first batch fails").hint("mend it"))],
        "midway" => vec![
            Ok(batch(&[1])),
            Err(Error::data("the second batch fails: »ä«").hint("mend it")),
        ],
        _ => return Err(Error::config("no such table").hint("SHOW TABLES")),
    };
    Ok(Box::new(Script { batches }))
}

/// A pipeline that answers everything, and never a wait for sink `slow`.
fn serve(folder: &Path) -> (Control, tokio::task::JoinHandle<()>) {
    let config = config(folder);
    let (control, end) = channel(&config);
    let (status, mut commands) = (end.status, end.commands);
    let telling = tokio::spawn(async move {
        loop {
            status.send_modify(|_| {});
            tokio::task::yield_now().await;
        }
    });
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Snapshot {
                    tables,
                    sink,
                    reply,
                } => {
                    let copies = tables.into_iter().map(|table| Copying {
                        sink: sink.clone().unwrap_or_default(),
                        schema: "public".to_owned(),
                        table,
                    });
                    let _ = reply.send(Ok(copies.collect()));
                }
                Command::Wait { sink, reply } if sink.as_deref() == Some("slow") => {
                    unanswered.push(reply);
                }
                Command::Wait { reply, .. } => {
                    let sink = "warehouse".to_owned();
                    let _ = reply.send(Ok(vec![Reached { sink, seq: 7 }]));
                }
                Command::Query { sql, reply, .. } => {
                    let _ = reply.send(script(&sql));
                }
                Command::Verify { reply, .. } => {
                    let equal = Verdict::compared("warehouse", "a", "b", Difference::default());
                    let _ = reply.send(Ok(vec![equal]));
                }
                Command::Pause { reply } | Command::Resume { reply } => {
                    let _ = reply.send(Ok(()));
                }
                Command::Reload { reply, .. } => {
                    let _ = reply.send(Ok(Vec::new()));
                }
                Command::Stop { reply } => {
                    let _ = reply.send(Ok(()));
                    break;
                }
            }
        }
        telling.abort();
    });
    let serving = control.clone();
    let task = tokio::spawn(async move {
        let server = Server::bind(&config).await.expect("a free socket");
        server.serve(serving).await;
    });
    (control, task)
}

async fn client(folder: &Path) -> Client {
    loop {
        let found = Client::find(&folder.join("data")).await.expect("no error");
        match found {
            Some(client) => return client,
            None => tokio::task::yield_now().await,
        }
    }
}

async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<i64>>> {
    let request = QueryRequest {
        sink: None,
        sql: sql.to_owned(),
    };
    let mut rows = client.query(&request).await?;
    let mut read = Vec::new();
    while let Some(batch) = rows.next().await? {
        let column = batch.columns().first().and_then(|column| {
            column
                .as_any()
                .downcast_ref::<Int64Array>()
                .map(|array| array.values().to_vec())
        });
        read.push(column.unwrap_or_default());
    }
    Ok(read)
}

#[tokio::test]
async fn commands_are_answered_and_errors_arrive_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_control, _task) = serve(folder.path());
    let client = client(folder.path()).await;
    assert_eq!(client.status().await.expect("a status").name, "shop");
    let request = SnapshotRequest {
        tables: vec!["orders".to_owned()],
        sink: Some("warehouse".to_owned()),
    };
    let copies = client.snapshot(&request).await.expect("registered");
    assert_eq!(copies[0].table, "orders");
    assert!(client.verify(&request).await.expect("a verdict")[0].is_equal());
    client.pause().await.expect("paused");
    client.resume().await.expect("resumed");
    // The file that would be read again does not exist.
    let error = client.reload().await.expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = rows(&client, "bad").await.expect_err("a bad statement");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        (error.message(), error.hint_text()),
        ("no such table", Some("SHOW TABLES"))
    );
}

#[tokio::test]
async fn rows_stream_and_a_failure_midway_is_not_taken_for_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_control, _task) = serve(folder.path());
    let client = client(folder.path()).await;
    assert_eq!(
        rows(&client, "good").await.expect("rows"),
        [vec![1, 2], vec![3]]
    );
    assert_eq!(
        rows(&client, "empty").await.expect("columns"),
        [Vec::<i64>::new()]
    );
    assert!(
        rows(&client, "nothing")
            .await
            .expect("no columns")
            .is_empty()
    );
    let error = rows(&client, "first")
        .await
        .expect_err("fails before the head");
    assert_eq!(error.hint_text(), Some("mend it"));
    let error = rows(&client, "midway")
        .await
        .expect_err("fails after the head");
    assert_eq!(error.message(), "the second batch fails: »ä«");
    assert_eq!(error.hint_text(), Some("mend it"));
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_control, _task) = serve(folder.path());
    let client = client(folder.path()).await;
    let wait = |sink: &str| WaitRequest {
        sink: Some(sink.to_owned()),
        timeout_ms: 20,
    };
    assert_eq!(
        client.wait(&wait("warehouse")).await.expect("caught up")[0].seq,
        7
    );
    let error = client.wait(&wait("slow")).await.expect_err("too slow");
    assert!(
        error.is_transient() && error.to_string().contains("within 0.02 s"),
        "{error}"
    );
}

#[tokio::test]
async fn the_socket_goes_with_the_server_and_a_pipeline_that_has_ended_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (control, task) = serve(folder.path());
    let client = client(folder.path()).await;
    client.stop().await.expect("stopping");
    control.ended().await;
    let error = client.pause().await.expect_err("nobody is there");
    assert!(error.to_string().contains("stopping"), "{error}");
    task.abort();
    let _ = task.await;
    assert!(!folder.path().join("data/cdc.sock").exists());
    let error = client.status().await.expect_err("no daemon");
    assert!(error.to_string().contains("no daemon runs"), "{error}");
}
