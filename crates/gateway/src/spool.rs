//! Request bodies too long to keep in memory, kept in a file without a name until the call is
//! over, so that a call refused for an ended token can be made once more.
//!
//! The whole body is read first: WeChat looks at the token before it reads an upload, and the
//! rest would be lost with the connection.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weappd_base::tasks::Work;

use crate::body::BodyCut;

/// How many bodies are kept at once; more are sent once, as they come.
const SEATS: usize = 16;
/// How much is read of a file at a time.
const CHUNK: usize = 64 * 1024;

/// Where bodies are kept.
#[derive(Clone, Debug)]
pub(crate) struct BodySpool {
    dir: PathBuf,
    most: u64,
    seats: Arc<Semaphore>,
    work: Work,
}

/// A body in a file. Cheap to clone; the file is gone with the last one.
#[derive(Clone, Debug)]
pub(crate) struct SpooledBody {
    file: Arc<File>,
    length: u64,
    _seat: Arc<OwnedSemaphorePermit>,
}

/// What became of a body.
pub(crate) enum SpoolResult {
    /// All of it is in the file.
    Whole(SpooledBody),
    /// It is longer than may be kept, or the file cannot be used: it can be sent once.
    Once(Body),
}

impl BodySpool {
    pub(crate) fn new(dir: PathBuf, most: u64, work: Work) -> Self {
        Self {
            dir,
            most,
            seats: Arc::new(Semaphore::new(SEATS)),
            work,
        }
    }

    /// The same place and seats, for bodies up to another size.
    pub(crate) fn up_to(&self, most: u64) -> Self {
        Self {
            most,
            ..self.clone()
        }
    }

    #[cfg(test)]
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Reads a body of `length`, if that is known, whose `start` was read already.
    pub(crate) async fn keep(
        &self,
        start: Bytes,
        rest: Body,
        length: Option<u64>,
    ) -> Result<SpoolResult, BodyCut> {
        let is_too_long = length.unwrap_or(start.len() as u64) > self.most;
        let seat = Arc::clone(&self.seats).try_acquire_owned().ok();
        let (false, Some(seat)) = (is_too_long, seat) else {
            return Ok(SpoolResult::Once(joined(start, rest)));
        };
        let dir = self.dir.clone();
        let made = self.work.run_blocking(move || tempfile::tempfile_in(dir));
        let Ok(Ok(file)) = made.await else {
            return Ok(SpoolResult::Once(joined(start, rest)));
        };
        let mut spooled = SpooledBody {
            file: Arc::new(file),
            length: 0,
            _seat: Arc::new(seat),
        };
        let mut rest = rest.into_data_stream();
        let mut next = Some(start);
        while let Some(chunk) = next {
            let longer = spooled.length.saturating_add(chunk.len() as u64);
            let is_written = longer <= self.most && self.append(&spooled, chunk.clone()).await;
            if !is_written {
                let tail = stream::once(async { Ok(chunk) }).chain(rest.map_err(io::Error::other));
                let body = self.stream(&spooled).chain(tail);
                return Ok(SpoolResult::Once(Body::from_stream(body)));
            }
            spooled.length = longer;
            next = rest.next().await.transpose().map_err(|_| BodyCut::Broken)?;
        }
        Ok(SpoolResult::Whole(spooled))
    }

    /// The kept body, to be sent.
    pub(crate) fn body(&self, spooled: &SpooledBody) -> Body {
        Body::from_stream(self.stream(spooled))
    }

    async fn append(&self, spooled: &SpooledBody, chunk: Bytes) -> bool {
        let file = Arc::clone(&spooled.file);
        let written = self.work.run_blocking(move || (&*file).write_all(&chunk));
        match written.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a request body could not be kept for a second try");
                false
            }
            Err(_) => false,
        }
    }

    fn stream(
        &self,
        spooled: &SpooledBody,
    ) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (spooled, work) = (spooled.clone(), self.work.clone());
        stream::try_unfold((0_u64, spooled, work), |(at, spooled, work)| async move {
            let left = usize::try_from(spooled.length.saturating_sub(at)).unwrap_or(CHUNK);
            let mut chunk = vec![0; left.min(CHUNK)];
            if chunk.is_empty() {
                return Ok(None);
            }
            let file = Arc::clone(&spooled.file);
            let read = work.run_blocking(move || {
                file.read_exact_at(&mut chunk, at)?;
                io::Result::Ok(Bytes::from(chunk))
            });
            let chunk = read.await.map_err(io::Error::other)??;
            let next = at + chunk.len() as u64;
            Ok(Some((chunk, (next, spooled, work))))
        })
    }
}

impl SpooledBody {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

fn joined(start: Bytes, rest: Body) -> Body {
    let rest = rest.into_data_stream().map_err(io::Error::other);
    Body::from_stream(stream::once(async { Ok::<_, io::Error>(start) }).chain(rest))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn spool(dir: &tempfile::TempDir, most: u64) -> BodySpool {
        BodySpool::new(dir.path().to_owned(), most, Work::current())
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length)
            .map(|n| u8::try_from(n % 251).unwrap_or_default())
            .collect()
    }

    fn chunked(text: &[u8]) -> Body {
        let chunks: Vec<_> = text
            .chunks(10_000)
            .map(|chunk| Ok::<_, io::Error>(Bytes::copy_from_slice(chunk)))
            .collect();
        Body::from_stream(stream::iter(chunks))
    }

    async fn read(body: Body) -> Vec<u8> {
        body.collect().await.expect("a body").to_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_body_is_kept_in_a_file_that_nobody_sees_and_read_twice() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let (spool, all) = (spool(&dir, 400_000), text(400_000));
        let start = Bytes::copy_from_slice(&all[..7]);
        let kept = spool.keep(start, chunked(&all[7..]), None).await;
        let Ok(SpoolResult::Whole(spooled)) = kept else {
            panic!("not kept");
        };
        assert_eq!(spooled.length(), 400_000);
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
        for _ in 0..2 {
            assert_eq!(read(spool.body(&spooled)).await, all);
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_one_too_many_is_passed_on_whole() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let (spool, all) = (spool(&dir, 50_000), text(100_000));
        for length in [None, Some(100_000)] {
            let kept = spool.keep(Bytes::new(), chunked(&all), length).await;
            let Ok(SpoolResult::Once(body)) = kept else {
                panic!("kept");
            };
            assert_eq!(read(body).await, all);
        }
        let mut held = Vec::new();
        for seat in 0..=SEATS {
            let kept = spool.keep(Bytes::new(), chunked(&all[..9]), None).await;
            let is_kept = matches!(kept, Ok(SpoolResult::Whole(_)));
            assert_eq!(is_kept, seat < SEATS);
            held.push(kept);
        }
        drop(held);
        let gone = BodySpool::new(dir.path().join("gone"), 50_000, Work::current());
        let kept = gone.keep(Bytes::new(), chunked(&all[..9]), None).await;
        let Ok(SpoolResult::Once(body)) = kept else {
            panic!("kept nowhere");
        };
        assert_eq!(read(body).await, all[..9]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_none() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let broken = Body::from_stream(stream::iter([Err::<Bytes, _>(io::Error::other("gone"))]));
        let kept = spool(&dir, 100).keep(Bytes::new(), broken, None).await;
        assert!(matches!(kept, Err(BodyCut::Broken)));
    }
}
