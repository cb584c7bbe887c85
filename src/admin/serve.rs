//! HTTP over both listeners.
//!
//! | TCP | |
//! |---|---|
//! | `GET /healthz` | 200 while the daemon works at all, 503 when it has given up |
//! | `GET /readyz` | 200 when source, sinks and tables all follow, else 503 and what does not |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /api/status` | the [`Status`] |
//!
//! | Unix socket | request body (JSON) | answer |
//! |---|---|---|
//! | `GET /status` | | the status |
//! | `POST /snapshot` | [`SnapshotRequest`] | the copies that were registered |
//! | `POST /wait` | [`WaitRequest`] | how far the sinks are |
//! | `POST /query` | [`QueryRequest`] | an Arrow IPC stream; where the query fails midway it ends with a trailer `cdc-problem` |
//! | `POST /verify` | [`SnapshotRequest`] | a verdict per sink and table |
//! | `POST /pause`, `/resume`, `/stop` | | `null` |
//! | `POST /reload` | | what has changed |
//!
//! Errors are a [`Problem`] with a status of 4xx or 5xx. The TCP side has no route that reads a
//! row or changes anything.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use cdc_api::{BatchReader, Error, ErrorKind, Result};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::control::{Command, Control};
use super::socket::{self, OwnerSocket};
use super::status::{PipelineState, Problem, Status};
use crate::config::Config;
use crate::metrics;

/// Which tables of which sink; empty and `None`: all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Table patterns.
    #[serde(default)]
    pub tables: Vec<String>,
    /// A sink's name.
    #[serde(default)]
    pub sink: Option<String>,
}

/// What to wait for, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// A sink's name; `None`: all.
    #[serde(default)]
    pub sink: Option<String>,
    /// Milliseconds until the wait fails.
    pub timeout_ms: u64,
}

/// What to ask a sink.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// A sink's name; `None`: the only one that can be queried.
    #[serde(default)]
    pub sink: Option<String>,
    /// One read-only statement.
    pub sql: String,
}

/// Both listeners, bound and not served yet: so that a port in use stops the daemon before it
/// has touched anything.
#[derive(Debug)]
pub struct Server {
    unix: OwnerSocket,
    tcp: Option<TcpListener>,
}

impl Server {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// `Config` when a port is in use or another daemon runs on the data directory.
    pub async fn bind(config: &Config) -> Result<Self> {
        let tcp = match &config.admin.listen {
            Some(listen) => Some(TcpListener::bind(listen).await.map_err(|error| {
                Error::config(format!("cannot listen on {listen}: {error}"))
                    .context("opening the admin listener")
                    .hint("set admin.listen to a free `host:port`, or to `off`")
            })?),
            None => None,
        };
        Ok(Self {
            unix: socket::listen(&config.data_dir).await?,
            tcp,
        })
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, control: Control) {
        let unix = axum::serve(self.unix, owner_routes().with_state(control.clone()));
        match self.tcp {
            Some(tcp) => {
                let tcp = axum::serve(tcp, public_routes().with_state(control));
                // Both go on for ever: `serve` retries whatever fails in accepting.
                let _ = tokio::join!(unix.into_future(), tcp.into_future());
            }
            None => {
                let _ = unix.await;
            }
        }
    }
}

fn public_routes() -> Router<Control> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/status", get(status))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "not here; there are /healthz, /readyz, /metrics and /api/status\n",
            )
        })
}

fn owner_routes() -> Router<Control> {
    Router::new()
        .route("/status", get(status))
        .route("/snapshot", post(snapshot))
        .route("/wait", post(wait))
        .route("/query", post(query))
        .route("/verify", post(verify))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/reload", post(reload))
        .route("/stop", post(stop))
}

async fn healthz(State(control): State<Control>) -> Response {
    let status = control.status();
    match (status.state, status.source.error) {
        (PipelineState::Failed, Some(problem)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", problem.message),
        )
            .into_response(),
        (PipelineState::Failed, None) => {
            (StatusCode::SERVICE_UNAVAILABLE, "failed\n").into_response()
        }
        _ => "ok\n".into_response(),
    }
}

async fn readyz(State(control): State<Control>) -> Response {
    let missing = control.status().missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let text = missing.join("\n") + "\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics_text(State(control): State<Control>) -> Response {
    let text = metrics::render(&control.status());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

async fn status(State(control): State<Control>) -> Json<Status> {
    Json(control.status())
}

/// An error on its way out.
struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            ErrorKind::Config | ErrorKind::Unsupported => StatusCode::BAD_REQUEST,
            ErrorKind::Transient => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(Problem::from(&self.0))).into_response()
    }
}

type Answer<T> = std::result::Result<Json<T>, Refusal>;

async fn snapshot(
    State(control): State<Control>,
    Json(request): Json<SnapshotRequest>,
) -> Answer<Vec<super::control::Copying>> {
    let SnapshotRequest { tables, sink } = request;
    let copies = control
        .ask(|reply| Command::Snapshot {
            tables,
            sink,
            reply,
        })
        .await?;
    // So that whoever asks for the status next does not take the old copies for the new ones.
    control.told().await;
    Ok(Json(copies))
}

async fn wait(
    State(control): State<Control>,
    Json(request): Json<WaitRequest>,
) -> Answer<Vec<super::control::Reached>> {
    let limit = Duration::from_millis(request.timeout_ms);
    let sink = request.sink;
    match control
        .ask_within(limit, |reply| Command::Wait { sink, reply })
        .await?
    {
        Some(reached) => Ok(Json(reached)),
        None => {
            let missing = control.status().missing();
            let why = match missing.first() {
                Some(first) => format!(": {first}"),
                None => String::new(),
            };
            Err(Error::transient(format!(
                "the sinks have not caught up within {} s{why}",
                limit.as_secs_f64()
            ))
            .hint("`cdc status` shows how far each sink is; --timeout allows more time")
            .into())
        }
    }
}

async fn verify(
    State(control): State<Control>,
    Json(request): Json<SnapshotRequest>,
) -> Answer<Vec<super::control::Verdict>> {
    let SnapshotRequest { tables, sink } = request;
    let verdicts = control
        .ask(|reply| Command::Verify {
            tables,
            sink,
            reply,
        })
        .await?;
    Ok(Json(verdicts))
}

async fn pause(State(control): State<Control>) -> Answer<()> {
    Ok(Json(control.ask(|reply| Command::Pause { reply }).await?))
}

async fn resume(State(control): State<Control>) -> Answer<()> {
    Ok(Json(control.ask(|reply| Command::Resume { reply }).await?))
}

async fn reload(State(control): State<Control>) -> Answer<Vec<String>> {
    Ok(Json(control.reload().await?))
}

async fn stop(State(control): State<Control>) -> Answer<()> {
    Ok(Json(control.ask(|reply| Command::Stop { reply }).await?))
}

async fn query(
    State(control): State<Control>,
    Json(request): Json<QueryRequest>,
) -> std::result::Result<Response, Refusal> {
    let QueryRequest { sink, sql } = request;
    let mut reader = control
        .ask(|reply| Command::Query { sink, sql, reply })
        .await?;
    // The first batch comes before the answer's head, so that most errors still have a status.
    let first = reader.next().await?;
    let stream =
        futures::stream::try_unfold(Some(Rows::begin(reader, first)?), |rows| async move {
            let Some(rows) = rows else {
                return Ok(None);
            };
            match rows.part().await {
                Ok((bytes, rows)) => Ok(Some((Frame::data(bytes), rows))),
                Err(error) => failed_midway(error).map(|trailer| Some((trailer, None))),
            }
        });
    Ok((
        [
            (header::CONTENT_TYPE, "application/vnd.apache.arrow.stream"),
            (header::TRAILER, PROBLEM.as_str()),
        ],
        Body::new(StreamBody::new(stream)),
    )
        .into_response())
}

/// What says why a query's rows ended too early: a [`Problem`] as JSON.
pub(super) const PROBLEM: HeaderName = HeaderName::from_static("cdc-problem");

/// The error as the end of an answer whose head has been sent.
fn failed_midway(error: Error) -> Result<Frame<Bytes>> {
    /// Characters of a message that fit into the trailers that clients take.
    const MOST: usize = 2_000;
    let mut problem = Problem::from(&error);
    problem.message = problem.message.chars().take(MOST).collect();
    let trailer = serde_json::to_vec(&problem)
        .ok()
        .and_then(|problem| HeaderValue::from_bytes(&problem).ok());
    match trailer {
        Some(trailer) => Ok(Frame::trailers(HeaderMap::from_iter([(PROBLEM, trailer)]))),
        // The client learns at least that something is missing.
        None => Err(error),
    }
}

/// Rows on their way out, one batch at a time.
struct Rows {
    reader: Box<dyn BatchReader>,
    next: Option<RecordBatch>,
    writer: StreamWriter<Vec<u8>>,
}

fn encoding(error: arrow::error::ArrowError) -> Error {
    Error::internal("the rows cannot be encoded").caused_by(error)
}

impl Rows {
    fn begin(reader: Box<dyn BatchReader>, first: Option<RecordBatch>) -> Result<Self> {
        let schema = first
            .as_ref()
            .map_or_else(|| Schema::empty().into(), RecordBatch::schema);
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(encoding)?;
        Ok(Self {
            reader,
            next: first,
            writer,
        })
    }

    /// The next bytes, and what comes after them.
    async fn part(mut self) -> Result<(Bytes, Option<Self>)> {
        let Some(batch) = self.next.take() else {
            let rest = self.writer.into_inner().map_err(encoding)?;
            return Ok((rest.into(), None));
        };
        self.writer.write(&batch).map_err(encoding)?;
        let bytes = std::mem::take(self.writer.get_mut());
        self.next = self.reader.next().await?;
        Ok((bytes.into(), Some(self)))
    }
}

#[cfg(test)]
mod tests;
