//! Serves commands while the pipeline runs.
//!
//! Commands that take long are tasks of their own: one slow `cdc wait` holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use cdc_api::{Error, Result, TableId, TableName, TableSelection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::board::SinkBoard;
use super::discovery::Look;
use super::shared::Shared;
use super::worker::Ask;
use super::{Mode, all_settled};
use crate::admin::control::{Command, Copying, Reached, Verdict};
use crate::admin::status::{PipelineState, Status};
use crate::config::Delivery;

/// A sink's worker, from outside.
#[derive(Clone)]
pub(super) struct WorkerHandle {
    pub(super) name: String,
    pub(super) kind: String,
    /// Whether `cdc query` works on it.
    pub(super) queries: bool,
    pub(super) delivery: Delivery,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) board: SinkBoard,
}

/// Serves commands and tells the status.
pub(super) struct Controller {
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) look: mpsc::Sender<Look>,
    pub(super) status: watch::Sender<Status>,
}

/// A task's outcome, a panic being an internal error.
pub(super) fn flatten(ended: Result<Result<()>, JoinError>) -> Result<()> {
    match ended {
        Ok(outcome) => outcome,
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(Error::internal("a part of the pipeline panicked").caused_by(error)),
    }
}

fn stopping() -> Error {
    Error::transient("the daemon is stopping")
}

impl Controller {
    /// Serves until asked to stop, until a part of the pipeline ends, or until the mode says so.
    pub(super) async fn serve(
        &self,
        mut commands: mpsc::Receiver<Command>,
        tasks: &mut JoinSet<Result<()>>,
        mode: Mode,
    ) -> Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => return Ok(()),
                    Some(Command::Stop { reply }) => {
                        let _ = reply.send(Ok(()));
                        return Ok(());
                    }
                    Some(command) => self.command(command),
                },
                Some(ended) = tasks.join_next() => {
                    flatten(ended)?;
                    return Err(Error::internal("a part of the pipeline has ended"));
                }
                _ = ticks.tick() => {
                    let state = if *self.shared.paused.borrow() {
                        PipelineState::Paused
                    } else {
                        PipelineState::Running
                    };
                    self.tell(state);
                    if mode == Mode::UntilCopied
                        && let Some(failed) = all_settled(&self.workers, self.nothing_matches())
                    {
                        return if failed.is_empty() {
                            Ok(())
                        } else {
                            Err(Error::data(format!(
                                "tables could not be copied: {}",
                                failed.join(", ")
                            ))
                            .hint("`cdc status` gives the reason and the remedy of each"))
                        };
                    }
                }
            }
        }
    }

    fn nothing_matches(&self) -> bool {
        let captured = self.shared.captured.borrow();
        captured.tables.is_empty() && captured.refused.is_empty()
    }

    fn command(&self, command: Command) {
        match command {
            Command::Snapshot {
                tables,
                sink,
                reply,
            } => self.answer(reply, move |this| this.snapshot(tables, sink)),
            Command::Wait { sink, reply } => {
                let this = self.handle();
                tokio::spawn(async move {
                    let mut reply = reply;
                    tokio::select! {
                        biased;
                        () = reply.closed() => {}
                        reached = this.wait(sink) => { let _ = reply.send(reached); }
                    }
                });
            }
            Command::Query { sink, sql, reply } => {
                self.answer(reply, move |this| this.query(sink, sql));
            }
            Command::Verify {
                tables,
                sink,
                reply,
            } => self.answer(reply, move |this| this.verify(tables, sink)),
            Command::Pause { reply } => {
                let _ = reply.send(self.set_paused(true));
            }
            Command::Resume { reply } => {
                let _ = reply.send(self.set_paused(false));
            }
            Command::Reload { config, reply } => {
                self.answer(reply, move |this| this.reload(config));
            }
            Command::Stop { reply } => {
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
            workers: self.workers.clone(),
            look: self.look.clone(),
        }
    }

    fn answer<T, F>(
        &self,
        reply: oneshot::Sender<Result<T>>,
        work: impl FnOnce(Handle) -> F + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let handle = self.handle();
        tokio::spawn(async move {
            let _ = reply.send(work(handle).await);
        });
    }

    fn set_paused(&self, paused: bool) -> Result<()> {
        self.shared.state.set_paused(paused)?;
        self.shared.paused.send_replace(paused);
        if !paused {
            self.shared.retry.notify_waiters();
        }
        Ok(())
    }
}

/// What a command's own task works with.
struct Handle {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    look: mpsc::Sender<Look>,
}

impl Handle {
    fn sinks(&self, sink: Option<&str>) -> Result<Vec<&WorkerHandle>> {
        let Some(name) = sink else {
            return Ok(self.workers.iter().collect());
        };
        match self.workers.iter().find(|worker| worker.name == name) {
            Some(worker) => Ok(vec![worker]),
            None => {
                let names: Vec<_> = self.workers.iter().map(|w| w.name.as_str()).collect();
                Err(Error::config(format!("there is no sink `{name}`"))
                    .hint(format!("the sinks are: {}", names.join(", "))))
            }
        }
    }

    /// The captured tables that match the patterns; all when there are none.
    async fn tables(&self, patterns: &[String]) -> Result<Vec<(TableId, TableName)>> {
        self.discover().await?;
        let captured = Arc::clone(&self.shared.captured.borrow());
        let known = captured
            .tables
            .iter()
            .map(|table| (table.id, table.name.clone()));
        if patterns.is_empty() {
            return Ok(known.collect());
        }
        let mut matched = Vec::new();
        for pattern in patterns.iter().filter(|pattern| !pattern.starts_with('!')) {
            let one = TableSelection::parse([pattern])?;
            if !captured.tables.iter().any(|table| one.matches(&table.name)) {
                let names: Vec<_> = known.map(|(_, name)| name.to_string()).collect();
                return Err(
                    Error::config(format!("no captured table matches `{pattern}`"))
                        .hint(format!("the captured tables are: {}", names.join(", "))),
                );
            }
        }
        let selection = TableSelection::parse(patterns)?;
        matched.extend(known.filter(|(_, name)| selection.matches(name)));
        Ok(matched)
    }

    async fn discover(&self) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        self.look.send(reply).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    async fn snapshot(self, patterns: Vec<String>, sink: Option<String>) -> Result<Vec<Copying>> {
        let sinks = self.sinks(sink.as_deref())?;
        let tables = self.tables(&patterns).await?;
        let mut copying = Vec::new();
        for worker in sinks {
            let (reply, answer) = oneshot::channel();
            let ask = Ask::Copy {
                tables: tables.iter().map(|(id, _)| *id).collect(),
                reply,
            };
            worker.asks.send(ask).await.map_err(|_| stopping())?;
            let copied = answer.await.map_err(|_| stopping())??;
            copying.extend(
                tables
                    .iter()
                    .filter(|(id, _)| copied.contains(id))
                    .map(|(_, name)| Copying {
                        sink: worker.name.clone(),
                        schema: name.schema.clone(),
                        table: name.table.clone(),
                    }),
            );
        }
        Ok(copying)
    }

    async fn wait(self, sink: Option<String>) -> Result<Vec<Reached>> {
        let sinks = self.sinks(sink.as_deref())?;
        let mark = self.shared.source.mark().await?;
        let seq = self.shared.marks.wait(mark).await;
        // Last: what the catalog shows of the tables' rows can be told only with the log read.
        let round = self.discover().await?;
        let mut waiting = Vec::new();
        for worker in sinks {
            let (reply, answer) = oneshot::channel();
            let ask = Ask::Reach { seq, round, reply };
            worker.asks.send(ask).await.map_err(|_| stopping())?;
            waiting.push((worker.name.clone(), answer));
        }
        let mut reached = Vec::new();
        for (sink, answer) in waiting {
            let seq = answer
                .await
                .map_err(|_| stopping())?
                .map_err(|error| error.context(format!("sink {sink}")))?;
            reached.push(Reached { sink, seq });
        }
        Ok(reached)
    }

    async fn query(
        self,
        sink: Option<String>,
        sql: String,
    ) -> Result<Box<dyn cdc_api::BatchReader>> {
        let worker = match sink {
            Some(_) => self.sinks(sink.as_deref())?.into_iter().next(),
            None => self.workers.iter().find(|worker| worker.queries),
        };
        let worker = worker.filter(|worker| worker.queries).ok_or_else(|| {
            Error::config("this sink cannot be queried")
                .hint("`cdc query` reads the embedded warehouse: name a sink of type duckdb")
        })?;
        let reader = worker.board.view().reader.clone();
        match reader {
            Some(reader) => reader.query(&sql).await,
            None => Err(Error::transient(format!(
                "sink {} is not open at the moment",
                worker.name
            ))),
        }
    }

    async fn verify(self, patterns: Vec<String>, sink: Option<String>) -> Result<Vec<Verdict>> {
        let chosen = self.sinks(sink.as_deref())?;
        let sinks: Vec<_> = chosen
            .into_iter()
            .filter(|worker| sink.is_some() || worker.queries)
            .collect();
        let tables = self.tables(&patterns).await?;
        let mut verdicts = Vec::new();
        for worker in sinks {
            let taken = tables.iter().filter(|(_, name)| {
                let wanted = worker.delivery.tables.as_ref();
                wanted.is_none_or(|wanted| wanted.matches(name))
            });
            for (id, name) in taken {
                let (reply, answer) = oneshot::channel();
                let ask = Ask::Compare { table: *id, reply };
                worker.asks.send(ask).await.map_err(|_| stopping())?;
                let compared = answer
                    .await
                    .map_err(|_| Error::transient("the comparison was interrupted"))
                    .flatten();
                let (schema, table) = (&name.schema, &name.table);
                verdicts.push(match compared {
                    Ok(found) => Verdict::compared(&worker.name, schema, table, found),
                    Err(error) => Verdict::failed(&worker.name, schema, table, &error),
                });
            }
        }
        Ok(verdicts)
    }

    /// Table patterns can change in mid-run; the rest needs a restart.
    async fn reload(self, config: Box<crate::config::Config>) -> Result<Vec<String>> {
        let names: Vec<_> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        let running: Vec<_> = self.workers.iter().map(|w| w.name.as_str()).collect();
        if config.name != self.shared.settings.name || names != running {
            return Err(Error::config(
                "the pipeline's name and its sinks cannot change while it runs",
            )
            .hint("restart the daemon: nothing is lost by it"));
        }
        let before = Arc::clone(&self.shared.captured.borrow());
        self.shared
            .source
            .select(crate::registry::source_tables(&config.source)?);
        self.discover().await?;
        let after = Arc::clone(&self.shared.captured.borrow());
        let mut changes = Vec::new();
        for table in &after.tables {
            if !before.tables.iter().any(|known| known.id == table.id) {
                changes.push(format!("table {} is captured", table.name));
            }
        }
        for table in &before.tables {
            if !after.tables.iter().any(|known| known.id == table.id) {
                changes.push(format!("table {} is no longer captured", table.name));
            }
        }
        self.shared.retry.notify_waiters();
        Ok(changes)
    }
}
