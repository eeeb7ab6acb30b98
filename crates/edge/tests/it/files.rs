//! Static files.

use std::fs;

use weappd_edge::RouteTarget;

use crate::world::{Plan, World, ask, route};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    };
    write("index.html", b"<h1>home</h1>");
    write("docs/index.html", b"<h1>docs</h1>");
    write("empty/.keep", b"");
    write("a.txt", b"0123456789");
    write("MP_verify_AbC123.txt", b"AbC123");
    write(".git/config", b"secret");
    write(".env", b"secret");
    write(".well-known/acme-challenge/t", b"token");
    write(
        "big.bin",
        &(0..600_000_u32)
            .map(|n| n.to_le_bytes()[0])
            .collect::<Vec<_>>(),
    );
    write("\u{4e2d}\u{6587}.txt", b"zh");
    folder
}

fn open(folder: &tempfile::TempDir) -> World {
    Plan::new(vec![route(
        "/",
        RouteTarget::Static(folder.path().to_owned()),
    )])
    .open()
}

#[tokio::test]
async fn files_are_served_as_what_they_are() {
    let folder = folder();
    let world = open(&folder);
    for (path, status, kind, text) in [
        ("/", 200, "text/html; charset=utf-8", "<h1>home</h1>"),
        ("/docs/", 200, "text/html; charset=utf-8", "<h1>docs</h1>"),
        (
            "/MP_verify_AbC123.txt",
            200,
            "text/plain; charset=utf-8",
            "AbC123",
        ),
        (
            "/%E4%B8%AD%E6%96%87.txt",
            200,
            "text/plain; charset=utf-8",
            "zh",
        ),
        (
            "/.well-known/acme-challenge/t",
            200,
            "application/octet-stream",
            "token",
        ),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), kind, "{path}");
        assert_eq!(answer.text(), text, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let head = ask(world.http, "HEAD", path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (status, 0));
        assert_eq!(head.header("content-length"), text.len().to_string());
    }
    let moved = world.get("/docs?x=1").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, "/docs/?x=1")
    );
    assert_eq!(world.get("/empty/").await.status, 404);
    assert_eq!(
        ask(world.http, "POST", "/a.txt", &[], "x").await.status,
        405
    );
    let big = world.get("/big.bin").await;
    assert_eq!(
        big.body,
        fs::read(folder.path().join("big.bin")).expect("read")
    );
    world.closed().await;
}

#[tokio::test]
async fn nothing_outside_or_hidden_is_served() {
    let folder = folder();
    let outside = tempfile::tempdir().expect("a folder");
    fs::write(outside.path().join("secret.txt"), "secret").expect("written");
    std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).expect("linked");
    let up = "../".repeat(12);
    let up_encoded = "%2e%2e%2f".repeat(12);
    let world = open(&folder);
    for path in [
        "/.git/config",
        "/.env",
        "/%2egit/config",
        "/docs/../.env",
        "/out/secret.txt",
        "/a.txt/",
        "/a.txt/x",
        "/..%5c..%5cetc/passwd",
        "/%252e%252e/%252e%252e/etc/passwd",
        "/a%00.txt",
        "/docs%2Findex.html",
        "/....//....//etc/passwd",
        "/%c0%ae%c0%ae/etc/passwd",
        "/con",
        "/a.txt%0a",
        &format!("/{up}etc/passwd"),
        &format!("/{up_encoded}etc/passwd"),
        &format!("/{}", "a/".repeat(3000)),
        &format!("/{}", "a".repeat(300)),
    ] {
        let answer = world.get(path).await;
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.text().contains("secret"), "{path}");
    }
    world.closed().await;
}

#[tokio::test]
async fn ranges_and_conditions() {
    let folder = folder();
    let world = open(&folder);
    let whole = world.get("/a.txt").await;
    let etag = whole.header("etag").to_owned();
    let date = whole.header("last-modified").to_owned();
    assert!(etag.starts_with('"') && !date.is_empty());
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let get = async |headers: &[(&str, &str)]| ask(world.http, "GET", "/a.txt", headers, "").await;
    let part = get(&[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let outside = get(&[("range", "bytes=10-")]).await;
    assert_eq!(
        (outside.status, outside.header("content-range")),
        (416, "bytes */10")
    );
    for condition in [
        ("if-none-match", etag.as_str()),
        ("if-modified-since", &date),
    ] {
        let same = get(&[condition]).await;
        assert_eq!((same.status, same.body.len()), (304, 0), "{condition:?}");
        assert_eq!(same.header("etag"), etag);
    }
    assert_eq!(get(&[("if-match", "\"other\"")]).await.status, 412);
    let big = ask(
        world.http,
        "GET",
        "/big.bin",
        &[("range", "bytes=500000-")],
        "",
    )
    .await;
    assert_eq!((big.status, big.body.len()), (206, 100_000));
    world.closed().await;
}

#[tokio::test]
async fn a_changed_file_is_noticed() {
    let folder = folder();
    let world = open(&folder);
    let old = world.get("/a.txt").await;
    fs::write(folder.path().join("a.txt"), "new text").expect("written");
    let started = std::time::Instant::now();
    loop {
        let new = world.get("/a.txt").await;
        if new.text() == "new text" {
            assert_ne!(new.header("etag"), old.header("etag"));
            break;
        }
        assert!(started.elapsed() < crate::world::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.closed().await;
}
