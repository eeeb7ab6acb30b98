//! Every rule of the simulated calls, by way of the router.

use http::{StatusCode, header};
use serde_json::{Value, json};
use weappd_base::secret::Secret;
use weappd_wechat::open_data;

use crate::http::simulator_world::{SimulatorWorld, bytes_of, json_of};

fn errcode(answer: &Value) -> i64 {
    answer["errcode"].as_i64().expect("an errcode")
}

async fn redeem(world: &SimulatorWorld, code: &str) -> Value {
    world
        .get(&format!(
            "/sns/jscode2session?appid=wx1&secret=s1&grant_type=authorization_code&js_code={code}"
        ))
        .await
}

#[tokio::test]
async fn tokens_follow_the_clock_and_each_end_has_its_number() {
    let world = SimulatorWorld::new();
    let ips = "/cgi-bin/getcallbackip?access_token=";
    assert_eq!(errcode(&world.get("/cgi-bin/getcallbackip").await), 41001);
    assert_eq!(errcode(&world.get(&format!("{ips}nobodys")).await), 40014);

    let classic = "/cgi-bin/token?appid=wx1&secret=s1&grant_type=client_credential";
    let first = world.get(classic).await;
    assert_eq!(first["expires_in"], 7200);
    let first = first["access_token"].as_str().expect("a token").to_owned();
    let second = world.get(classic).await;
    let second = second["access_token"].as_str().expect("a token");
    assert!(world.get(&format!("{ips}{first}")).await["ip_list"].is_array());
    world.hand.advance(300);
    assert_eq!(errcode(&world.get(&format!("{ips}{first}")).await), 40001);
    world.hand.advance(6900);
    assert_eq!(errcode(&world.get(&format!("{ips}{second}")).await), 42001);

    let (stable, left) = world.stable("wx1", "s1", false).await;
    assert_eq!(left, 7200);
    world.hand.advance(6855);
    assert_eq!(
        world.stable("wx1", "s1", false).await,
        (stable.clone(), 345)
    );
    let (forced, _) = world.stable("wx1", "s1", true).await;
    assert_ne!(forced, stable);
    assert_eq!(errcode(&world.get(&format!("{ips}{stable}")).await), 40001);
    assert_eq!(
        world.stable("wx1", "s1", true).await.0,
        forced,
        "30 seconds"
    );
}

#[tokio::test]
async fn credentials_are_checked_in_both_families() {
    let world = SimulatorWorld::new();
    for (query, number) in [
        ("secret=s1&grant_type=client_credential", 41002),
        ("appid=wx1&grant_type=client_credential", 41004),
        ("appid=wx1&secret=s1", 40002),
        ("appid=wx9&secret=s1&grant_type=client_credential", 40013),
        ("appid=wx1&secret=s2&grant_type=client_credential", 40125),
    ] {
        let classic = world.get(&format!("/cgi-bin/token?{query}")).await;
        assert_eq!(errcode(&classic), number, "{query}");
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let body = pairs.map(|(name, value)| (name.to_owned(), json!(value)));
        let stable = world
            .post("/cgi-bin/stable_token", Value::Object(body.collect()))
            .await;
        assert_eq!(errcode(&stable), number, "{query}");
    }
    let stable = "/cgi-bin/stable_token";
    assert_eq!(errcode(&world.get(stable).await), 43002);
    let empty = world.send("POST", stable, String::new()).await;
    assert_eq!(errcode(&json_of(empty).await), 44002);
    let broken = world.send("POST", stable, "a=b".to_owned()).await;
    assert_eq!(errcode(&json_of(broken).await), 47001);
}

#[tokio::test]
async fn a_phone_code_gives_the_number_once_within_five_minutes() {
    let world = SimulatorWorld::new();
    let openid = world.log_in("alice").await;
    let press = async || {
        let given = world.post("/phone/alice/phone_number", json!({})).await;
        given["code"].as_str().expect("a code").to_owned()
    };
    let path = "/wxa/business/getuserphonenumber";
    let code = press().await;
    let strange = json!({ "code": code, "openid": "o-somebody-else" });
    assert_eq!(errcode(&world.call(path, strange).await), 40003);
    let (other, _) = world.stable("wx2", "s2", false).await;
    let elsewhere = format!("{path}?access_token={other}");
    let stolen = world.post(&elsewhere, json!({ "code": code })).await;
    assert_eq!(errcode(&stolen), 40013);

    let asked = json!({ "code": code, "openid": openid });
    let told = world.call(path, asked.clone()).await;
    let info = &told["phone_info"];
    assert_eq!(info["countryCode"], "86");
    assert_eq!(info["watermark"]["appid"], "wx1");
    assert_eq!(info["purePhoneNumber"].as_str().map(str::len), Some(11));
    assert_eq!(errcode(&world.call(path, asked).await), 40029);

    let old = press().await;
    world.hand.advance(300);
    let late = world.call(path, json!({ "code": old })).await;
    assert_eq!(errcode(&late), 40029);
    // A login code is no phone code.
    let login = world.post("/phone/alice/login", json!({})).await;
    let mixed = world.call(path, json!({ "code": login["code"] })).await;
    assert_eq!(errcode(&mixed), 40029);
}

#[tokio::test]
async fn session_keys_are_checked_and_reset_by_their_signature() {
    let world = SimulatorWorld::new();
    let login = world.post("/phone/alice/login", json!({})).await;
    let session = redeem(&world, login["code"].as_str().expect("a code")).await;
    let openid = session["openid"].as_str().expect("an openid");
    let key = Secret::new(session["session_key"].as_str().expect("a key"));
    let signature = open_data::login_state_signature(&key, "");
    let ask = async |path: &str, openid: &str, signature: &str, method: &str| {
        let token = world.token().await;
        let answer = world
            .get(&format!(
                "{path}?access_token={token}&openid={openid}&signature={signature}&sig_method={method}"
            ))
            .await;
        (errcode(&answer), answer)
    };
    let (check, reset) = ("/wxa/checksession", "/wxa/resetusersessionkey");
    let sha = "hmac_sha256";
    assert_eq!(ask(check, openid, &signature, sha).await.0, 0);
    assert_eq!(ask(check, openid, "wrong", sha).await.0, 87009);
    assert_eq!(ask(check, "o-nobody", &signature, sha).await.0, 40003);
    assert_eq!(ask(reset, openid, &signature, "md5").await.0, 87008);
    assert_eq!(ask(reset, openid, "wrong", sha).await.0, 87009);

    let (number, answer) = ask(reset, openid, &signature, sha).await;
    assert_eq!((number, answer["openid"].as_str()), (0, Some(openid)));
    let new = Secret::new(answer["session_key"].as_str().expect("a key"));
    assert_ne!(new, key);
    // The old signature is over, and the phone encrypts under the new key.
    assert_eq!(ask(check, openid, &signature, sha).await.0, 87009);
    let data = world.post("/phone/alice/user_info", json!({})).await;
    let text = |name: &str| data[name].as_str().expect(name).to_owned();
    let read = open_data::open("wx1", &new, &text("encryptedData"), Some(&text("iv")));
    assert!(read.is_ok());

    world.post("/phone/alice/expire_session", json!({})).await;
    let signature = open_data::login_state_signature(&new, "");
    assert_eq!(ask(reset, openid, &signature, sha).await.0, 87007);
}

#[tokio::test]
async fn a_risky_user_cannot_log_in() {
    let world = SimulatorWorld::new();
    let openid = world.log_in("mallory").await;
    let risk = json!({ "appid": "wx1", "openid": openid, "scene": 0 });
    let rank = world.call("/wxa/getuserriskrank", risk.clone()).await;
    assert_eq!(rank["risk_rank"], 0);
    world
        .post("/phone/mallory/risky", json!({ "risky": true }))
        .await;
    let login = world.post("/phone/mallory/login", json!({})).await;
    let code = login["code"].as_str().expect("a code");
    assert_eq!(errcode(&redeem(&world, code).await), 40226);
    assert_eq!(errcode(&redeem(&world, code).await), 40163, "it was spent");
    let rank = world.call("/wxa/getuserriskrank", risk).await;
    assert_eq!(rank["risk_rank"], 4);
    world
        .post("/phone/mallory/risky", json!({ "risky": false }))
        .await;
    let login = world.post("/phone/mallory/login", json!({})).await;
    let session = redeem(&world, login["code"].as_str().expect("a code")).await;
    assert!(session["openid"].is_string());
}

#[tokio::test]
async fn limits_are_per_minute_and_path() {
    let world = SimulatorWorld::new();
    let limit = json!({ "per_minute": { "/sns/jscode2session": 2 } });
    world.post("/settings", limit).await;
    for number in [40029, 40029, 45011] {
        assert_eq!(errcode(&redeem(&world, "x").await), number);
    }
    world.hand.advance(60);
    assert_eq!(errcode(&redeem(&world, "x").await), 40029);
}

#[tokio::test]
async fn texts_are_judged_by_the_words_that_are_set() {
    let world = SimulatorWorld::new();
    let openid = world.log_in("alice").await;
    let path = "/wxa/msg_sec_check";
    let text =
        |content: &str| json!({ "content": content, "version": 2, "scene": 2, "openid": openid });
    for (content, suggest, label) in [
        ("hello", "pass", 100),
        ("risky business", "risky", 20006),
        ("please review", "review", 21000),
    ] {
        let told = world.call(path, text(content)).await;
        assert_eq!(errcode(&told), 0);
        let right = json!({ "suggest": suggest, "label": label });
        assert_eq!(told["result"], right, "{content}");
        assert!(told["trace_id"].is_string() && told["detail"].is_array());
    }
    world
        .post("/settings", json!({ "risky_words": ["hello"] }))
        .await;
    let told = world.call(path, text("Hello")).await;
    assert_eq!(told["result"]["suggest"], "risky");

    let mut wrong = text("x");
    for (field, value, number) in [
        ("version", json!(1), 40097),
        ("scene", json!(9), 40129),
        ("openid", json!("o-nobody"), 40003),
        (
            "openid",
            json!(
                crate::user_name::UserName::parse("alice")
                    .expect("a name")
                    .openid("wx2")
            ),
            43104,
        ),
        ("content", json!("x".repeat(2501)), 40097),
    ] {
        let right = std::mem::replace(&mut wrong[field], value);
        assert_eq!(
            errcode(&world.call(path, wrong.clone()).await),
            number,
            "{field}"
        );
        wrong[field] = right;
    }
    world.hand.advance(2 * 3600);
    assert_eq!(errcode(&world.call(path, text("x")).await), 61010);
}

#[tokio::test]
async fn subscribed_messages_are_sent_as_often_as_the_user_agreed() {
    let world = SimulatorWorld::new();
    let openid = world.log_in("alice").await;
    let path = "/cgi-bin/message/subscribe/send";
    let message = json!({
        "touser": openid,
        "template_id": "TPL",
        "data": { "thing1": { "value": "下单成功" } },
    });
    assert_eq!(errcode(&world.call(path, message.clone()).await), 43101);
    let agreed = world
        .post(
            "/phone/alice/subscribe",
            json!({ "template_id": "TPL", "times": 2 }),
        )
        .await;
    assert_eq!(
        agreed,
        json!({ "errMsg": "requestSubscribeMessage:ok", "TPL": "accept" })
    );
    let mut wrong = message.clone();
    wrong["data"]["thing1"]["value"] = json!("123456789012345678901");
    let refused = world.call(path, wrong).await;
    assert_eq!(errcode(&refused), 47003);
    assert!(
        refused["errmsg"]
            .as_str()
            .is_some_and(|told| told.contains("thing1"))
    );
    let mut rude = message.clone();
    rude["data"]["thing1"]["value"] = json!("risky");
    assert_eq!(errcode(&world.call(path, rude).await), 45168);

    for number in [0, 0, 43101] {
        assert_eq!(errcode(&world.call(path, message.clone()).await), number);
    }
    let inbox = world.get("/phone/alice/inbox").await;
    let inbox = inbox["messages"].as_array().expect("messages");
    assert_eq!(inbox.len(), 2);
    assert_eq!(inbox[0]["message"], message);
    let refusal = json!({ "template_id": "TPL", "accept": false });
    world.post("/phone/alice/subscribe", refusal).await;
    assert_eq!(errcode(&world.call(path, message).await), 43101);
    let nameless = json!({ "touser": openid, "data": {} });
    assert_eq!(errcode(&world.call(path, nameless).await), 40037);
}

#[tokio::test]
async fn customers_are_answered_while_their_message_allows_it() {
    let world = SimulatorWorld::new();
    let openid = world.log_in("alice").await;
    let path = "/cgi-bin/message/custom/send";
    let reply = json!({ "touser": openid, "msgtype": "text", "text": { "content": "hi" } });
    assert_eq!(errcode(&world.call(path, reply.clone()).await), 45015);
    world
        .post("/phone/alice/say", json!({ "text": "hello" }))
        .await;
    for number in [0, 0, 0, 0, 0, 45047] {
        assert_eq!(errcode(&world.call(path, reply.clone()).await), number);
    }
    world.post("/phone/alice/enter_session", json!({})).await;
    assert_eq!(errcode(&world.call(path, reply.clone()).await), 0);
    world.hand.advance(48 * 3600);
    assert_eq!(errcode(&world.call(path, reply).await), 45015);
    let strange = json!({ "touser": openid, "msgtype": "video" });
    assert_eq!(errcode(&world.call(path, strange).await), 40008);
    let hollow = json!({ "touser": openid, "msgtype": "text" });
    assert_eq!(errcode(&world.call(path, hollow).await), 40097);
    let typing = json!({ "touser": openid, "command": "Typing" });
    let typing = world.call("/cgi-bin/message/custom/typing", typing).await;
    assert_eq!(errcode(&typing), 0);
}

#[tokio::test]
async fn codes_come_as_pictures_and_mistakes_as_json() {
    let world = SimulatorWorld::new();
    let token = world.token().await;
    let draw = async |path: &str, body: Value| {
        let path = format!("{path}?access_token={token}");
        world.send("POST", &path, body.to_string()).await
    };
    let unlimited = "/wxa/getwxacodeunlimit";
    let good = draw(unlimited, json!({ "scene": "a=1", "width": 280 })).await;
    assert_eq!(good.headers()[header::CONTENT_TYPE], "image/png");
    assert!(bytes_of(good).await.starts_with(b"\x89PNG"));
    for (body, number) in [
        (json!({}), 40169),
        (json!({ "scene": "中文" }), 40169),
        (json!({ "scene": "a", "page": "/pages/index" }), 41030),
        (json!({ "scene": "a", "page": "pages/index?a=1" }), 41030),
        (json!({ "scene": "a", "width": 279 }), 40097),
        (json!({ "scene": "a", "env_version": "beta" }), 40097),
    ] {
        let refused = draw(unlimited, body.clone()).await;
        assert_eq!(refused.headers()[header::CONTENT_TYPE], "text/plain");
        assert_eq!(errcode(&json_of(refused).await), number, "{body}");
    }
    let first = draw("/wxa/getwxacode", json!({ "path": "pages/index" })).await;
    assert_eq!(first.headers()["num-used"], "1");
    let square = "/cgi-bin/wxaapp/createwxaqrcode";
    let second = draw(square, json!({ "path": "pages/index" })).await;
    assert_eq!(second.headers()["num-used"], "2", "one pool");
    let long = draw(square, json!({ "path": "p".repeat(129) })).await;
    assert_eq!(errcode(&json_of(long).await), 40159);
}

#[tokio::test]
async fn other_documented_calls_get_a_general_answer_that_says_so() {
    let world = SimulatorWorld::new();
    let told = world.call("/wxa/generate_urllink", json!({})).await;
    assert_eq!(told, json!({ "errcode": 0, "errmsg": "ok" }));
    let calls = world.get("/calls?path=/wxa/generate_urllink").await;
    let note = calls["calls"][0]["note"].as_str().expect("a note");
    assert!(note.contains("not simulated"));
    assert_eq!(calls["calls"][0]["appid"], "wx1");

    let unknown = world.send("GET", "/wxa/nothing", String::new()).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(errcode(&json_of(unknown).await), 40066);
    assert_eq!(errcode(&world.get("/wxa/msg_sec_check").await), 43002);
}

#[tokio::test]
async fn time_moves_for_the_simulator_alone() {
    let world = SimulatorWorld::new();
    let (first, _) = world.stable("wx1", "s1", false).await;
    let moved = world.post("/clock", json!({ "advance_secs": 7200 })).await;
    assert_eq!(moved["offset_secs"], 7200);
    let late = world
        .get(&format!("/cgi-bin/getcallbackip?access_token={first}"))
        .await;
    assert_eq!(errcode(&late), 42001);
    let back = world.post("/clock", json!({ "advance_secs": -7200 })).await;
    assert_eq!(back["now"], crate::http::simulator_world::NOW);
    let far = world
        .send(
            "POST",
            "/clock",
            format!(r#"{{"advance_secs":{}}}"#, i64::MAX),
        )
        .await;
    assert_eq!(far.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_log_and_the_overview_hold_no_secret() {
    let world = SimulatorWorld::new();
    let login = world.post("/phone/alice/login", json!({})).await;
    let code = login["code"].as_str().expect("a code");
    let session = redeem(&world, code).await;
    let key = session["session_key"].as_str().expect("a key");
    let token = world.token().await;
    world.call("/wxa/generate_urllink", json!({})).await;
    for path in ["/calls", "/state", "/push"] {
        let shown = world.get(path).await.to_string();
        for secret in [code, key, token.as_str(), "\"s1\""] {
            assert!(!shown.contains(secret), "{path} {secret}");
        }
    }
    let state = world.get("/state").await;
    assert_eq!(state["users"][0]["name"], "alice");
    assert_eq!(state["users"][0]["logged_in"], true);
    assert_eq!(state["codes"][0]["used"], true);
    assert_eq!(state["tokens"][0]["left_secs"], 7200);
    let calls = world.get("/calls?after=1").await;
    assert_eq!(calls["calls"][0]["path"], "/sns/jscode2session");
    assert_eq!(
        json_of(world.send("DELETE", "/calls", String::new()).await).await,
        json!({})
    );
    assert_eq!(world.get("/calls").await["calls"], json!([]));
}

#[tokio::test]
async fn a_fault_of_one_path_is_noted() {
    let world = SimulatorWorld::new();
    let fault = json!({ "fault": { "errcode": -1 }, "path": "/sns/jscode2session" });
    world.post("/faults", fault).await;
    world.token().await;
    assert_eq!(errcode(&redeem(&world, "x").await), -1);
    let calls = world.get("/calls?path=/sns/jscode2session").await;
    assert!(
        calls["calls"][0]["note"]
            .as_str()
            .is_some_and(|note| note.starts_with("fault"))
    );
}
