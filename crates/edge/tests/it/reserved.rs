//! Paths at which apps take what weappd itself sends them, and answers to HEAD.

use weappd_edge::{RouteTarget, SessionRule};

use crate::frames::{DATA, END_STREAM, Frames, HEADERS};
use crate::world::{Authority, PATIENCE, Plan, World, ask, echo, proxy_to, raw, route, serve};

fn open(reserved: &[&str], inside: bool) -> World {
    let mut plan = Plan::new(vec![route("/", proxy_to(serve(echo())))]);
    plan.sites[0].reserved = reserved.iter().map(|path| (*path).to_owned()).collect();
    plan.inside = inside;
    plan.open()
}

#[tokio::test]
async fn nobody_else_reaches_an_app_where_it_takes_pushes() {
    let world = open(&["/weapp/message", "/orders/push"], false);
    for path in [
        "/weapp/message",
        "/WEAPP/message",
        "/weapp/Message/",
        "/weapp/message%2f",
        "/weapp/message;v=1",
        "/weapp/x/%2e%2e/message",
        "/weapp/%6dessage",
        "/weapp/message/wx1234567890abcdef",
        "/orders/push",
        "/Orders%2Fpush?x=1",
    ] {
        for method in ["POST", "PUT", "GET"] {
            let answer = ask(world.http, method, path, &[], "").await;
            assert_eq!(answer.status, 403, "{method} {path}");
            assert!(answer.text().contains("reserved_path"), "{}", answer.text());
        }
    }
    for path in [
        "/",
        "/weapp/messages",
        "/orders",
        "/orders/pushed",
        "/x%2fy",
    ] {
        let answer = ask(world.http, "POST", path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
    }
    world.closed().await;
}

#[tokio::test]
async fn an_app_that_takes_pushes_at_its_root_shows_its_pages() {
    let world = open(&["/"], false);
    for (method, path, status) in [
        ("POST", "/", 403),
        ("PUT", "/?a=1", 403),
        ("POST", "/;v=1", 403),
        ("POST", "/%2F", 403),
        ("POST", "/a%2Fb", 200),
        ("GET", "/", 200),
        ("POST", "/pay", 200),
    ] {
        let answer = ask(world.http, method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
    world.closed().await;
}

#[tokio::test]
async fn weappd_itself_gets_through() {
    let world = open(&["/weapp/message"], true);
    let answer = ask(world.http, "POST", "/weapp/message", &[], "").await;
    assert_eq!(answer.status, 200);
    world.closed().await;
}

#[tokio::test]
async fn head_is_answered_with_a_head_alone() {
    let authority = Authority::new();
    let folder = authority.folder.path().to_owned();
    std::fs::write(folder.join("page.txt"), "twelve bytes").expect("written");
    let mut locked = route("/locked", proxy_to(serve(echo())));
    locked.session = SessionRule::Require;
    let room = axum::Router::new().fallback(|| async { "a room" });
    let world = Plan::new(vec![
        locked,
        route("/", RouteTarget::Static(folder)),
        route("/app", proxy_to(serve(echo()))),
        route("/room", RouteTarget::Router(room.into())),
    ])
    .tls(authority.files("a", &["a.example"]))
    .open();
    for (path, status) in [
        ("/page.txt", 200),
        ("/none.txt", 404),
        ("/locked", 401),
        ("/app", 200),
        ("/room", 200),
    ] {
        let mut client = Frames::open(&world, &authority, &[]).await;
        client.ask(1, "HEAD", path, true).await;
        let head = client.until(|frame| frame.kind == HEADERS).await;
        let head = head.expect("a head");
        assert_eq!(head.status(), Some(status), "{path}");
        assert!(head.flags & END_STREAM != 0, "{path}");
        client.ask(3, "HEAD", path, true).await;
        let next = client
            .until(|frame| matches!(frame.kind, HEADERS | DATA))
            .await;
        assert_eq!(next.expect("a frame").kind, HEADERS, "{path}");
        // The length of what GET gets is told all the same.
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        let said = raw(world.http, head.as_bytes(), PATIENCE).await;
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        assert!(!head.contains("content-length: 0"), "{path}: {head}");
        assert_eq!(body, "", "{path}");
    }
    world.closed().await;
}
