//! The listeners of a running edge, and how a reload changes them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{SetOnce, mpsc, watch};

use crate::conn::listener::{ListenerState, OpenListener};
use crate::conn::listener_changes::ListenerChanges;
use crate::error::Error;
use crate::site::{BoundListener, ListenerKind};

/// The listeners of a running edge.
#[derive(Debug, Default)]
pub(crate) struct ListenerRegistry {
    running: OnceLock<RunningEdge>,
    /// Set when the first listeners are open.
    started: SetOnce<()>,
    /// A listener whose sender is dropped stops accepting.
    open: Mutex<HashMap<SocketAddr, watch::Sender<ListenerState>>>,
}

#[derive(Debug)]
struct RunningEdge {
    runtime: Handle,
    opened: mpsc::UnboundedSender<OpenListener>,
}

/// Changes of listeners that were checked.
#[derive(Debug, Default)]
pub(crate) struct StagedListeners {
    opened: Vec<(SocketAddr, watch::Sender<ListenerState>, OpenListener)>,
    closed: Vec<SocketAddr>,
    changed: Vec<(SocketAddr, ListenerKind)>,
    limit: usize,
}

impl ListenerRegistry {
    /// Takes the first listeners; gives what the edge accepts on, now and later. Called once,
    /// on the runtime that accepts.
    pub(crate) fn start(
        &self,
        listeners: Vec<BoundListener>,
        limit: usize,
    ) -> Result<mpsc::UnboundedReceiver<OpenListener>, Error> {
        let (opened, receiver) = mpsc::unbounded_channel();
        let runtime = Handle::current();
        drop(self.running.set(RunningEdge { runtime, opened }));
        let first = ListenerChanges {
            open: listeners,
            ..ListenerChanges::default()
        };
        let staged = self.stage(first, limit)?;
        self.commit(staged);
        drop(self.started.set(()));
        Ok(receiver)
    }

    /// Waits until the first listeners are open.
    pub(crate) async fn wait_until_started(&self) {
        self.started.wait().await;
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.lock().keys().copied().collect()
    }

    #[cfg(test)]
    pub(crate) fn limits(&self) -> Vec<usize> {
        let open = self.open.lock();
        open.values().map(|state| state.borrow().limit).collect()
    }

    /// Checks the changes and makes the sockets ready. `limit`: connections of each listener.
    pub(crate) fn stage(
        &self,
        changes: ListenerChanges,
        limit: usize,
    ) -> Result<StagedListeners, Error> {
        let open = self.open.lock();
        let ListenerChanges {
            open: added,
            close,
            change,
        } = changes;
        let named = close.iter().chain(change.iter().map(|(at, _)| at));
        if let Some(at) = named.copied().find(|at| !open.contains_key(at)) {
            return Err(Error::NotListening { at });
        }
        let mut opened: Vec<(SocketAddr, _, _)> = Vec::with_capacity(added.len());
        for bound in added {
            let at = bound.socket.local_addr().map_err(Error::Listener)?;
            let is_new = !opened.iter().any(|(known, ..)| *known == at);
            if !is_new || (open.contains_key(&at) && !close.contains(&at)) {
                return Err(Error::AlreadyListening { at });
            }
            let running = self.running.get().ok_or(Error::NotRunning)?;
            let kind = bound.kind;
            let (sender, state) = watch::channel(ListenerState { kind, limit });
            let _runtime = running.runtime.enter();
            let listener = OpenListener::new(bound.socket, state).map_err(Error::Listener)?;
            opened.push((at, sender, listener));
        }
        Ok(StagedListeners {
            opened,
            closed: close,
            changed: change,
            limit,
        })
    }

    pub(crate) fn commit(&self, staged: StagedListeners) {
        let StagedListeners {
            opened,
            closed,
            changed,
            limit,
        } = staged;
        let mut open = self.open.lock();
        for at in closed {
            drop(open.remove(&at));
        }
        for (at, kind) in changed {
            if let Some(state) = open.get(&at) {
                state.send_modify(|state| state.kind = kind);
            }
        }
        for (at, sender, listener) in opened {
            drop(open.insert(at, sender));
            if let Some(running) = self.running.get() {
                // If the edge has stopped, the listener is closed.
                drop(running.opened.send(listener));
            }
        }
        for state in open.values() {
            state.send_if_modified(|state| {
                let is_new = state.limit != limit;
                state.limit = limit;
                is_new
            });
        }
    }
}
