//! Request heads: what is refused is answered with words and has a line, and what others take
//! is taken.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::access::logged;
use crate::world::{PATIENCE, Plan, echo, listen, proxy_to, raw, route, serve, serve_raw};

/// The answers on a connection: status, head and body of each.
fn answers(heard: &str) -> Vec<(u16, String, String)> {
    let mut rest = heard;
    let mut all = Vec::new();
    while let Some((head, after)) = rest.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |text| text.parse().expect("a length"));
        let (body, next) = after.split_at(length.min(after.len()));
        assert_eq!(body.len(), length, "cut short: {heard}");
        all.push((status.expect(head), head.to_owned(), body.to_owned()));
        rest = next;
    }
    assert_eq!(rest, "", "more than answers: {heard}");
    all
}

#[tokio::test]
async fn a_refused_head_is_answered_with_words_and_has_a_line() {
    let (world, lines) = logged(Plan::new(vec![route("/", proxy_to(serve(echo())))]));
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(40_000)
    );
    let endless = format!("GET /{}", "a".repeat(70_000));
    let mut expected = Vec::new();
    for (head, status, code) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
            400,
            "bad_request",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
            400,
            "bad_request",
        ),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400, "bad_request"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        ("nonsense\r\n\r\n", 400, "bad_request"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            400,
            "bad_request",
        ),
        (&long, 431, "head_too_large"),
        (&endless, 431, "head_too_large"),
    ] {
        let heard = raw(world.http, head.as_bytes(), PATIENCE).await;
        let [(told, _, body)] = answers(&heard).try_into().expect("one answer");
        assert_eq!(told, status, "{heard}");
        assert_eq!(heard.matches("connection: close").count(), 1, "{heard}");
        assert!(heard.contains("content-type: application/json"), "{heard}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("json");
        assert_eq!(body["error"]["code"], code, "{heard}");
        let id = body["error"]["request_id"].as_str().expect("an id");
        assert!(
            heard.contains(&format!("\r\nx-request-id: {id}\r\n")),
            "{heard}"
        );
        expected.push(format!(
            " - - - {status} {}B 0ms \"\" {id}",
            body.to_string().len()
        ));
    }
    lines.come(" - - - 431 ").await;
    world.closed().await;
    let all = lines.all();
    assert_eq!(all.lines().count(), expected.len(), "{all}");
    for (line, end) in all.lines().zip(expected) {
        let has = line.contains(" access 127.0.0.1:") && line.ends_with(&end);
        assert!(has, "{line}, not {end}");
    }
}

#[tokio::test]
async fn a_bad_head_is_answered_after_good_ones() {
    let (world, lines) = logged(Plan::new(vec![route("/", proxy_to(serve(echo())))]));
    let two = "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    // One that hyper refuses, and one that is kept from it.
    for (bad, pieces) in [
        ("X : y", 1000),
        ("X : y", 5),
        ("X: y\n", 1000),
        ("X: y\n", 5),
    ] {
        let three = format!("{two}GET /c HTTP/1.1\r\nHost: a\r\n{bad}\r\n\r\n").into_bytes();
        let mut tcp = TcpStream::connect(world.http).await.expect("connected");
        tcp.set_nodelay(true).expect("set");
        for piece in three.chunks(pieces) {
            tcp.write_all(piece).await.expect("sent");
            tokio::task::yield_now().await;
        }
        let heard = listen(&mut tcp, PATIENCE).await;
        let all = answers(&heard);
        let told: Vec<u16> = all.iter().map(|(status, ..)| *status).collect();
        assert_eq!(told, [200, 200, 400], "{heard}");
        assert!(all[0].2.starts_with("GET /a\n") && all[1].2.starts_with("GET /b\n"));
        assert!(all[2].2.contains("bad_request"), "{heard}");
    }
    let all = lines.come(" - - - 400 ").await;
    assert!(all.contains("GET /a 200"), "{all}");
    world.closed().await;
}

#[tokio::test]
async fn an_answer_of_an_app_that_looks_like_a_refusal_stays_as_it_is() {
    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let app = serve_raw(|mut tcp, _| async move {
        let mut buf = vec![0; 4096];
        while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut tcp, &mut buf).await {
            let asked = String::from_utf8_lossy(&buf[..count]).into_owned();
            // Once as the answer, once as its body.
            let answer = if asked.starts_with("GET /body") {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BARE.len());
                tcp.write_all(head.as_bytes()).await.expect("sent");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                BARE
            } else {
                BARE
            };
            tcp.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    let (world, lines) = logged(Plan::new(vec![route("/", proxy_to(app))]));
    let many = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /body HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let heard = raw(world.http, many, PATIENCE).await;
    let told: Vec<(u16, String)> = answers(&heard)
        .into_iter()
        .map(|(status, _, body)| (status, body))
        .collect();
    let bare = || (400, String::new());
    let body = || (200, BARE.to_owned());
    assert_eq!(told, [bare(), body(), bare(), body()]);
    world.closed().await;
    assert_eq!(lines.all().lines().count(), 4, "{}", lines.all());
}

#[tokio::test]
async fn what_a_uri_has_only_escaped_is_escaped() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))]).open();
    for (target, seen) in [
        (&b"/a?q=\"1\""[..], "/a?q=%221%22"),
        (b"/a?x=<b>", "/a?x=%3Cb%3E"),
        // The same two characters in GBK and in UTF-8.
        (b"/\xD6\xD0\xCE\xC4?q=\xD6\xD0", "/%D6%D0%CE%C4?q=%D6%D0"),
        (b"/?q=\xE4\xB8\xAD", "/?q=%E4%B8%AD"),
        (b"/a?{\"a\":[1]}", "/a?{%22a%22:[1]}"),
    ] {
        let one = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\nX: \"\r\n"].concat();
        let two = [&one[..], b"\r\n", &one, b"Connection: close\r\n\r\n"].concat();
        for pieces in [two.len(), 3, 1] {
            let mut tcp = TcpStream::connect(world.http).await.expect("connected");
            tcp.set_nodelay(true).expect("set");
            for piece in two.chunks(pieces) {
                tcp.write_all(piece).await.expect("sent");
                tokio::task::yield_now().await;
            }
            let heard = listen(&mut tcp, PATIENCE).await;
            let all = answers(&heard);
            assert_eq!(all.len(), 2, "{heard}");
            for (status, _, body) in all {
                assert_eq!(status, 200, "{heard}");
                let line = body.lines().next();
                assert_eq!(line, Some(&*format!("GET {seen}")), "{heard}");
                assert!(body.contains("x: \"\n"), "{heard}");
            }
        }
    }
    world.closed().await;
}

#[tokio::test]
async fn many_cookies_are_taken() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))]).open();
    for (cookie, status) in [
        (format!("Cookie: a={}\r\n", "b".repeat(17_000)), 200),
        (
            format!("Cookie: a={}\r\n", "b".repeat(7_900)).repeat(4),
            200,
        ),
        (
            format!("Cookie: a={}\r\n", "b".repeat(7_900)).repeat(5),
            431,
        ),
    ] {
        let asked = format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}Connection: close\r\n\r\n");
        let heard = raw(world.http, asked.as_bytes(), PATIENCE).await;
        assert_eq!(answers(&heard)[0].0, status, "{heard}");
    }
    world.closed().await;
}
