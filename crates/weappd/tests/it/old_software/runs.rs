//! The stories, told against real weappd processes.

use super::{OldEndpoint, WaferVersion, stories};
use crate::world::TestWorld;

/// A weappd as a mini program reaches it.
pub(crate) fn endpoint(world: &TestWorld) -> OldEndpoint {
    OldEndpoint {
        site_url: format!("https://localhost:{}", world.https.port()),
        wechat_url: format!("http://{}", world.wechat),
        ca_pem_path: Some(world.ca()),
    }
}

#[test]
fn a_wafer_1_server_and_its_clients_run_unchanged() {
    stories::wafer1_runs_unchanged();
}

#[test]
fn a_wafer_2_server_and_its_clients_run_unchanged() {
    stories::wafer2_runs_unchanged();
}

#[test]
fn a_wafer_1_server_keeps_its_tunnels_whatever_weappd_speaks() {
    stories::wafer1_runs_where_weappd_logs_in();
}

#[test]
fn a_wafer_2_server_keeps_its_tunnels_where_weappd_logs_in() {
    stories::wafer2_runs_where_weappd_logs_in();
}

// The world lives in other processes: blocking this test's runtime blocks nobody.

#[tokio::test]
async fn wafer_1_clients_log_in_at_weappd_itself() {
    let world = TestWorld::dev().await;
    stories::wafer1_logs_in_at_weappd(&endpoint(&world));
}

#[tokio::test]
async fn wafer_2_clients_log_in_at_weappd_itself() {
    let world = TestWorld::dev().await;
    stories::wafer2_logs_in_at_weappd(&endpoint(&world));
}

#[tokio::test]
async fn wafer_2_clients_chat_in_the_demo_room() {
    let world = TestWorld::dev().await;
    stories::chats_in_the_demo_room(WaferVersion::Two, &endpoint(&world));
}

#[tokio::test]
async fn wafer_2_clients_chat_in_the_node_example() {
    let server = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/node-chat/server.js"
    );
    let dir = tempfile::tempdir().expect("a temp dir");
    let world = TestWorld::dev_in(dir, &["--", "node", server]).await;
    stories::chats_in_the_demo_room(WaferVersion::Two, &endpoint(&world));
}
