//! The table of doubtful requests: what is answered, and that nothing else reaches the app.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use http_body_util::BodyExt;

use crate::world::{Plan, proxy_to, raw, route, serve};

const QUIET: Duration = Duration::from_millis(400);

/// Name, bytes, statuses of the answers in order, and how many requests reached the app.
type Case = (&'static str, &'static [u8], &'static str, usize);

const CASES: [Case; 48] = [
    ("plain", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200", 1),
    ("two in one write", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "200 200", 2),
    ("content-length, then another", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 200", 2),
    ("chunked, then another", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 200", 2),
    ("CL then TE", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0),
    ("TE then CL", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0),
    ("duplicate equal CL", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400", 0),
    ("differing CL", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400", 0),
    ("CL list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nab", "400", 0),
    ("CL with plus", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab", "400", 0),
    ("CL negative", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nab", "400", 0),
    ("CL empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", "400", 0),
    ("CL overflow", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "400", 0),
    ("TE gzip, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400", 0),
    ("TE chunked, gzip", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "400", 0),
    ("TE identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "400", 0),
    ("two TE", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", 0),
    ("TE chunked and a tab", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n", "400", 0),
    ("TE xchunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400", 0),
    ("TE on HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", 0),
    ("space before colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "400", 0),
    ("space before the CL colon", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", "400", 0),
    ("folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", "400", 0),
    ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", "400", 0),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", "400", 0),
    ("bare LF head", b"GET / HTTP/1.1\nHost: a\n\n", "400", 0),
    ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", "400", 0),
    ("chunk size with bare LF", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n", "400", 0),
    ("chunk extension with bare LF", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nab\r\n0\r\n\r\n", "400", 0),
    ("chunk 0x2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n", "400", 0),
    ("chunk overflow", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111112\r\nab\r\n0\r\n\r\n", "400", 0),
    ("chunk data too long", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "400", 0),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", "400", 0),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", 0),
    ("host that is none", b"GET / HTTP/1.1\r\nHost: x/../y@z\r\n\r\n", "400", 0),
    ("absolute form, same host", b"GET http://a/p HTTP/1.1\r\nHost: a\r\n\r\n", "200", 1),
    ("absolute form, other host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0),
    ("absolute form, another scheme", b"GET ftp://a/p HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0),
    ("a port beyond all", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", "400", 0),
    ("climbing path", b"GET /a/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0),
    ("climbing path, encoded", b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0),
    ("lower-case method", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "400", 0),
    ("HTTP/1.9", b"GET / HTTP/1.9\r\nHost: a\r\n\r\n", "400", 0),
    ("HTTP/2 preface on a plain port", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400", 0),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "405", 0),
    ("unknown upgrade, then another", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", "200 200", 2),
    ("trailer with a length", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Length: 5\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 200", 2),
    ("good, then bad", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: a\r\n\r\n", "200 400", 1),
];

/// Counts the requests that arrived whole.
fn counter() -> (Router, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let router = Router::new().fallback(move |request: Request| async move {
        if request.into_body().collect().await.is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    (router, count)
}

fn statuses(text: &str) -> String {
    let mut all = Vec::new();
    for line in text.split("HTTP/1.").skip(1) {
        all.push(line.get(2..5).unwrap_or("?"));
    }
    all.join(" ")
}

#[tokio::test]
async fn doubtful_requests_are_refused_and_reach_nobody() {
    let (router, count) = counter();
    let world = Plan::new(vec![route("/", proxy_to(serve(router)))]).open();
    let mut wrong = String::new();
    for (name, bytes, answers, reached) in CASES {
        // As one write, and byte by byte, which must make no difference.
        for slow in [false, true] {
            let before = count.load(Ordering::SeqCst);
            let heard = if slow {
                raw_slowly(world.http, bytes).await
            } else {
                raw(world.http, bytes, QUIET).await
            };
            let got = statuses(&heard);
            let arrived = count.load(Ordering::SeqCst) - before;
            if got != answers || arrived != reached {
                writeln!(wrong, "{name} (slow: {slow}): {got:?} instead of {answers:?}, {arrived} arrived instead of {reached}")
                    .expect("written");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    world.closed().await;
}

async fn raw_slowly(addr: std::net::SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::AsyncWriteExt as _;
    let mut tcp = tokio::net::TcpStream::connect(addr)
        .await
        .expect("connected");
    tcp.set_nodelay(true).expect("set");
    for piece in bytes.chunks(7) {
        // The door may have closed already, which is an answer too.
        if tcp.write_all(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    crate::world::listen(&mut tcp, QUIET).await
}

#[tokio::test]
async fn limits_have_their_own_answers() {
    let (router, count) = counter();
    let world = Plan::new(vec![route("/", proxy_to(serve(router)))])
        .config(|c| c.max_body_bytes = 1000)
        .open();
    let long_uri = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9000));
    let long_head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(40_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    for (bytes, status) in [
        (long_uri.as_str(), "414"),
        (&long_head, "431"),
        (&many, "431"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
            "413",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\nContent-Length: 1\r\n\r\n",
            "417",
        ),
    ] {
        let heard = raw(world.http, bytes.as_bytes(), QUIET).await;
        assert_eq!(statuses(&heard), status, "{heard}");
    }
    let chunks = "100\r\n".to_owned() + &"a".repeat(256) + "\r\n";
    let streamed = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunks.repeat(8)
    );
    let heard = raw(world.http, streamed.as_bytes(), QUIET).await;
    assert_eq!(statuses(&heard), "413", "{heard}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
    world.closed().await;
}
