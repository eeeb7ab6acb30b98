//! Ctrl-C: everything ends soon, nothing is left behind, and the next start goes on where
//! this one ended.

use std::time::Duration;

use hyper::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fixture;
use crate::family;
use crate::process::PATIENCE;
use crate::tunnel::PhoneSocket;
use crate::world::TestWorld;

/// Longer than this nobody wants to look at a terminal after Ctrl-C.
const SOON: Duration = Duration::from_secs(2);

/// The page's open wire (server-sent events), past its first words.
async fn open_wire(world: &TestWorld) -> TcpStream {
    let mut wire = TcpStream::connect(world.http).await.expect("the site");
    let request = format!("GET /_dev/wire HTTP/1.1\r\nhost: {}\r\n\r\n", world.http);
    wire.write_all(request.as_bytes()).await.expect("asked");
    let mut heard = Vec::new();
    let listening = async {
        while !String::from_utf8_lossy(&heard).contains("event: listening") {
            let read = wire.read_buf(&mut heard).await.expect("an answer");
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&heard));
        }
    };
    tokio::time::timeout(PATIENCE, listening)
        .await
        .expect("the wire");
    assert!(heard.starts_with(b"HTTP/1.1 200"));
    wire
}

/// Reads until the other side hangs up.
async fn hangs_up(mut wire: TcpStream) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, wire.read_to_end(&mut rest));
    // An abrupt end is an end too.
    drop(end.await.expect("the wire ends with weappd"));
}

#[tokio::test]
async fn ctrl_c_ends_everything_soon_and_the_next_start_knows_the_sessions() {
    let mut world = TestWorld::dev().await;
    let mut phones = [world.phone("alice"), world.phone("bob")];
    let mut sockets = Vec::new();
    for phone in &mut phones {
        phone.log_in().await;
        let mut socket = PhoneSocket::join(&world, phone).await;
        assert_eq!(socket.hears().await, "timeout:15");
        sockets.push(socket);
    }
    let wire = open_wire(&world).await;
    let children = family::of(world.process().id());
    assert!(!children.is_empty(), "the chat room is a child process");
    let skeys = phones.map(|phone| phone.skey.expect("logged in"));
    let (mut a, mut b) = (sockets.remove(0), sockets.remove(0));

    // The phones and the page read on while weappd ends.
    let ending = tokio::task::spawn_blocking(move || world.end(Signal::INT));
    let (ended, a, b, ()) = tokio::join!(ending, a.sees_close(), b.sees_close(), hangs_up(wire));
    let (dir, took) = ended.expect("it ended");
    assert!(took < SOON, "Ctrl-C took {took:?}");
    assert_eq!(
        (a, b),
        (Some(1001), Some(1001)),
        "phones hear that it goes away"
    );
    family::gone(&children).await;

    let world = TestWorld::dev_in(dir, &[]).await;
    for (user, skey) in ["alice", "bob"].into_iter().zip(skeys) {
        let mut phone = world.phone(user);
        phone.skey = Some(skey);
        let known = phone.user().await;
        assert_eq!(known["code"], 0, "{user}: {known}");
        assert!(known["data"]["nickName"].is_string(), "{known}");
    }
}

#[tokio::test]
async fn an_app_that_will_not_end_does_not_keep_weappd() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // Deaf to SIGTERM, with a child of its own that is deaf as well.
    let deaf = "trap '' TERM INT; (trap '' TERM INT; while :; do sleep 1; done) & exec node \"$0\"";
    let run = ["--", "sh", "-c", deaf, &fixture("echo.js")];
    let mut world = TestWorld::dev_in(dir, &run).await;
    let answer = world.site().get("/x").send().await;
    assert_eq!(answer.status(), StatusCode::OK);
    let children = family::of(world.process().id());
    assert!(children.len() >= 2, "{children:?}");
    let (_dir, took) = world.end(Signal::INT);
    assert!(took < SOON, "Ctrl-C took {took:?}");
    family::gone(&children).await;
}

#[tokio::test]
async fn sigterm_is_an_end_like_ctrl_c() {
    let mut world = TestWorld::dev().await;
    let children = family::of(world.process().id());
    let (dir, took) = world.end(Signal::TERM);
    assert!(took < SOON, "SIGTERM took {took:?}");
    family::gone(&children).await;
    // The directory is free again.
    let world = TestWorld::dev_in(dir, &[]).await;
    let list: Value = serde_json::from_slice(&world.command(&["app", "list", "--json"]).stdout)
        .expect("the control socket answers");
    assert_eq!(list[0]["name"], json!("chat"));
}
