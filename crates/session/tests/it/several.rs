//! Several mini programs on one site: which one a login means, and that their users,
//! sessions and durations have nothing to do with each other.

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use weappd_base::secret::Secret;
use weappd_session::MiniApp;
use weappd_session::http::{SiteChoice, public_router};

use crate::world::{APP, Answer, Headers, OTHER_APP, World, send, skey};

/// A site of these mini programs.
fn site(world: &World, appids: &[&str]) -> Router {
    let choice = SiteChoice {
        appids: appids.iter().map(|appid| (*appid).to_owned()).collect(),
        wafer1: true,
        wafer2: true,
    };
    public_router(world.sessions.clone(), choice)
}

fn page(appid: &str) -> String {
    format!("https://servicewechat.com/{appid}/devtools/page-frame.html")
}

/// Logs in over the native dialect; every code is `openid`'s.
async fn log_in(
    world: &World,
    site: &Router,
    (code, openid): (&str, &str),
    headers: Headers<'_>,
) -> Answer {
    world.wechat.code(code, openid);
    let body = Body::from(json!({"code": code}).to_string());
    send(site.clone(), "POST", "/weapp/session", headers, body).await
}

fn told(answer: &Answer) -> (&Value, String) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let skey = answer.json["skey"].as_str().expect("an skey");
    (&answer.json["user"], skey.to_owned())
}

async fn who(site: &Router, skey: &str, more: Headers<'_>) -> Answer {
    let headers = [&[("X-WX-Skey", skey)], more].concat();
    send(
        site.clone(),
        "GET",
        "/weapp/session",
        &headers,
        Body::empty(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_referer_or_the_header_says_which_and_the_first_is_the_default() {
    let world = World::new().await;
    let both = site(&world, &[APP, OTHER_APP]);
    let (mine, other) = (page(APP), page(OTHER_APP));
    for (at, (headers, appid)) in [
        (&[][..], APP),
        (&[("Referer", mine.as_str())], APP),
        (&[("Referer", &other)], OTHER_APP),
        (&[("X-Weappd-AppID", OTHER_APP)], OTHER_APP),
        (
            &[("Referer", &other), ("X-Weappd-AppID", OTHER_APP)],
            OTHER_APP,
        ),
        (&[("Referer", "https://example.com/")], APP),
        // The edge lets it come from WeChat's gateway only.
        (&[("X-WX-AppID", OTHER_APP), ("Referer", &mine)], OTHER_APP),
    ]
    .into_iter()
    .enumerate()
    {
        let code = format!("c{at}");
        let answer = log_in(&world, &both, (&code, "o1"), headers).await;
        assert_eq!(told(&answer).0["appid"], appid, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_sites_is_refused_before_wechat_is_asked() {
    let world = World::new().await;
    let both = site(&world, &[APP, OTHER_APP]);
    let (mine, strange) = (page(APP), page("wx0000000000000003"));
    for headers in [
        &[("Referer", strange.as_str())][..],
        &[("X-Weappd-AppID", "wx0000000000000003")],
        &[("Referer", &mine), ("X-Weappd-AppID", OTHER_APP)],
        &[("X-Weappd-AppID", "")],
        &[("X-Weappd-AppID", APP), ("X-Weappd-AppID", APP)],
    ] {
        let native = log_in(&world, &both, ("c1", "o1"), headers).await;
        assert_eq!(native.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(native.json["error"]["code"], "wrong_mini_program");
        let headers = [headers, &[("X-WX-Code", "c1")]].concat();
        let get = |path| send(both.clone(), "GET", path, &headers, Body::empty());
        let wafer2 = get("/weapp/login").await.json;
        let error = wafer2["error"].as_str().expect("an error");
        assert!(error.starts_with("ERR_GET_SESSION_KEY\n{"), "{error}");
        let wafer1 = get("/login").await.json;
        assert_eq!(wafer1["error"], "ERR_LOGIN_FAILED");
    }
    assert_eq!(world.wechat.asked(), 0);
    // A site of one is of that one, whatever the Referer says.
    let one = site(&world, &[APP]);
    let answer = log_in(&world, &one, ("c2", "o1"), &[("Referer", &strange)]).await;
    assert_eq!(told(&answer).0["appid"], APP);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_openid_in_two_mini_programs_is_two_users() {
    let world = World::new().await;
    let both = site(&world, &[APP, OTHER_APP]);
    let other = page(OTHER_APP);
    let answers = [
        log_in(&world, &both, ("c1", "o1"), &[]).await,
        log_in(&world, &both, ("c2", "o1"), &[("Referer", &other)]).await,
    ];
    let [(here, mine), (there, theirs)] = [told(&answers[0]), told(&answers[1])];
    assert_ne!(here["id"], there["id"]);
    let body = Body::from(json!({"nickName": "三木"}).to_string());
    let headers = [("X-WX-Skey", mine.as_str())];
    let kept = send(
        both.clone(),
        "PUT",
        "/weapp/session/profile",
        &headers,
        body,
    )
    .await;
    assert_eq!(kept.json["user"]["info"]["nickName"], "三木");
    let info = &who(&both, &theirs, &[]).await.json["user"]["info"];
    assert_eq!(*info, json!({"openId": "o1"}));

    // The session's own mini program counts, whatever the request says.
    for more in [
        &[("Referer", other.as_str())],
        &[("X-Weappd-AppID", OTHER_APP)],
    ] {
        assert_eq!(who(&both, &mine, more).await.json["user"]["appid"], APP);
    }
    // Ending one's sessions ends none of the other's.
    let path = format!("/sessions?openid=o1&appid={APP}");
    let ended = world.call("DELETE", &path, &[], Body::empty()).await;
    assert_eq!(ended.json["ended"], 1);
    assert_eq!(
        who(&both, &mine, &[]).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(who(&both, &theirs, &[]).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opens_only_sites_of_its_mini_program() {
    let world = World::new().await;
    let (one, other) = (site(&world, &[APP]), site(&world, &[OTHER_APP]));
    let both = site(&world, &[OTHER_APP, APP]);
    let answer = log_in(&world, &one, ("c1", "o1"), &[]).await;
    let (_, mine) = told(&answer);
    assert_eq!(who(&one, &mine, &[]).await.status, StatusCode::OK);
    assert_eq!(who(&both, &mine, &[]).await.status, StatusCode::OK);
    for claim in [
        &[][..],
        &[("X-Weappd-AppID", APP)],
        &[("Referer", &page(APP))],
    ] {
        let refused = who(&other, &mine, claim).await;
        assert_eq!(
            refused.json["error"]["code"], "session_unknown",
            "{claim:?}"
        );
    }
    let end = |site: &Router| {
        let headers = [("X-WX-Skey", mine.clone())];
        let site = site.clone();
        async move {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            send(site, "DELETE", "/weapp/session", &headers, Body::empty()).await
        }
    };
    assert_eq!(end(&other).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(end(&both).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mini_program_has_its_own_durations() {
    let mut world = World::new().await;
    let app = |appid: &str, days: u32, secs: u64| MiniApp {
        login_duration_days: days,
        session_duration_secs: secs,
        ..MiniApp::new(appid, Secret::new("secret"))
    };
    world
        .restart_with(vec![app(APP, 1, 2_592_000), app(OTHER_APP, 30, 600)])
        .await;
    let both = site(&world, &[APP, OTHER_APP]);
    let other = page(OTHER_APP);
    let answers = [
        log_in(&world, &both, ("c1", "o1"), &[]).await,
        log_in(&world, &both, ("c2", "o1"), &[("Referer", &other)]).await,
    ];
    let [(_, mine), (_, theirs)] = [told(&answers[0]), told(&answers[1])];
    let ends = |answer: &Answer| answer.json["expires_at"].as_i64().expect("a time");
    assert_eq!(ends(&answers[0]) - ends(&answers[1]), 86_400 - 600);
    world.hand.advance(601);
    assert_eq!(who(&both, &mine, &[]).await.status, StatusCode::OK);
    let unused = who(&both, &theirs, &[]).await;
    assert_eq!(unused.json["error"]["code"], "session_expired");
    world.hand.advance(86_400);
    let too_long = who(&both, &mine, &[]).await;
    assert_eq!(too_long.json["error"]["code"], "session_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_one_is_not_remembered_for_the_other() {
    let world = World::new().await;
    let both = site(&world, &[APP, OTHER_APP]);
    let headers = [("X-WX-Code", "c1")];
    world.wechat.code("c1", "o1");
    let first = send(both.clone(), "GET", "/weapp/login", &headers, Body::empty()).await;
    skey(&first);
    let other = page(OTHER_APP);
    let headers = [("X-WX-Code", "c1"), ("Referer", other.as_str())];
    let again = send(both, "GET", "/weapp/login", &headers, Body::empty()).await;
    assert_eq!(
        again.json["code"], -1,
        "WeChat is asked, and says no: {again:?}"
    );
    assert_eq!(world.wechat.asked(), 2);
}
