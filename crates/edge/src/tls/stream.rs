//! A TLS connection that holds no buffer while it is idle.
//!
//! rustls' ordinary API keeps a deframer buffer for every connection, for as long as it
//! lives: 4 KiB that an idle tunnel never uses. Its unbuffered API leaves the buffers to
//! the caller, and here they belong to the thread: one inbound and one outbound scratch
//! area, shared by all connections of an edge thread, because a connection never leaves
//! its thread while it is polled. What stays with a connection is only what is unfinished:
//! part of a record that has not wholly arrived, plaintext the reader had no room for,
//! ciphertext the socket did not take. Figures: docs/decisions/0001-runtime.md.
//!
//! # Invariants
//!
//! - Idle means `inbox`, `plain` and `outbox` own no memory.
//! - At most one write of [`WRITE_MAX_BYTES`] bytes waits in `outbox`: the next write waits for it.
//! - A connection that ends without `close_notify` reads as `UnexpectedEof`.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::plain_http;
use crate::tls::records::{RecordPass, invalid, take_records};

/// The most plaintext one write takes: two full records.
const WRITE_MAX_BYTES: usize = 2 * 16_384;
/// Room for the records of one [`WRITE_MAX_BYTES`], whatever the cipher adds.
const OUT_BUFFER_BYTES: usize = WRITE_MAX_BYTES + 1024;
/// Room for a partial record and a generous read behind it.
const IN_BUFFER_BYTES: usize = 2 * 18_432;
/// The most a client may send before the handshake is done.
const HANDSHAKE_MAX_BYTES: usize = 96 * 1024;

thread_local! {
    static IN: RefCell<Box<[u8]>> = RefCell::new(vec![0; IN_BUFFER_BYTES].into());
    static OUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; OUT_BUFFER_BYTES].into());
    static GATHER: RefCell<Box<[u8]>> = RefCell::new(vec![0; WRITE_MAX_BYTES].into());
    static SNI: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// Tells the handshake running on this thread which host the client asked for.
///
/// The unbuffered API does not give the server name out; the certificate resolver, which
/// is called within the handshake step, does know it.
pub(crate) fn note_sni(name: Option<&str>) {
    SNI.set(name.map(Into::into));
}

/// The server side of a TLS connection over TCP.
pub(crate) struct TlsStream {
    io: TcpStream,
    conn: UnbufferedServerConnection,
    /// Records that have not wholly arrived.
    inbox: Vec<u8>,
    /// Decrypted bytes that the reader had no room for, from `plain_read` on.
    plain: Vec<u8>,
    plain_read: usize,
    /// Encrypted bytes that the socket did not take.
    outbox: Vec<u8>,
    /// The socket did not take all of the last write: the client is slow.
    congested: bool,
    peer_closed: bool,
    close_sent: bool,
    sni: Option<Box<str>>,
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("io", &self.io)
            .field("sni", &self.sni)
            .finish_non_exhaustive()
    }
}

impl TlsStream {
    /// Shakes hands. Dropping the future closes the connection.
    pub(crate) async fn accept(io: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let conn = UnbufferedServerConnection::new(config).map_err(invalid)?;
        let mut stream = Self {
            io,
            conn,
            inbox: Vec::new(),
            plain: Vec::new(),
            plain_read: 0,
            outbox: Vec::new(),
            congested: false,
            peer_closed: false,
            close_sent: false,
            sni: None,
        };
        loop {
            let pass = stream.shake();
            // An alert for a failed handshake waits in the outbox: say why before closing.
            let sent = stream.send_outbox().await;
            let pass = pass?;
            sent?;
            if let RecordPass::Open = pass {
                stream.inbox.shrink_to_fit();
                return Ok(stream);
            }
            if stream.inbox.len() > HANDSHAKE_MAX_BYTES {
                return Err(invalid("the handshake is too long"));
            }
            stream.receive_some().await?;
            if plain_http::is_request(&stream.inbox) {
                return Err(plain_http::refuse(stream.io, &stream.inbox).await);
            }
        }
    }

    /// Whether the client chose HTTP/2 by ALPN.
    pub(crate) fn is_http2(&self) -> bool {
        self.conn.alpn_protocol() == Some(b"h2")
    }

    /// The connection below, for bytes that are not to be deciphered.
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.io
    }

    /// The host the client asked for, lower case as rustls gives it.
    pub(crate) fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    fn shake(&mut self) -> io::Result<RecordPass> {
        let plain = &mut self.plain;
        let mut used = 0;
        SNI.set(None);
        let pass = take_records(
            &mut self.conn,
            &mut self.inbox,
            &mut used,
            &mut self.outbox,
            &mut self.peer_closed,
            &mut |bytes| plain.extend_from_slice(bytes),
        );
        if let Some(name) = SNI.take() {
            self.sni = Some(name);
        }
        drop(self.inbox.drain(..used));
        pass
    }

    async fn receive_some(&mut self) -> io::Result<()> {
        loop {
            self.io.readable().await?;
            let read = IN.with_borrow_mut(|scratch| {
                let count = self.io.try_read(scratch)?;
                self.inbox
                    .extend_from_slice(scratch.get(..count).unwrap_or_default());
                Ok(count)
            });
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn send_outbox(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_outbox(cx)).await
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.try_outbox()?;
            if self.outbox.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.io.poll_write_ready(cx))?;
        }
    }

    /// Gives the socket what it takes now.
    fn try_outbox(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.io.try_write(&self.outbox) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) if count == self.outbox.len() => self.outbox = Vec::new(),
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn poll_encrypt(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if !self.outbox.is_empty() {
            ready!(self.poll_outbox(cx))?;
        }
        // What such a client does not take is memory.
        let most = if self.congested {
            WRITE_MAX_BYTES / 4
        } else {
            WRITE_MAX_BYTES
        };
        let data = data.get(..most).unwrap_or(data);
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        OUT.with_borrow_mut(|out| {
            // Not an empty buffer: rustls remembers handshake fragments by their place in it.
            let UnbufferedStatus { state, .. } = self.conn.process_tls_records(&mut self.inbox);
            let ConnectionState::WriteTraffic(mut traffic) = state.map_err(invalid)? else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            let count = traffic.encrypt(data, out).map_err(invalid)?;
            let mut rest = out.get(..count).unwrap_or_default();
            self.congested = false;
            while !rest.is_empty() {
                match self.io.try_write(rest) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                    Err(error) if would_block(&error) => {
                        self.outbox = rest.to_vec();
                        self.congested = true;
                        break;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(data.len()))
        })
    }

    /// Hands out plaintext that an earlier read had no room for.
    fn take_plain(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(rest) = self.plain.get(self.plain_read..).filter(|r| !r.is_empty()) else {
            return false;
        };
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        self.plain_read += count;
        if self.plain_read == self.plain.len() {
            self.plain = Vec::new();
            self.plain_read = 0;
        }
        true
    }

    /// Reads the socket once and decrypts; `None` when the socket had nothing, else
    /// whether there was plaintext.
    fn read_once(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<Option<bool>> {
        IN.with_borrow_mut(|scratch| {
            let held = self.inbox.len();
            let Some((front, free)) = scratch.split_at_mut_checked(held) else {
                return Err(invalid("a record longer than TLS allows"));
            };
            front.copy_from_slice(&self.inbox);
            let read = match self.io.try_read(free) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if would_block(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            let input = scratch.get_mut(..held + read).unwrap_or_default();
            let (mut used, mut any) = (0, false);
            let plain = &mut self.plain;
            let taken = take_records(
                &mut self.conn,
                input,
                &mut used,
                &mut self.outbox,
                &mut self.peer_closed,
                &mut |bytes| {
                    any |= !bytes.is_empty();
                    let count = bytes.len().min(buf.remaining());
                    let (now, later) = bytes.split_at(count);
                    buf.put_slice(now);
                    plain.extend_from_slice(later);
                },
            );
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                self.inbox = Vec::new();
            } else {
                self.inbox = rest.to_vec();
            }
            taken.map(|_| Some(any))
        })
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.take_plain(buf) || this.peer_closed || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(this.io.poll_read_ready(cx))?;
            let read = this.read_once(buf);
            // A key update's answer goes out when the socket has room, at the latest with
            // the next write; asking for write readiness here would steal the writer's waker.
            this.try_outbox()?;
            if read? == Some(true) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_encrypt(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_encrypt(cx, only);
        }
        // One record for head and body is smaller and cheaper than one for each.
        GATHER.with_borrow_mut(|gather| {
            let mut free = &mut **gather;
            for buf in bufs {
                let count = buf.len().min(free.len());
                let (now, later) = std::mem::take(&mut free).split_at_mut(count);
                now.copy_from_slice(buf.get(..count).unwrap_or_default());
                free = later;
            }
            let count = WRITE_MAX_BYTES - free.len();
            self.poll_encrypt(cx, gather.get(..count).unwrap_or_default())
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_outbox(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.close_sent {
            this.close_sent = true;
            let UnbufferedStatus { state, .. } = this.conn.process_tls_records(&mut this.inbox);
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
                let at = this.outbox.len();
                this.outbox.resize(at + 128, 0);
                let room = this.outbox.get_mut(at..).unwrap_or_default();
                let count = traffic.queue_close_notify(room).unwrap_or(0);
                this.outbox.truncate(at + count);
            }
        }
        ready!(this.poll_outbox(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio_rustls::TlsConnector;

    use super::*;

    type Client = tokio_rustls::client::TlsStream<TcpStream>;

    fn configs(
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    async fn tcp_pair() -> (TcpStream, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener: TcpListener = socket.listen(1).unwrap();
        let to = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(to), listener.accept());
        (server.unwrap().0, client.unwrap())
    }

    async fn pair(version: &'static rustls::SupportedProtocolVersion) -> (TlsStream, Client) {
        let (server, client) = configs(&[version]);
        let (near, far) = tcp_pair().await;
        let name = ServerName::try_from("localhost").unwrap();
        let (near, far) = tokio::join!(
            TlsStream::accept(near, server),
            TlsConnector::from(client).connect(name, far)
        );
        (near.unwrap(), far.unwrap())
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| u8::try_from(i * 7 % 251).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn bytes_cross_whole_both_ways_in_both_versions() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let (mut near, mut far) = pair(version).await;
            let sent = pattern(3_000_017);
            let back = sent.clone();
            let server = async {
                let mut got = vec![0; back.len()];
                let mut at = 0;
                // Small, odd reads leave plaintext behind on purpose.
                while at < got.len() {
                    let end = got.len().min(at + 1013);
                    at += near.read(&mut got[at..end]).await.unwrap();
                }
                assert!(got == back, "the server read something else");
                near.write_all(&got).await.unwrap();
                near.shutdown().await.unwrap();
                near
            };
            let client = async {
                let mut got = Vec::new();
                let (mut from, mut to) = tokio::io::split(far);
                let (wrote, read) = tokio::join!(to.write_all(&sent), from.read_to_end(&mut got));
                wrote.unwrap();
                read.unwrap();
                assert!(got == sent, "the client read something else");
                from.unsplit(to)
            };
            let (near, client) = tokio::join!(server, client);
            far = client;
            drop(far);
            assert!(near.outbox.is_empty());
        }
    }

    #[tokio::test]
    async fn an_idle_connection_owns_no_buffer() {
        let (mut near, mut far) = pair(&rustls::version::TLS13).await;
        let mut four = [0; 4];
        far.write_all(b"ping").await.unwrap();
        near.read_exact(&mut four).await.unwrap();
        near.write_all(b"pong").await.unwrap();
        near.flush().await.unwrap();
        far.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"pong");
        let owned = near.inbox.capacity() + near.plain.capacity() + near.outbox.capacity();
        assert_eq!(owned, 0);
    }

    #[tokio::test]
    async fn a_slow_reader_makes_the_writer_wait_for_one_chunk() {
        let (mut near, far) = pair(&rustls::version::TLS13).await;
        let block = pattern(WRITE_MAX_BYTES);
        let stuck = async {
            loop {
                near.write_all(&block).await.unwrap();
            }
        };
        tokio::time::timeout(std::time::Duration::from_millis(500), stuck)
            .await
            .expect_err("nobody reads, so the writer must wait");
        assert!(near.outbox.len() <= OUT_BUFFER_BYTES);
        drop(far);
    }

    #[tokio::test]
    async fn vectored_parts_arrive_in_order() {
        let (mut near, mut far) = pair(&rustls::version::TLS13).await;
        let parts = [io::IoSlice::new(b"head "), io::IoSlice::new(b"body")];
        assert_eq!(near.write_vectored(&parts).await.unwrap(), 9);
        near.flush().await.unwrap();
        let mut got = [0; 9];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"head body");
    }

    #[tokio::test]
    async fn a_connection_cut_without_goodbye_is_an_error_and_one_with_it_is_not() {
        let (mut near, far) = pair(&rustls::version::TLS13).await;
        let mut cut = far.into_inner().0;
        cut.shutdown().await.unwrap();
        let error = near.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let (mut near, mut far) = pair(&rustls::version::TLS13).await;
        far.shutdown().await.unwrap();
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn garbage_is_answered_with_an_alert_and_refused() {
        let (server, _) = configs(&[&rustls::version::TLS13]);
        let (near, mut far) = tcp_pair().await;
        far.write_all(b"\x01 / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let error = TlsStream::accept(near, server).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut alert = Vec::new();
        far.read_to_end(&mut alert).await.unwrap();
        assert_eq!(alert.first(), Some(&21), "a TLS alert record");
    }

    #[tokio::test]
    async fn plain_http_is_answered_with_a_sentence() {
        for (head, kind) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "application/json"),
            (
                "GET / HTTP/1.1\r\naccept: text/html,*/*\r\n\r\n",
                "text/html",
            ),
            ("P", "application/json"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "application/json"),
        ] {
            let (server, _) = configs(&[&rustls::version::TLS13]);
            let (near, mut far) = tcp_pair().await;
            far.write_all(head.as_bytes()).await.unwrap();
            let asking = async {
                let mut heard = String::new();
                far.read_to_string(&mut heard).await.unwrap();
                drop(far);
                heard
            };
            let (accepted, heard) = tokio::join!(TlsStream::accept(near, server), asking);
            assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
            assert!(heard.contains(kind) && heard.contains("HTTPS"), "{heard}");
        }
    }

    #[tokio::test]
    async fn a_handshake_that_never_ends_is_cut_off() {
        let (server, _) = configs(&[&rustls::version::TLS13]);
        let (near, mut far) = tcp_pair().await;
        let accept = TlsStream::accept(near, server);
        let flood = async {
            // A ClientHello that promises 16 MiB, sent in whole records.
            let mut record = vec![22, 3, 1, 0x40, 0x00, 1, 0xFF, 0xFF, 0xFF];
            record.resize(5 + 0x4000, 0);
            while far.write_all(&record).await.is_ok() {}
        };
        let (accepted, ()) = tokio::join!(accept, flood);
        assert!(accepted.is_err());
    }
}
