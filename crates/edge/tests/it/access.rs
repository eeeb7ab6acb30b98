//! The access log: a line soon, with the right names, and none is lost.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weappd_base::tasks::Tasks;
use weappd_edge::AccessLog;

use crate::tls::connect;
use crate::world::{
    Authority, PATIENCE, Plan, World, ask, echo, proxy_to, route, serve, serve_raw,
};

#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<String>>);

impl Lines {
    pub(crate) fn all(&self) -> String {
        self.0.lock().expect("whole").clone()
    }

    /// A log of its own, and its lines.
    pub(crate) fn new_log() -> (Self, AccessLog) {
        let lines = Self::default();
        let log = lines.log();
        (lines, log)
    }

    fn log(&self) -> AccessLog {
        let lines = self.clone();
        AccessLog {
            json: false,
            write: Box::new(move |bytes| {
                let text = String::from_utf8_lossy(bytes);
                lines.0.lock().expect("whole").push_str(&text);
            }),
        }
    }

    pub(crate) async fn come(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = self.all();
            if all.contains(what) {
                return all;
            }
            assert!(Instant::now() < deadline, "no line with {what}: {all}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn logged(mut plan: Plan) -> (World, Lines) {
    let lines = Lines::default();
    plan.access = Some(lines.log());
    plan.config.threads = 1;
    (plan.open(), lines)
}

#[tokio::test]
async fn the_line_of_the_only_request_comes_without_another_one() {
    let (world, lines) = logged(Plan::new(vec![route("/", proxy_to(serve(echo())))]));
    let answer = ask(world.http, "GET", "/first", &[("connection", "close")], "").await;
    assert_eq!(answer.status, 200);
    lines.come("GET /first 200").await;
    world.closed().await;
}

#[tokio::test]
async fn a_line_names_the_host_of_http2_and_no_password() {
    let authority = Authority::new();
    let plan = Plan::new(vec![route("/", proxy_to(serve(echo())))]);
    let files = authority.files("site", &["site.test"]);
    let (world, lines) = logged(plan.tls(files));
    let tls = connect(
        &world,
        &authority,
        "site.test",
        rustls::ALL_VERSIONS,
        &["h2"],
    )
    .await
    .expect("TLS");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .expect("HTTP/2");
    Tasks::new().spawn(async { drop(connection.await) });
    for (url, line) in [
        ("https://site.test/two", " site.test GET /two 200 "),
        (
            "https://site.test:8443/port",
            " site.test:8443 GET /port 200 ",
        ),
    ] {
        let request = Request::get(url).body(Empty::<bytes::Bytes>::new());
        let answer = sender.send_request(request.expect("a request")).await;
        assert_eq!(answer.expect("an answer").status(), 200);
        lines.come(line).await;
    }
    let asked = b"GET http://u:hunter2@site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n";
    let heard = crate::world::raw(world.http, asked, std::time::Duration::from_millis(100)).await;
    assert!(heard.starts_with("HTTP/1.1 400"), "{heard}");
    let all = lines.come(" site.test GET / 400 ").await;
    assert!(!all.contains("hunter2"), "{all}");
    world.closed().await;
}

#[tokio::test]
async fn at_a_stop_every_request_has_its_line() {
    let (arrived, mut arrival) = tokio::sync::mpsc::unbounded_channel();
    let silent = serve_raw(move |mut tcp, _| {
        let arrived = arrived.clone();
        async move {
            drop(tcp.read(&mut [0]).await);
            arrived.send(()).expect("the test waits");
            std::future::pending::<()>().await;
        }
    });
    let app = proxy_to(serve(echo()));
    let routes = vec![route("/", app), route("/silent", proxy_to(silent))];
    let (world, lines) = logged(Plan::new(routes));
    for at in 0..30 {
        let answer = ask(world.http, "GET", &format!("/n{at}"), &[], "").await;
        assert_eq!(answer.status, 200);
    }
    let (tcp, stop) = (world.http, world.stop.clone());
    let cut = Tasks::new();
    cut.spawn(async move {
        let mut tcp = tokio::net::TcpStream::connect(tcp)
            .await
            .expect("connected");
        let asked = b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n";
        tcp.write_all(asked).await.expect("sent");
        drop(tcp.read(&mut [0]).await);
    });
    // The request is under way when the door is closed by force.
    let under_way = tokio::time::timeout(PATIENCE, arrival.recv()).await;
    assert_eq!(under_way, Ok(Some(())));
    stop.ask();
    stop.force();
    world.closed().await;
    let all = lines.all();
    for at in 0..30 {
        assert!(all.contains(&format!("GET /n{at} 200 ")), "{at}: {all}");
    }
    assert!(all.contains("GET /silent 499 "), "{all}");
}
