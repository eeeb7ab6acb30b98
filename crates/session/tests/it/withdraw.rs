//! What a user takes back is gone from the session room, and what they did not stays.

use axum::body::Body;
use serde_json::{Value, json};
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::{ConsentWithdrawal, WithdrawnData, open_data};

use crate::wechat::session_key;
use crate::world::{APP, OTHER_APP, World, send};

const NOW: i64 = 1_800_000_000;

fn withdrawal(openid: &str, data: WithdrawnData, at: i64) -> ConsentWithdrawal {
    ConsentWithdrawal {
        openid: openid.to_owned(),
        data: vec![data],
        at: Some(UnixSecs::new(at)),
    }
}

/// Shows the phone number of a user, encrypted, as WeChat made it at `at`.
async fn show_phone(world: &World, skey: &str, (openid, at): (&str, i64)) {
    let plain = json!({
        "phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86",
        "watermark": {"timestamp": at, "appid": APP},
    });
    let data = open_data::encrypt(&session_key(openid), &plain.to_string(), [9; 16]);
    let body = json!({"encryptedData": data.expect("encrypts"), "iv": open_data::iv_text([9; 16])});
    let body = Body::from(body.to_string());
    let headers = [("X-WX-Skey", skey)];
    let path = "/weapp/session/phone";
    let answer = world.call("POST", path, &headers, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn choose(world: &World, skey: &str) {
    let body = json!({"nickName": "三木", "avatarUrl": "/weapp/files/a.png"});
    let body = Body::from(body.to_string());
    let headers = [("X-WX-Skey", skey)];
    let path = "/weapp/session/profile";
    let answer = world.call("PUT", path, &headers, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn known(world: &World, skey: &str) -> Value {
    let headers = [("X-WX-Skey", skey)];
    let answer = world.get("/weapp/session", &headers).await;
    answer.json["user"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_takes_back_is_gone_and_the_rest_stays() {
    let mut world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let other = world.log_in("c2", "o2").await;
    for (skey, openid) in [(&skey, "o1"), (&other, "o2")] {
        show_phone(&world, skey, (openid, NOW)).await;
        choose(&world, skey).await;
    }
    for (data, phone, nick, avatar) in [
        (WithdrawnData::NickName, true, false, true),
        (WithdrawnData::Avatar, true, false, false),
        (WithdrawnData::PhoneNumber, false, false, false),
    ] {
        let withdrawal = withdrawal("o1", data, NOW + 10);
        world
            .sessions
            .withdraw(APP, &withdrawal)
            .await
            .expect("forgets");
        // The same once more is no harm.
        world
            .sessions
            .withdraw(APP, &withdrawal)
            .await
            .expect("forgets");
        let user = known(&world, &skey).await;
        let seen = (
            user.get("phone").is_some(),
            user["info"].get("nickName").is_some(),
            user["info"].get("avatarUrl").is_some(),
        );
        assert_eq!(seen, (phone, nick, avatar), "{data:?}: {user}");
        assert_eq!(user["info"]["openId"], "o1");
    }
    // It is gone from the disk too; another user's is not.
    world.restart().await;
    let user = known(&world, &skey).await;
    assert_eq!(
        user["info"],
        json!({"openId": "o1", "watermark": user["info"]["watermark"]})
    );
    assert!(user.get("phone").is_none());
    let user = known(&world, &other).await;
    assert_eq!(user["phone"]["pure_phone_number"], "13580006666");
    assert_eq!(user["info"]["nickName"], "三木");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_profile_goes_and_what_is_told_anew_stays() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let whole = withdrawal("o1", WithdrawnData::Profile, NOW);
    world.sessions.withdraw(APP, &whole).await.expect("forgets");
    assert_eq!(known(&world, &skey).await["info"], json!({"openId": "o1"}));
    choose(&world, &skey).await;
    assert_eq!(known(&world, &skey).await["info"]["nickName"], "三木");
    // The message may come late.
    world.hand.advance(100);
    show_phone(&world, &skey, ("o1", NOW + 100)).await;
    for (at, stays) in [(NOW + 99, true), (NOW + 100, false)] {
        let number = withdrawal("o1", WithdrawnData::PhoneNumber, at);
        world
            .sessions
            .withdraw(APP, &number)
            .await
            .expect("forgets");
        let user = known(&world, &skey).await;
        assert_eq!(user.get("phone").is_some(), stays, "{at}");
    }
    // Nobody here, and nothing to forget.
    for openid in ["o1", "nobody"] {
        let number = withdrawal(openid, WithdrawnData::PhoneNumber, NOW);
        world
            .sessions
            .withdraw(APP, &number)
            .await
            .expect("nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_leaves_nothing_in_this_mini_program() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    show_phone(&world, &skey, ("o1", NOW)).await;
    world.wechat.code("c2", "o1");
    let body = Body::from(json!({"code": "c2"}).to_string());
    let there = world.router(OTHER_APP);
    let answer = send(there.clone(), "POST", "/weapp/session", &[], body).await;
    let theirs = answer.json["skey"].as_str().expect("an skey").to_owned();
    let closed = withdrawal("o1", WithdrawnData::Account, NOW);
    world
        .sessions
        .withdraw(APP, &closed)
        .await
        .expect("forgets");
    assert_eq!(world.user(&skey).await["error"], "ERR_SKEY_INVALID");
    let shown = world
        .get(&format!("/users?openid=o1&appid={APP}"), &[])
        .await;
    let user = &shown.json["users"][0];
    assert!(
        user["phone"].is_null() && user["sessions"] == json!([]),
        "{user}"
    );
    let headers = [("X-WX-Skey", theirs.as_str())];
    let answer = send(there, "GET", "/weapp/session", &headers, Body::empty()).await;
    assert_eq!(answer.status, 200, "another mini program is another user");
}
