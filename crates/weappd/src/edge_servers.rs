//! The doors that are open: edges serving their listeners. One that ends by itself means
//! that weappd has crashed.

use std::time::Duration;

use tokio::sync::mpsc;
use weappd_base::tasks::{Stop, Tasks};
use weappd_edge::{BoundListener, Edge};

use crate::exit::ExitFailure;

/// Edges that serve: the public ones, and those on loopback, which apps and weappd itself
/// use to the end.
#[derive(Debug)]
pub(crate) struct EdgeServers {
    public: (Tasks, Stop),
    inner: (Tasks, Stop),
    failed: mpsc::UnboundedSender<ExitFailure>,
}

/// Edges that end by themselves.
#[derive(Debug)]
pub(crate) struct EdgeFailures(mpsc::UnboundedReceiver<ExitFailure>);

impl EdgeFailures {
    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> ExitFailure {
        match self.0.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }
}

impl EdgeServers {
    /// No door yet; the public ones obey `public`, the inner ones `inner`.
    pub(crate) fn new(public: Stop, inner: Stop) -> (Self, EdgeFailures) {
        let (failed, failures) = mpsc::unbounded_channel();
        let servers = Self {
            public: (Tasks::new(), public),
            inner: (Tasks::new(), inner),
            failed,
        };
        (servers, EdgeFailures(failures))
    }

    /// Opens a public one.
    pub(crate) fn open(&self, name: &'static str, edge: Edge, listeners: Vec<BoundListener>) {
        self.open_in(&self.public, name, edge, listeners);
    }

    /// Opens one on loopback.
    pub(crate) fn open_inner(&self, name: &'static str, edge: Edge, listeners: Vec<BoundListener>) {
        self.open_in(&self.inner, name, edge, listeners);
    }

    fn open_in(
        &self,
        (tasks, stop): &(Tasks, Stop),
        name: &'static str,
        edge: Edge,
        listeners: Vec<BoundListener>,
    ) {
        let (stop, failed) = (stop.clone(), self.failed.clone());
        tasks.spawn(async move {
            let ended = edge.run(listeners, stop.clone()).await;
            let failure = match ended {
                Err(error) => ExitFailure::new(&error, ""),
                Ok(()) if stop.is_asked() => return,
                Ok(()) => ExitFailure::say(format_args!("{name} ended by itself"), ""),
            };
            drop(failed.send(failure));
        });
    }

    /// Waits for the public doors to close after their stop was asked.
    pub(crate) async fn closed(&self, grace: Duration) -> bool {
        self.public.0.finish(grace).await
    }

    /// Closes the inner doors: asks, and insists when `grace` is over.
    pub(crate) async fn close_inner(&self, grace: Duration) {
        let (tasks, stop) = &self.inner;
        stop.ask();
        if !tasks.finish(grace).await {
            stop.force();
            tasks.finish(grace).await;
        }
    }
}
