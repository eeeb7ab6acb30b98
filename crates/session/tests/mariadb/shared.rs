//! Two nodes share a database: what one ends, the other forgets within the bound.

use futures_util::future::join_all;
use serde_json::json;
use weappd_session::Config;

use crate::backend::Backend;
use crate::world::World;

async fn two() -> (Backend, World, World) {
    let backend = Backend::new();
    let config = Config {
        store: backend.store(),
        ..Config::default()
    };
    let one = World::with(config.clone()).await;
    let two = World::with(config).await;
    // The same key file, as nodes must have.
    (backend, one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_node_holds_on_the_other_until_it_is_ended() {
    let (_backend, one, two) = two().await;
    let skey = one.log_in("c1", "o1").await;
    assert_eq!(two.user(&skey).await["data"]["openId"], "o1");
    one.sessions.revoke_user(None, "o1").await.expect("revokes");
    assert_eq!(one.user(&skey).await["code"], -1, "at once here");
    assert_eq!(
        two.user(&skey).await["code"],
        0,
        "memory, within two seconds"
    );
    two.hand.advance(2);
    assert_eq!(two.user(&skey).await["error"], "ERR_SKEY_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_way_a_session_ends_on_one_node_it_ends_on_the_other() {
    let (_backend, one, two) = two().await;
    for way in 0..4 {
        let skey = one.log_in(&format!("c{way}"), "o1").await;
        let by = two.log_in(&format!("d{way}"), "o2").await;
        assert_eq!(two.user(&skey).await["code"], 0, "remembered there");
        match way {
            0 => {
                let listed = one.sessions.list(None, "o1").await.expect("lists");
                let ended = one.sessions.revoke_one(listed[0].session).await;
                assert_eq!(ended.expect("ends"), 1);
            }
            1 => {
                let headers = [("X-WX-Skey", skey.as_str())];
                let nothing = axum::body::Body::empty();
                let path = "/weapp/session";
                let gone = one.call("DELETE", path, &headers, nothing).await;
                assert_eq!(gone.status, 204);
            }
            2 => {
                let ended = one.sessions.revoke_user(None, "o1").await;
                assert_eq!(ended.expect("ends"), 1);
            }
            _ => {
                one.sessions.revoke_all().await.expect("ends");
            }
        }
        assert_eq!(one.user(&skey).await["code"], -1, "at once here: {way}");
        two.hand.advance(2);
        assert_eq!(
            two.user(&skey).await["code"],
            -1,
            "within two seconds: {way}"
        );
        let stays = if way == 3 { -1 } else { 0 };
        assert_eq!(two.user(&by).await["code"], stays, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_changed_on_one_node_is_seen_on_the_other() {
    let (_backend, one, two) = two().await;
    let skey = one.log_in("c1", "o1").await;
    assert_eq!(two.user(&skey).await["data"]["nickName"], "o1");
    let body = axum::body::Body::from(json!({"nickName": "改"}).to_string());
    let headers = [("X-WX-Skey", skey.as_str())];
    one.call("PUT", "/weapp/session/profile", &headers, body)
        .await;
    two.hand.advance(2);
    assert_eq!(two.user(&skey).await["data"]["nickName"], "改");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_log_the_same_users_in_at_once_agree() {
    let (backend, one, two) = two().await;
    let logins = (0..60).map(|n| {
        let world = if n % 2 == 0 { &one } else { &two };
        let openid = format!("o{}", n % 5);
        async move { world.log_in(&format!("c{n}"), &openid).await }
    });
    let skeys = join_all(logins).await;
    let kept = backend.query("SELECT user, COUNT(*) FROM weappd_sessions GROUP BY user");
    let kept: Vec<_> = kept
        .lines()
        .filter_map(|row| row.split('\t').nth(1))
        .collect();
    assert_eq!(kept, ["8"; 5], "five users, eight sessions each");
    for world in [&one, &two] {
        world.hand.advance(2);
        let mut valid = 0;
        for skey in &skeys {
            valid += usize::from(world.user(skey).await["code"] == 0);
        }
        assert_eq!(valid, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_skeys_nor_session_keys_stand_in_the_database() {
    let backend = Backend::new();
    let world = World::with(Config {
        store: backend.store(),
        ..Config::default()
    })
    .await;
    let skey = world.log_in("c1", "o1").await;
    let key = crate::wechat::session_key("o1");
    for table in ["weappd_users", "weappd_sessions", "weappd_session_keys"] {
        let rows = backend.query(&format!("SELECT * FROM {table}"));
        assert!(!rows.is_empty(), "{table}");
        assert!(
            !rows.contains(&skey) && !rows.contains(key.expose()),
            "{rows}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let backend = Backend::new();
    let config = Config {
        store: backend.store(),
        ..Config::default()
    };
    let world = World::with(config).await;
    backend.query("INSERT INTO weappd_schema VALUES (99)");
    let err = world.open_at(world.dir.path()).await.expect_err("newer");
    assert!(
        matches!(err, weappd_session::Error::NewerStore { found: 99, .. }),
        "{err:?}"
    );
    assert!(!err.to_string().contains("for-tests-only"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_taken_away_or_given_other_rows_log_in_as_who_they_are() {
    let (backend, one, two) = two().await;
    for openid in ["o1", "o2"] {
        for (turn, world) in [&one, &two, &one].into_iter().enumerate() {
            world.log_in(&format!("{turn} {openid}"), openid).await;
        }
    }
    // Each has the other's row: whoever remembers rows must not believe them.
    backend.query(
        "UPDATE weappd_users SET openid = 'away' WHERE openid = 'o1';
        UPDATE weappd_users SET openid = 'o1' WHERE openid = 'o2';
        UPDATE weappd_users SET openid = 'o2' WHERE openid = 'away'",
    );
    let of = |openid: &str| {
        let sql = "SELECT COUNT(*) FROM weappd_sessions AS s JOIN weappd_users AS u USING (user) \
            WHERE u.openid = ";
        backend.query(&format!("{sql}'{openid}'"))
    };
    let skey = one.log_in("swapped", "o1").await;
    assert_eq!(two.user(&skey).await["data"]["openId"], "o1");
    assert_eq!((&*of("o1"), &*of("o2")), ("4", "3"));

    backend.query("DELETE FROM weappd_users");
    let skey = one.log_in("anew", "o1").await;
    assert_eq!(two.user(&skey).await["data"]["openId"], "o1");
    assert_eq!(of("o1"), "1");
    assert_eq!(backend.query("SELECT COUNT(*) FROM weappd_users"), "1");
}
