//! Wakes many sockets of one edge thread with one message.
//!
//! Waking a task from another thread costs a lock and often a system call. A push to a
//! thousand tunnels would pay that a thousand times; with a task on every edge thread that
//! does the waking there, it is paid once a thread.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::task::Waker;

use tokio::sync::mpsc::{self, UnboundedSender};
use weappd_base::tasks::Tasks;

thread_local! {
    static CURRENT: RefCell<Weak<ThreadWaker>> = const { RefCell::new(Weak::new()) };
}

/// Wakes sockets of one thread. Its task ends when the last socket has dropped it.
#[derive(Debug)]
pub(crate) struct ThreadWaker {
    // Bounded by the sockets of the thread: each has at most one waker out.
    sender: UnboundedSender<Vec<Waker>>,
}

impl ThreadWaker {
    /// The waker of the thread this is called on; if there is none, its task starts in `tasks`.
    pub(crate) fn current(tasks: &Tasks) -> Arc<Self> {
        CURRENT.with_borrow_mut(|current| {
            // Where the runtime has ended, the channel is closed.
            if let Some(thread) = current
                .upgrade()
                .filter(|thread| !thread.sender.is_closed())
            {
                return thread;
            }
            let (sender, mut receiver) = mpsc::unbounded_channel::<Vec<Waker>>();
            tasks.spawn(async move {
                while let Some(wakers) = receiver.recv().await {
                    wakers.into_iter().for_each(Waker::wake);
                }
            });
            let thread = Arc::new(Self { sender });
            *current = Arc::downgrade(&thread);
            thread
        })
    }

    fn wake(&self, wakers: Vec<Waker>) {
        if let Err(unheard) = self.sender.send(wakers) {
            unheard.0.into_iter().for_each(Waker::wake);
        }
    }
}

/// Sockets to wake, gathered by thread.
#[derive(Debug, Default)]
pub(crate) struct WakeBatch(Vec<(Arc<ThreadWaker>, Vec<Waker>)>);

impl WakeBatch {
    /// Gathers one socket of `thread`'s thread.
    pub(crate) fn add(&mut self, thread: &Arc<ThreadWaker>, waker: Waker) {
        match self
            .0
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, thread))
        {
            Some((_, wakers)) => wakers.push(waker),
            None => self.0.push((Arc::clone(thread), vec![waker])),
        }
    }

    /// Wakes all of them.
    pub(crate) fn wake(&mut self) {
        for (thread, wakers) in self.0.drain(..) {
            thread.wake(wakers);
        }
    }
}

impl Drop for WakeBatch {
    fn drop(&mut self) {
        self.wake();
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
        let thread = ThreadWaker::current(&tasks);
        assert!(Arc::ptr_eq(&thread, &ThreadWaker::current(&tasks)));
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
        let mut wakes = WakeBatch::default();
        wakes.add(
            &thread,
            slot.lock().expect("not poisoned").take().expect("set"),
        );
        drop(wakes);
        heard.await.expect("woken");
        drop(thread);
        assert!(tasks.finish(Duration::from_mins(1)).await);
        assert!(CURRENT.with_borrow(|current| current.upgrade().is_none()));
    }
}
