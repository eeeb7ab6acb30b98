//! The tests' own HTTP client: one connection for each request, over plain TCP or TLS,
//! trusting only the certificate it is told to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::PATIENCE;

/// A whole answer.
pub(crate) type HttpAnswer = Response<Bytes>;

/// Speaks HTTP/1.1 to one address.
#[derive(Clone)]
pub(crate) struct TestClient {
    addr: SocketAddr,
    host: String,
    tls: Option<TlsConnector>,
}

impl TestClient {
    /// Over plain TCP, naming `host`.
    pub(crate) fn http(addr: SocketAddr, host: &str) -> Self {
        Self {
            addr,
            host: host.to_owned(),
            tls: None,
        }
    }

    /// Over TLS, naming `host`, trusting what is in `ca`.
    pub(crate) fn https(addr: SocketAddr, host: &str, ca: &Path) -> Self {
        Self {
            tls: Some(connector(ca, &[])),
            ..Self::http(addr, host)
        }
    }

    /// The same client naming another host.
    pub(crate) fn named(&self, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..self.clone()
        }
    }

    /// Begins a request.
    pub(crate) fn request(&self, method: Method, path: &str) -> TestRequest<'_> {
        TestRequest {
            client: self,
            builder: Request::builder()
                .method(method)
                .uri(path)
                .header("host", &self.host),
            body: Bytes::new(),
        }
    }

    /// Begins a `GET`.
    pub(crate) fn get(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::GET, path)
    }

    /// Begins a `POST`.
    pub(crate) fn post(&self, path: &str) -> TestRequest<'_> {
        self.request(Method::POST, path)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> HttpAnswer {
        let tcp = TcpStream::connect(self.addr)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.addr));
        let Some(tls) = &self.tls else {
            return exchange(tcp, request).await;
        };
        let name = self.host.split(':').next().unwrap_or_default().to_owned();
        let name = ServerName::try_from(name).expect("a server name");
        let stream = tls.connect(name, tcp).await.expect("a TLS handshake");
        exchange(stream, request).await
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> HttpAnswer
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let what = format!("{} {}", request.method(), request.uri());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("an HTTP connection");
    let asked = async {
        let answer = sender.send_request(request).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        let (head, body) = answer.into_parts();
        let body = body.collect().await;
        let body = body.unwrap_or_else(|error| panic!("{what}: the body: {error}"));
        Response::from_parts(head, body.to_bytes())
    };
    tokio::pin!(asked);
    let whole = async {
        tokio::select! {
            answer = &mut asked => answer,
            _ = connection => asked.await,
        }
    };
    tokio::time::timeout(PATIENCE, whole)
        .await
        .unwrap_or_else(|_| panic!("{what}: no answer"))
}

/// A request that is being written.
pub(crate) struct TestRequest<'a> {
    client: &'a TestClient,
    builder: hyper::http::request::Builder,
    body: Bytes,
}

impl TestRequest<'_> {
    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// Sets the body.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn send(self) -> HttpAnswer {
        let request = self
            .builder
            .body(Full::new(self.body))
            .expect("a well-formed request");
        self.client.send(request).await
    }
}

/// The body as JSON.
pub(crate) fn json(answer: &HttpAnswer) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| {
        panic!(
            "not JSON ({error}): {} {}",
            answer.status(),
            String::from_utf8_lossy(answer.body())
        )
    })
}

/// A connector that trusts only `ca` and offers `alpn`.
pub(crate) fn connector(ca: &Path, alpn: &[&[u8]]) -> TlsConnector {
    connector_for(ca, alpn, rustls::DEFAULT_VERSIONS)
}

/// The same for these versions of TLS only.
pub(crate) fn connector_for(
    ca: &Path,
    alpn: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(ca).expect("the certificate file") {
        roots
            .add(cert.expect("a certificate"))
            .expect("a usable certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}
