//! The command line's end of the control socket.
//!
//! Invariant: an error of the daemon arrives as it was raised: kind, words and hint.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;
use cdc_api::{Error, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::control::{Copying, Reached, Verdict};
use super::serve::{PROBLEM, QueryRequest, SnapshotRequest, WaitRequest};
use super::socket;
use super::status::{Problem, Status};

/// A daemon that answers on its socket. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    data_dir: std::path::PathBuf,
}

impl Client {
    /// The daemon of a data directory; `None` when none runs.
    ///
    /// # Errors
    /// `Auth` when the socket belongs to another user.
    pub async fn find(data_dir: &Path) -> Result<Option<Self>> {
        Ok(socket::connect(data_dir).await?.map(|_| Self {
            data_dir: data_dir.to_owned(),
        }))
    }

    /// As [`find`](Client::find), where there has to be a daemon.
    ///
    /// # Errors
    /// `Transient` when none runs.
    pub async fn connect(data_dir: &Path) -> Result<Self> {
        Self::find(data_dir).await?.ok_or_else(|| none(data_dir))
    }

    /// What the daemon tells of itself.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn status(&self) -> Result<Status> {
        self.ask(Method::GET, "/status", &()).await
    }

    /// Registers copies.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn snapshot(&self, request: &SnapshotRequest) -> Result<Vec<Copying>> {
        self.ask(Method::POST, "/snapshot", request).await
    }

    /// Waits until the sinks have caught up.
    ///
    /// # Errors
    /// The daemon's; `Transient` when the time has passed.
    pub async fn wait(&self, request: &WaitRequest) -> Result<Vec<Reached>> {
        self.ask(Method::POST, "/wait", request).await
    }

    /// Compares source and sinks.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn verify(&self, request: &SnapshotRequest) -> Result<Vec<Verdict>> {
        self.ask(Method::POST, "/verify", request).await
    }

    /// Has the daemon rest.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn pause(&self) -> Result<()> {
        self.ask(Method::POST, "/pause", &()).await
    }

    /// Has the daemon go on.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn resume(&self) -> Result<()> {
        self.ask(Method::POST, "/resume", &()).await
    }

    /// Has the daemon read its configuration again; what has changed.
    ///
    /// # Errors
    /// The daemon's: the old configuration stays in force.
    pub async fn reload(&self) -> Result<Vec<String>> {
        self.ask(Method::POST, "/reload", &()).await
    }

    /// Has the daemon stop; returns when it has begun to.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn stop(&self) -> Result<()> {
        self.ask(Method::POST, "/stop", &()).await
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn query(&self, request: &QueryRequest) -> Result<Rows> {
        let response = self.send(Method::POST, "/query", request).await?;
        Ok(Rows {
            body: response.into_body(),
            decoder: StreamDecoder::new(),
            buffer: Buffer::from(Vec::<u8>::new()),
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T> {
        let response = self.send(method, path, request).await?;
        let body = response.into_body().collect().await.map_err(broken)?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            Error::internal("the daemon's answer is not understood")
                .caused_by(error)
                .hint("the command and the daemon may be of different versions: restart the daemon")
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        request: &impl Serialize,
    ) -> Result<Response<Incoming>> {
        let stream = socket::connect(&self.data_dir)
            .await?
            .ok_or_else(|| none(&self.data_dir))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // Ends by itself when the response is done with.
        tokio::spawn(connection);
        let body = serde_json::to_vec(request)
            .map_err(|error| Error::internal("a request cannot be encoded").caused_by(error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "cdc")
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::internal("a request cannot be built").caused_by(error))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?;
        Err(match serde_json::from_slice::<Problem>(&body.to_bytes()) {
            Ok(problem) => problem.into(),
            Err(_) => Error::internal(format!("the daemon answered {status}")),
        })
    }
}

fn none(data_dir: &Path) -> Error {
    Error::transient("no daemon runs on this data directory")
        .context(data_dir.display().to_string())
        .hint("start it with `cdc run`")
}

fn broken(error: hyper::Error) -> Error {
    Error::transient("the daemon broke off the answer")
        .caused_by(error)
        .hint("its log says why")
}

/// A query's rows, as they come.
#[derive(Debug)]
pub struct Rows {
    body: Incoming,
    decoder: StreamDecoder,
    buffer: Buffer,
}

impl Rows {
    /// The next batch, or `None` at the end; the first may be empty and says the columns.
    ///
    /// # Errors
    /// The daemon's when the query failed midway.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        type Cause = Box<dyn std::error::Error + Send + Sync>;
        let malformed =
            |error: Cause| Error::internal("the rows cannot be decoded").caused_by(error);
        loop {
            let decoded = self.decoder.decode(&mut self.buffer);
            if let Some(batch) = decoded.map_err(|error| malformed(error.into()))? {
                return Ok(Some(batch));
            }
            match self.body.frame().await {
                Some(frame) => match frame.map_err(broken)?.into_data() {
                    Ok(data) => self.buffer = Buffer::from(data),
                    Err(end) => {
                        let trailers = end.into_trailers().unwrap_or_default();
                        let problem = trailers.get(PROBLEM).map(|it| it.as_bytes());
                        if let Some(problem) = problem {
                            return Err(serde_json::from_slice::<Problem>(problem)
                                .map_or_else(|error| malformed(error.into()), Into::into));
                        }
                    }
                },
                None => {
                    let finished = self.decoder.finish();
                    finished.map_err(|error| malformed(error.into()))?;
                    return Ok(None);
                }
            }
        }
    }
}
