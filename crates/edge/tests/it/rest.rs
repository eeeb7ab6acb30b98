//! Business servers of a list that rest after a failure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use weappd_base::tasks::Tasks;
use weappd_edge::{Config, RouteTarget};

use crate::world::{Plan, World, ask, refusing, route, serve, serve_raw};

fn live() -> SocketAddr {
    serve(Router::new().fallback(|| async { "live" }))
}

fn open(list: &[SocketAddr], change: impl FnOnce(&mut Config)) -> World {
    let list = list.iter().map(ToString::to_string).collect();
    let plan = Plan::new(vec![route("/", RouteTarget::Proxy(list))]);
    plan.config(|c| {
        // No rest is over before its test is.
        c.upstream_rest_secs = 600;
        change(c);
    })
    .open()
}

/// An address whose system takes no further connection: to ask it is to wait.
async fn silent() -> (TcpSocketKept, SocketAddr) {
    let (socket, addr) = refusing();
    let listener = socket.listen(0).expect("listening");
    let mut waiting = Vec::new();
    // The queue of those who wait to be accepted has room for one or two.
    while let Ok(Ok(tcp)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(addr)).await
    {
        waiting.push(tcp);
    }
    ((listener, waiting), addr)
}

type TcpSocketKept = (tokio::net::TcpListener, Vec<TcpStream>);

#[tokio::test]
async fn a_silent_server_costs_one_request_its_time() {
    const LIMIT: Duration = Duration::from_secs(3);
    let (_kept, silent) = silent().await;
    // Each thread is dealt every second connection.
    let world = open(&[silent, live()], |c| c.threads = 2);
    let mut slow = 0;
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(world.get("/").await.text(), "live");
        slow += usize::from(begun.elapsed() >= LIMIT);
    }
    assert_eq!(slow, 1, "of 20");
    world.closed().await;
}

#[tokio::test]
async fn a_rest_outlives_a_reload_and_holds_for_all_lists() {
    let (_kept, silent) = silent().await;
    let list = vec![silent.to_string(), live().to_string()];
    let sites = || {
        let routes = ["/", "/a", "/b"].map(|path| route(path, RouteTarget::Proxy(list.clone())));
        vec![crate::world::site(&["*"], routes.into())]
    };
    let mut plan = Plan::new(Vec::new()).config(|c| c.upstream_rest_secs = 600);
    plan.sites = sites();
    let world = plan.open();
    let mut slow = 0;
    for path in ["/", "/a", "/b", "/", "/a", "/b"] {
        let begun = Instant::now();
        assert_eq!(world.get(path).await.text(), "live");
        slow += usize::from(begun.elapsed() >= Duration::from_secs(3));
        world
            .reload(world.new_sites(sites()))
            .expect("the same again");
    }
    assert_eq!(slow, 1, "of 6");
    world.closed().await;
}

#[tokio::test]
async fn a_server_that_gives_no_answers_rests() {
    // One ends each connection at the request, the other answers what is no HTTP.
    for word in [&b""[..], b"220 smtp ready\r\n"] {
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let bad = serve_raw(move |mut tcp, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                drop(tcp.read(&mut [0; 4096]).await);
                drop(tcp.write_all(word).await);
            }
        });
        let world = open(&[bad, live()], |_| {});
        let mut refused = 0;
        for _ in 0..40 {
            let answer = ask(world.http, "POST", "/", &[], "order").await;
            refused += usize::from(answer.status == 502);
        }
        assert_eq!((refused, read.load(Ordering::SeqCst)), (3, 3), "of 40");
        world.closed().await;
    }
}

#[tokio::test]
async fn a_server_that_stalls_rests() {
    let stalls =
        serve_raw(
            |mut tcp, _| async move { while let Ok(1..) = tcp.read(&mut [0; 4096]).await {} },
        );
    let world = open(&[stalls, live()], |c| c.answer_timeout_secs = 1);
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(world.get("/").await.status == 504);
    }
    assert_eq!(refused, 3, "of 20");
    world.closed().await;
}

/// From here on whoever connects is answered.
fn revive(socket: TcpSocket) -> Arc<AtomicUsize> {
    let listener = socket.listen(64).expect("listening");
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let tasks = Tasks::new();
    tasks.clone().spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tasks.spawn(async move {
                while let Ok(1..) = tcp.read(&mut [0; 4096]).await {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback";
                    drop(tcp.write_all(answer).await);
                }
            });
        }
    });
    answered
}

#[tokio::test]
async fn when_its_rest_is_over_it_is_tried_and_takes_its_turns_again() {
    let (socket, addr) = refusing();
    let world = open(&[addr, live()], |c| c.upstream_rest_secs = 1);
    for _ in 0..4 {
        assert_eq!(world.get("/").await.text(), "live");
    }
    revive(socket);
    let begun = Instant::now();
    let mut in_turn = 0;
    while in_turn < 4 {
        assert!(begun.elapsed() < Duration::from_mins(1), "it was not tried");
        let pair = [world.get("/").await.text(), world.get("/").await.text()];
        let both = ["back", "live"].map(|name| pair.iter().any(|text| text == name));
        in_turn += usize::from(both == [true, true]);
    }
    world.closed().await;
}

#[tokio::test]
async fn when_all_rest_all_are_tried() {
    let (first, addr) = refusing();
    let (_second, nowhere) = refusing();
    let world = open(&[addr, nowhere], |_| {});
    for _ in 0..3 {
        assert_eq!(world.get("/").await.status, 502);
    }
    let answered = revive(first);
    for _ in 0..3 {
        assert_eq!(world.get("/").await.text(), "back");
    }
    assert!(answered.load(Ordering::SeqCst) > 0);
    world.closed().await;
}
