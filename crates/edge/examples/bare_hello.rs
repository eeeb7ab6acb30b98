//! The limit that `cargo xtask bench` measures weappd against: hyper and rustls with nothing
//! between them, answering every request with the same bytes.
//!
//! It has the shape weappd has (docs/decisions/0001-runtime.md): one acceptor deals
//! connections to threads with a runtime each. What weappd costs more is what weappd does.
//!
//! `bare_hello PORT CERT KEY BODY THREADS`; the middle three are files.

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, cert, key, body, threads] = args.as_slice() else {
        return Err("usage: bare_hello PORT CERT KEY BODY THREADS".into());
    };
    let acceptor = TlsAcceptor::from(Arc::new(tls(cert, key)?));
    let body = Bytes::from(fs::read(body)?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    let mut lanes: Vec<UnboundedSender<TcpStream>> = Vec::new();
    for _ in 0..threads.parse::<usize>()?.clamp(1, 64) {
        let (lane, dealt) = unbounded_channel();
        let (acceptor, body) = (acceptor.clone(), body.clone());
        thread::spawn(move || serve(dealt, &acceptor, &body));
        lanes.push(lane);
    }
    for lane in lanes.iter().cycle() {
        let (tcp, _) = listener.accept()?;
        tcp.set_nodelay(true)?;
        tcp.set_nonblocking(true)?;
        lane.send(tcp)?;
    }
    Ok(())
}

fn tls(cert: &str, key: &str) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// One server thread.
fn serve(
    mut dealt: UnboundedReceiver<TcpStream>,
    acceptor: &TlsAcceptor,
    body: &Bytes,
) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let all = LocalSet::new();
    all.block_on(&runtime, async move {
        while let Some(tcp) = dealt.recv().await {
            spawn_local(connection(tcp, acceptor.clone(), body.clone()));
        }
        Ok(())
    })
}

/// A client that leaves or speaks nonsense ends its own connection, and nobody minds.
async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, body: Bytes) -> Result<(), Failure> {
    let tcp = tokio::net::TcpStream::from_std(tcp)?;
    let tls = acceptor.accept(tcp).await?;
    let answer = service_fn(|_request| {
        let mut response = Response::new(Full::new(body.clone()));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(tls), answer)
        .await?;
    Ok(())
}
