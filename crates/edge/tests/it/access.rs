//! The access log: a line soon, with the right names, and none is lost.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weappd_base::tasks::Tasks;
use weappd_edge::{AccessLog, SessionRule, SiteRoute};

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

/// The id at the end of the only line with `what`.
async fn logged_id(lines: &Lines, what: &str) -> String {
    let all = lines.come(what).await;
    let mut found = all.lines().filter(|line| line.contains(what));
    let (line, none) = (found.next().expect("a line"), found.next());
    assert_eq!(none, None, "one line with {what}");
    line.rsplit(' ').next().expect("an id").to_owned()
}

#[tokio::test]
async fn a_request_has_one_name_for_the_app_the_log_and_the_client() {
    let guarded = SiteRoute {
        session: SessionRule::Require,
        ..route("/mine", proxy_to(serve(echo())))
    };
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = gone.local_addr().expect("an address");
    drop(gone);
    let (world, lines) = logged(Plan::new(vec![
        route("/", proxy_to(serve(echo()))),
        guarded,
        route("/gone", proxy_to(nobody)),
    ]));
    // The client's own word for it is overwritten.
    let mine = [("x-request-id", "mine"), ("x-wx-skey", "alice")];
    let answer = ask(world.http, "GET", "/app", &mine, "").await;
    let id = logged_id(&lines, "GET /app ").await;
    assert_eq!(id.len(), 32, "{id}");
    assert_eq!(answer.seen("x-request-id"), [id.as_str()]);
    assert_eq!(answer.seen("x-wx-call-id"), [id.as_str()]);
    assert_eq!(answer.header("x-wx-call-id"), id);
    // Nobody's request has a name too.
    let answer = ask(world.http, "GET", "/nobody", &[], "").await;
    let other = logged_id(&lines, "GET /nobody ").await;
    assert_ne!(id, other);
    assert_eq!(answer.seen("x-request-id"), [other.as_str()]);
    assert_eq!(answer.header("x-request-id"), "", "the app's own answer");
    // Refusals tell it, in the header and in the body or on the page.
    for (path, headers) in [
        ("/gone/a", &[][..]),
        ("/mine/b", &[("x-wx-skey", "old")]),
        ("/gone/page", &[("accept", "text/html")]),
    ] {
        let answer = ask(world.http, "GET", path, headers, "").await;
        let id = logged_id(&lines, &format!("GET {path} ")).await;
        assert_eq!(answer.header("x-request-id"), id, "{path}");
        // The session service has words of its own.
        let says = path == "/mine/b" || answer.text().contains(&id);
        assert!(says, "{path}: {}", answer.text());
    }
    world.closed().await;
}

#[tokio::test]
async fn a_trusted_proxys_name_is_taken() {
    let plan = Plan::new(vec![route("/", proxy_to(serve(echo())))]);
    let plan = plan.config(|config| config.trusted_proxies = vec!["loopback".to_owned()]);
    let (world, lines) = logged(plan);
    let told = [("x-request-id", "01-proxy.7")];
    let answer = ask(world.http, "GET", "/a", &told, "").await;
    assert_eq!(answer.seen("x-request-id"), ["01-proxy.7"]);
    assert_eq!(logged_id(&lines, "GET /a ").await, "01-proxy.7");
    let bad = [("x-request-id", "a b\"c")];
    let answer = ask(world.http, "GET", "/b", &bad, "").await;
    let id = logged_id(&lines, "GET /b ").await;
    assert_eq!(id.len(), 32, "{id}");
    assert_eq!(answer.seen("x-request-id"), [id.as_str()]);
    world.closed().await;
}
