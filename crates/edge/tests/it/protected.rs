//! weappd's own files under a site's root: seen by nobody, whatever leads to them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use weappd_edge::{ProtectedFiles, RouteTarget};

use crate::world::{Plan, World, route};

const SECRET: &str = "a secret that nobody may see";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";

/// A project whose owner serves all of it.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    };
    write("index.html", "home");
    write("app.css", "css");
    write("sub/page.html", "page");
    for name in [
        "weappd.toml",
        "weappd.toml.old",
        "weappd.toml~",
        "sub/weappd.toml.bak",
        "2_x.key",
        "2_x.key.old",
        "app.secret",
        "app.secret.bak",
        "data/weappd.db",
        "data/weappd.db-wal",
        "data/session.key",
        "data/logs/app.log",
        "data/public/up.png",
        ".env",
        "sub/.env.local",
        ".git/config",
        ".htpasswd",
        ".weappd/weappd.db",
    ] {
        write(name, SECRET);
    }
    write("sub/copy.pem", KEY);
    dir
}

fn protected(dir: &Path) -> ProtectedFiles {
    let at = |name: &str| dir.join(name);
    ProtectedFiles::new(
        [at("weappd.toml"), at("2_x.key"), at("app.secret")],
        [at("data")],
        [at("data/public")],
    )
}

fn open(dir: &Path, root: &Path) -> World {
    let mut plan = Plan::new(vec![route("/", RouteTarget::Static(root.to_owned()))]);
    plan.protected = protected(dir);
    plan.open()
}

async fn is_unseen(world: &World, path: &str) {
    let answer = world.get(path).await;
    assert!(
        matches!(answer.status, 404 | 400),
        "{path}: {}",
        answer.status
    );
    assert!(!answer.text().contains("secret"), "{path}");
}

#[tokio::test]
async fn no_name_leads_to_what_weappd_reads_and_keeps() {
    let dir = project();
    let at = |name: &str| dir.path().join(name);
    symlink("weappd.toml", at("link.txt")).expect("a link");
    symlink("link.txt", at("chain.txt")).expect("a link");
    symlink("data", at("linked")).expect("a link");
    symlink(".", at("self")).expect("a link");
    symlink(".env", at("environment.txt")).expect("a link");
    symlink("../data/session.key", at("sub/key.txt")).expect("a link");
    fs::hard_link(at("2_x.key"), at("sub/hard.txt")).expect("a link");
    fs::hard_link(at("data/session.key"), at("hard2.txt")).expect("a link");
    fs::hard_link(at("data/logs/app.log"), at("hard3.txt")).expect("a link");
    fs::hard_link(at("data/public/up.png"), at("up.png")).expect("a link");
    fs::hard_link(at("app.css"), at("same.css")).expect("a link");
    let world = open(dir.path(), dir.path());
    for path in [
        "/",
        "/app.css",
        "/same.css",
        "/sub/page.html",
        "/self/app.css",
        "/up.png",
    ] {
        assert_eq!(world.get(path).await.status, 200, "{path}");
    }
    for path in [
        "/weappd.toml",
        "/./weappd.toml",
        "//weappd.toml",
        "/sub/../weappd.toml",
        "/%77eappd.toml",
        "/weappd%2Etoml",
        "/weappd.toml?x=1",
        "/weappd.toml/",
        "/self/weappd.toml",
        "/self/self/2_x.key",
        "/weappd.toml.old",
        "/weappd.toml~",
        "/sub/weappd.toml.bak",
        "/2_x.key",
        "/2_x.key.old",
        "/app.secret",
        "/app.secret.bak",
        "/data",
        "/data/",
        "/data/weappd.db",
        "/data/weappd.db-wal",
        "/data/session.key",
        "/data/logs/app.log",
        "/data/public/up.png",
        "/self/data/weappd.db",
        "/linked",
        "/linked/weappd.db",
        "/link.txt",
        "/chain.txt",
        "/sub/key.txt",
        "/sub/hard.txt",
        "/hard2.txt",
        "/hard3.txt",
        "/environment.txt",
        "/sub/copy.pem",
        "/.env",
        "/sub/.env.local",
        "/.git/config",
        "/.htpasswd",
        "/.weappd/weappd.db",
    ] {
        is_unseen(&world, path).await;
    }
    world.closed().await;
}

#[tokio::test]
async fn a_root_in_the_data_directory_serves_nothing() {
    let dir = project();
    for root in ["data", "data/public"] {
        let world = open(dir.path(), &dir.path().join(root));
        for path in ["/weappd.db", "/session.key", "/logs/app.log", "/up.png"] {
            is_unseen(&world, path).await;
        }
        world.closed().await;
    }
}

#[tokio::test]
async fn a_file_that_becomes_protected_while_weappd_runs_is_unseen() {
    let dir = project();
    let at = |name: &str| dir.path().join(name);
    let world = open(dir.path(), dir.path());
    // As editors save: another file under the old name, the old one set aside.
    fs::rename(at("weappd.toml"), at("before.toml")).expect("moved");
    fs::write(at("next"), SECRET).expect("written");
    fs::rename(at("next"), at("weappd.toml")).expect("moved");
    is_unseen(&world, "/weappd.toml").await;
    // A key that was renewed and is also called something else.
    fs::remove_file(at("2_x.key")).expect("removed");
    fs::write(at("renewed.txt"), SECRET).expect("written");
    fs::hard_link(at("renewed.txt"), at("2_x.key")).expect("a link");
    is_unseen(&world, "/renewed.txt").await;
    // The data directory moved, and a link to it.
    fs::rename(at("data"), at("elsewhere")).expect("moved");
    symlink("elsewhere", at("data")).expect("a link");
    is_unseen(&world, "/elsewhere/weappd.db").await;
    is_unseen(&world, "/data/weappd.db").await;
    world.closed().await;
}

#[tokio::test]
async fn volumes_of_kubernetes_are_served() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("..2026_11_30")).expect("made");
    fs::write(dir.path().join("..2026_11_30/index.html"), "home").expect("written");
    symlink("..2026_11_30", dir.path().join("..data")).expect("a link");
    symlink("..data/index.html", dir.path().join("index.html")).expect("a link");
    let world = open(dir.path(), dir.path());
    assert_eq!(world.get("/").await.text(), "home");
    world.closed().await;
}
