//! What is seen of apps: their output, spans, metrics, the control API.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;
use weappd_base::metrics::{MetricRegistry, exposition};

use super::{PATIENCE, World, group, sh, this, with};
use crate::app::{InstanceState, InstanceView};
use crate::config::AppConfig;
use crate::error::Error;
use crate::http::control_router;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_start_has_a_span_and_it_holds_no_argument() {
    let buffer = LogBuffer::default();
    let lines = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || lines.clone())
        .finish();
    // Where there is only one, a line that another test's thread comes upon first is taken for
    // one that nobody hears.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _watched = tracing::subscriber::set_default(subscriber);
    let secret = with(
        sh("exec sleep 600 # hidden"),
        json!({"env": {"A": "hidden"}}),
    );
    let world = World::with([("w", secret)]);
    world.ready("w").await;
    world.apps.restart("w").await.expect("restarted");
    world.end().await;
    let logged = String::from_utf8_lossy(&buffer.0.lock()).into_owned();
    for part in [
        "app{app.name=\"w\" index=0 start=1}",
        "app{app.name=\"w\" index=0 start=2}",
    ] {
        let has = |line: &str| line.contains(part) && line.contains("app ready");
        assert!(logged.lines().any(has), "{part}: {logged}");
    }
    assert!(!logged.contains("hidden"), "{logged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_counted() {
    let crash = with(sh("exit 3"), json!({"restart": {"max_tries": 1}}));
    let world = World::with([("shop", json!({"run": this(&["serve"])})), ("crash", crash)]);
    let registry = MetricRegistry::new();
    world.apps.register_metrics(&registry);
    world.addresses("shop", 1).await;
    let down = |view: &InstanceView| matches!(view.state, InstanceState::Down { .. });
    world.until("crash", down).await;
    world.apps.restart("shop").await.expect("restarted");
    world.ready("shop").await;
    let text = registry.text();
    assert_eq!(exposition::problem(&text), None, "{text}");
    for line in [
        "weappd_apps_instances{app=\"shop\",state=\"ready\"} 1",
        "weappd_apps_instances{app=\"shop\",state=\"down\"} 0",
        "weappd_apps_instances{app=\"crash\",state=\"down\"} 1",
        "weappd_apps_restarts_total{cause=\"exited\"} 1",
        "weappd_apps_restarts_total{cause=\"command\"} 1",
        "weappd_apps_processes{app=\"shop\",instance=\"0\"} 1",
        "weappd_apps_processes{app=\"crash\",instance=\"0\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let memory = "weappd_apps_resident_bytes{app=\"shop\",instance=\"0\"} ";
    let memory = text.lines().find_map(|line| line.strip_prefix(memory));
    let memory: u64 = memory.expect("memory").parse().expect("a number");
    assert!(memory > 100_000, "{memory}");
    assert!(
        text.contains("weappd_apps_cpu_seconds_total{app=\"shop\""),
        "{text}"
    );
    assert!(
        text.contains("weappd_apps_ready_seconds_bucket{le=\"+Inf\"} "),
        "{text}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_bounded_on_disk_and_blocks_nobody() {
    let log =
        json!({"log": {"max_file_bytes": 65_536, "max_files": 3, "max_bytes_per_sec": 1_000_000}});
    let flood = with(
        sh("yes a rather long line that says nothing at all & wait"),
        log,
    );
    let world = World::with([("flood", flood), ("calm", sh("echo calm; exec sleep 600"))]);
    world
        .logged("flood", "came faster than the log may grow")
        .await;
    world.logged("calm", "out calm").await;
    world.apps.stop("flood", None).await.expect("stopped");
    let sizes: Vec<u64> = std::fs::read_dir(world.file("data/logs"))
        .expect("a folder")
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().starts_with("flood"))
        .map(|file| file.metadata().expect("a size").len())
        .collect();
    assert!(
        sizes.len() <= 3 && sizes.iter().all(|&size| size <= 65_536),
        "{sizes:?}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_line_is_cut() {
    let script = "head -c 300000000 /dev/zero; echo; echo over; exec sleep 600";
    let world = World::with([("w", sh(script))]);
    let log = world.logged("w", "out over").await;
    let cut = 300_000_000 - AppConfig::default().log.max_line_bytes;
    assert!(log.contains(&format!("…[{cut} bytes cut]\n")));
    assert!(log.len() < 100_000, "{}", log.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_its_output_is_no_ending() {
    let world = World::with([("w", sh("exec >&- 2>&-; touch closed; exec sleep 600"))]);
    let file = world.file("closed");
    world.until("w", |_| file.exists()).await;
    let view = world.ready("w").await;
    assert_eq!((group(view.pid.expect("a pid")), view.restarts), (1, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_api() {
    let world = World::with([("w", sh("echo hello; exec sleep 600"))]);
    world.logged("w", "out hello").await;
    world.ready("w").await;
    let call = async |method: &str, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty());
        let router = control_router(world.apps.clone());
        let response = router
            .oneshot(request.expect("a request"))
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (status, body) = call("GET", "/apps").await;
    let list: Value = serde_json::from_str(&body).expect("json");
    assert_eq!(status, 200);
    assert_eq!(list[0]["name"], "w");
    assert_eq!(list[0]["instances"][0]["state"], json!({"name": "ready"}));
    assert!(!body.contains("hello"), "arguments are not shown");

    let (status, body) = call("GET", "/apps/w/logs?lines=100").await;
    assert!(status == 200 && body.contains(" out hello\n"), "{body}");
    let (_, one) = call("GET", "/apps/w/logs?lines=1").await;
    assert_eq!(one.lines().count(), 1);

    let (status, body) = call("POST", "/apps/w/stop?grace_ms=5000").await;
    let view: Value = serde_json::from_str(&body).expect("json");
    assert_eq!((status, &view["summary"]), (200, &json!("stopped")));
    let (_, body) = call("POST", "/apps/w/start").await;
    assert!(body.contains("\"summary\":\"ready\""), "{body}");
    let (_, body) = call("POST", "/apps/w/restart").await;
    assert!(body.contains("\"restarts\":2"), "{body}");
    let (status, body) = call("GET", "/apps/x").await;
    assert_eq!(
        (status, body.as_str()),
        (
            404,
            r#"{"error":{"code":"app_not_found","message":"there is no app named \"x\""}}"#
        )
    );

    let apps = world.apps.clone();
    let mut log = apps.logs("w", 1, true).await.expect("a log");
    world.end().await;
    let mut rest = String::new();
    // A followed log ends with weappd.
    while let Some(chunk) = timeout(PATIENCE, log.next()).await.expect("an end") {
        rest = String::from_utf8_lossy(&chunk).into_owned();
    }
    assert!(rest.contains("sys stopped"), "{rest}");
    assert!(matches!(apps.start("w").await, Err(Error::Closed)));
}
