//! The end of a connection whose client still sends. What comes is read and thrown away for a
//! while: unread bytes at a close become a reset, which takes the answer from the client.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How much is still read.
pub(crate) const LINGER_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// For how long, and how long without a byte.
pub(crate) const LINGER_MAX: Duration = Duration::from_secs(30);
pub(crate) const LINGER_SILENCE_MAX: Duration = Duration::from_secs(5);

/// Reads on within bounds.
#[derive(Debug)]
pub(crate) struct Linger {
    left: u64,
    end: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Linger {
    pub(crate) fn new() -> Self {
        Self {
            left: LINGER_MAX_BYTES,
            end: Instant::now() + LINGER_MAX,
            silence: Box::pin(tokio::time::sleep(LINGER_SILENCE_MAX)),
        }
    }

    /// Ready once the client is done, silent, or out of bounds.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, io: &mut TcpStream) -> Poll<()> {
        let mut scratch = [0; 16 * 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buf.filled().len() as u64);
                    if self.left == 0 {
                        return Poll::Ready(());
                    }
                    let quiet_until = Instant::now() + LINGER_SILENCE_MAX;
                    self.silence.as_mut().reset(quiet_until.min(self.end));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.silence.as_mut().poll(cx),
            }
        }
    }
}
