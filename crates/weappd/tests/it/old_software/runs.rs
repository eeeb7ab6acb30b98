//! The stories, told against real weappd processes.

use super::production::Production;
use super::{Endpoint, stories};
use crate::process::free_port;
use crate::world::World;

/// `weappd dev` as a mini program reaches it.
fn endpoint(world: &World) -> Endpoint {
    Endpoint {
        site_url: format!("https://localhost:{}", world.https.port()),
        wechat_url: format!("http://{}", world.wechat),
        internal_url: format!("http://{}", world.internal),
        ca_pem_path: Some(world.ca()),
        sdk_config: None,
        server_host: world.http.to_string(),
        // The chat room is told these; the clients need none of them.
        tunnel_key: String::new(),
        appid: String::new(),
        app_secret: String::new(),
    }
}

#[test]
fn a_wafer_1_server_and_its_clients_run_unchanged() {
    let port = free_port();
    let weappd = Production::start(port, &["/login", "/user", "/tunnel"]);
    stories::wafer1_runs_unchanged(&weappd.endpoint, port);
}

#[test]
fn a_wafer_2_server_and_its_clients_run_unchanged() {
    let port = free_port();
    let paths = ["/weapp/login", "/weapp/user", "/weapp/tunnel"];
    let weappd = Production::start(port, &paths);
    stories::wafer2_runs_unchanged(&weappd.endpoint, port);
}

// The world lives in other processes: blocking this test's runtime blocks nobody.

#[tokio::test]
async fn wafer_1_clients_log_in_at_weappd_itself() {
    let world = World::dev().await;
    stories::wafer1_logs_in_at_weappd(&endpoint(&world));
}

#[tokio::test]
async fn wafer_2_clients_log_in_at_weappd_itself() {
    let world = World::dev().await;
    stories::wafer2_logs_in_at_weappd(&endpoint(&world));
}

#[tokio::test]
async fn wafer_2_clients_chat_in_the_demo_room() {
    let world = World::dev().await;
    stories::wafer2_chats_in_the_demo_room(&endpoint(&world));
}

#[tokio::test]
async fn wafer_2_clients_chat_in_the_node_example() {
    let server = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/node-chat/server.js"
    );
    let dir = tempfile::tempdir().expect("a temp dir");
    let world = World::dev_in(dir, &["--", "node", server]).await;
    stories::wafer2_chats_in_the_demo_room(&endpoint(&world));
}
