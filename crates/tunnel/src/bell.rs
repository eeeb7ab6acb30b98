//! Wakes many sockets of one edge thread with one message.
//!
//! Waking a task from another thread costs a lock and often a system call. A push to a
//! thousand tunnels would pay that a thousand times; with a bell on every edge thread it
//! pays once a thread, and the bell wakes its thread's sockets locally.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::task::Waker;

use tokio::sync::mpsc::{self, UnboundedSender};
use weappd_base::tasks::Tasks;

thread_local! {
    static HERE: RefCell<Weak<Bell>> = const { RefCell::new(Weak::new()) };
}

/// Wakes sockets of one thread. Ends when the last socket lets go of it.
#[derive(Debug)]
pub(crate) struct Bell {
    // Bounded by the sockets of the thread: each has at most one waker out.
    rope: UnboundedSender<Vec<Waker>>,
}

impl Bell {
    /// The bell of the thread this is called on, hung up in `tasks` if there is none.
    pub(crate) fn here(tasks: &Tasks) -> Arc<Self> {
        HERE.with_borrow_mut(|here| {
            // A bell whose runtime ended has a closed rope.
            if let Some(bell) = here.upgrade().filter(|bell| !bell.rope.is_closed()) {
                return bell;
            }
            let (rope, mut pulls) = mpsc::unbounded_channel::<Vec<Waker>>();
            tasks.spawn(async move {
                while let Some(wakers) = pulls.recv().await {
                    wakers.into_iter().for_each(Waker::wake);
                }
            });
            let bell = Arc::new(Self { rope });
            *here = Arc::downgrade(&bell);
            bell
        })
    }

    fn ring(&self, wakers: Vec<Waker>) {
        if let Err(unheard) = self.rope.send(wakers) {
            unheard.0.into_iter().for_each(Waker::wake);
        }
    }
}

/// Sockets to wake, gathered by thread.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<(Arc<Bell>, Vec<Waker>)>);

impl Wakes {
    /// Gathers one socket of `bell`'s thread.
    pub(crate) fn add(&mut self, bell: &Arc<Bell>, waker: Waker) {
        match self
            .0
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, bell))
        {
            Some((_, wakers)) => wakers.push(waker),
            None => self.0.push((Arc::clone(bell), vec![waker])),
        }
    }

    /// Wakes all of them.
    pub(crate) fn ring(&mut self) {
        for (bell, wakers) in self.0.drain(..) {
            bell.ring(wakers);
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_bell_wakes_its_thread_and_ends_with_its_last_holder() {
        let tasks = Tasks::new();
        let bell = Bell::here(&tasks);
        assert!(Arc::ptr_eq(&bell, &Bell::here(&tasks)));
        let slot = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&slot);
        let (done, heard) = tokio::sync::oneshot::channel();
        tasks.spawn(async move {
            let mut first = true;
            poll_fn(|cx| {
                if std::mem::take(&mut first) {
                    *seen.lock().expect("not poisoned") = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            assert!(done.send(()).is_ok());
        });
        while slot.lock().expect("not poisoned").is_none() {
            tokio::task::yield_now().await;
        }
        let mut wakes = Wakes::default();
        wakes.add(
            &bell,
            slot.lock().expect("not poisoned").take().expect("set"),
        );
        drop(wakes);
        heard.await.expect("woken");
        drop(bell);
        assert!(tasks.finish(Duration::from_mins(1)).await);
        assert!(HERE.with_borrow(|here| here.upgrade().is_none()));
    }
}
