//! What nodes share in the database: one holder at a time, sealed, in every kind of database.

use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use weappd_base::secret::Secret;
use weappd_session::{Config, LeaseResult, SharedValues};

use crate::backend::Backend;
use crate::cauth;
use crate::world::World;

const LONG: Duration = Duration::from_mins(10);

/// A node; all of a test have one key file.
async fn node(backend: &Backend, keys: &TempDir) -> (World, SharedValues) {
    let world = World::with(Config {
        store: backend.store(),
        key_file: keys.path().join("session.key"),
        ..Config::default()
    })
    .await;
    let values = world
        .sessions
        .shared_values()
        .expect("nodes can share MariaDB");
    (world, values)
}

fn fence(hold: &LeaseResult) -> Option<i64> {
    match hold {
        LeaseResult::Granted { fence, .. } => Some(*fence),
        LeaseResult::Busy => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_holds_and_all_see_what_it_puts_there() {
    let (backend, keys) = (Backend::new(), TempDir::new().expect("a directory"));
    let nodes = join_all((0..3).map(|_| node(&backend, &keys))).await;
    assert!(nodes[0].1.read("a").await.expect("reads").value.is_none());
    // The table is made by all of them at once.
    let holds = nodes
        .iter()
        .flat_map(|(_, values)| (0..10).map(|_| values.lease("a", LONG)));
    let holds: Vec<_> = join_all(holds).await;
    let fences = holds
        .iter()
        .map(|hold| fence(hold.as_ref().expect("a hold or not")));
    let fences: Vec<i64> = fences.flatten().collect();
    assert_eq!(fences, [1], "one of thirty");
    let value = Secret::new("the value nobody may read");
    assert!(nodes[1].1.put("a", 1, &value).await.expect("writes"));
    for (_, values) in &nodes {
        let found = values.read("a").await.expect("reads");
        assert!(found.value.is_some_and(|found| found == value));
        assert!(found.now.get() > 1_700_000_000_000, "{}", found.now);
        assert!(values.read("b").await.expect("reads").value.is_none());
    }
    let rows = backend.query("SELECT CONVERT(sealed USING latin1) FROM weappd_shelf");
    assert!(!rows.contains("nobody"), "sealed");
    // A row copied to another name opens nothing.
    backend.query("INSERT INTO weappd_shelf SELECT 'b', sealed, put_at, 0, 0 FROM weappd_shelf");
    let err = nodes[0].1.read("b").await.expect_err("does not open");
    assert!(err.to_string().contains("key_file"), "{err}");
    // Nobody can read what an old key file sealed: two hours later it is as if never written.
    backend.query("UPDATE weappd_shelf SET put_at = put_at - 7200001 WHERE name = 'b'");
    assert!(nodes[0].1.read("b").await.expect("reads").value.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_itself_and_its_fence_with_it() {
    let (backend, keys) = (Backend::new(), TempDir::new().expect("a directory"));
    let (_one, first) = node(&backend, &keys).await;
    let (_two, second) = node(&backend, &keys).await;
    let short = Duration::from_millis(300);
    let old = first.lease("a", short).await.expect("holds");
    assert!(fence(&second.lease("a", LONG).await.expect("asks")).is_none());
    let mut new = None;
    for _ in 0..200 {
        new = fence(&second.lease("a", LONG).await.expect("asks"));
        if new.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (old, new) = (fence(&old).expect("held"), new.expect("the hold ended"));
    assert!(new > old);
    let late = Secret::new("late");
    assert!(!first.put("a", old, &late).await.expect("is refused"));
    first.release("a", old).await.expect("is no harm");
    assert!(fence(&first.lease("a", LONG).await.expect("asks")).is_none());
    second.release("a", new).await.expect("ends it");
    assert!(fence(&first.lease("a", LONG).await.expect("asks")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn time_zones_are_nothing_to_it() {
    let (backend, keys) = (Backend::new(), TempDir::new().expect("a directory"));
    let (_world, values) = node(&backend, &keys).await;
    values.lease("a", LONG).await.expect("holds");
    let before = values.read("a").await.expect("reads").now;
    backend.query("SET GLOBAL time_zone = '+08:00'");
    let (_other, other) = node(&backend, &keys).await;
    let after = other.read("a").await.expect("reads").now;
    backend.query("SET GLOBAL time_zone = 'SYSTEM'");
    assert!(
        before <= after && after.since(before) < Duration::from_mins(1),
        "{before} {after}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_servers_database_takes_the_table_beside_its_own() {
    let (backend, world) = cauth::php().await;
    let values = world
        .sessions
        .shared_values()
        .expect("nodes can share MariaDB");
    let before = backend.query("SELECT * FROM cSessionInfo");
    let held = values.lease("a", LONG).await.expect("holds");
    let fence = fence(&held).expect("held");
    assert!(
        values
            .put("a", fence, &Secret::new("v"))
            .await
            .expect("writes")
    );
    assert_eq!(backend.query("SELECT * FROM cSessionInfo"), before);
}
