//! A door, the servers behind it and the clients before it.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request as AxumRequest;
use axum::response::IntoResponse;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks};
use weappd_certs::CertFiles;
use weappd_edge::{
    AccessLog, AppUpstreams, BoundListener, Caller, Config, Edge, EdgeControl, EdgeParts,
    EdgeReload, Error, Identify, ListenerChanges, ListenerKind, ProtectedFiles, RouteTarget,
    SessionRule, Site, SiteRoute, SiteService,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Knows one user: whoever sends the skey `alice`.
pub(crate) struct Doorman;

impl Identify for Doorman {
    fn identify<'a>(&'a self, _: &'a [String], headers: &'a HeaderMap) -> BoxFuture<'a, Caller> {
        Box::pin(async move {
            match headers.get("x-wx-skey").map(http::HeaderValue::as_bytes) {
                None => Caller::Nobody,
                Some(b"alice") => Caller::Known {
                    openid: "openid-of-alice".to_owned(),
                    unionid: Some("unionid-of-alice".to_owned()),
                    appid: "wx1".to_owned(),
                },
                Some(_) => {
                    Caller::Refused((StatusCode::UNAUTHORIZED, "{\"code\":-1}").into_response())
                }
            }
        })
    }
}

pub(crate) struct World {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) stop: Stop,
    pub(crate) apps: watch::Sender<AppUpstreams>,
    pub(crate) control: EdgeControl,
    config: Config,
    quiet: Vec<String>,
    protected: ProtectedFiles,
    pub(crate) tap: TrafficTap,
    ended: oneshot::Receiver<Result<(), Error>>,
}

pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) sites: Vec<Site>,
    pub(crate) quiet: Vec<String>,
    pub(crate) inside: bool,
    pub(crate) protected: ProtectedFiles,
    pub(crate) access: Option<AccessLog>,
    pub(crate) clock: Clock,
}

impl Plan {
    pub(crate) fn new(routes: Vec<SiteRoute>) -> Self {
        Self {
            config: Config {
                threads: 2,
                ..Config::default()
            },
            sites: vec![site(&["*"], routes)],
            quiet: Vec::new(),
            inside: false,
            protected: ProtectedFiles::default(),
            access: None,
            clock: Clock::system(),
        }
    }

    pub(crate) fn services(mut self, services: Vec<SiteService>) -> Self {
        self.sites[0].services = services;
        self
    }

    pub(crate) fn tls(mut self, files: CertFiles) -> Self {
        self.sites[0].tls = Some(files);
        self
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) fn open(self) -> World {
        let (apps, upstreams) = watch::channel(AppUpstreams::default());
        let tap = TrafficTap::on(Clock::system());
        let (config, quiet) = (self.config.clone(), self.quiet.clone());
        let protected = self.protected.clone();
        let edge = Edge::build(EdgeParts {
            config: self.config,
            sites: self.sites,
            protected: self.protected,
            upstreams,
            identify: Arc::new(Doorman),
            clock: self.clock,
            tap: tap.clone(),
            quiet_paths: self.quiet,
            access: self.access,
            inside: self.inside,
        })
        .expect("a sound plan");
        let control = edge.control();
        let (plain_socket, http) = bind();
        let (tls_socket, https) = bind();
        let listeners = vec![
            BoundListener {
                socket: plain_socket,
                kind: ListenerKind::Http,
            },
            BoundListener {
                socket: tls_socket,
                kind: ListenerKind::Https,
            },
        ];
        let stop = Stop::new();
        let (end, ended) = oneshot::channel();
        let run_stop = stop.clone();
        Tasks::new().spawn(async move {
            drop(end.send(edge.run(listeners, run_stop).await));
        });
        World {
            http,
            https,
            stop,
            apps,
            control,
            config,
            quiet,
            protected,
            tap,
            ended,
        }
    }
}

impl World {
    /// The door closed properly.
    pub(crate) async fn closed(self) {
        self.stop.ask();
        let ended = tokio::time::timeout(PATIENCE, self.ended).await;
        ended
            .expect("the door closes in time")
            .expect("the door does not panic")
            .expect("the door closes without an error");
    }

    /// A reload that changes the sites alone.
    pub(crate) fn new_sites(&self, sites: Vec<Site>) -> EdgeReload {
        EdgeReload {
            config: self.config.clone(),
            sites,
            protected: self.protected.clone(),
            quiet_paths: self.quiet.clone(),
            identify: None,
            access: None,
            listeners: ListenerChanges::default(),
        }
    }

    /// Reloads; on error nothing changes.
    pub(crate) fn reload(&self, reload: EdgeReload) -> Result<(), Error> {
        let staged = self.control.prepare(reload)?;
        self.control.commit(staged);
        Ok(())
    }

    pub(crate) fn app(&self, name: &str, ready: Vec<SocketAddr>) {
        let all = HashMap::from([(name.to_owned(), ready)]);
        drop(self.apps.send_replace(Arc::new(all)));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        ask(self.http, "GET", path, &[], "").await
    }
}

pub(crate) fn bind() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = socket.local_addr().expect("an address");
    (socket, addr)
}

/// An address that refuses connections, and that nobody else can take meanwhile: bound, but
/// not listening.
pub(crate) fn refusing() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    let addr = socket.local_addr().expect("an address");
    (socket, addr)
}

pub(crate) fn site(hosts: &[&str], routes: Vec<SiteRoute>) -> Site {
    Site {
        hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        tls: None,
        no_redirect: Vec::new(),
        reserved: Vec::new(),
        redirect: None,
        appids: Vec::new(),
        routes,
        services: Vec::new(),
    }
}

pub(crate) fn route(path: &str, target: RouteTarget) -> SiteRoute {
    SiteRoute {
        path: path.to_owned(),
        target,
        session: SessionRule::Pass,
    }
}

pub(crate) fn proxy_to(addr: SocketAddr) -> RouteTarget {
    RouteTarget::Proxy(vec![addr.to_string()])
}

/// A business server made of an axum router.
pub(crate) fn serve(router: Router) -> SocketAddr {
    let (socket, addr) = bind();
    socket.set_nonblocking(true).expect("set");
    let socket = tokio::net::TcpListener::from_std(socket).expect("registered");
    let tasks = Tasks::new();
    tasks.clone().spawn(async move {
        while let Ok((tcp, _)) = socket.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(tcp), service)
                .with_upgrades();
            tasks.spawn(async { drop(connection.await) });
        }
    });
    addr
}

/// A business server of raw bytes: one behaviour for each connection.
pub(crate) fn serve_raw<F, Fut>(behave: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (socket, addr) = bind();
    socket.set_nonblocking(true).expect("set");
    let socket = tokio::net::TcpListener::from_std(socket).expect("registered");
    let tasks = Tasks::new();
    tasks.clone().spawn(async move {
        let mut count = 0;
        while let Ok((tcp, _)) = socket.accept().await {
            tasks.spawn(behave(tcp, count));
            count += 1;
        }
    });
    addr
}

/// Tells what reached it: `METHOD target`, then header lines, an empty line, the body.
pub(crate) fn echo() -> Router {
    Router::new().fallback(|request: AxumRequest| async move {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return (StatusCode::BAD_REQUEST, Bytes::new());
        };
        let mut told = format!("{} {}\n", head.method, head.uri);
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            told.extend([name.as_str(), ": ", &*value, "\n"]);
        }
        let mut told = (told + "\n").into_bytes();
        told.extend_from_slice(&body.to_bytes());
        (StatusCode::OK, told.into())
    })
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|v| v.to_str().expect("text"));
        value.unwrap_or("")
    }

    /// What an [`echo`] server saw of a header.
    pub(crate) fn seen(&self, name: &str) -> Vec<String> {
        let prefix = format!("{name}: ");
        let text = self.text();
        let head = text.split("\n\n").next().unwrap_or_default();
        head.lines()
            .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }
}

pub(crate) async fn ask(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let tcp = TcpStream::connect(addr).await.expect("connected");
    ask_over(tcp, method, path, headers, body).await
}

/// The same from another address of loopback: another client.
pub(crate) async fn ask_from(
    at: &str,
    world: &World,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let at: SocketAddr = format!("{at}:0").parse().expect("an address");
    socket.bind(at).expect("an address of loopback");
    let tcp = socket.connect(world.http).await.expect("connected");
    ask_over(tcp, "GET", path, headers, "").await
}

pub(crate) async fn ask_over<S>(
    io: S,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .expect("a client");
    Tasks::new().spawn(async { drop(connection.await) });
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "site.example");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("a request");
    let sent = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    let response = sent.expect("an answer in time").expect("an answer");
    read(response).await
}

pub(crate) async fn read(response: http::Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await;
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body
            .expect("a body in time")
            .expect("a body")
            .to_bytes()
            .to_vec(),
    }
}

/// Sends bytes and reads until the door closes or is silent for `quiet`.
pub(crate) async fn raw(addr: SocketAddr, bytes: &[u8], quiet: Duration) -> String {
    let mut tcp = TcpStream::connect(addr).await.expect("connected");
    tcp.write_all(bytes).await.expect("sent");
    listen(&mut tcp, quiet).await
}

pub(crate) async fn listen(tcp: &mut TcpStream, quiet: Duration) -> String {
    let mut heard = Vec::new();
    let mut buf = vec![0; 64 * 1024];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(quiet, tcp.read(&mut buf)).await {
        heard.extend_from_slice(&buf[..count]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

/// A certificate authority for tests.
pub(crate) struct Authority {
    pub(crate) cert: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "a test authority");
        let cert = params.self_signed(&key).expect("signed");
        Self {
            cert,
            issuer: rcgen::Issuer::new(params, key),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A certificate for `names` and its key, as text.
    pub(crate) fn issue(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> (String, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = self.issue_for(&key, names, change);
        (cert, key)
    }

    pub(crate) fn issue_for(
        &self,
        key: &rcgen::KeyPair,
        names: &[&str],
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> String {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("params");
        change(&mut params);
        params.signed_by(key, &self.issuer).expect("signed").pem()
    }

    pub(crate) fn write(
        &self,
        name: &str,
        cert: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> CertFiles {
        let files = CertFiles {
            cert: self.folder.path().join(format!("{name}.crt")),
            key: self.folder.path().join(format!("{name}.key")),
        };
        std::fs::write(&files.cert, cert).expect("written");
        std::fs::write(&files.key, key).expect("written");
        files
    }

    /// Files for `names`, in the common form.
    pub(crate) fn files(&self, name: &str, names: &[&str]) -> CertFiles {
        let (cert, key) = self.issue(names, |_| ());
        self.write(name, cert + &self.cert.pem(), key.serialize_pem())
    }
}
