//! Business servers inside the test's own process: they tell what reached them.

use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpSocket, TcpStream};
use weappd_base::tasks::Tasks;

use crate::http::HttpAnswer;

/// Serves one behaviour for each connection.
pub(crate) fn serve_raw<F, Fut>(behave: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = socket.local_addr().expect("an address");
    socket.set_nonblocking(true).expect("set");
    let socket = tokio::net::TcpListener::from_std(socket).expect("registered");
    accept(socket, behave);
    addr
}

fn accept<F, Fut>(socket: tokio::net::TcpListener, behave: F)
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let tasks = Tasks::new();
    tasks.clone().spawn(async move {
        while let Ok((tcp, _)) = socket.accept().await {
            tasks.spawn(behave(tcp));
        }
    });
}

/// Serves a router over HTTP/1.1.
pub(crate) fn serve(router: Router) -> SocketAddr {
    serve_raw(speak(router))
}

/// What a router says on one connection.
fn speak(router: Router) -> impl Fn(TcpStream) -> BoxFuture<'static, ()> {
    move |tcp| {
        let service = TowerToHyperService::new(router.clone());
        Box::pin(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(tcp), service)
                .with_upgrades();
            drop(connection.await);
        })
    }
}

/// An address that refuses connections, and that nobody else can take meanwhile.
pub(crate) struct RefusingPort(TcpSocket);

impl RefusingPort {
    /// Bound, but not listening.
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        Self(socket)
    }

    /// Where.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// Refuses no longer: serves a router.
    pub(crate) fn serve(self, router: Router) {
        accept(self.0.listen(64).expect("a listener"), speak(router));
    }
}

/// Answers with what reached it: `METHOD target`, header lines, an empty line, the body.
pub(crate) fn echo() -> Router {
    Router::new().fallback(|request: Request| async move {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return (StatusCode::BAD_REQUEST, Bytes::new());
        };
        let mut told = format!("{} {}\n", head.method, head.uri);
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            told.extend([name.as_str(), ": ", &value, "\n"]);
        }
        let mut told = (told + "\n").into_bytes();
        told.extend_from_slice(&body.to_bytes());
        (StatusCode::OK, told.into())
    })
}

/// What an [`echo`] saw of a header.
pub(crate) fn seen(answer: &HttpAnswer, name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(answer.body());
    let head = text.split("\n\n").next().unwrap_or_default();
    let prefix = format!("{name}: ");
    head.lines()
        .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}
