//! A running edge gets new settings, sites, certificates and listeners, and nobody is lost.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use weappd_base::tasks::Tasks;
use weappd_edge::{BoundListener, EdgeReload, Error, ListenerKind, RouteTarget, Site};

use crate::access::logged;
use crate::tls::connect;
use crate::world::{
    Answer, Authority, PATIENCE, Plan, World, ask, ask_from, bind, echo, proxy_to, read, route,
    serve, site,
};

/// One connection that is kept.
struct Kept(SendRequest<Full<Bytes>>);

impl Kept {
    async fn open(at: SocketAddr) -> Self {
        Self::over(TcpStream::connect(at).await.expect("connected")).await
    }

    async fn open_from(from: &str, at: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let from: SocketAddr = format!("{from}:0").parse().expect("an address");
        socket.bind(from).expect("an address of loopback");
        Self::over(socket.connect(at).await.expect("connected")).await
    }

    async fn over(tcp: TcpStream) -> Self {
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await;
        let (sender, connection) = shaken.expect("a client");
        Tasks::new().spawn(async { drop(connection.await) });
        Self(sender)
    }

    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = http::Request::get(path).header("host", "site.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).expect("a request");
        self.0.ready().await.expect("an open connection");
        let sent = tokio::time::timeout(PATIENCE, self.0.send_request(request)).await;
        read(sent.expect("an answer in time").expect("an answer")).await
    }
}

fn says(text: &'static str) -> Vec<Site> {
    let router = Router::new().fallback(move || async move { text });
    vec![site(
        &["*"],
        vec![route("/", RouteTarget::Router(router.into()))],
    )]
}

/// A router that answers `text` when it is told to, and how to tell it.
fn slow(text: &'static str) -> (RouteTarget, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let router = Router::new().fallback(move || {
        let told = Arc::clone(&told);
        async move {
            told.notified().await;
            text
        }
    });
    (RouteTarget::Router(router.into()), go)
}

/// The same sites with other settings.
fn with(
    world: &World,
    sites: Vec<Site>,
    change: impl FnOnce(&mut weappd_edge::Config),
) -> EdgeReload {
    let mut reload = world.new_sites(sites);
    change(&mut reload.config);
    reload
}

async fn is_refused(at: SocketAddr) -> bool {
    for _ in 0..200 {
        if TcpStream::connect(at).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn an_open_connection_finds_the_new_sites_at_its_next_request() {
    let (target, go) = slow("old");
    let world = Plan::new(vec![route("/", target)]).open();
    let mut kept = Kept::open(world.http).await;
    let asking = async {
        let answer = kept.get("/", &[]).await;
        (answer.text(), kept)
    };
    let reloading = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let reload = world.new_sites(says("new"));
        world.reload(reload).expect("reloaded");
        assert_eq!(world.get("/").await.text(), "new", "another connection");
        go.notify_one();
    };
    let ((text, mut kept), ()) = tokio::join!(asking, reloading);
    assert_eq!(text, "old", "it ends as it began");
    assert_eq!(kept.get("/", &[]).await.text(), "new");
    world.closed().await;
}

#[tokio::test]
async fn listeners_come_and_go_and_their_connections_stay() {
    let world = Plan::new(says("a").remove(0).routes).open();
    let mut kept = Kept::open(world.http).await;
    assert_eq!(kept.get("/", &[]).await.text(), "a");
    let (socket, added) = bind();
    let mut reload = world.new_sites(says("b"));
    reload.listeners.open.push(BoundListener {
        socket,
        kind: ListenerKind::Http,
    });
    reload.listeners.close.push(world.http);
    world.reload(reload).expect("reloaded");
    assert!(is_refused(world.http).await);
    assert_eq!(kept.get("/", &[]).await.text(), "b", "it was there before");
    assert_eq!(ask(added, "GET", "/", &[], "").await.text(), "b");
    let mut listening = world.control.listening();
    listening.sort();
    let mut wanted = [added, world.https];
    wanted.sort();
    assert_eq!(listening, wanted);
    // What was TLS speaks plain HTTP from now on.
    let mut reload = world.new_sites(says("c"));
    let change = (world.https, ListenerKind::Http);
    reload.listeners.change.push(change);
    world.reload(reload).expect("reloaded");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ask(world.https, "GET", "/", &[], "").await.text(), "c");
    world.closed().await;
}

#[tokio::test]
async fn a_bad_reload_changes_nothing_and_leaves_no_trace() {
    let world = Plan::new(says("a").remove(0).routes).open();
    assert_eq!(world.get("/").await.text(), "a", "it runs");
    let fails = |reload| world.reload(reload).expect_err("it cannot work");
    let no_deadline = with(&world, says("b"), |config| config.head_timeout_secs = 0);
    assert!(matches!(fails(no_deadline), Error::Setting { .. }));
    let everybody = with(&world, says("b"), |config| {
        config.trusted_proxies = vec!["0.0.0.0/0".to_owned()];
    });
    assert!(matches!(fails(everybody), Error::Setting { .. }));
    let mut unknown = world.new_sites(says("b"));
    let nobodys = SocketAddr::from(([127, 0, 0, 1], 1));
    unknown.listeners.close.push(nobodys);
    assert!(matches!(fails(unknown), Error::NotListening { .. }));
    let mut dropped = world.new_sites(says("b"));
    let (socket, added) = bind();
    dropped.listeners.open.push(BoundListener {
        socket,
        kind: ListenerKind::Http,
    });
    dropped.listeners.close.push(world.http);
    drop(world.control.prepare(dropped).expect("it could be done"));
    assert!(is_refused(added).await, "its socket went with it");
    assert_eq!(world.get("/").await.text(), "a");
    world.closed().await;
}

#[tokio::test]
async fn settings_of_requests_count_at_the_next_request() {
    const PROXY: &str = "127.0.0.9";
    let sites = || vec![site(&["*"], vec![route("/", proxy_to(serve(echo())))])];
    let plan = Plan::new(sites().remove(0).routes)
        .config(|config| config.trusted_proxies = vec![PROXY.to_owned()]);
    let world = plan.open();
    let mut kept = Kept::open_from(PROXY, world.http).await;
    let headers = [
        ("x-wx-skey", "alice"),
        ("x-forwarded-for", "203.0.113.9"),
        ("accept", "*/*"),
    ];
    let before = kept.get("/0123456789/0123456789", &headers).await;
    assert_eq!(before.seen("x-forwarded-for"), ["203.0.113.9"]);
    assert_eq!(before.seen("x-wx-env"), ["weappd"]);
    let reload = with(&world, sites(), |config| {
        config.trusted_proxies = Vec::new();
        config.env_id = "prod-1".to_owned();
        config.max_uri_bytes = 128;
    });
    world.reload(reload).expect("reloaded");
    let after = kept.get("/0123456789/0123456789", &headers).await;
    assert_eq!(after.seen("x-forwarded-for"), [PROXY], "no longer believed");
    assert_eq!(after.seen("x-wx-env"), ["prod-1"]);
    let long = format!("/{}", "a".repeat(200));
    assert_eq!(kept.get(&long, &[]).await.status, 414);
    let again = with(&world, sites(), |config| {
        config.trusted_proxies = vec![PROXY.to_owned()];
    });
    world.reload(again).expect("reloaded");
    let believed = ask_from(PROXY, &world, "/", &headers).await;
    assert_eq!(believed.seen("x-forwarded-for"), ["203.0.113.9"]);
    world.closed().await;
}

#[tokio::test]
async fn what_is_known_of_clients_and_connections_is_kept() {
    let (target, go) = slow("done");
    let sites = || vec![site(&["*"], vec![route("/", target.clone())])];
    let plan = Plan::new(sites().remove(0).routes).config(|config| {
        config.threads = 1;
        config.max_requests_per_client = 1;
        config.max_connections = 2;
    });
    let world = plan.open();
    let mut first = Kept::open(world.http).await;
    let busy = async { first.get("/", &[]).await.text() };
    let rest = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let same = |limit, connections| {
            with(&world, sites(), |config| {
                config.threads = 1;
                config.max_requests_per_client = limit;
                config.max_connections = connections;
            })
        };
        world.reload(same(1, 2)).expect("reloaded");
        let mut second = Kept::open(world.http).await;
        assert_eq!(second.get("/", &[]).await.status, 503, "one is under way");
        // A third connection waits until there may be three.
        let mut third = Kept::open(world.http).await;
        let waits = tokio::time::timeout(Duration::from_millis(200), third.get("/", &[])).await;
        assert!(waits.is_err(), "two connections are all");
        world.reload(same(2, 3)).expect("reloaded");
        let served = tokio::time::timeout(PATIENCE, async {
            let mut asking = std::pin::pin!(second.get("/", &[]));
            loop {
                tokio::select! {
                    answer = &mut asking => return answer.text(),
                    () = tokio::time::sleep(Duration::from_millis(20)) => go.notify_waiters(),
                }
            }
        });
        assert_eq!(served.await.expect("in time"), "done");
    };
    let (text, ()) = tokio::join!(busy, rest);
    assert_eq!(text, "done");
    world.closed().await;
}

#[tokio::test]
async fn the_access_log_is_switched_off_and_on() {
    let (world, lines) = logged(Plan::new(says("a").remove(0).routes));
    drop(world.get("/one").await);
    lines.come("GET /one").await;
    let switched = |is_on| {
        with(&world, says("a"), |config| {
            config.threads = 1;
            config.access_log = is_on;
        })
    };
    world.reload(switched(false)).expect("reloaded");
    drop(world.get("/two").await);
    let mut moved = switched(true);
    let (next, access) = crate::access::Lines::new_log();
    moved.access = Some(access);
    world.reload(moved).expect("reloaded");
    drop(world.get("/three").await);
    next.come("GET /three").await;
    world.closed().await;
    assert!(!lines.all().contains("two") && !lines.all().contains("three"));
    assert!(!next.all().contains("two"));
}

#[tokio::test]
async fn certificate_files_are_read_anew_and_http2_is_switched() {
    let authority = Authority::new();
    let files = authority.files("site", &["a.example"]);
    let plan = Plan::new(says("a").remove(0).routes).tls(files.clone());
    let world = plan.open();
    let versions = rustls::ALL_VERSIONS;
    let protocols = ["h2", "http/1.1"];
    let tls = connect(&world, &authority, "a.example", versions, &protocols).await;
    let alpn = |tls: &tokio_rustls::client::TlsStream<TcpStream>| {
        tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(
        alpn(&tls.expect("shaken hands")).as_deref(),
        Some(&b"h2"[..])
    );
    // Another certificate in the same files.
    authority.files("site", &["b.example"]);
    let mut sites = says("a");
    sites[0].tls = Some(files);
    let reload = with(&world, sites, |config| config.http2 = false);
    world.reload(reload).expect("reloaded");
    let old = connect(&world, &authority, "a.example", versions, &protocols).await;
    assert!(old.is_err());
    let tls = connect(&world, &authority, "b.example", versions, &protocols).await;
    let wanted = Some(&b"http/1.1"[..]);
    assert_eq!(alpn(&tls.expect("shaken hands")).as_deref(), wanted);
    world.closed().await;
}

#[tokio::test]
async fn a_hundred_reloads_leave_only_the_last_table() {
    let world = Plan::new(says("a").remove(0).routes).open();
    let mut idle = vec![Kept::open(world.http).await];
    let mut tables: Vec<Weak<()>> = Vec::new();
    for turn in 0..100 {
        let token = Arc::new(());
        tables.push(Arc::downgrade(&token));
        let router = Router::new().fallback(move || {
            let _held = Arc::clone(&token);
            async { "b" }
        });
        let all = vec![route("/", RouteTarget::Router(router.into()))];
        let reload = world.new_sites(vec![site(&["*"], all)]);
        world.reload(reload).expect("reloaded");
        if turn % 10 == 0 {
            // A connection that is used once, and stays.
            let mut kept = Kept::open(world.http).await;
            assert_eq!(kept.get("/", &[]).await.text(), "b");
            idle.push(kept);
        }
    }
    let alive = || {
        tables
            .iter()
            .filter(|table| table.strong_count() > 0)
            .count()
    };
    for _ in 0..200 {
        if alive() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(alive(), 1);
    for kept in &mut idle {
        assert_eq!(kept.get("/", &[]).await.text(), "b");
    }
    world.closed().await;
}

/// Each number as large as it can be written, one after the other and all at once.
#[tokio::test]
async fn absurd_settings_take_nothing_down() {
    let app = serve(echo());
    let sites = || vec![site(&["*"], vec![route("/", proxy_to(app))])];
    let world = Plan::new(sites().remove(0).routes).open();
    let mut kept = Kept::open(world.http).await;
    let changes: [fn(&mut weappd_edge::Config); 20] = [
        |c| c.max_connections = usize::MAX,
        |c| c.head_timeout_secs = u64::MAX,
        |c| c.handshake_timeout_secs = u64::MAX,
        |c| c.keep_alive_secs = u64::MAX,
        |c| c.body_timeout_secs = u64::MAX,
        |c| c.min_upload_rate = u64::MAX,
        |c| c.send_timeout_secs = u64::MAX,
        |c| c.min_send_rate = u64::MAX,
        |c| c.max_requests_per_client = usize::MAX,
        |c| c.max_head_bytes = usize::MAX,
        |c| c.max_headers = usize::MAX,
        |c| c.max_uri_bytes = usize::MAX,
        |c| c.max_body_bytes = u64::MAX,
        |c| c.connect_timeout_ms = u64::MAX,
        |c| c.answer_timeout_secs = u64::MAX,
        |c| c.read_timeout_secs = u64::MAX,
        |c| c.hold_ms = u64::MAX,
        |c| c.upstream_idle_secs = u64::MAX,
        |c| c.upstream_rest_secs = u64::MAX,
        |c| c.upstream_idle = usize::MAX,
    ];
    let all = |c: &mut weappd_edge::Config| changes.iter().for_each(|change| change(c));
    for at in 0..=changes.len() {
        let reload = with(&world, sites(), |config| match changes.get(at) {
            Some(change) => change(config),
            None => all(config),
        });
        world.reload(reload).expect("it can be done");
        assert_eq!(kept.get("/", &[]).await.status, 200, "{at}");
        let sent = ask(world.http, "POST", "/", &[], "a body").await;
        assert_eq!(sent.status, 200, "{at}");
    }
    world.closed().await;
}
