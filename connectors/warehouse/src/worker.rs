//! A thread that owns what may block, and the way to have it work: DuckDB's calls never run on
//! the async runtime's workers.
//!
//! Jobs run one at a time in the order in which they were given. A call whose future is dropped
//! still runs; what is called next runs after it. Dropping the worker waits for the thread, so
//! that afterwards nothing of it is open any more.

use std::sync::mpsc;
use std::thread::JoinHandle;

use cdc_api::{Error, Result};
use tokio::sync::oneshot;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A thread with its state.
pub(crate) struct Worker<S> {
    jobs: Option<mpsc::Sender<Job<S>>>,
    thread: Option<JoinHandle<()>>,
}

impl<S: 'static> Worker<S> {
    /// Starts a thread; its state is made, and dropped, on it.
    pub(crate) async fn start(
        name: &str,
        make: impl FnOnce() -> Result<S> + Send + 'static,
    ) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job<S>>();
        let (made, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || match make() {
                Ok(mut state) => {
                    // Nobody waits any more if the caller was dropped; the channel is closed then.
                    let _ = made.send(Ok(()));
                    while let Ok(job) = inbox.recv() {
                        job(&mut state);
                    }
                }
                Err(error) => {
                    let _ = made.send(Err(error));
                }
            })
            .map_err(|error| Error::transient("no thread could be started").caused_by(error))?;
        let worker = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        ready.await.map_err(|_| gone())??;
        Ok(worker)
    }

    /// Runs a job on the thread and waits for its result.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (done, result) = oneshot::channel();
        self.jobs
            .as_ref()
            .ok_or_else(gone)?
            .send(Box::new(move |state| {
                // The caller may have given up; the work is done all the same.
                let _ = done.send(job(state));
            }))
            .map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

impl<S> Drop for Worker<S> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic on the thread has been reported to the call that caused it.
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::internal("the warehouse's thread has ended").hint("open the sink again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_run_in_order_and_a_panic_is_an_error_of_its_call() {
        let worker = Worker::start("test", || Ok(Vec::new()))
            .await
            .expect("starts");
        for number in 0..3 {
            worker
                .run(move |state: &mut Vec<i32>| {
                    state.push(number);
                    Ok(())
                })
                .await
                .expect("runs");
        }
        assert_eq!(
            worker.run(|state| Ok(state.clone())).await.expect("runs"),
            vec![0, 1, 2]
        );
        assert!(worker.run::<()>(|_| panic!("as asked")).await.is_err());
        assert!(worker.run(|_| Ok(())).await.is_err());
    }
}
