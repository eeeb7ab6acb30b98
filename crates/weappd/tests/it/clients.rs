//! The mini program's own package, `clients/`, in Node against a real weappd; its types.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::npm;
use crate::old_software::OldSoftware;
use crate::process::WeappdProcess;
use crate::world::{TestWorld, WorldRecipe};

/// How long a file of tests may take on a busy machine.
const LONG: Duration = Duration::from_mins(2);

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `node --test` of some of the package's tests; the phones among them use `world`.
fn node_test(files: &[&str], world: Option<&TestWorld>) {
    let package = root().join("clients");
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=tap"]);
    command.args(files.iter().map(|file| package.join("test").join(file)));
    command
        .current_dir(&package)
        // The phones' sockets are of the package `ws`.
        .env("NODE_PATH", OldSoftware::install().modules())
        .env("WX_MODULE", root().join("crates/simulator/page/wx.js"));
    if let Some(world) = world {
        command
            .env(
                "SITE_URL",
                format!("https://localhost:{}", world.https.port()),
            )
            .env("WECHAT_URL", format!("http://{}", world.wechat))
            .env("NODE_EXTRA_CA_CERTS", world.ca());
    }
    let mut node = WeappdProcess::spawn("node --test", &mut command);
    let status = node.wait(LONG);
    let said = node.last_transcript();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert!(
        !said.contains("# pass 0") && said.contains("# skipped 0"),
        "{said}"
    );
}

// The worlds live in other processes: blocking these tests' runtimes blocks nobody.

#[test]
fn the_package_keeps_its_word_without_a_server() {
    node_test(
        &["session.test.js", "tunnel.test.js", "cloud.test.js"],
        None,
    );
}

#[test]
fn its_types_and_examples_compile_strictly_beside_wechats_own() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/types");
    npm::names_no_host(&here);
    let modules = npm::install("client-types", &here);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("node");
    command
        .arg(here.join("compile.js"))
        .arg(root().join("clients"))
        .arg(dir.path())
        .env("NODE_PATH", modules);
    let mut compiler = WeappdProcess::spawn("node compile.js", &mut command);
    let status = compiler.wait(LONG);
    let said = compiler.last_transcript();
    assert!(
        status.is_some_and(|status| status.success()) && said.contains("5 files, 3 ways, 0 wrong"),
        "{status:?}\n{said}"
    );
}

#[tokio::test]
async fn a_mini_program_logs_in_sends_and_stays_connected() {
    let modules = OldSoftware::install().modules().display().to_string();
    let server = root().join("clients/test/business-server.js");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let world = TestWorld::dev_in(
        dir,
        &[
            "--",
            "env",
            &format!("NODE_PATH={modules}"),
            "node",
            &server.display().to_string(),
        ],
    )
    .await;
    node_test(&["weappd.e2e.js"], Some(&world));
}

#[tokio::test]
async fn an_app_for_wechats_cloud_hosting_runs_unchanged() {
    let modules = OldSoftware::install().modules().display().to_string();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients");
    let files = ["cloud-hosting.js", "hosts.js", "cloud-talk.js"];
    let [app, hosts, talk] = files.map(|file| folder.join(file));
    let world = WorldRecipe::new()
        .site(
            "routes = [{ path = \"/\", app = \"app\", session = \"require\" }]\n\
             services.express-demo = { app = \"app\" }\n\
             services.talk = { app = \"talk\", session = \"require\" }",
        )
        .sections(&format!(
            "[app]\nrun = \"node --require '{}' '{}'\"\nenv = {{ NODE_PATH = '{modules}' }}\n\
             [apps.talk]\nrun = \"node '{}'\"\nenv = {{ NODE_PATH = '{modules}' }}",
            hosts.display(),
            app.display(),
            talk.display()
        ))
        .edge("env_id = \"prod-01\"\nhold_ms = 15000")
        .serve();
    world.app_ready().await;
    node_test(&["cloud-hosting.e2e.js"], Some(&world));

    // Nobody else gets to either, whoever he says he is.
    let site = world.site();
    for service in ["express-demo", "talk"] {
        let lie = site.get("/api/wx_openid").header("x-wx-service", service);
        let lie = lie.header("x-wx-openid", "mallory");
        let answer = lie.header("x-wx-source", "wx_client").send().await;
        assert_eq!(answer.status(), 401, "{service}");
    }
}
