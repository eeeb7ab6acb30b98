//! The doors that are open: edges serving their listeners. One that ends by itself means
//! that the house has crashed.

use std::time::Duration;

use tokio::sync::mpsc;
use weappd_base::tasks::{Stop, Tasks};
use weappd_edge::{Bound, Edge};

use crate::exit::Failure;

/// Edges that serve.
#[derive(Debug)]
pub(crate) struct Doors {
    tasks: Tasks,
    stop: Stop,
    failed: mpsc::UnboundedSender<Failure>,
    failures: mpsc::UnboundedReceiver<Failure>,
}

impl Doors {
    /// No door yet; all of them obey `stop`.
    pub(crate) fn new(stop: Stop) -> Self {
        let (failed, failures) = mpsc::unbounded_channel();
        Self {
            tasks: Tasks::new(),
            stop,
            failed,
            failures,
        }
    }

    /// Opens one.
    pub(crate) fn open(&self, name: &'static str, edge: Edge, listeners: Vec<Bound>) {
        let (stop, failed) = (self.stop.clone(), self.failed.clone());
        self.tasks.spawn(async move {
            let ended = edge.run(listeners, stop.clone()).await;
            let failure = match ended {
                Err(error) => Failure::new(&error, ""),
                Ok(()) if stop.is_asked() => return,
                Ok(()) => Failure::say(format_args!("{name} ended by itself"), ""),
            };
            drop(failed.send(failure));
        });
    }

    /// Waits for a door that ends by itself.
    pub(crate) async fn ended(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Waits for all doors to close after the stop was asked.
    pub(crate) async fn closed(&self, grace: Duration) -> bool {
        self.tasks.finish(grace).await
    }
}
