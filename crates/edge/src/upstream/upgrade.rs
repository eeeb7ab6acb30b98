//! A WebSocket through the proxy: opened only by the business server's 101, then bytes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

thread_local! {
    /// Read buffer of all tunnels of a thread: an idle tunnel holds none of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 32 * 1024].into());
}

/// Whether this request asks for a WebSocket.
pub(crate) fn wants_websocket(head: &Parts) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && names(&head.headers, &header::UPGRADE, "websocket")
        && names(&head.headers, &header::CONNECTION, "upgrade")
}

fn names(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// Puts the two upgrade headers back that were removed as hop-by-hop.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Carries bytes both ways until both sides are done or one fails.
pub(crate) async fn tunnel(client: OnUpgrade, upstream: OnUpgrade) {
    let (Ok(client), Ok(upstream)) = futures_util::future::join(client, upstream).await else {
        return;
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    let (mut up, mut down) = (TunnelHalf::default(), TunnelHalf::default());
    // A side that breaks off ends the tunnel; the other side sees the close.
    drop(
        poll_fn(|cx| {
            let a = up.poll(cx, &mut client, &mut upstream)?;
            let b = down.poll(cx, &mut upstream, &mut client)?;
            match (a, b) {
                (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(io::Result::Ok(())),
                _ => Poll::Pending,
            }
        })
        .await,
    );
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
struct TunnelHalf {
    /// What the receiver did not take yet.
    rest: Vec<u8>,
    at: usize,
    ended: bool,
    closed: bool,
}

impl TunnelHalf {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while let Some(rest) = self.rest.get(self.at..).filter(|rest| !rest.is_empty()) {
                self.at += ready!(write(cx, to, rest))?;
            }
            self.rest = Vec::new();
            self.at = 0;
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            if self.carry(cx, from, to)?.is_pending() {
                return match Pin::new(&mut *to).poll_flush(cx)? {
                    Poll::Ready(()) | Poll::Pending => Poll::Pending,
                };
            }
        }
    }

    /// Reads once and writes what the receiver takes at once.
    fn carry<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buf))?;
            let mut rest = buf.filled();
            self.ended = rest.is_empty();
            while !rest.is_empty() {
                match write(cx, to, rest)? {
                    Poll::Ready(sent) => rest = rest.get(sent..).unwrap_or_default(),
                    Poll::Pending => {
                        self.rest = rest.to_vec();
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }
}

fn write<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut W,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        sent => Poll::Ready(Ok(sent)),
    }
}
