//! The internal API of a real `weappd serve`: by which names it is called, and what its log
//! says of business servers that are set up a little wrong.

use hyper::StatusCode;
use serde_json::json;

use crate::http;
use crate::upstream::{self, echo};
use crate::world::{TestWorld, WorldRecipe, text};

fn serve(internal: &str) -> TestWorld {
    let app = upstream::serve(echo());
    WorldRecipe::new()
        .site(&format!("proxy = \"{app}\""))
        .internal(internal)
        .sections("[tunnel]\nkey = \"the-key-of-the-tunnel\"")
        .serve()
}

#[tokio::test]
async fn other_names_of_this_machine_are_the_operators_to_give() {
    let world = serve("hosts = [\"weappd\", \"Host.Docker.Internal\", \"10.0.0.7\"]");
    for (host, status) in [
        ("weappd:8081", StatusCode::OK),
        ("host.docker.internal", StatusCode::OK),
        ("10.0.0.7:8081", StatusCode::OK),
        ("127.0.0.1:8081", StatusCode::OK),
        ("other", StatusCode::FORBIDDEN),
        ("weappd.evil.example", StatusCode::FORBIDDEN),
        ("10.0.0.8", StatusCode::FORBIDDEN),
    ] {
        let api = world.api().named(host);
        let rpc = api.post("/mina_auth/").body("{}").send().await;
        assert_eq!(rpc.status(), status, "{host}");
        // The calls to WeChat's API go by the same names.
        let token = api.get("/token").send().await;
        let wechat = api.get("/wxa/getwxacode").send().await;
        let without_bearer = match status {
            StatusCode::OK => StatusCode::UNAUTHORIZED,
            other => other,
        };
        assert_eq!(token.status(), without_bearer, "{host}");
        let refused = String::from_utf8_lossy(wechat.body()).contains("-808010");
        assert_eq!(refused, status == StatusCode::FORBIDDEN, "{host}");
    }
    let refused = world.api().named("other").get("/healthz").send().await;
    let told = http::json(&refused);
    assert!(
        text(&told["error"]["hint"]).contains("[internal] hosts"),
        "{told}"
    );
}

#[tokio::test]
async fn an_address_with_a_path_before_the_old_ones_is_told_with_the_right_one() {
    let world = serve("");
    for (path, wrong, right) in [
        ("/weapp/get/wsurl", "leave out /weapp:", "tunnelServerUrl"),
        (
            "/tunnel/v1/ws/push",
            "leave out /tunnel/v1:",
            "tunnelServerUrl",
        ),
        ("/api/mina_auth/", "leave out /api:", "/mina_auth/"),
    ] {
        for _ in 0..3 {
            let answer = world.api().post(path).body("{}").send().await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            let told = http::json(&answer);
            let hint = text(&told["error"]["hint"]);
            assert!(hint.contains(wrong) && hint.contains(right), "{hint}");
            assert!(hint.contains(&world.internal.to_string()), "{hint}");
        }
        world.says(wrong).await;
        let transcript = world.transcript();
        assert_eq!(transcript.matches(wrong).count(), 1, "{transcript}");
    }
    let other = world.api().get("/v2/nothing").send().await;
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
    world.says("path=\"/v2/nothing\"").await;
}

#[tokio::test]
async fn a_server_host_that_is_not_configured_is_told_with_those_that_are() {
    let world = serve("");
    // None is the md5 of `localhost`: most often it is that of the host with a port.
    for tc_id in [
        "e5aa4c5a5dd1d7e1ad3d3ba0eb4dd3d1",
        "ffffffffffffffffffffffffffffffff",
        "x",
    ] {
        let body = json!({"data": "{}", "dataEncode": "json", "tcId": tc_id, "signature": "s"});
        for _ in 0..2 {
            let answer = world.api().post("/get/wsurl").json(&body).send().await;
            assert_eq!(http::json(&answer)["code"], 6);
        }
    }
    world.says("its serverHost must be one of localhost,").await;
    // All that was said before it is in the transcript, too.
    world.api().get("/v2/last").send().await;
    world.says("path=\"/v2/last\"").await;
    let told = world.transcript().matches("its serverHost must be").count();
    assert_eq!(told, 3, "{}", world.transcript());
}

#[tokio::test]
async fn everything_that_is_counted_can_be_asked_for() {
    let world = WorldRecipe::new()
        .site(&format!(
            "proxy = \"{}\"",
            upstream::serve(upstream::echo())
        ))
        .serve();
    let scrape = async || {
        let answer = world.api().get("/metrics").send().await;
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().expect("text");
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        String::from_utf8(answer.body().to_vec()).expect("text")
    };
    let answer = world.site().get("/").send().await;
    assert_eq!(answer.status(), 200);
    // A request ends a moment after its client has the answer.
    let ended = "weappd_edge_requests_total{status=\"2xx\"} 1";
    let mut text = scrape().await;
    for _ in 0..200 {
        if text.contains(ended) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        text = scrape().await;
    }
    assert_eq!(
        weappd_base::metrics::exposition::problem(&text),
        None,
        "{text}"
    );
    for line in [
        "weappd_server_reloads_total{end=\"taken\"} 0",
        "# TYPE process_cpu_seconds counter",
        ended,
        "# TYPE weappd_edge_connections counter",
        "weappd_edge_upstream_failures_total{how=\"unreached\"} 0",
        "# TYPE weappd_tunnel_tunnels gauge",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(world.command(&["reload"]).status.success());
    assert!(
        scrape()
            .await
            .contains("weappd_server_reloads_total{end=\"taken\"} 1")
    );
    // No page that somebody visits reads it.
    let page = world.api();
    let page = page
        .get("/metrics")
        .header("origin", "https://evil.example");
    assert_eq!(page.send().await.status(), 403);
}
