//! Disks, keys and databases that are not as they should be: each is told in words that say
//! what is wrong, where, and what to do, and nothing that was acknowledged is lost.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use weappd_base::fair_timer::FairTimer;

use crate::http::{self, TestClient};
use crate::mariadb::{MariaDb, PASSWORD, USER};
use crate::process::{PATIENCE, free_port};
use crate::world::{TestWorld, WorldRecipe, text};

/// The exit code of a command that failed.
const FAILED: i32 = 1;

/// It does not start, in these words, and without a secret in them.
fn refuses(recipe: &WorldRecipe, words: &[&str]) {
    let (code, said) = recipe.fails();
    assert_eq!(code, Some(FAILED), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not said\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
}

/// A recipe whose data directory stays.
fn on(data: &Path) -> WorldRecipe {
    WorldRecipe::new()
        .edge("redirect = false")
        .site(&format!("data_dir = \"{}\"", data.display()))
}

async fn served(recipe: WorldRecipe) -> TestWorld {
    let served = tokio::task::spawn_blocking(|| recipe.serve());
    served.await.expect("serves")
}

/// A data directory in which somebody has logged in.
async fn used() -> (TempDir, String) {
    let data = tempfile::tempdir().expect("a directory");
    let world = served(on(data.path())).await;
    let mut phone = world.phone("alice");
    phone.log_in().await;
    world.end(Signal::TERM);
    (data, phone.skey.expect("logged in"))
}

/// The site over plain HTTP.
fn plain(world: &TestWorld) -> TestClient {
    TestClient::http(world.http, "localhost")
}

async fn is_known(world: &TestWorld, skey: &str) -> bool {
    let site = plain(world);
    let user = site.get("/weapp/user").header("x-wx-skey", skey).send();
    http::json(&user.await)["code"] == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_file_that_cannot_be_used_is_told() {
    let (data, _) = used().await;
    let file = data.path().join("weappd.db");
    let good = fs::read(&file).expect("a database");
    let place = file.display().to_string();

    // A newer weappd's: the number stands at byte 60 (sqlite.org/fileformat2, 1.3).
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&file, &newer).expect("writes");
    refuses(
        &on(data.path()),
        &[&place, "schema 99", "run the newer weappd"],
    );

    fs::write(
        &file,
        b"SQLite format 3\0 and then something else".repeat(200),
    )
    .expect("writes");
    refuses(
        &on(data.path()),
        &[&place, "the file is broken; restore a backup"],
    );

    fs::remove_file(&file).expect("removes");
    fs::create_dir(&file).expect("a directory in its place");
    refuses(
        &on(data.path()),
        &[&place, "Is a directory", "[session] store"],
    );
    fs::remove_dir(&file).expect("removes");

    // Whole again, but for its middle: whatever is refused, nothing panics.
    let mut holed = good.clone();
    let page = 4096;
    for byte in &mut holed[page..] {
        *byte = 0xff;
    }
    fs::write(&file, &holed).expect("writes");
    refuses(&on(data.path()), &[&place, "the file is broken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_does_not_fit_is_told() {
    let (data, skey) = used().await;
    let file = data.path().join("session.key");
    let place = file.display().to_string();
    let good = fs::read_to_string(&file).expect("a key");

    fs::write(&file, good.get(..40).expect("half a key")).expect("writes");
    refuses(
        &on(data.path()),
        &[&place, "64 hex digits; restore it from a backup"],
    );
    fs::write(&file, "").expect("writes");
    refuses(
        &on(data.path()),
        &[&place, "64 hex digits; restore it from a backup"],
    );
    fs::remove_file(&file).expect("removes");
    fs::create_dir(&file).expect("a directory in its place");
    refuses(
        &on(data.path()),
        &[&place, "a directory, not a regular file"],
    );
    fs::remove_dir(&file).expect("removes");

    // Lost, or another one: users stay logged in, and it is said at once.
    for wrong in [None, Some("7".repeat(64))] {
        if let Some(wrong) = &wrong {
            fs::write(&file, wrong).expect("writes");
        }
        let world = served(on(data.path())).await;
        world.says("another session key file").await;
        assert!(is_known(&world, &skey).await);
        world.end(Signal::TERM);
    }
    fs::write(&file, &good).expect("writes");
    let world = served(on(data.path())).await;
    assert!(is_known(&world, &skey).await);
    let log = world.transcript();
    assert!(!log.contains("another session key file"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_weappd() {
    let data = tempfile::tempdir().expect("a directory");
    let world = served(on(data.path())).await;
    let place = data.path().display().to_string();
    refuses(
        &on(data.path()),
        &["another weappd is running on", &place, "stop it first"],
    );
    world.phone("alice").log_in().await;
}

/// A small file system of one's own.
struct SmallDisk(PathBuf, #[expect(dead_code, reason = "held")] TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Self(dir.path().to_owned(), dir);
        if rustix::process::geteuid().is_root()
            && disk.run(&["mount", "-t", "tmpfs", "-o", "size=2m", "none"])
        {
            return Some(disk);
        }
        // Past the harness, which would keep it for a failure.
        let said = b"SKIPPED: a small disk needs root and the right to mount\n";
        drop(std::io::stderr().write_all(said));
        std::mem::forget(disk);
        None
    }

    fn run(&self, command: &[&str]) -> bool {
        let mut words = command.iter();
        let status = Command::new(words.next().expect("a program"))
            .args(words)
            .arg(&self.0)
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(self.run(&["mount", "-o", &options]), "remounts");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run(&["umount", "-l"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_logins_until_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let world = served(on(&disk.0)).await;
    let ballast = disk.0.join("ballast");
    let mut skeys = Vec::new();
    let try_login = async |user: &str| {
        let code = world.phone(user).code().await;
        let site = plain(&world);
        let login = site.get("/weapp/login").header("x-wx-code", &code).send();
        http::json(&login.await)
    };
    for n in 0..5 {
        let login = try_login(&format!("before{n}")).await;
        skeys.push(text(&login["data"]["skey"]).to_owned());
    }
    let mut file = fs::File::create(&ballast).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let refused = loop {
        let login = try_login(&format!("while{}", skeys.len())).await;
        match login["data"]["skey"].as_str() {
            Some(skey) => skeys.push(skey.to_owned()),
            None => break login,
        }
        assert!(skeys.len() < 500, "the disk never fills");
    };
    assert_eq!(refused["code"], -1);
    assert!(
        text(&refused["error"]).starts_with("ERR_WHEN_INSERT_TO_DB\n"),
        "{refused}"
    );
    world.says("the disk is full; make room").await;
    for skey in &skeys {
        assert!(is_known(&world, skey).await, "memory goes on");
    }
    fs::remove_file(&ballast).expect("room again");
    let login = try_login("after").await;
    skeys.push(text(&login["data"]["skey"]).to_owned());

    // Not a word is lost either way: by a fall, and by an end on a disk that is full again.
    fs::write(&ballast, vec![0; 4096]).expect("a file");
    world.signal(Signal::KILL);
    world.end(Signal::KILL);
    let world = served(on(&disk.0)).await;
    for skey in &skeys {
        assert!(is_known(&world, skey).await, "acknowledged, so kept");
    }
    assert!(!world.transcript().contains("panicked"));
    world.end(Signal::TERM);

    let place = disk.0.display().to_string();
    let mut file = fs::File::create(&ballast).expect("a file");
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    refuses(&on(&disk.0), &[&place, "the disk is full; make room"]);
    fs::remove_file(&ballast).expect("room again");

    disk.remount("ro");
    refuses(
        &on(&disk.0),
        &[&place, "Read-only file system", "writable for this user"],
    );
}

/// A recipe for a database on a server.
/// A server that answers is waited for as long as a busy machine needs.
fn with_store(url: &str) -> WorldRecipe {
    with_patience(url, Duration::from_mins(1))
}

fn with_patience(url: &str, wait: Duration) -> WorldRecipe {
    let millis = wait.as_millis();
    WorldRecipe::new()
        .edge("redirect = false")
        .sections(&format!(
            "[session]\nstore = \"{url}\"\nstore_wait_ms = {millis}"
        ))
}

/// A server that speaks something else.
fn stranger(greeting: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for came in listener.incoming().flatten() {
            let mut came = came;
            drop(came.write_all(greeting));
            held.push(came);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_server_that_cannot_be_used_is_told() {
    let started = tokio::task::spawn_blocking(|| MariaDb::start(&["one", "two", "read"]));
    let db = started.await.expect("starts");
    let account = |name: &str, rights: &str| {
        db.query(
            "mysql",
            &format!(
                "CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
                 GRANT {rights} TO '{name}'@'127.0.0.1'"
            ),
        );
        format!("mysql://{name}:{PASSWORD}@127.0.0.1:{}", db.port)
    };
    let reader = account("reader", "SELECT ON `read`.*");
    let at = format!("127.0.0.1:{}", db.port);

    let wrong = format!("mysql://{USER}:wrong@{at}/one");
    refuses(
        &with_store(&wrong),
        &[&at, "refuses the user or the password", "[session] store"],
    );
    let unknown = format!("mysql://{USER}:{PASSWORD}@{at}/nowhere");
    refuses(&with_store(&unknown), &[&at, "no such database; create it"]);
    refuses(
        &with_store(&format!("{reader}/read")),
        &[&at, "grant weappd's account all rights"],
    );
    db.query("two", "CREATE TABLE weappd_schema (version BIGINT PRIMARY KEY); INSERT INTO weappd_schema VALUES (99)");
    refuses(
        &with_store(&db.url("two")),
        &[&at, "schema 99", "run the newer weappd"],
    );

    // The first bytes of these say that a long packet comes.
    let strangers: [&[u8]; 3] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ];
    let words = ["did not answer within 1500 ms", "MySQL or MariaDB server"];
    for greeting in strangers {
        let at = format!("127.0.0.1:{}", stranger(greeting));
        let url = format!("mysql://{USER}:{PASSWORD}@{at}/one");
        let begun = FairTimer::start();
        let recipe = with_patience(&url, Duration::from_millis(1500));
        refuses(&recipe, &[&words[..], &[&at]].concat());
        assert!(begun.fair() < Duration::from_secs(15));
    }
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let url = format!("mysql://{USER}:{PASSWORD}@{at}/one");
    refuses(
        &with_patience(&url, Duration::from_secs(3)),
        &[&at.to_string(), "nobody answers there; check that it runs"],
    );

    // Too many connections: none is left for weappd, then one is, and that must do.
    db.query("mysql", "SET GLOBAL max_connections = 10");
    let crowd: Vec<_> = (0..11)
        .map(|_| std::net::TcpStream::connect(("127.0.0.1", db.port)).expect("connects"))
        .collect();
    refuses(
        &with_patience(&db.url("one"), Duration::from_secs(10)),
        &["too many connections; raise its max_connections"],
    );
    drop(crowd);
}

async fn log_in(world: &TestWorld, user: &str) -> Option<String> {
    let code = world.phone(user).code().await;
    let site = plain(world);
    let login = site.get("/weapp/login").header("x-wx-code", &code).send();
    let login = http::json(&login.await);
    let skey = login["data"]["skey"].as_str()?;
    Some(skey.to_owned())
}

/// Ends weappd's connections: rights are looked at when one begins.
fn cut(db: &MariaDb) {
    db.query("mysql", &format!("KILL USER '{USER}'@'127.0.0.1'"));
}

/// Logs in until it goes well.
async fn log_in_at_last(world: &TestWorld, user: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(skey) = log_in(world, user).await {
            return skey;
        }
        assert!(Instant::now() < deadline, "it never goes on");
    }
}

/// Logs in until the log says `words` of it; no login may succeed. On a busy machine the
/// connections that were cut may take longer to come back than a login waits.
async fn refused_with(world: &TestWorld, user: &str, words: &str) {
    let begun = FairTimer::start();
    while !world.transcript().contains(words) {
        // Before the login: its line may come later than its answer.
        assert!(
            begun.fair() < PATIENCE,
            "never said {words}\n{}",
            world.transcript()
        );
        assert_eq!(log_in(world, user).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_small_means_does_and_lost_rights_and_locks_are_told() {
    let started = tokio::task::spawn_blocking(|| {
        let more = [
            "--character-set-server=latin1",
            "--collation-server=latin1_swedish_ci",
            "--max-allowed-packet=16384",
            "--max-connections=10",
        ];
        let db = MariaDb::start_with(&["weappd"], &more);
        db.query("mysql", "CREATE DATABASE narrow CHARACTER SET latin1");
        db
    });
    let db = started.await.expect("starts");
    let world = served(with_patience(&db.url("narrow"), Duration::from_secs(20))).await;
    // Latin-1 by default, and small packets: names in any letters go through all the same.
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let body = serde_json::json!({"nickName": "三木😀"});
    let site = plain(&world);
    let skey = phone.skey.clone().expect("logged in");
    let put = site
        .request(hyper::Method::PUT, "/weapp/session/profile")
        .header("x-wx-skey", &skey)
        .json(&body);
    let answer = http::json(&put.send().await);
    assert_eq!(answer["user"]["info"]["nickName"], "三木😀", "{answer}");
    let crowd: Vec<_> = (0..60).map(|n| format!("crowd{n}")).collect();
    let crowd = futures_util::future::join_all(crowd.iter().map(|user| log_in(&world, user)));
    assert!(
        crowd.await.iter().all(Option::is_some),
        "{}",
        world.transcript()
    );

    // Somebody's forgotten transaction holds every user's row.
    let held = Command::new("mariadb")
        .arg("--no-defaults")
        .arg(format!("--socket={}", db.socket().display()))
        .args(["--user=root", "narrow", "--unbuffered", "--skip-column-names", "--execute"])
        .arg("BEGIN; UPDATE weappd_users SET last_login = last_login + 1; SELECT 'held'; SELECT SLEEP(600)")
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut held = held.expect("the mariadb client");
    let mut said = [0; 4];
    std::io::Read::read_exact(held.stdout.as_mut().expect("a pipe"), &mut said).expect("holds");
    let begun = FairTimer::start();
    assert_eq!(log_in(&world, "crowd1").await, None, "its row is locked");
    assert!(begun.fair() < PATIENCE / 2, "{:?}", begun.fair());
    world
        .says("holds rows of weappd's tables locked; end that transaction")
        .await;
    held.kill().expect("ends");
    held.wait().expect("ends");
    // The server notices a client that is gone at its next word; here a person helps.
    let sleeping = "SELECT id FROM information_schema.processlist WHERE info LIKE '%SLEEP(600)' AND id <> CONNECTION_ID()";
    for id in db.query("mysql", sleeping).lines() {
        db.query("mysql", &format!("KILL {id}"));
    }
    let skey = log_in_at_last(&world, "crowd1").await;

    // Its rights are taken away, then given back.
    db.query("mysql", &format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{USER}'@'127.0.0.1'; GRANT SELECT ON narrow.* TO '{USER}'@'127.0.0.1'"));
    cut(&db);
    refused_with(&world, "bob", "grant weappd's account all rights").await;
    assert!(is_known(&world, &skey).await);
    db.query(
        "mysql",
        &format!("GRANT ALL ON *.* TO '{USER}'@'127.0.0.1'"),
    );
    log_in_at_last(&world, "bob").await;
    // Read only, while another server takes over.
    db.query("mysql", &format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM '{USER}'@'127.0.0.1'; GRANT ALL ON narrow.* TO '{USER}'@'127.0.0.1'; SET GLOBAL read_only = 1"));
    cut(&db);
    let words = "it is read only; name the server that may be written";
    refused_with(&world, "carol", words).await;
    db.query("mysql", "SET GLOBAL read_only = 0");
    log_in_at_last(&world, "carol").await;
    assert!(!world.transcript().contains("panicked"));
}
