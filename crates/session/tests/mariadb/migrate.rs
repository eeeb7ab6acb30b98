//! A database of an older weappd is brought to the newest schema, and nothing stands in it
//! in clear any more.

use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use weappd_session::Config;
use weappd_wechat::{CallError, WechatCall, WechatCalls};

use crate::backend::Backend;
use crate::platform::asked;
use crate::wechat::session_key;
use crate::world::{APP, World};
use weappd_wechat::open_data;

#[tokio::test(flavor = "multi_thread")]
async fn an_old_schema_is_brought_up_and_its_secrets_sealed() {
    let backend = Backend::new();
    backend.query(include_str!(
        "../../schema/mysql/0001_users_and_sessions.sql"
    ));
    backend.query(
        "CREATE TABLE weappd_schema (version BIGINT NOT NULL PRIMARY KEY);
        INSERT INTO weappd_schema VALUES (1);
        INSERT INTO weappd_mini_apps VALUES ('wx_old', 'secret', 7);
        INSERT INTO weappd_users VALUES (1, 'wx_old', 'o1', NULL, 'i1', NULL, 1, 2);
        ALTER TABLE weappd_users ADD COLUMN phone BLOB NULL",
    );
    // The last statement: a migration that was cut off in the middle is finished.
    let mut world = World::with(Config {
        store: backend.store(),
        rpc_initdata: true,
        ..Config::default()
    })
    .await;
    let clear = "SELECT COUNT(*) FROM weappd_mini_apps WHERE secret <> '' OR sealed IS NULL";
    assert_eq!(backend.query(clear), "0");
    world.wechat.code("c1", "o1");
    let (data, iv) = crate::wechat::user_data("wx_old", "o1", "Band");
    let para = json!({"code": "c1", "encrypt_data": data, "iv": iv});
    let login = world.rpc("qcloud.cam.id_skey", para).await;
    assert_eq!(login["returnMessage"], "UPDATE_SESSION_SUCCESS", "{login}");
    assert_eq!(login["returnData"]["id"], "i1", "kept");

    // What an older weappd beside this one writes in clear is sealed at the next start.
    backend.query("UPDATE weappd_mini_apps SET secret = 'secret'");
    world.restart().await;
    assert_eq!(backend.query(clear), "0");
    let para = json!({"appid": "wx_new", "secret": "kept sealed"});
    let answer = world.rpc("qcloud.cam.initdata", para).await;
    assert_eq!(answer["returnMessage"], "INIT_APPINFO_SUCCESS");
    assert_eq!(backend.query(clear), "0");
    let sealed = backend.query("SELECT HEX(sealed) FROM weappd_mini_apps");
    assert!(
        !sealed.contains(&hex::encode_upper("kept sealed")),
        "{sealed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_number_of_an_old_servers_user_is_answered_and_not_kept() {
    let (backend, world) = crate::cauth::php().await;
    let now = 1_800_000_000;
    let skey = world.log_in("c1", "old").await;
    let plain = json!({
        "phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86",
        "watermark": {"timestamp": now, "appid": APP},
    });
    let data = open_data::encrypt(&session_key("old"), &plain.to_string(), [9; 16]);
    let body = json!({
        "encryptedData": data.expect("encrypts"), "iv": open_data::iv_text([9; 16]),
    });
    let before = backend.query("SELECT * FROM cSessionInfo");
    let answer = asked(&world, ("POST", "/phone"), &skey, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        answer.json["user"]["phone"]["phone_number"],
        "+8613580006666"
    );
    assert_eq!(backend.query("SELECT * FROM cSessionInfo"), before);
    let who = asked(&world, ("GET", ""), &skey, &Value::Null).await;
    assert!(who.json["user"].get("phone").is_none(), "{who:?}");
    let users = world.sessions.show(None, "old").await.expect("reads");
    assert_eq!((users[0].keys_given.len(), &users[0].phone), (1, &None));
    let session = users[0].sessions[0].session;
    let same = world.sessions.show_session(session).await.expect("reads");
    assert_eq!(same.as_ref(), users.first());
}

/// A WeChat that gives the session key of a user called `reset` to everybody.
#[derive(Debug)]
struct Resetting;

impl WechatCalls for Resetting {
    fn call<'a>(&'a self, _: &'a str, call: WechatCall) -> BoxFuture<'a, Result<Value, CallError>> {
        assert_eq!(call.path, "/wxa/resetusersessionkey");
        let key = session_key("reset");
        std::future::ready(Ok(json!({"session_key": key.expose()}))).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_key_stands_where_the_old_server_reads_it() {
    for (backend, _world) in [crate::cauth::php().await, crate::cauth::wafer2().await] {
        let config = crate::cauth::config(&backend);
        let world = World::calling(config, Arc::new(Resetting)).await;
        let skey = world.log_in("c1", "old").await;
        let row = "SELECT session_key, UNIX_TIMESTAMP(create_time) FROM cSessionInfo";
        let before = backend.query(row);
        let reset = asked(&world, ("POST", "/key/reset"), &skey, &Value::Null).await;
        assert_eq!(reset.json, json!({"valid": true}));
        let (old, new) = (session_key("old"), session_key("reset"));
        let after = before.replace(old.expose(), new.expose());
        assert_ne!(after, before);
        assert_eq!(backend.query(row), after, "nothing else of the row changes");
    }
}
