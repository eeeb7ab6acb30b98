//! A large file on its way to a client.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::task::JoinHandle;

/// How much of a large file is read at a time: it is held until its client takes it.
const READ_CHUNK_BYTES: u64 = 32 * 1024;

/// A large file on its way out, read piece by piece off the edge thread.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<File>,
    at: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    /// `left` bytes of a file from `at` on.
    pub(crate) fn new(file: Arc<File>, at: u64, left: u64) -> Self {
        Self {
            file,
            at,
            left,
            reading: None,
        }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (file, at) = (&self.file, self.at);
        let want = self.left.min(READ_CHUNK_BYTES);
        if self.reading.is_none()
            && let Some(bytes) = read_cached(file, at, want)
        {
            return Poll::Ready(Some(Ok(self.hand_out(bytes))));
        }
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; usize::try_from(want).unwrap_or_default()];
                file.read_exact_at(&mut bytes, at)?;
                Ok(bytes.into())
            })
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let bytes: Bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Poll::Ready(Some(Err(error))),
            Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
        };
        Poll::Ready(Some(Ok(self.hand_out(bytes))))
    }

    fn hand_out(&mut self, bytes: Bytes) -> Frame<Bytes> {
        let count = u64::try_from(bytes.len()).unwrap_or(self.left);
        self.at += count;
        self.left = self.left.saturating_sub(count);
        Frame::data(bytes)
    }
}

/// What the system has in memory of these bytes: read without waiting for a disk.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, at: u64, want: u64) -> Option<Bytes> {
    use rustix::io::{ReadWriteFlags, preadv2};

    let mut bytes = vec![0; usize::try_from(want).ok()?];
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let count = preadv2(file, &mut parts, at, ReadWriteFlags::NOWAIT).ok()?;
    bytes.truncate(count);
    (count > 0).then(|| bytes.into())
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: u64, _: u64) -> Option<Bytes> {
    None
}
