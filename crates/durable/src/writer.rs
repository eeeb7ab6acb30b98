//! The queue of jobs, and the task that empties it, a batch at a time.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::counts::{LiveCounts, WriteCounts};
use crate::reply::{ReplyBatch, WriteReply};
use crate::target::WriteTarget;

/// How many jobs may wait before callers wait too.
const QUEUE: usize = 1024;
/// How many jobs share one transaction at most.
const MAX_BATCH: usize = 512;

/// The writer takes no more jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the writer is closed")]
pub struct WriterClosed;

/// The way to a writer. Cheap to clone; all clones lead to one.
#[derive(Debug)]
pub struct DurableWriter<J> {
    queue: mpsc::Sender<Entry<J>>,
    counts: Arc<LiveCounts>,
}

#[derive(Debug)]
enum Entry<J> {
    Job(J),
    Close(oneshot::Sender<()>),
}

impl<J> Clone for DurableWriter<J> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            counts: Arc::clone(&self.counts),
        }
    }
}

impl<J: Send + 'static> DurableWriter<J> {
    /// A writer, and its task: it ends when the writer is closed, or nobody is left to ask.
    pub fn new<T: WriteTarget<Job = J>>(
        target: T,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let counts = Arc::new(LiveCounts::default());
        let task = WriterTask {
            target,
            queue,
            counts: Arc::clone(&counts),
        };
        let writer = Self {
            queue: sender,
            counts,
        };
        (writer, task.run())
    }

    /// Hands a job over, and waits for what became of it.
    pub async fn ask<A: Send + 'static, E: Send + 'static>(
        &self,
        job: impl FnOnce(WriteReply<A, E>) -> J,
    ) -> Result<Result<A, E>, WriterClosed> {
        let (reply, answered) = WriteReply::pair();
        let job = Entry::Job(job(reply));
        self.queue.send(job).await.map_err(|_| WriterClosed)?;
        answered.await.map_err(|_| WriterClosed)
    }

    /// Takes no more jobs; on return those that were handed over are written, and the database
    /// is closed.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Entry::Close(reply)).await.is_ok() {
            // A writer that is gone has nothing more to write.
            let _closed = closed.await;
        }
    }

    /// What it has done so far.
    pub fn counts(&self) -> WriteCounts {
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        self.counts.read(waiting)
    }
}

struct WriterTask<T: WriteTarget> {
    target: T,
    queue: mpsc::Receiver<Entry<T::Job>>,
    counts: Arc<LiveCounts>,
}

impl<T: WriteTarget> WriterTask<T> {
    async fn run(mut self) {
        let mut closed = Vec::new();
        // After a closing, what was handed over before it is still received.
        while let Some(first) = self.queue.recv().await {
            let mut jobs = Vec::new();
            let mut next = Some(first);
            while let Some(entry) = next.take() {
                match entry {
                    Entry::Job(job) if T::is_wanted(&job) => jobs.push(job),
                    Entry::Job(_) => {}
                    Entry::Close(reply) => {
                        self.queue.close();
                        closed.push(reply);
                    }
                }
                if jobs.len() < MAX_BATCH {
                    next = self.queue.try_recv().ok();
                }
            }
            self.write(jobs).await;
        }
        self.target.close().await;
        for reply in closed {
            // Whoever closed it may have gone.
            let _gone = reply.send(());
        }
    }

    /// Writes a batch, in as many transactions as it takes to leave out what is refused.
    async fn write(&mut self, jobs: Vec<T::Job>) {
        let mut waiting = vec![jobs];
        while let Some(jobs) = waiting.pop() {
            if jobs.is_empty() {
                continue;
            }
            let committed = self.target.commit(jobs).await;
            let mut jobs = committed.jobs;
            match committed.outcome {
                Ok(done) => {
                    self.counts.committed(jobs.len());
                    self.target
                        .acknowledge(jobs, done, &mut ReplyBatch::default());
                }
                Err(error) if jobs.len() > 1 && T::refuses_data(&error) => {
                    self.counts.split();
                    let later = jobs.split_off(jobs.len() / 2);
                    waiting.push(later);
                    waiting.push(jobs);
                }
                Err(error) => {
                    let is_failing = !T::refuses_data(&error);
                    self.counts.refused(jobs.len(), is_failing);
                    self.target.refuse(jobs, &error, &mut ReplyBatch::default());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use proptest::prelude::*;

    use super::*;
    use crate::target::Committed;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum No {
        /// What is written is at fault.
        Data,
        /// The disk is.
        Disk,
    }

    struct Number(i32, WriteReply<usize, No>);

    /// A disk that takes no negative numbers, and may be full.
    #[derive(Default)]
    struct Paper {
        lines: Arc<Mutex<Vec<Vec<i32>>>>,
        is_full: bool,
    }

    impl WriteTarget for Paper {
        type Job = Number;
        type Done = usize;
        type Error = No;

        fn is_wanted(job: &Number) -> bool {
            !job.1.is_closed()
        }

        async fn commit(&mut self, jobs: Vec<Number>) -> Committed<Self> {
            tokio::task::yield_now().await;
            let numbers: Vec<i32> = jobs.iter().map(|job| job.0).collect();
            let outcome = match numbers.iter().min() {
                _ if self.is_full => Err(No::Disk),
                Some(least) if *least < 0 => Err(No::Data),
                _ => {
                    let mut lines = self.lines.lock().expect("a lock");
                    lines.push(numbers);
                    Ok(lines.len())
                }
            };
            Committed { jobs, outcome }
        }

        fn refuses_data(error: &No) -> bool {
            *error == No::Data
        }

        fn acknowledge(&mut self, jobs: Vec<Number>, done: usize, replies: &mut ReplyBatch) {
            for job in jobs {
                job.1.send(Ok(done), replies);
            }
        }

        fn refuse(&mut self, jobs: Vec<Number>, error: &No, replies: &mut ReplyBatch) {
            for job in jobs {
                job.1.send(Err(*error), replies);
            }
        }

        async fn close(self) {
            self.lines.lock().expect("a lock").push(Vec::new());
        }
    }

    fn ask(writer: &DurableWriter<Number>, number: i32) -> impl Future<Output = Answer> + use<> {
        let writer = writer.clone();
        async move { writer.ask(|reply| Number(number, reply)).await }
    }

    type Answer = Result<Result<usize, No>, WriterClosed>;

    /// All of them ask before the writer runs; then it is closed.
    async fn ask_all(
        paper: Paper,
        numbers: &[i32],
    ) -> (Vec<Answer>, Vec<Vec<i32>>, DurableWriter<Number>) {
        let lines = Arc::clone(&paper.lines);
        let (writer, task) = DurableWriter::new(paper);
        let asked = join_all(numbers.iter().map(|number| ask(&writer, *number)));
        // Without a pause in between.
        let asked = tokio::task::unconstrained(asked);
        let asked = async {
            let answers = asked.await;
            writer.close().await;
            answers
        };
        let (answers, ()) = tokio::join!(asked, task);
        let lines = lines.lock().expect("a lock").clone();
        (answers, lines, writer)
    }

    #[tokio::test]
    async fn what_waits_shares_a_transaction_in_its_order() {
        let numbers: Vec<i32> = (0..600).collect();
        let (answers, lines, writer) = ask_all(Paper::default(), &numbers).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Ok(1 | 2)))));
        let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
        assert_eq!(lengths, [512, 88, 0], "the last one is the closing");
        assert_eq!(lines.concat(), numbers);
        let counts = writer.counts();
        assert_eq!((counts.transactions, counts.written), (2, 600));
        assert_eq!((counts.waiting, counts.is_failing), (0, false));
        assert_eq!(ask(&writer, 1).await, Err(WriterClosed));
    }

    #[tokio::test]
    async fn a_full_disk_refuses_all_at_once_and_is_told() {
        let paper = Paper {
            is_full: true,
            ..Paper::default()
        };
        let (answers, _, writer) = ask_all(paper, &[1, 2, 3, 4, 5]).await;
        assert_eq!(answers, [Ok(Err(No::Disk)); 5]);
        let counts = writer.counts();
        assert_eq!((counts.refused, counts.splits), (5, 0));
        assert!(counts.is_failing);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_written() {
        let paper = Paper::default();
        let lines = Arc::clone(&paper.lines);
        let (writer, task) = DurableWriter::new(paper);
        let gone = tokio::time::timeout(std::time::Duration::ZERO, ask(&writer, 1)).await;
        assert!(gone.is_err());
        tokio::join!(task, async {
            assert_eq!(ask(&writer, 2).await, Ok(Ok(1)));
            writer.close().await;
        });
        assert_eq!(*lines.lock().expect("a lock"), [vec![2], vec![]]);
    }

    proptest! {
        #[test]
        fn only_what_is_refused_is_left_out(
            numbers in prop::collection::vec(-3..100, 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            let asked = ask_all(Paper::default(), &numbers);
            let (answers, lines, writer) = runtime.block_on(asked);
            for (answer, number) in answers.iter().zip(&numbers) {
                prop_assert_eq!(answer.expect("open").is_ok(), *number >= 0);
            }
            let (written, counts) = (lines.concat(), writer.counts());
            let good: Vec<i32> = numbers.iter().copied().filter(|n| *n >= 0).collect();
            prop_assert_eq!(&written, &good);
            let bad = numbers.len() - good.len();
            prop_assert_eq!((counts.written, counts.refused), (good.len() as u64, bad as u64));
            prop_assert!(!counts.is_failing);
        }
    }
}
