//! Other mini programs and settings while phones come and go.

use std::time::Duration;

use serde_json::Value;
use weappd_base::secret::Secret;
use weappd_session::{Config, MiniApp};

use crate::world::{APP, OTHER_APP, World};

fn app(appid: &str, secret: &str) -> MiniApp {
    MiniApp::new(appid, Secret::new(secret))
}

fn is_in(answer: &Value) -> bool {
    answer["code"] == 0
}

#[tokio::test]
async fn a_mini_program_that_is_gone_opens_nothing_and_its_sessions_wait_for_it() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    assert!(is_in(&world.user(&skey).await));
    world.reload(world.config(), &[app(OTHER_APP, "secret")]);
    assert!(!is_in(&world.user(&skey).await), "though it is in memory");
    let listed = world.sessions.list(Some(APP), "o1").await.expect("lists");
    assert!(listed.is_empty());
    world.wechat.code("c2", "o1");
    let refused = world.get("/weapp/login", &[("X-WX-Code", "c2")]).await;
    assert!(!is_in(&refused.json), "{refused:?}");
    world.reload(world.config(), &[app(APP, "secret")]);
    assert!(is_in(&world.user(&skey).await), "the same session again");
}

#[tokio::test]
async fn a_login_under_way_ends_with_what_it_began_with() {
    let world = World::new().await;
    world.wechat.silent(true);
    world.wechat.code("c1", "o1");
    let later = async {
        while world.wechat.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.reload(world.config(), &[app(OTHER_APP, "secret")]);
        world.wechat.silent(false);
    };
    let (skey, ()) = tokio::join!(world.log_in_by_code("c1", "o1"), later);
    assert!(
        !is_in(&world.user(&skey).await),
        "it opens nothing any more"
    );
    world.reload(world.config(), &[app(APP, "another"), app(OTHER_APP, "s")]);
    assert!(is_in(&world.user(&skey).await));
    world.log_in_by_code("c2", "o1").await;
    assert_eq!(world.wechat.secrets(), ["secret", "another"]);
}

#[tokio::test]
async fn sessions_in_memory_live_as_long_as_is_said_now() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    world.hand.advance(61);
    let short = MiniApp {
        session_duration_secs: 60,
        ..app(APP, "secret")
    };
    world.reload(world.config(), &[short]);
    assert!(!is_in(&world.user(&skey).await));
    world.reload(world.config(), &[app(APP, "secret")]);
    assert!(is_in(&world.user(&skey).await));
}

#[tokio::test]
async fn the_limit_of_sessions_holds_from_the_next_login_on() {
    let world = World::new().await;
    let mut skeys = Vec::new();
    for n in 0..3 {
        skeys.push(world.log_in_by_code(&format!("c{n}"), "o1").await);
    }
    let config = Config {
        max_sessions_per_user: 2,
        ..world.config()
    };
    let apps = [app(APP, "secret"), app(OTHER_APP, "secret")];
    world.reload(config, &apps);
    assert!(is_in(&world.user(&skeys[0]).await), "until the next login");
    skeys.push(world.log_in_by_code("c9", "o1").await);
    for (skey, kept) in skeys.iter().zip([false, false, true, true]) {
        assert_eq!(is_in(&world.user(skey).await), kept);
    }
}

#[tokio::test]
async fn the_same_once_more_changes_nothing() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let before = world.user(&skey).await;
    for _ in 0..3 {
        let apps = [app(APP, "secret"), app(OTHER_APP, "secret")];
        world.reload(world.config(), &apps);
        assert_eq!(world.user(&skey).await, before);
    }
    assert_eq!(world.wechat.asked(), 1);
}
