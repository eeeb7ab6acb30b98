//! Requests that name no host, as balancers' health checks do.

use weappd_edge::RouteTarget;

use crate::world::{PATIENCE, Plan, World, echo, proxy_to, raw, route, serve, site};

const HOSTLESS: [&str; 6] = [
    "GET / HTTP/1.0\r\n\r\n",
    "HEAD / HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\nUser-Agent: probe\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.0\r\nHost:\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
];

fn world(hosts: &[&str]) -> World {
    let mut plan = Plan::new(Vec::new());
    plan.sites = vec![site(hosts, vec![route("/", proxy_to(serve(echo())))])];
    plan.open()
}

#[tokio::test]
async fn the_site_that_takes_every_name_answers_who_names_none() {
    let world = world(&["a.example", "*"]);
    for head in HOSTLESS {
        let heard = raw(world.http, head.as_bytes(), PATIENCE).await;
        assert!(heard.contains(" 200 OK\r\n"), "{head:?}: {heard}");
        let is_seen = heard.contains("host: localhost\n");
        assert_eq!(is_seen, head.starts_with("GET"), "{heard}");
    }
    // An old client that names it in its own way.
    let old = b"GET http://a.example/ HTTP/1.0\r\n\r\n";
    let heard = raw(world.http, old, PATIENCE).await;
    assert!(heard.contains("host: a.example\n"), "{heard}");
    // HTTP/1.1 must name one.
    let bad = b"GET / HTTP/1.1\r\n\r\n";
    let heard = raw(world.http, bad, PATIENCE).await;
    assert!(heard.starts_with("HTTP/1.1 400"), "{heard}");
    world.closed().await;
}

#[tokio::test]
async fn without_such_a_site_nobody_does() {
    let world = world(&["a.example", "*.b.example"]);
    for head in HOSTLESS {
        let heard = raw(world.http, head.as_bytes(), PATIENCE).await;
        assert!(heard.contains(" 400 Bad Request\r\n"), "{head:?}: {heard}");
    }
    world.closed().await;
}

#[tokio::test]
async fn who_names_no_host_is_not_sent_to_https() {
    let mut plan = Plan::new(Vec::new());
    let moved = RouteTarget::Redirect {
        to: "https://b.example{path}".to_owned(),
        code: 302,
    };
    let mut every = site(&["*"], vec![route("/", moved)]);
    every.redirect = Some(443);
    plan.sites = vec![every];
    let world = plan.open();
    for head in HOSTLESS {
        let heard = raw(world.http, head.as_bytes(), PATIENCE).await;
        assert!(heard.contains("location: https://b.example/"), "{heard}");
    }
    let named = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let heard = raw(world.http, named, PATIENCE).await;
    assert!(heard.contains("location: https://a.example/"), "{heard}");
    world.closed().await;
}
