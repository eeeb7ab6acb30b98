//! Apps under `serve` that do what nobody expects of them: another port, a long start, output
//! held back, variables they are not given.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{PATIENCE, free_port, free_ports};
use crate::world::{TestWorld, WEAPPD, WorldRecipe};

fn serve(sections: &str, files: &[(&str, &str)]) -> TestWorld {
    let recipe = WorldRecipe::new()
        .site("routes = [{ path = \"/\", app = \"shop\" }]")
        .sections(sections)
        .env("DB_PASSWORD", "hunter2")
        .env("ACCESS_TOKEN", "hunter3")
        .edge("hold_ms = 15000");
    let files = files.iter();
    let recipe = files.fold(recipe, |recipe, (name, text)| recipe.file(name, text));
    recipe.serve()
}

async fn logged(world: &TestWorld, text: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let logs = world.command(&["app", "logs", "shop"]);
        let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
        if logs.contains(text) {
            return logs;
        }
        assert!(Instant::now() < deadline, "no {text:?} in {logs}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_app_that_ignores_port_serves_where_it_listens() {
    let port = free_port();
    let script = format!(
        "require('http').createServer((ask, answer) => answer.end('found')).listen({port});"
    );
    let world = serve(
        "[apps.shop]\nrun = \"node shop.js\"",
        &[("shop.js", &script)],
    );
    let answer = world.site().get("/").send().await;
    assert_eq!(&answer.body()[..], b"found", "{}", world.transcript());
    let list = world.command(&["app", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains(&format!("{port} (PORT ")), "{list}");
    world.says(&format!("write port = {port}")).await;
    // The mend works.
    let mend = format!("[apps.shop]\nrun = \"node shop.js\"\nport = {port}");
    drop(world);
    let mended = serve(&mend, &[("shop.js", &script)]);
    assert_eq!(&mended.site().get("/").send().await.body()[..], b"found");
    assert!(!mended.transcript().contains("not on PORT"));
}

#[tokio::test]
async fn python_is_heard_at_once_and_to_the_end() {
    let script = "import http.server, os\n\
        print('it begins')\n\
        class Shop(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n\
        \x20       print('asked for', self.path)\n\
        \x20       self.send_response(200); self.end_headers(); self.wfile.write(b'yes')\n\
        \x20   def log_message(self, *a): pass\n\
        http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Shop).serve_forever()\n";
    let world = serve(
        "[apps.shop]\nrun = \"python3 shop.py\"",
        &[("shop.py", script)],
    );
    assert_eq!(&world.site().get("/one").send().await.body()[..], b"yes");
    let log = logged(&world, "asked for /one").await;
    assert!(log.find("it begins") < log.find("ready after"), "{log}");
    let (dir, _) = world.end(rustix::process::Signal::TERM);
    let log = std::fs::read_to_string(dir.path().join(".weappd/logs/shop.log")).expect("a log");
    assert!(log.contains("asked for /one"), "{log}");
}

#[tokio::test]
async fn what_is_withheld_is_named_and_the_port_is_put_in() {
    let script = "require('http').createServer((ask, answer) => answer.end('yes'))\
        .listen(Number(process.argv[2].split(':')[1]), '127.0.0.1');";
    let files = [("shop.js", script)];
    let world = serve(
        "[apps.shop]\nrun = \"node shop.js 127.0.0.1:$PORT\"",
        &files,
    );
    assert_eq!(&world.site().get("/").send().await.body()[..], b"yes");
    let mend = "pass_env = [\"ACCESS_TOKEN\", \"DB_PASSWORD\"]";
    logged(&world, mend).await;
    world.says(mend).await;
    assert!(!world.transcript().contains("hunter"));
    let mended = format!("[apps.shop]\nrun = [\"node\", \"shop.js\", \"x:${{PORT}}\"]\n{mend}");
    let world = serve(&mended, &files);
    assert_eq!(&world.site().get("/").send().await.body()[..], b"yes");
    assert!(!world.transcript().contains("pass_env"));
}

#[test]
fn check_tells_of_variables_that_nobody_puts_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let [http, internal] = free_ports();
    let checked = |run: &str| {
        let toml = format!(
            "domain = \"a.com\"\ntls = \"off\"\n[app]\nrun = {run}\n\
             [edge]\nhttp = {http}\nhttps = false\n[internal]\nlisten = \"127.0.0.1:{internal}\"\n"
        );
        std::fs::write(dir.path().join("weappd.toml"), toml).expect("weappd.toml");
        let mut command = Command::new(WEAPPD);
        let output = command.current_dir(dir.path()).arg("check").output();
        let output = output.expect("weappd runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for run in [
        "\"sh start.sh --port $PORT\"",
        "[\"sh\", \"-c\", \"exec node $HOME/app.js\"]",
    ] {
        assert!(!checked(run).contains("nobody puts"), "{}", checked(run));
    }
    for (run, name) in [
        ("\"sh $HOME/start.sh\"", "$HOME"),
        (
            "[\"sh\", \"start.sh\", \"-b\", \"${BIND:-127.0.0.1}\"]",
            "$BIND",
        ),
        ("\"sh start.sh --port $port\"", "$port"),
    ] {
        let said = checked(run);
        assert!(
            said.contains(name) && said.contains("sh\", \"-c\""),
            "{said}"
        );
    }
    assert!(checked("\"no-such-program $PORT\"").contains("is not found"));
}

#[tokio::test]
async fn an_app_that_fails_again_and_again_says_where_its_words_are() {
    let world = serve(
        "[apps.shop]\nrun = \"node shop.js\"",
        &[("shop.js", "throw new Error('no database');")],
    );
    world.says("`weappd logs shop` shows what it printed").await;
    let list = world.command(&["app", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("shop: `weappd logs shop`"), "{list}");
    let logs = world.command(&["app", "logs"]);
    let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert!(logs.contains("no database"), "{logs}");
}
