//! Bytes on a socket, for what no HTTP client would send.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::process::PATIENCE;

trait RawIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> RawIo for T {}

/// A connection on which a test says what it wants.
pub(crate) struct RawClient {
    io: Box<dyn RawIo>,
    heard: Vec<u8>,
}

impl RawClient {
    /// Over plain TCP.
    pub(crate) async fn plain(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect(addr).await.expect("connected");
        tcp.set_nodelay(true).expect("set");
        Self {
            io: Box::new(tcp),
            heard: Vec::new(),
        }
    }

    /// Over TLS to `localhost`.
    pub(crate) async fn tls(addr: SocketAddr, tls: &TlsConnector) -> Self {
        let tcp = TcpStream::connect(addr).await.expect("connected");
        let name = ServerName::try_from("localhost").expect("a name");
        let io = tls.connect(name, tcp).await.expect("a TLS handshake");
        Self {
            io: Box::new(io),
            heard: Vec::new(),
        }
    }

    /// Sends bytes. An error means that the other side has had enough.
    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let sent = async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        };
        timeout_at(deadline, sent)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends `piece` again and again until it is answered, cut off, or `most` bytes are
    /// gone; gives how many went.
    pub(crate) async fn pour(&mut self, piece: &[u8], most: usize) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let (mut read, mut write) = tokio::io::split(&mut self.io);
        let mut sent = 0;
        while sent < most {
            let pouring = async {
                tokio::select! {
                    biased;
                    heard = read.read_buf(&mut self.heard) => heard.map(|_| false),
                    went = write.write_all(piece) => went.map(|()| true),
                }
            };
            match timeout_at(deadline, pouring).await {
                Ok(Ok(true)) => sent += piece.len(),
                Ok(_) => return sent,
                Err(late) => panic!("neither taken nor refused after {sent} bytes: {late}"),
            }
        }
        sent
    }

    /// Reads until `enough` of what was heard; panics if that does not come.
    pub(crate) async fn until(&mut self, what: &str, enough: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = String::from_utf8_lossy(&self.heard).into_owned();
            if enough(&text) {
                return text;
            }
            match timeout_at(deadline, self.io.read_buf(&mut self.heard)).await {
                Ok(Ok(1..)) => {}
                end => panic!("{what}: {end:?} after {text:?}"),
            }
        }
    }

    /// Takes what was heard so far out, to wait for what comes next.
    pub(crate) fn forget(&mut self) {
        self.heard.clear();
    }

    /// What was heard so far.
    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }

    /// Whether something was said or the other side has closed, without waiting.
    pub(crate) async fn is_answered(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.io.read_buf(&mut self.heard) => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Everything until the other side closes; panics if it does not.
    pub(crate) async fn rest(mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let read = timeout_at(deadline, self.io.read_buf(&mut self.heard)).await;
            match read {
                Ok(Ok(1..)) => {}
                // A reset is a way to close, too.
                Ok(Ok(0) | Err(_)) => return String::from_utf8_lossy(&self.heard).into_owned(),
                Err(late) => panic!("{late}: the connection is still open: {}", self.heard()),
            }
        }
    }
}

/// Sends `bytes` and gives everything that comes until the connection is closed.
pub(crate) async fn ask(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut raw = RawClient::plain(addr).await;
    drop(raw.say(bytes).await);
    raw.rest().await
}

/// The same over TLS.
pub(crate) async fn ask_tls(
    addr: SocketAddr,
    tls: &TlsConnector,
    bytes: impl AsRef<[u8]>,
) -> String {
    let mut raw = RawClient::tls(addr, tls).await;
    drop(raw.say(bytes).await);
    raw.rest().await
}

/// The status of an answer, 0 if there is none.
pub(crate) fn status(answer: &str) -> u16 {
    let line = answer.strip_prefix("HTTP/1.1 ").unwrap_or_default();
    line.get(..3).and_then(|n| n.parse().ok()).unwrap_or(0)
}
