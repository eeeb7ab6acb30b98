//! The picture a user chose: kept elsewhere, shown in the profile, and the old one removed.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::json;
use weappd_session::http::avatar_router;
use weappd_session::{PictureError, PictureStore, UserIdentity};

use crate::world::{APP, Answer, OTHER_APP, World, send};

/// Keeps pictures by their content: `fail` is what it fails with next.
#[derive(Default)]
struct Album {
    kept: Mutex<Vec<String>>,
    removed: Mutex<Vec<String>>,
    tidied: Mutex<Vec<String>>,
    fail: Mutex<Option<PictureError>>,
}

impl PictureStore for Album {
    fn keep<'a>(
        &'a self,
        whose: &'a UserIdentity,
        _: &'a Parts,
        body: Body,
    ) -> BoxFuture<'a, Result<String, PictureError>> {
        Box::pin(async move {
            if let Some(fault) = self.fail.lock().take() {
                return Err(fault);
            }
            let body = body.collect().await.expect("a body").to_bytes();
            let name = String::from_utf8(body.to_vec()).expect("text");
            let url = format!("https://a.example/{}/{name}.png", whose.openid);
            self.kept.lock().push(url.clone());
            Ok(url)
        })
    }

    fn remove<'a>(&'a self, whose: &'a UserIdentity, url: &'a str) -> BoxFuture<'a, ()> {
        self.removed.lock().push(format!("{} {url}", whose.openid));
        Box::pin(std::future::ready(()))
    }

    fn tidy<'a>(&'a self, whose: &'a UserIdentity, shown: Option<&'a str>) -> BoxFuture<'a, ()> {
        let shown = shown.unwrap_or("nothing");
        self.tidied.lock().push(format!("{} {shown}", whose.openid));
        Box::pin(std::future::ready(()))
    }
}

struct Studio {
    world: World,
    album: Arc<Album>,
    router: Router,
}

impl Studio {
    async fn new() -> Self {
        let world = World::new().await;
        let album = Arc::new(Album::default());
        let pictures: Arc<dyn PictureStore> = Arc::<Album>::clone(&album);
        let appids = [APP.to_owned()];
        let router = avatar_router(world.sessions.clone(), &appids, pictures);
        Self {
            world,
            album,
            router,
        }
    }

    async fn put(&self, skey: &str, picture: &'static str) -> Answer {
        let headers = [("X-WX-Skey", skey)];
        let (router, body) = (self.router.clone(), Body::from(picture));
        send(router, "POST", "/weapp/session/avatar", &headers, body).await
    }

    fn removed(&self) -> Vec<String> {
        std::mem::take(&mut self.album.removed.lock())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_becomes_the_users_and_the_one_before_goes() {
    let studio = Studio::new().await;
    let skey = studio.world.log_in("c1", "o1").await;
    let first = studio.put(&skey, "first").await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let url = "https://a.example/o1/first.png";
    assert_eq!(first.json["user"]["info"]["avatarUrl"], url);
    assert_eq!(
        first.json["user"]["info"]["nickName"], "o1",
        "the rest stays"
    );
    let headers = [("X-WX-Skey", skey.as_str())];
    let shown = studio.world.get("/weapp/session", &headers).await;
    assert_eq!(shown.json, first.json);
    studio.removed();
    let second = studio.put(&skey, "second").await;
    let user = &second.json["user"]["info"];
    assert_eq!(user["avatarUrl"], "https://a.example/o1/second.png");
    assert_eq!(studio.removed(), [format!("o1 {url}")]);
    assert_eq!(
        studio.world.user(&skey).await["data"]["avatarUrl"],
        user["avatarUrl"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_session_of_the_site_brings_a_picture() {
    let studio = Studio::new().await;
    let refused = studio.put("unknown", "p").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.json["error"]["code"], "session_unknown");
    // A user of another mini program.
    studio.world.wechat.code("c1", "o1");
    let body = Body::from(json!({"code": "c1"}).to_string());
    let there = studio.world.router(OTHER_APP);
    let login = send(there, "POST", "/weapp/session", &[], body).await;
    let skey = login.json["skey"].as_str().expect("an skey");
    assert_eq!(studio.put(skey, "p").await.status, StatusCode::UNAUTHORIZED);
    assert!(studio.album.kept.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_said_and_changes_nothing() {
    let studio = Studio::new().await;
    let skey = studio.world.log_in("c1", "o1").await;
    let before = studio.world.user(&skey).await;
    for (fault, status, code) in [
        (
            PictureError::TooLarge { limit: 7 },
            413,
            "picture_too_large",
        ),
        (
            PictureError::NotOne { found: "x".into() },
            415,
            "not_a_picture",
        ),
        (PictureError::Form("no file".into()), 400, "bad_request"),
        (PictureError::TooSlow, 408, "body_too_slow"),
        (PictureError::Full, 507, "no_space"),
        (PictureError::Internal, 503, "store_failed"),
    ] {
        *studio.album.fail.lock() = Some(fault.clone());
        let answer = studio.put(&skey, "p").await;
        assert_eq!(answer.status.as_u16(), status, "{fault:?}");
        assert_eq!(answer.json["error"]["code"], code, "{fault:?}");
    }
    assert_eq!(studio.world.user(&skey).await, before);
    assert!(studio.removed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_the_profile_does_not_take_is_removed_again() {
    let studio = Studio::new().await;
    let skey = studio.world.log_in("c1", "o1").await;
    studio.world.sessions.close().await.expect("closes");
    let answer = studio.put(&skey, "late").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json["error"]["code"], "store_failed");
    assert_eq!(studio.removed(), ["o1 https://a.example/o1/late.png"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_pictures_at_once_one_stays_and_no_name_is_lost() {
    const NAMES: [&str; 8] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"];
    let studio = Studio::new().await;
    let skey = studio.world.log_in("c1", "o1").await;
    let headers = [("X-WX-Skey", skey.as_str())];
    let nick = async |nick: String| {
        let body = Body::from(json!({"nickName": nick}).to_string());
        let router = studio.world.router(APP);
        send(router, "PUT", "/weapp/session/profile", &headers, body).await
    };
    let pictures = futures_util::future::join_all(NAMES.map(|name| studio.put(&skey, name)));
    let nicks = futures_util::future::join_all((0..8).map(|at| nick(format!("n{at}"))));
    let (pictures, nicks) = futures_util::future::join(pictures, nicks).await;
    for answer in pictures.iter().chain(&nicks) {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let user = studio.world.user(&skey).await["data"].clone();
    let shown = user["avatarUrl"].as_str().expect("an address").to_owned();
    assert!(user["nickName"].as_str().expect("a name").starts_with('n'));
    let mut removed = studio.removed();
    removed.retain(|gone| gone.contains("/o1/"));
    removed.sort();
    let mut expected: Vec<String> = studio.album.kept.lock().clone();
    expected.retain(|url| *url != shown);
    let mut expected: Vec<_> = expected.iter().map(|url| format!("o1 {url}")).collect();
    expected.sort();
    assert_eq!(removed, expected, "all but {shown}");
    let tidied = studio.album.tidied.lock().last().cloned();
    assert_eq!(tidied, Some(format!("o1 {shown}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_with_another_address_leaves_no_picture_behind() {
    let studio = Studio::new().await;
    let skey = studio.world.log_in("c1", "o1").await;
    let headers = [("X-WX-Skey", skey.as_str())];
    studio.put(&skey, "mine").await;
    studio.removed();
    let put = async |address: &str| {
        let body = Body::from(json!({"avatarUrl": address}).to_string());
        let router = studio.world.router(APP);
        let put = send(router, "PUT", "/weapp/session/profile", &headers, body).await;
        assert_eq!(put.status, StatusCode::OK, "{put:?}");
        studio.removed()
    };
    // The same picture by other words.
    assert!(put("/o1/mine.png").await.is_empty());
    assert!(put("https://a.example/o1/mine.png?v=2").await.is_empty());
    let gone = put("https://elsewhere.example/a.png").await;
    assert_eq!(gone, ["o1 https://a.example/o1/mine.png?v=2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_taken_back_is_removed() {
    let studio = Studio::new().await;
    for (at, data) in [
        weappd_wechat::WithdrawnData::Avatar,
        weappd_wechat::WithdrawnData::Profile,
        weappd_wechat::WithdrawnData::Account,
    ]
    .into_iter()
    .enumerate()
    {
        let skey = studio.world.log_in(&format!("c{at}"), "o1").await;
        studio.put(&skey, "mine").await;
        studio.removed();
        let withdrawal = weappd_wechat::ConsentWithdrawal {
            openid: "o1".to_owned(),
            data: vec![data],
            at: None,
        };
        let sessions = &studio.world.sessions;
        sessions.withdraw(APP, &withdrawal).await.expect("forgets");
        assert_eq!(studio.removed(), ["o1 https://a.example/o1/mine.png"]);
        let tidied = std::mem::take(&mut *studio.album.tidied.lock());
        assert_eq!(tidied.last().map(String::as_str), Some("o1 nothing"));
    }
}
