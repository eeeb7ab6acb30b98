//! Answers go home together.
//!
//! Waking a task from another thread costs a lock and a system call. A thread whose runtime is its
//! own has a task that hands out answers there: a transaction wakes it once, however many of its
//! callers wait for that.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;
use weappd_base::tasks::Tasks;

thread_local! {
    static CURRENT: RefCell<Option<Arc<HomeThread>>> = const { RefCell::new(None) };
}

/// An answer on its way to whoever waits for it.
type Delivery = Box<dyn FnOnce() + Send>;

/// A thread with a runtime of its own, where callers wait.
#[derive(Debug)]
struct HomeThread {
    // Bounded by the callers of the thread: each waits for one answer.
    sender: UnboundedSender<Vec<Delivery>>,
}

/// Where the answer to a job goes.
#[derive(Debug)]
pub struct WriteReply<T, E> {
    sender: oneshot::Sender<Result<T, E>>,
    home: Option<Arc<HomeThread>>,
}

/// The answers of one transaction; they go when this is dropped.
#[derive(Default)]
pub struct ReplyBatch(Vec<(Arc<HomeThread>, Vec<Delivery>)>);

impl HomeThread {
    /// That of the thread this is called on; none where several threads share a runtime, and
    /// one is as good to wake as another.
    fn current() -> Option<Arc<Self>> {
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
            return None;
        }
        CURRENT.with_borrow_mut(|current| {
            // Where the runtime has ended, the channel is closed.
            if let Some(thread) = current.as_ref().filter(|home| !home.sender.is_closed()) {
                return Some(Arc::clone(thread));
            }
            let (sender, mut receiver) = mpsc::unbounded_channel::<Vec<Delivery>>();
            // It ends with the runtime.
            Tasks::new().spawn(async move {
                while let Some(deliveries) = receiver.recv().await {
                    hand_out(deliveries);
                }
            });
            let thread = Arc::new(Self { sender });
            *current = Some(Arc::clone(&thread));
            Some(thread)
        })
    }
}

impl<T: Send + 'static, E: Send + 'static> WriteReply<T, E> {
    /// For a caller on this thread, and where the caller waits.
    pub fn pair() -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (sender, answered) = oneshot::channel();
        let home = HomeThread::current();
        (Self { sender, home }, answered)
    }

    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Answers, with the others of the transaction. A caller that is gone needs no answer.
    pub fn send(self, answer: Result<T, E>, others: &mut ReplyBatch) {
        let sender = self.sender;
        let delivery = move || drop(sender.send(answer));
        let Some(home) = self.home else {
            return delivery();
        };
        let mut known = others.0.iter_mut();
        match known.find(|(known, _)| Arc::ptr_eq(known, &home)) {
            Some((_, deliveries)) => deliveries.push(Box::new(delivery)),
            None => others.0.push((home, vec![Box::new(delivery)])),
        }
    }
}

impl Drop for ReplyBatch {
    fn drop(&mut self) {
        for (home, deliveries) in self.0.drain(..) {
            // One alone wakes its caller itself.
            if deliveries.len() == 1 {
                hand_out(deliveries);
            } else if let Err(unheard) = home.sender.send(deliveries) {
                hand_out(unheard.0);
            }
        }
    }
}

impl std::fmt::Debug for ReplyBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answers: usize = self.0.iter().map(|(_, deliveries)| deliveries.len()).sum();
        write!(f, "ReplyBatch({answers})")
    }
}

fn hand_out(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        delivery();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Tells on which thread it was dropped.
    struct Traveller(std::sync::mpsc::Sender<thread::ThreadId>);

    impl Drop for Traveller {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).expect("heard");
        }
    }

    #[tokio::test]
    async fn answers_of_one_thread_are_handed_out_there() {
        let (tell, told) = std::sync::mpsc::channel();
        let mut waiting = Vec::new();
        let replies: Vec<_> = (0..3)
            .map(|_| {
                let (reply, answered) = WriteReply::<Traveller, ()>::pair();
                waiting.push(answered);
                reply
            })
            .collect();
        // Nobody waits for the second: its answer ends where it is handed out.
        drop(waiting.remove(1));
        let home = thread::current().id();
        let writer = thread::spawn(move || {
            let mut batch = ReplyBatch::default();
            for reply in replies {
                reply.send(Ok(Traveller(tell.clone())), &mut batch);
            }
            assert_eq!(format!("{batch:?}"), "ReplyBatch(3)");
        });
        for answered in waiting {
            assert!(answered.await.expect("an answer").is_ok());
        }
        writer.join().expect("no panic");
        let ends: Vec<_> = told.iter().collect();
        assert_eq!(ends, [home; 3]);
    }

    #[test]
    fn a_thread_whose_runtime_ended_takes_no_answers_and_a_new_one_does() {
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            let pairs = || (0..2).map(|_| WriteReply::<u8, ()>::pair()).unzip();
            let late = runtime.block_on(async {
                let (replies, waiting): (Vec<_>, Vec<_>) = pairs();
                let mut batch = ReplyBatch::default();
                for reply in replies {
                    reply.send(Ok(7), &mut batch);
                }
                drop(batch);
                for answered in waiting {
                    assert_eq!(answered.await, Ok(Ok(7)));
                }
                pairs()
            });
            drop(runtime);
            let (replies, waiting): (Vec<WriteReply<u8, ()>>, Vec<_>) = late;
            let mut batch = ReplyBatch::default();
            for reply in replies {
                reply.send(Ok(8), &mut batch);
            }
            drop(batch);
            for mut answered in waiting {
                assert_eq!(answered.try_recv(), Ok(Ok(8)));
            }
        }
    }
}
