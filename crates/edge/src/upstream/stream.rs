//! A connection to a business server that is read in small pieces until its reader is quick.
//!
//! hyper reads as much as its buffer has room for, and what it read waits in memory for as long
//! as the client is slow to take it. Many slow readers of large answers would each hold large
//! buffers. Few and large reads are worth having where the client keeps up, so they are made
//! only there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;

/// The most one read takes, before and after the reader has shown that it is quick.
const SMALL_READ_BYTES: u64 = 16 * 1024;
const LARGE_READ_BYTES: u64 = 64 * 1024;
/// A reader that comes back sooner is quick; after so many times in turn its reads become large.
const QUICK_READ_MAX: Duration = Duration::from_millis(10);
const QUICK_READS_MIN: u8 = 3;

/// Whether a business server said anything since it was last asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplySeen(Arc<AtomicBool>);

impl ReplySeen {
    pub(crate) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection to a business server.
#[derive(Debug)]
pub(crate) struct UpstreamStream {
    io: Take<TcpStream>,
    reply_seen: ReplySeen,
    last: Option<Instant>,
    quick: u8,
}

impl UpstreamStream {
    pub(crate) fn new(io: TcpStream, reply_seen: ReplySeen) -> Self {
        Self {
            io: io.take(0),
            reply_seen,
            last: None,
            quick: 0,
        }
    }

    fn most(&self) -> u64 {
        if self.quick >= QUICK_READS_MIN {
            LARGE_READ_BYTES
        } else {
            SMALL_READ_BYTES
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(last) = this.last.take() {
            if last.elapsed() > QUICK_READ_MAX {
                this.quick = 0;
            } else {
                this.quick = this.quick.saturating_add(1);
            }
        }
        this.io.set_limit(this.most());
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.reply_seen.0.store(true, Ordering::Relaxed);
        }
        // Only a wait for the reader counts, not one for the business server: more was there
        // to be read. So the clock is left alone by answers that come in one piece.
        let is_full = this.io.limit() == 0 || buf.remaining() == 0;
        this.last = (read.is_ready() && is_full).then(Instant::now);
        read
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_shutdown(cx)
    }
}
