//! Two mini programs on one site, each with a secret of its own, against a WeChat that
//! knows both; and the pictures their users choose.

mod borders;

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::http::{self, HttpAnswer, TestClient};
use crate::process::PATIENCE;
use crate::upstream::{self, seen};
use crate::world::{APPID, TestWorld, WorldRecipe, text};

/// The other mini program, and its secret.
const OTHER: &str = "wxfedcba9876543210";
const OTHER_SECRET: &str = "0ther5ec2e70f7e57a99000000000c0f";
/// The name of a site that is of the other one alone.
const OWN_SITE: &str = "other.example";

/// The smallest PNG there is: one pixel.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

/// `localhost` is of both mini programs, `other.example` of one; `app` answers on both.
fn serve(app: std::net::SocketAddr) -> TestWorld {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = dir.path().join("other.secret");
    std::fs::write(&secret, OTHER_SECRET).expect("written");
    let secret = secret.to_str().expect("text");
    let simulate = ["--appid", OTHER, "--secret-file", secret];
    WorldRecipe::simulating(&simulate)
        .long_form()
        .edge("redirect = false")
        .file("other.secret", OTHER_SECRET)
        .sections(&format!(
            "[sites.localhost]\ncert = \"site.crt\"\nkey = \"site.key\"\n\
             miniapps = [\"{APPID}\", \"{OTHER}\"]\n\
             routes = [{{ path = \"/\", proxy = \"{app}\" }},\n\
             {{ path = \"/members\", proxy = \"{app}\", session = \"require\" }}]\n\
             [sites.\"{OWN_SITE}\"]\ntls = \"off\"\nminiapp = \"{OTHER}\"\n\
             routes = [{{ path = \"/\", proxy = \"{app}\", session = \"require\" }}]\n\
             [miniapps.{APPID}]\nsecret = {{ env = \"WEAPP_SECRET\" }}\nmessage_token = \"one\"\n\
             [miniapps.{OTHER}]\nsecret = {{ file = \"other.secret\" }}\nmessage_token = \"two\"\n\
             message_path = \"/inbox/other\"\nsession_duration_secs = 600\n\
             [tunnel]\nkey = \"a signature key\"\nissuer = \"weappd\""
        ))
        .serve()
}

fn page(appid: &str) -> String {
    format!("https://servicewechat.com/{appid}/devtools/page-frame.html")
}

/// `wx.login` of a user's phone that runs `appid`.
async fn code(world: &TestWorld, user: &str, appid: &str) -> String {
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let asked = wechat.post(&format!("/phone/{user}/login"));
    let said = http::json(&asked.json(&json!({"appid": appid})).send().await);
    text(&said["code"]).to_owned()
}

/// Logs a user of `appid` in, whose request carries `headers`.
async fn log_in(
    world: &TestWorld,
    (user, appid): (&str, &str),
    headers: &[(&str, &str)],
) -> HttpAnswer {
    let code = code(world, user, appid).await;
    let site = world.site();
    let mut ask = site.post("/weapp/session").json(&json!({"code": code}));
    for (name, value) in headers {
        ask = ask.header(name, value);
    }
    ask.send().await
}

/// The same where it must succeed: the user and the skey.
async fn logged_in(world: &TestWorld, user: &str, appid: &str) -> (Value, String) {
    let page = page(appid);
    let answer = log_in(world, (user, appid), &[("referer", &page)]).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let told = http::json(&answer);
    assert_eq!(told["user"]["appid"], appid, "{told}");
    (told["user"].clone(), text(&told["skey"]).to_owned())
}

async fn get(client: &TestClient, path: &str, skey: &str) -> HttpAnswer {
    client.get(path).header("x-wx-skey", skey).send().await
}

#[tokio::test]
async fn two_mini_programs_share_a_site_and_nothing_else() {
    let world = serve(upstream::serve(upstream::echo()));
    let site = world.site();
    let own_site = world.plain().named(OWN_SITE);
    let (one, mine) = logged_in(&world, "alice", APPID).await;
    let (other, theirs) = logged_in(&world, "alice", OTHER).await;
    assert_ne!(one["openid"], other["openid"], "WeChat names her twice");

    // Whom the app is told of is the session's word, whatever the request claims.
    for (skey, user, appid, lie) in [(&mine, &one, APPID, OTHER), (&theirs, &other, OTHER, APPID)] {
        let ask = site.get("/members").header("x-wx-skey", skey);
        let ask = ask.header("referer", &page(lie)).header("x-wx-appid", lie);
        let echo = ask.header("x-weappd-appid", lie).send().await;
        assert_eq!(seen(&echo, "x-wx-appid"), [appid]);
        assert_eq!(seen(&echo, "x-wx-openid"), [text(&user["openid"])]);
    }
    // On a site of the other one alone, her first skey is nobody's.
    let echo = get(&own_site, "/", &theirs).await;
    assert_eq!(seen(&echo, "x-wx-appid"), [OTHER]);
    assert_eq!(get(&own_site, "/", &mine).await.status(), 401);
    assert_eq!(get(&own_site, "/weapp/session", &mine).await.status(), 401);
    let upload = own_site.post("/weapp/upload").header("x-wx-skey", &mine);
    assert_eq!(upload.send().await.status(), 401);
    assert_eq!(avatar(&own_site, &mine, PNG).await.status(), 401);
    assert_eq!(get(&own_site, "/weapp/tunnel", &mine).await.status(), 401);
    for (site, skey) in [(&site, &mine), (&site, &theirs), (&own_site, &theirs)] {
        let tunnel = http::json(&get(site, "/weapp/tunnel", skey).await);
        assert_eq!(tunnel["code"], 0, "{tunnel}");
    }

    // A code proves itself only to the mini program it is of.
    for headers in [
        &[("x-weappd-appid", OTHER)][..],
        &[("referer", &*page(OTHER))],
    ] {
        let answer = log_in(&world, ("bob", APPID), headers).await;
        assert_eq!(answer.status(), 401, "{headers:?}");
        assert_eq!(http::json(&answer)["error"]["code"], "bad_code");
    }
    let foreign = page("wx0000000000000000");
    for headers in [
        &[("referer", foreign.as_str())][..],
        &[("x-weappd-appid", "wx0000000000000000")],
        &[("referer", &*page(APPID)), ("x-weappd-appid", OTHER)],
    ] {
        let answer = log_in(&world, ("bob", APPID), headers).await;
        assert_eq!(answer.status(), 403, "{headers:?}");
        let told = http::json(&answer);
        assert_eq!(told["error"]["code"], "wrong_mini_program");
    }
    // Nor can a phone speak as WeChat's gateway does.
    let answer = log_in(&world, ("bob", APPID), &[("x-wx-appid", OTHER)]).await;
    assert_eq!(http::json(&answer)["user"]["appid"], APPID, "the default");
    let named = log_in(&world, ("bob", OTHER), &[("x-weappd-appid", OTHER)]).await;
    assert_eq!(http::json(&named)["user"]["appid"], OTHER);
    world.says("wx0000000000000000").await;
    let words = world.transcript();
    assert!(!words.contains(OTHER_SECRET) && !words.contains(&mine));
}

#[tokio::test]
async fn business_servers_learn_which_mini_program_a_phone_is_of() {
    let world = serve(upstream::serve(upstream::echo()));
    let (one, mine) = logged_in(&world, "alice", APPID).await;
    let (other, theirs) = logged_in(&world, "alice", OTHER).await;
    let api = world.api();
    for (user, skey) in [(&one, &mine), (&other, &theirs)] {
        let told = http::json(&get(&api, "/weapp/session", skey).await);
        assert_eq!(told["user"], *user);
        let told = http::json(&get(&api, "/weapp/user", skey).await);
        assert_eq!(told["data"]["openId"], user["openid"]);
    }
    // What the old SDKs are told names the site's first one in the RPC's path.
    for (host, appid) in [("localhost", APPID), (OWN_SITE, OTHER)] {
        let said = world.command_with_secret(&["sdk-config", "--host", host]);
        let sdk: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        let url = format!("http://{}/mina_auth/{appid}/", world.internal);
        assert_eq!(sdk["authServerUrl"], url.as_str(), "{host}");
    }
    // The RPC by path: one's users are not the other's.
    for (user, skey, appid, code) in [
        (&one, &mine, APPID, 0),
        (&one, &mine, OTHER, 60012),
        (&other, &theirs, OTHER, 0),
        (&other, &theirs, APPID, 60012),
        (&other, &theirs, "wx0000000000000000", 1012),
    ] {
        let call = json!({"version": 1, "componentName": "MA", "interface": {
            "interfaceName": "qcloud.cam.auth",
            "para": {"id": user["id"], "skey": skey},
        }});
        let path = format!("/mina_auth/{appid}/");
        let answer = http::json(&api.post(&path).json(&call).send().await);
        assert_eq!(answer["returnCode"], code, "{appid} {answer}");
    }
}

/// An app that tells the test which message came where, and for whom.
fn app() -> (Router, mpsc::UnboundedReceiver<[String; 3]>) {
    let (told, heard) = mpsc::unbounded_channel();
    let take = async move |headers: HeaderMap, request: Request| {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let path = request.uri().path().to_owned();
        let story = [path, header("x-wx-appid"), header("x-wx-openid")];
        told.send(story).expect("a listener");
    };
    (Router::new().fallback(any(take)), heard)
}

#[tokio::test]
async fn each_mini_programs_messages_come_to_its_own_path() {
    let (app, mut heard) = app();
    let world = serve(upstream::serve(app));
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let set = async |appid: &str, path: &str, token: &str| {
        let url = format!("http://localhost:{}{path}", world.http.port());
        let push = json!({"appid": appid, "url": url, "token": token, "verify": true});
        wechat.post("/push").json(&push).send().await
    };
    let own = |appid: &str| format!("/weapp/message/{appid}");
    for (path, appid, token, home) in [
        ("/weapp/message".to_owned(), APPID, "one", "/weapp/message"),
        // The Token tells who signed, even at the first one's address.
        ("/weapp/message".to_owned(), OTHER, "two", "/inbox/other"),
        (own(OTHER), OTHER, "two", "/inbox/other"),
        (own(APPID), APPID, "one", "/weapp/message"),
    ] {
        let set = set(appid, &path, token).await;
        assert_eq!(set.status(), 200, "{path} {appid}: {set:?}");
        let message = json!({"MsgType": "text", "Content": path});
        let send = json!({"user": "alice", "appid": appid, "message": message});
        let delivery = http::json(&wechat.post("/push/send").json(&send).send().await);
        assert_eq!(delivery["acknowledged"], true, "{path} {appid}: {delivery}");
        let whose = http::json(
            &wechat
                .get(&format!("/phone/alice?appid={appid}"))
                .send()
                .await,
        );
        let told = tokio::time::timeout(PATIENCE, heard.recv()).await;
        let told = told.expect("in time").expect("a message");
        assert_eq!(told, [home, appid, text(&whose["openid"])], "{path}");
    }
    // At one's own path only its own signature counts.
    for (appid, path, token) in [(APPID, own(OTHER), "one"), (OTHER, own(APPID), "two")] {
        let refused = set(appid, &path, token).await;
        assert_ne!(refused.status(), 200, "{path}: {refused:?}");
    }
}

/// `wx.uploadFile` of what chooseAvatar gave.
async fn avatar(site: &TestClient, skey: &str, picture: &[u8]) -> HttpAnswer {
    let mut form = b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
        Content-Type: image/png\r\n\r\n"
        .to_vec();
    form.extend_from_slice(picture);
    form.extend_from_slice(b"\r\n--B--\r\n");
    let ask = site.post("/weapp/session/avatar").header("x-wx-skey", skey);
    let ask = ask.header("content-type", "multipart/form-data; boundary=B");
    ask.body(form).send().await
}

fn pictures(world: &TestWorld) -> usize {
    fn count(dir: &Path) -> usize {
        let entries = std::fs::read_dir(dir).expect("a directory").flatten();
        entries
            .map(|entry| {
                if entry.path().is_dir() {
                    count(&entry.path())
                } else {
                    1
                }
            })
            .sum()
    }
    count(&world.dir().join(".weappd/files"))
}

#[tokio::test]
async fn a_chosen_picture_replaces_the_one_before_and_nobody_elses() {
    let world = serve(upstream::serve(upstream::echo()));
    let site = world.site();
    let (user, alice) = logged_in(&world, "alice", APPID).await;
    let (_, bob) = logged_in(&world, "bob", APPID).await;
    let url_of = |answer: &HttpAnswer| {
        assert_eq!(answer.status(), 200, "{answer:?}");
        let told = http::json(answer);
        text(&told["user"]["info"]["avatarUrl"]).to_owned()
    };
    let path_of = |url: &str| {
        url.strip_prefix("https://localhost")
            .expect("ours")
            .to_owned()
    };

    let first = avatar(&site, &alice, PNG).await;
    let told = http::json(&first);
    assert_eq!(told["user"]["openid"], user["openid"]);
    assert!(
        told.get("skey").is_none() && told["expires_at"].is_i64(),
        "{told}"
    );
    let shown = http::json(&get(&site, "/weapp/session", &alice).await);
    assert_eq!(shown["user"], told["user"]);
    let first = path_of(&url_of(&first));
    assert_eq!(site.get(&first).send().await.body(), PNG);

    // Bob claims Alice's picture; his next one leaves it where it is.
    let claim = site.request(hyper::Method::PUT, "/weapp/session/profile");
    let claim = claim
        .header("x-wx-skey", &bob)
        .json(&json!({"avatarUrl": first}));
    assert_eq!(claim.send().await.status(), 200);
    url_of(&avatar(&site, &bob, PNG).await);
    assert_eq!(site.get(&first).send().await.status(), 200);
    assert_eq!(pictures(&world), 2);

    // Alice's next one does not.
    let second = path_of(&url_of(&avatar(&site, &alice, PNG).await));
    assert_eq!(site.get(&second).send().await.status(), 200);
    assert_eq!(site.get(&first).send().await.status(), 404);
    assert_eq!(pictures(&world), 2);

    for (skey, picture, status, code) in [
        (&*alice, &b"ID3\x04\0 a sound"[..], 415, "not_a_picture"),
        (
            &alice,
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            415,
            "not_a_picture",
        ),
        (
            &alice,
            &[PNG, &vec![0; 2 * 1024 * 1024]].concat(),
            413,
            "picture_too_large",
        ),
        ("nobody", PNG, 401, "session_unknown"),
    ] {
        let refused = avatar(&site, skey, picture).await;
        assert_eq!(refused.status(), status, "{code}");
        assert_eq!(http::json(&refused)["error"]["code"], code);
    }
    let form = site
        .post("/weapp/session/avatar")
        .header("x-wx-skey", &alice);
    let no_form = form.json(&json!({})).send().await;
    assert_eq!(http::json(&no_form)["error"]["code"], "bad_request");
    let shown = http::json(&get(&site, "/weapp/session", &alice).await);
    assert!(text(&shown["user"]["info"]["avatarUrl"]).ends_with(&second));
    assert_eq!(pictures(&world), 2, "what was refused is not kept");
}
