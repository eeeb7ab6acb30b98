//! Reloads while everything is busy: nothing is lost, nothing is answered by a wrong table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{answering, said};
use crate::files::{PNG, form, upload};
use crate::http::{self, connector};
use crate::raw::RawClient;
use crate::tunnel::{PhoneSocket, connect_url};
use crate::upstream;
use crate::world::{TestPhone, TestWorld, WorldRecipe};

const RELOADS: usize = 200;
const SOCKETS: usize = 200;
/// After so many reloads, everything there ever is exists.
const SETTLED: usize = 40;
const DOWNLOAD: usize = 300_000;

/// A business server that takes callbacks, and counts the tunnels that end.
fn business(closed: Arc<AtomicUsize>) -> std::net::SocketAddr {
    let take = move |body: Bytes| {
        let text = String::from_utf8_lossy(&body).replace('\\', "");
        closed.fetch_add(usize::from(text.contains(r#""close""#)), Ordering::Relaxed);
        async { r#"{"code":0,"message":"OK"}"# }
    };
    upstream::serve(Router::new().route("/tunnel", post(take)))
}

/// Agrees to an upgrade, then says what it hears.
fn echo() -> std::net::SocketAddr {
    upstream::serve_raw(|mut tcp| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = tcp.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let mut all_right = tcp.write_all(agreed.as_bytes()).await.is_ok();
        let mut buffer = [0; 1024];
        while all_right && let Ok(count @ 1..) = tcp.read(&mut buffer).await {
            all_right = tcp.write_all(&buffer[..count]).await.is_ok();
        }
    })
}

/// A WebSocket to the echo.
async fn web_socket(world: &TestWorld) -> RawClient {
    let mut socket = RawClient::tls(world.https, &connector(&world.ca(), &[b"http/1.1"])).await;
    let ask = "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
               Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.say(ask).await.expect("sent");
    socket.until("101", |text| text.ends_with("\r\n\r\n")).await;
    socket.forget();
    socket
}

/// Files that weappd has open.
fn open_files(world: &TestWorld) -> usize {
    let folder = format!("/proc/{}/fd", world.pid());
    std::fs::read_dir(folder).expect("weappd runs").count()
}

/// Asks again and again, until told to end; how often.
async fn keep_on(end: &AtomicBool, ask: impl AsyncFn()) -> usize {
    let mut count = 0;
    while !end.load(Ordering::Relaxed) {
        ask().await;
        count += 1;
    }
    count
}

async fn put_and_get(phone: &TestPhone, world: &TestWorld) {
    let site = world.site();
    let answer = http::json(&upload(phone, &site, form("x.png", "image/png", PNG)).await);
    assert_eq!(answer["code"], 0, "{answer}");
    let whole = site.get("/files/large.bin").send().await;
    assert_eq!(
        (whole.status().as_u16(), whole.body().len()),
        (200, DOWNLOAD)
    );
    assert_eq!(phone.user().await["code"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_two_hundred_reloads_under_load() {
    let closed = Arc::new(AtomicUsize::new(0));
    let business = business(Arc::clone(&closed));
    let words = [answering("one"), answering("two")];
    let routes = format!(
        "routes = [{{ path = \"/word\", proxy = \"{}\" }}, {{ path = \"/socket\", proxy = \"{}\" }}, \
         {{ path = \"/files/*\", root = \".\" }}, {{ path = \"/\", proxy = \"{business}\" }}]",
        words[0],
        echo()
    );
    let tunnel = format!(
        "[tunnel]\nkey = \"{}\"\nreceive = \"http://{business}/tunnel\"\n\
         allow_http_receive = true\nissuer = \"weappd\"\n",
        "k".repeat(32)
    );
    let world = WorldRecipe::new()
        .site(&routes)
        .file("files/large.bin", vec![b'x'; DOWNLOAD])
        .sections(&tunnel)
        .serve();
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let mut tunnels = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let url = connect_url(&phone).await;
        let mut tunnel = PhoneSocket::open(&world, &url).await.expect("accepted");
        assert_eq!(tunnel.hears().await, "timeout:15");
        tunnels.push(tunnel);
        sockets.push(web_socket(&world).await);
    }

    let end = AtomicBool::new(false);
    let asking = keep_on(&end, async || put_and_get(&phone, &world).await);
    let reloading = async {
        let mut settled = None;
        for turn in 0..RELOADS {
            let (from, to) = (turn % 2, (turn + 1) % 2);
            let path = "path = \"/word\", proxy = ";
            let line = |at: usize| format!("{path}\"{}\"", words[at]);
            world.rewrite(&line(from), &line(to));
            let told = tokio::task::block_in_place(|| world.reload());
            assert_eq!(told, "changed: routes\n", "turn {turn}");
            assert_eq!(
                said(&world.site(), "/word").await,
                ["one", "two"][to],
                "turn {turn}"
            );
            if turn == SETTLED {
                settled = Some((open_files(&world), world.pss_kib()));
            }
        }
        end.store(true, Ordering::Relaxed);
        settled.expect("there are more turns")
    };
    let (asked, (files, memory)) = tokio::join!(asking, reloading);
    assert!(asked > 0);

    for socket in &mut sockets {
        socket.say("still here").await.expect("open");
        socket.until("the echo", |text| text == "still here").await;
    }
    for tunnel in &mut tunnels {
        tunnel.sends("ping").await;
        assert_eq!(tunnel.hears().await, "pong");
    }
    assert_eq!(closed.load(Ordering::Relaxed), 0, "a tunnel was closed");
    // What each reload left behind would be here by now.
    let now = open_files(&world);
    assert!(now <= files + 16, "{files} files grew to {now}");
    let now = world.pss_kib();
    assert!(now <= memory + 16 * 1024, "{memory} KiB grew to {now}");
}
