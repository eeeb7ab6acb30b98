//! The streams of an HTTP/2 connection as tasks of the edge thread, each under the deadlines
//! that a connection of HTTP/1 is under.
//!
//! A client may take nothing of one stream while its connection is lively, and hyper then
//! waits for it without end. So a stream's task ends when its client does not take the next
//! piece of the answer in time; what becomes of a stream without a task is a reset.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::time::Instant;
use weappd_base::tasks::Tasks;

use crate::conn::pace::{LazyTimer, LeastRate, RateMeter};

/// How the client of one stream takes its answer.
#[derive(Debug)]
pub(crate) struct AnswerWatch(Mutex<WatchState>);

#[derive(Debug)]
struct WatchState {
    meter: RateMeter,
    /// Bytes of the piece that was handed out last.
    piece: usize,
}

impl AnswerWatch {
    pub(crate) fn new(rate: LeastRate) -> Arc<Self> {
        Arc::new(Self(Mutex::new(WatchState {
            meter: RateMeter::new(rate),
            piece: 0,
        })))
    }

    /// The next piece is the client's to take.
    pub(crate) fn handed(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.piece = bytes;
        state.meter.wait();
    }

    /// The client took it, if there was one.
    pub(crate) fn taken(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let bytes = std::mem::take(&mut state.piece);
        let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the answer was taken too slowly");
        state.meter.moved(bytes).map_err(slow)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.lock().meter.deadline()
    }
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(crate) struct StreamTasks {
    tasks: Tasks,
    /// Of the stream that is begun next: hyper asks for its answer, then for its task.
    next: Arc<Mutex<Option<Arc<AnswerWatch>>>>,
}

impl StreamTasks {
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self {
            tasks,
            next: Arc::default(),
        }
    }

    /// A watch for the stream that is begun now.
    pub(crate) fn watch(&self, rate: LeastRate) -> Arc<AnswerWatch> {
        let watch = AnswerWatch::new(rate);
        *self.next.lock() = Some(Arc::clone(&watch));
        watch
    }
}

impl<F> hyper::rt::Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let watch = self.next.lock().take();
        self.tasks.spawn(async move {
            let mut stream = pin!(future);
            let mut timer = LazyTimer::default();
            poll_fn(|cx| match stream.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => overdue(cx, watch.as_deref(), &mut timer),
            })
            .await;
        });
    }
}

/// Ready when the client's time is up; pending while it is not its turn.
fn overdue(cx: &mut Context<'_>, watch: Option<&AnswerWatch>, timer: &mut LazyTimer) -> Poll<()> {
    match watch.and_then(AnswerWatch::deadline) {
        Some(at) => timer.poll(cx, at),
        None => Poll::Pending,
    }
}
