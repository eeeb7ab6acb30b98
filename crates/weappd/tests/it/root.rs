//! Files of a site's `root`, over HTTPS, as a browser and as somebody with bad intentions.

use std::os::unix::fs::symlink;

use hyper::Method;

use crate::http::connector;
use crate::raw;
use crate::world::{TestWorld, WorldRecipe};

const PAGE: &str = "<!doctype html><title>首页</title>";
/// WeChat's proof that the domain is ours.
const PROOF: &str = "8f3a1c0d9e7b6a5f";

fn site() -> TestWorld {
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let recipe = WorldRecipe::new()
        .file("html/index.html", PAGE)
        .file("html/MP_verify_1a2B3c4D5e6F7g8H.txt", PROOF)
        .file("html/style.css", "body { color: #07c160 }")
        .file("html/app.js", "'use strict';")
        .file("html/data.json", "{}")
        .file("html/logo.svg", "<svg/>")
        .file("html/movie.mp4", &big)
        .file("html/三木.txt", "三木")
        .file("html/.env", "WEAPP_SECRET=1")
        .file("html/.git/config", "[core]")
        .file("html/folder/index.html", "folder")
        .file("html/folder/%2e%2e.txt", "odd")
        .file("html/.well-known/acme.txt", "known")
        .file("outside.txt", "outside")
        .site("root = \"html\"");
    recipe.serve()
}

#[tokio::test]
async fn files_have_types_and_tags_and_folders_an_index() {
    let world = site();
    let site = world.site();
    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", PAGE),
        ("/index.html", "text/html; charset=utf-8", PAGE),
        (
            "/MP_verify_1a2B3c4D5e6F7g8H.txt",
            "text/plain; charset=utf-8",
            PROOF,
        ),
        (
            "/style.css",
            "text/css; charset=utf-8",
            "body { color: #07c160 }",
        ),
        ("/app.js", "text/javascript; charset=utf-8", "'use strict';"),
        ("/data.json", "application/json; charset=utf-8", "{}"),
        ("/logo.svg", "image/svg+xml", "<svg/>"),
        (
            "/%E4%B8%89%E6%9C%A8.txt",
            "text/plain; charset=utf-8",
            "三木",
        ),
        ("/folder/", "text/html; charset=utf-8", "folder"),
        (
            "/.well-known/acme.txt",
            "text/plain; charset=utf-8",
            "known",
        ),
    ] {
        let answer = site.get(path).send().await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.body(), body, "{path}");
        assert_eq!(answer.headers()["content-type"], kind, "{path}");
        let tag = answer.headers()["etag"].to_str().expect("text").to_owned();
        let date = answer.headers()["last-modified"].to_str().expect("text");

        let same = site.get(path).header("if-none-match", &tag).send().await;
        assert_eq!(
            (same.status().as_u16(), same.body().len()),
            (304, 0),
            "{path}"
        );
        let weak = format!("\"other\", W/{}", tag.trim_start_matches("W/"));
        let same = site.get(path).header("if-none-match", &weak).send().await;
        assert_eq!(same.status(), 304, "{path}");
        let same = site
            .get(path)
            .header("if-modified-since", date)
            .send()
            .await;
        assert_eq!(same.status(), 304, "{path}");
        let other = site.get(path).header("if-none-match", "\"x\"");
        assert_eq!(other.send().await.status(), 200, "{path}");
        let head = site.request(Method::HEAD, path).send().await;
        assert_eq!(head.headers()["content-length"], body.len().to_string());
        assert!(head.body().is_empty());
    }
    let folder = site.get("/folder?a=b").send().await;
    assert_eq!(folder.status(), 301);
    assert_eq!(folder.headers()["location"], "/folder/?a=b");
    let post = site.post("/").send().await;
    assert_eq!(post.status(), 405);
}

#[tokio::test]
async fn parts_of_files_are_given_and_impossible_ones_refused() {
    let world = site();
    let site = world.site();
    let whole = site.get("/movie.mp4").send().await;
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let whole = whole.into_body();
    assert_eq!(whole.len(), 3_000_000);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=0-999", 0, 1_000),
        ("bytes=1000000-", 1_000_000, 3_000_000),
        ("bytes=-5", 2_999_995, 3_000_000),
        ("bytes=2999999-99999999999999999999", 2_999_999, 3_000_000),
        ("bytes=-99999999", 0, 3_000_000),
    ] {
        let part = site.get("/movie.mp4").header("range", range).send().await;
        assert_eq!(part.status(), 206, "{range}");
        assert_eq!(
            part.headers()["content-range"],
            format!("bytes {from}-{}/3000000", to - 1),
            "{range}"
        );
        assert!(part.body()[..] == whole[from..to], "{range}");
    }
    for range in ["bytes=3000000-", "bytes=-0"] {
        let none = site.get("/movie.mp4").header("range", range).send().await;
        assert_eq!(none.status(), 416, "{range}");
        assert_eq!(none.headers()["content-range"], "bytes */3000000");
    }
    for range in ["bytes=9-1", "lines=1-2", "bytes=a-b", "bytes", ""] {
        let all = site.get("/movie.mp4").header("range", range).send().await;
        assert_eq!(all.status(), 200, "{range}");
    }
    let stale = site.get("/movie.mp4").header("range", "bytes=0-0");
    let stale = stale.header("if-range", "\"old\"").send().await;
    assert_eq!(stale.status(), 200, "a part of something else is no use");
}

#[tokio::test]
async fn nothing_outside_the_root_and_nothing_hidden_is_given() {
    let world = site();
    let root = world.dir().join("html");
    symlink("../outside.txt", root.join("link.txt")).expect("a link");
    symlink("..", root.join("up")).expect("a link");
    symlink(world.dir(), root.join("far")).expect("a link");
    let tls = connector(&world.ca(), &[b"http/1.1"]);
    let paths = [
        "/../outside.txt",
        "/..%2foutside.txt",
        "/..%2Foutside.txt",
        "/%2e%2e/outside.txt",
        "/%2e%2e%2foutside.txt",
        "/%252e%252e/outside.txt",
        "/..%5coutside.txt",
        "/..\\outside.txt",
        "/folder/../../outside.txt",
        "/folder/..;/..;/outside.txt",
        "/./.././outside.txt",
        "/....//outside.txt",
        "//../outside.txt",
        "/.%00./outside.txt",
        "/outside.txt%00.html",
        "/..%c0%afoutside.txt",
        "/%c0%ae%c0%ae/outside.txt",
        "/link.txt",
        "/up/outside.txt",
        "/far/outside.txt",
        "/far/weappd.toml",
        "/up/site.key",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/folder/../.env",
        "/.weappd/weappd.db",
        "/weappd.toml",
        "/etc/passwd",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/index.html/",
        "/index.html/x",
        "/CON",
        "/%ff%fe",
        "/%",
        "/%zz",
    ];
    for path in paths {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw::ask_tls(world.https, &tls, ask).await;
        assert!(
            matches!(raw::status(&answer), 400 | 404),
            "{path}: {answer}"
        );
        for secret in ["outside", "WEAPP_SECRET", "[core]", "root:"] {
            assert!(!answer.contains(secret), "{path}: {answer}");
        }
    }
    // The same spelt in ways that mean a file that is there.
    for path in [
        "/./index.html",
        "//index.html",
        "/folder/../index.html",
        "/%69ndex.html",
    ] {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = raw::ask_tls(world.https, &tls, ask).await;
        assert_eq!(raw::status(&answer), 200, "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_changed_file_is_seen() {
    let world = site();
    let site = world.site();
    let before = site.get("/style.css").send().await;
    std::fs::write(world.dir().join("html/style.css"), "body { color: red }").expect("written");
    let deadline = std::time::Instant::now() + crate::process::PATIENCE;
    loop {
        let now = site.get("/style.css").send().await;
        if now.body() == "body { color: red }" {
            assert_ne!(now.headers()["etag"], before.headers()["etag"]);
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the old file is given"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_root_beside_weappds_own_files_gives_none_of_them_out() {
    let recipe = WorldRecipe::new()
        .file("index.html", PAGE)
        .file("weappd.toml.old", "secret")
        .file("pass.word", "0123456789abcdef0123456789abcdef\n")
        .site("root = \".\"\ndata_dir = \"data\"")
        .internal("token = { file = \"pass.word\" }");
    let world = recipe.serve();
    let site = world.site();
    assert_eq!(site.get("/").send().await.body(), PAGE);
    let dir = world.dir();
    symlink("data/weappd.db", dir.join("users.db")).expect("a link");
    std::fs::hard_link(dir.join("site.key"), dir.join("key.txt")).expect("a link");
    std::fs::hard_link(dir.join("data/session.key"), dir.join("session.txt")).expect("a link");
    for path in [
        "/weappd.toml",
        "/weappd.toml.old",
        "/%77eappd.toml",
        "/site.key",
        "/key.txt",
        "/pass.word",
        "/data",
        "/data/",
        "/data/weappd.db",
        "/data/weappd.db-wal",
        "/data/session.key",
        "/data/lock",
        "/users.db",
        "/session.txt",
    ] {
        let answer = site.get(path).send().await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    let checked = world.command_with_secret(&["check"]);
    let words = String::from_utf8_lossy(&checked.stdout);
    assert!(words.contains("weappd's own files lie in"), "{words}");
}
