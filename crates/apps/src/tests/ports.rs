//! Programs that do not listen where they were told to, or not yet.

use super::*;
use std::os::unix::net::UnixListener;
use std::thread;

/// Listens where its words say, one after the other: addresses, `unix:` and a path, `PORT@` and
/// an IP, `wait:` and a file that must appear first. Answers every call with its pid.
#[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
pub(super) fn serve_at(words: &[OsString]) {
    let mut sockets = Vec::new();
    for word in words {
        let word = word.to_str().expect("a text");
        if let Some(file) = word.strip_prefix("wait:") {
            while !Path::new(file).exists() {
                thread::sleep(Duration::from_millis(5));
            }
            continue;
        }
        if let Some(path) = word.strip_prefix("unix:") {
            std::mem::forget(UnixListener::bind(path).expect("bound"));
            continue;
        }
        let address = word.strip_prefix("PORT@").map_or(word.to_owned(), |ip| {
            format!("{ip}:{}", std::env::var("PORT").expect("PORT"))
        });
        let listener = TcpListener::bind(address).expect("bound");
        sockets.push(thread::spawn(move || {
            for stream in listener.incoming() {
                let pid = std::process::id().to_string();
                drop(stream.expect("a call").write_all(pid.as_bytes()));
            }
        }));
    }
    loop {
        thread::park();
    }
}

fn at(words: &[&str]) -> Value {
    json!({"run": this(&[&["serve-at"], words].concat())})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_port_it_listens_on_is_found_and_used() {
    let shell = ["sh", "-c", "\"$@\"; exit $?", "sh"].map(str::to_owned);
    let child = [shell.as_slice(), &this(&["serve-at", "0.0.0.0:0"])].concat();
    let world = World::with([
        ("four", at(&["127.0.0.1:0"])),
        ("any", at(&["0.0.0.0:0"])),
        ("six", at(&["[::1]:0"])),
        ("both", at(&["[::]:0"])),
        ("named", at(&["127.0.0.2:0"])),
        ("child", json!({"run": child})),
    ]);
    for name in ["four", "any", "six", "both", "named", "child"] {
        let view = world.ready(name).await;
        let (address, port) = (
            view.address.expect("an address"),
            view.port.expect("a port"),
        );
        assert_ne!(address.port(), port, "{name}");
        ask(address).parse::<u32>().expect("a pid");
        assert_eq!(view.restarts, 0, "{name}");
        let log = world.logged(name, "requests go there").await;
        for part in [
            format!("PORT ({port})"),
            format!("write port = {},", address.port()),
        ] {
            assert!(log.contains(&part), "{name}: no {part} in {log}");
        }
        assert_eq!(world.apps.addresses().borrow()[name], [address]);
    }
    // The next life is known: nobody waits to see whether others follow.
    let before = world.one("four").await;
    kill(before.pid.expect("a pid"));
    let view = world.until("four", |view| {
        view.restarts == 1 && view.state == InstanceState::Ready
    });
    assert!(view.await.ready_after_ms < Some(15_000));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_comes_late_takes_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let sign = dir.path().join("sign");
    let wait = format!("wait:{}", sign.display());
    let world = World::with([
        ("late", at(&["127.0.0.1:0", &wait, "PORT@127.0.0.1"])),
        ("early", at(&["127.0.0.1:0", "PORT@127.0.0.1"])),
        ("named", at(&["PORT@127.0.0.2"])),
    ]);
    let early = world.ready("early").await;
    assert_eq!(early.address.map(|at| at.port()), early.port);
    let named = world.ready("named").await.address.expect("an address");
    assert_eq!(named.ip().to_string(), "127.0.0.2");
    let view = world.ready("late").await;
    assert_ne!(view.address.map(|at| at.port()), view.port);
    std::fs::write(&sign, "").expect("a file");
    let port = view.port;
    let moved = |view: &InstanceView| view.address.map(|at| at.port()) == port;
    let view = world.until("late", moved).await;
    assert_eq!((view.state, view.restarts), (InstanceState::Ready, 0));
    world.logged("late", "listens on PORT now").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_found_is_waited_for_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let sign = dir.path().join("sign");
    let wait = format!("wait:{}", sign.display());
    let socket = dir.path().join("app.sock");
    let world = World::with([
        ("slow", at(&[&wait, "PORT@127.0.0.1"])),
        ("two", at(&["127.0.0.1:0", "127.0.0.1:0"])),
        ("unix", at(&[&format!("unix:{}", socket.display())])),
        ("many", with(at(&["127.0.0.1:0"]), json!({"instances": 2}))),
    ]);
    for (name, word) in [
        ("slow", "nor on any other port"),
        ("two", "write port = with the right one"),
        ("unix", "app.sock"),
        ("many", "each of 2 instances"),
    ] {
        let log = world.logged(name, word).await;
        let view = world.until(name, |view| view.summary.contains(word)).await;
        assert_eq!(
            (&view.state, view.restarts),
            (&InstanceState::Starting, 0),
            "{log}"
        );
        let port = format!("PORT ({})", view.port.expect("a port"));
        assert!(view.summary.contains(&port), "{}", view.summary);
    }
    std::fs::write(&sign, "").expect("a file");
    let slow = world.ready("slow").await;
    assert_eq!((slow.summary.as_str(), slow.restarts), ("ready", 0));
    world.end().await;
}

#[test]
fn a_slow_program_has_minutes() {
    assert!(AppConfig::default().ready.timeout_ms >= 5 * 60 * 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_told_from_other_crashes() {
    let dies = |words: &str| {
        let script = format!("echo \"{words}\" >&2; exit 1");
        with(
            sh(&script),
            json!({"listens": true, "restart": {"when": "never"}}),
        )
    };
    let world = World::with([
        (
            "node",
            dies("Error: listen EADDRINUSE: address already in use 0.0.0.0:80"),
        ),
        ("python", dies("OSError: [Errno 98] Address already in use")),
        ("go", dies("listen tcp :8080: bind: address already in use")),
        ("other", dies("Error: Cannot find module 'koa'")),
    ]);
    for name in ["node", "python", "go", "other"] {
        let log = world.logged(name, "stays down").await;
        let told = log.contains("it wanted a port that is taken");
        assert_eq!(told, name != "other", "{log}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_is_put_into_the_command() {
    let words = this(&["serve-at", "127.0.0.1:$PORT"]);
    let line: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let world = World::with([
        ("list", json!({"run": words})),
        ("line", json!({"run": line.join(" "), "instances": 2})),
        (
            "braces",
            json!({"run": this(&["serve-at", "127.0.0.1:${PORT:-80}"])}),
        ),
    ]);
    for name in ["list", "braces"] {
        let view = world.ready(name).await;
        assert_eq!(view.address.map(|at| at.port()), view.port);
    }
    world.addresses("line", 2).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_was_said_before_an_ending_is_kept() {
    // As much as a pipe holds, in one go.
    let script =
        "head -c 60000 /dev/zero | tr '\\0' x | fold -w 100; echo; echo last words; exit 3";
    let never = json!({"restart": {"when": "never"}});
    let world = World::with([("w", with(sh(script), never))]);
    let log = world.logged("w", "stays down").await;
    assert_eq!(log.matches(&"x".repeat(100)).count(), 600);
    assert!(
        log.find("last words") < log.find("exited with code 3"),
        "{log}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_does_not_hold_its_output_back() {
    let says = sh("echo \"unbuffered=$PYTHONUNBUFFERED\"; exec sleep 600");
    let world = World::of(
        [
            ("unset", says.clone()),
            ("own", with(says, json!({"env": {"PYTHONUNBUFFERED": "0"}}))),
        ],
        |_| {},
    );
    world.logged("unset", "out unbuffered=1\n").await;
    world.logged("own", "out unbuffered=0\n").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_withheld_is_named_with_the_mend() {
    let world = World::of([("w", sh("exec sleep 600"))], |parts| {
        parts.own_env.push(("DB_PASSWORD".into(), "hunter2".into()));
    });
    let log = world.logged("w", "not passed on").await;
    assert!(
        log.contains("pass_env = [\"DB_PASSWORD\", \"OTHER_TOKEN\"]"),
        "{log}"
    );
    assert!(
        !log.contains("hunter2") && !log.contains("WEAPP_SECRET"),
        "{log}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hint_names_the_port_as_it_is_set_here() {
    let (one, two) = (at(&["127.0.0.1:0"]), at(&["127.0.0.1:0", "127.0.0.1:0"]));
    let world = World::of([("one", one), ("two", two)], |parts| {
        parts.port_setting = "--port ";
    });
    let log = world.logged("one", "not on PORT").await;
    let port = world.ready("one").await.address.expect("an address").port();
    assert!(log.contains(&format!("write --port {port}, or")), "{log}");
    let log = world.logged("two", "not on PORT").await;
    assert!(log.contains("write --port with the right one"), "{log}");
    assert!(!log.contains("port = "), "{log}");
    world.end().await;
}
