//! The phone page of `weappd dev`: two phones on a stage, and the wire beside them.
//!
//! The page itself is the folder `page/` of this crate: plain HTML, CSS and JavaScript
//! modules, carried inside the binary. It speaks to three addresses and no other: its own
//! site (`/weapp/...`, `/_dev/...`), the simulated WeChat, and the tunnel's WebSocket.
//!
//! | file | what |
//! |---|---|
//! | `wx.js`, `wx-calls.js`, `wx-sockets.js` | the `wx` a mini program sees, over `fetch` and `WebSocket`; no DOM |
//! | `client.js` | a mini-program client: login with renewal, requests, tunnel; no DOM |
//! | `phone.js`, `chat.js`, `sample.js` | one phone on the stage, its chat room, its built-in picture |
//! | `feed.js`, `names.js`, `whose.js` | what the server tells: hearing it, naming a hop, whose it is; no DOM |
//! | `wire.js`, `wire-rows.js`, `wire-detail.js`, `json.js` | the sequence diagram: the whole, its rows, the open hop |
//! | `wire-file.js` | the wire saved and opened again, and as HAR; no DOM |
//! | `server-news.js` | the business server that ended, and its last lines |
//! | `words.js`, `dom.js`, `kept.js`, `main.js` | the two languages, small helpers, what a reload keeps, the start |
//!
//! # Test ids
//!
//! `data-testid` attributes are a promise to the browser tests. For each user (`alice`,
//! `bob`; here `U`):
//! `phone-U` (with `data-state` = `out`, `in` or `chat`), `phone-U-login`, `phone-U-name`,
//! `phone-U-notice` (the last thing that happened, one sentence; `data-kind` = `ok`,
//! `note` or `error`), `phone-U-refuse`,
//! `phone-U-user`, `phone-U-user-answer`, `phone-U-chat-join`, `phone-U-chat-log`,
//! `phone-U-chat-people`, `phone-U-chat-input`, `phone-U-chat-send`, `phone-U-chat-leave`,
//! `phone-U-bubble` (one each; `data-mine`), `phone-U-chat-event` (one each),
//! `phone-U-upload-sample`, `phone-U-upload-file`,
//! `phone-U-picture` (the picture as it came back), `phone-U-expire`, `phone-U-clear`,
//! `phone-U-offline` (there while weappd does not answer).
//!
//! For the page: `language`, `theme`, `to-desk`, `to-app`, `wire` (with `data-live`), `wire-arrow` (one each, with
//! `data-name`, `data-label`, `data-from`, `data-to`, `data-answer`, `data-phone`), `wire-hint`,
//! `wire-pause`, `wire-clear`, `wire-filter-all`, `wire-filter-U`, `wire-newer`,
//! `wire-detail`, `wire-detail-json`, `wire-detail-close`, `wire-trouble`, `wire-menu`, `wire-save`,
//! `wire-saveHar`, `wire-openFile`, `wire-open-file` (its input), `wire-saved`, `wire-live`,
//! `server-news`, `server-sentence`, `server-lines`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use rust_embed::RustEmbed;
use serde::Serialize;
use tokio::sync::watch;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks};

use crate::server_news::ServerNews;
use crate::user_name::UserName;
use crate::wire_feed::WireFeed;
use crate::wire_history::WireHistory;

/// What the page must be told about its surroundings.
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// Where the simulated WeChat answers the phones: `http://127.0.0.1:8082`.
    pub wechat_url: String,
    /// The path under which this site answers mini programs: `/weapp`.
    pub weapp_prefix: String,
    /// The simulated mini program.
    pub appid: String,
    /// Whose phones stand on the stage, from the left.
    pub users: Vec<String>,
    /// Where one's own app has its first page, if the site is an app's.
    pub app_home: Option<String>,
    /// A word for this run of weappd, unlike any before.
    pub run: String,
    /// How the business server is, if somebody tells.
    pub server: Option<watch::Receiver<ServerNews>>,
    /// What keeps the wire's last hops runs here.
    pub tasks: Tasks,
    /// Ends the open event streams when weappd stops.
    pub stop: Stop,
}

impl PageConfig {
    /// Alice and Bob, `/weapp`, and a simulated WeChat at `wechat_url` that knows `appid`.
    pub fn new(wechat_url: impl Into<String>, appid: impl Into<String>, stop: Stop) -> Self {
        Self {
            wechat_url: wechat_url.into(),
            weapp_prefix: "/weapp".to_owned(),
            appid: appid.into(),
            users: vec!["alice".to_owned(), "bob".to_owned()],
            app_home: None,
            run: "1".to_owned(),
            server: None,
            tasks: Tasks::new(),
            stop,
        }
    }
}

/// The files of the page.
#[derive(RustEmbed)]
#[folder = "page/"]
struct PageFiles;

/// Serves the page at `/` and at `/_dev/`, and all it needs under `/_dev/`. What goes over the
/// wire from now on is kept, within bounds, for pages that are opened later.
pub fn router(tap: &TrafficTap, config: PageConfig) -> Router {
    let (stop, run, server) = (config.stop, config.run, config.server);
    let history = WireHistory::keep(tap, &config.tasks, stop.clone());
    let page = PageState(Arc::new(Shared {
        policy: policy(&config.wechat_url),
        info: PageInfo {
            wechat_url: config.wechat_url.trim_end_matches('/').to_owned(),
            weapp_prefix: config.weapp_prefix.trim_end_matches('/').to_owned(),
            users: PageUser::list(config.users, &config.appid),
            app_home: config.app_home,
        },
        feed: history.map(|history| WireFeed {
            history,
            run,
            server,
            stop,
        }),
    }));
    Router::new()
        .route("/", get(index))
        .route("/_dev", get(Redirect::permanent("/_dev/")))
        .route("/_dev/", get(index))
        .route("/_dev/config.json", get(told))
        .route("/_dev/wire", get(wire))
        .route("/_dev/{*name}", get(asset))
        .with_state(page)
}

/// The head of this module: a cheap handle over what all answers share.
#[derive(Clone)]
struct PageState(Arc<Shared>);

struct Shared {
    policy: HeaderValue,
    info: PageInfo,
    feed: Option<WireFeed>,
}

/// `/_dev/config.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    wechat_url: String,
    weapp_prefix: String,
    users: Vec<PageUser>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_home: Option<String>,
}

/// Who holds a phone, and by which openid the wire knows them.
#[derive(Serialize)]
struct PageUser {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    openid: Option<String>,
}

impl PageUser {
    fn list(names: Vec<String>, appid: &str) -> Vec<Self> {
        let users = names.into_iter().map(|name| Self {
            openid: UserName::parse(&name).ok().map(|user| user.openid(appid)),
            name,
        });
        users.collect()
    }
}

async fn index(State(page): State<PageState>, headers: HeaderMap) -> Response {
    page.file("index.html", &headers)
}

async fn asset(
    State(page): State<PageState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    page.file(&name, &headers)
}

async fn told(State(page): State<PageState>) -> Response {
    let mut answer = Json(&page.0.info).into_response();
    page.guard(answer.headers_mut());
    answer
}

/// Server-sent events: what [`WireFeed::events`] tells. 204 when nothing is tapped, which tells a
/// browser not to ask again.
async fn wire(State(page): State<PageState>, headers: HeaderMap) -> Response {
    let Some(feed) = &page.0.feed else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let mut answer = Sse::new(feed.events(last_id))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response();
    page.guard(answer.headers_mut());
    answer
}

impl PageState {
    /// One file of the page, or 304 when the browser has it, or 404.
    fn file(&self, name: &str, asked: &HeaderMap) -> Response {
        let Some(file) = PageFiles::get(name) else {
            let mut answer = (StatusCode::NOT_FOUND, "no such file\n").into_response();
            self.guard(answer.headers_mut());
            return answer;
        };
        let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..12]));
        let known = asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|one| one.trim().trim_start_matches("W/") == tag);
        let mut answer = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let kind = mime_guess::from_path(name).first_or_octet_stream();
            let kind = match kind.type_().as_str() {
                "text" => format!("{kind}; charset=utf-8"),
                _ => kind.to_string(),
            };
            ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
        };
        let headers = answer.headers_mut();
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        self.guard(headers);
        answer
    }

    /// The headers every answer carries: asked again each time, and shut to the outside.
    fn guard(&self, headers: &mut HeaderMap) {
        const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
        const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
        const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
        let fixed: [(HeaderName, HeaderValue); 4] = [
            (header::CACHE_CONTROL, ASK_AGAIN),
            (header::CONTENT_SECURITY_POLICY, self.0.policy.clone()),
            (header::REFERRER_POLICY, NO_REFERRER),
            (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
        ];
        headers.extend(fixed);
    }
}

/// What the page may load and whom it may call. The tunnel's address is this machine, on
/// a port the page learns only from the server's answer.
fn policy(wechat_url: &str) -> HeaderValue {
    let wechat = origin(wechat_url).unwrap_or_default();
    let text = format!(
        "default-src 'self'; \
         connect-src 'self' ws://127.0.0.1:* ws://localhost:* wss://127.0.0.1:* wss://localhost:* {wechat}; \
         img-src 'self' data: blob: {wechat}; \
         object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'self'"))
}

/// `http://host:port` of a URL, if it is one.
fn origin(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    Some(format!("{}://{}", url.scheme_str()?, url.authority()?))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use futures_util::StreamExt as _;
    use http::Request;
    use tower::ServiceExt;
    use weappd_base::clock::Clock;
    use weappd_base::tap::{TapPeer, TapReport};

    use super::*;

    fn page(tap: &TrafficTap) -> Router {
        router(tap, config())
    }

    fn config() -> PageConfig {
        PageConfig::new("http://127.0.0.1:8082/", "wx1", Stop::new())
    }

    async fn get(router: Router, path: &str, tag: Option<&HeaderValue>) -> Response {
        let mut request = Request::get(path);
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request.body(Body::empty()).expect("a request");
        router.oneshot(request).await.expect("an answer")
    }

    async fn text(answer: Response) -> String {
        let bytes: Bytes = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .expect("a body");
        String::from_utf8(bytes.to_vec()).expect("utf-8")
    }

    fn source(name: &str) -> String {
        let file = PageFiles::get(name).unwrap_or_else(|| panic!("{name} is in the page"));
        String::from_utf8(file.data.into_owned()).expect("utf-8")
    }

    /// The texts between quotes that follow `mark` in a source.
    fn quoted_after(source: &str, mark: &str) -> Vec<String> {
        source
            .split(mark)
            .skip(1)
            .filter_map(|rest| rest.split(['"', '\'']).next())
            .map(str::to_owned)
            .collect()
    }

    #[tokio::test]
    async fn the_index_is_guarded_and_known_again() {
        let answer = get(page(&TrafficTap::off()), "/", None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("text");
        assert!(policy.starts_with("default-src 'self'; connect-src 'self' ws://127.0.0.1:*"));
        assert!(policy.contains("http://127.0.0.1:8082; img-src"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(
            answer.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        let tag = answer.headers()[header::ETAG].clone();
        let again = get(page(&TrafficTap::off()), "/", Some(&tag)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(text(again).await.is_empty());
    }

    #[tokio::test]
    async fn all_that_is_referred_to_is_there() {
        let mut wanted = quoted_after(&source("index.html"), "=\"/_dev/");
        assert!(wanted.len() >= 3, "the index names its style, icon, script");
        let scripts: Vec<_> = PageFiles::iter()
            .filter(|name| std::path::Path::new(&**name).extension() == Some("js".as_ref()))
            .collect();
        assert!(scripts.len() >= 8);
        for script in &scripts {
            wanted.extend(quoted_after(&source(script), "from './"));
        }
        for name in wanted {
            let answer = get(page(&TrafficTap::off()), &format!("/_dev/{name}"), None).await;
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            assert!(answer.headers().contains_key(header::ETAG), "{name}");
        }
        let none = get(page(&TrafficTap::off()), "/_dev/nothing.js", None).await;
        assert_eq!(none.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn no_file_names_another_host() {
        for name in PageFiles::iter() {
            let source = source(&name).replace("http://www.w3.org/2000/svg", "");
            for mark in ["https://", "http://", "src=\"//", "url(//"] {
                assert!(!source.contains(mark), "{name} holds {mark}");
            }
        }
    }

    #[test]
    fn test_ids_promised_are_kept() {
        let sources: String = PageFiles::iter().map(|name| source(&name)).collect();
        for id in [
            "login",
            "name",
            "notice",
            "refuse",
            "user",
            "user-answer",
            "chat-join",
            "chat-log",
            "chat-people",
            "chat-input",
            "chat-send",
            "chat-leave",
            "bubble",
            "chat-event",
            "upload-sample",
            "upload-file",
            "picture",
            "expire",
            "clear",
            "offline",
        ] {
            assert!(sources.contains(&format!("id('{id}')")), "phone-U-{id}");
        }
        for id in [
            "language",
            "theme",
            "wire",
            "wire-arrow",
            "wire-hint",
            "wire-pause",
            "wire-clear",
            "wire-newer",
            "wire-detail",
            "wire-detail-json",
            "wire-detail-close",
            "wire-trouble",
            "wire-menu",
            "wire-open-file",
            "wire-saved",
            "wire-live",
            "server-news",
            "server-sentence",
            "server-lines",
        ] {
            let told = [
                format!("data-testid=\"{id}\""),
                format!("'data-testid': '{id}'"),
            ];
            assert!(told.iter().any(|way| sources.contains(way)), "{id}");
        }
    }

    #[tokio::test]
    async fn the_page_is_told_where_it_stands() {
        let told = async |config: PageConfig| -> serde_json::Value {
            let router = router(&TrafficTap::off(), config);
            let answer = get(router, "/_dev/config.json", None).await;
            serde_json::from_str(&text(answer).await).expect("json")
        };
        let users = ["alice", "bob"].map(|name| {
            let openid = UserName::parse(name).expect("a name").openid("wx1");
            serde_json::json!({"name": name, "openid": openid})
        });
        assert_eq!(
            told(config()).await,
            serde_json::json!({
                "wechatUrl": "http://127.0.0.1:8082",
                "weappPrefix": "/weapp",
                "users": users,
            })
        );
        let beside_an_app = PageConfig {
            app_home: Some("/".to_owned()),
            ..config()
        };
        assert_eq!(told(beside_an_app).await["appHome"], "/");
    }

    #[tokio::test]
    async fn the_page_stands_under_dev_too() {
        let there = get(page(&TrafficTap::off()), "/_dev/", None).await;
        assert!(text(there).await.contains("weappd dev"));
        let near = get(page(&TrafficTap::off()), "/_dev", None).await;
        assert_eq!(near.headers()[header::LOCATION], "/_dev/");
    }

    /// The next event of a stream: its lines but for those that keep it alive.
    async fn next(body: &mut axum::body::BodyDataStream) -> String {
        loop {
            let event = body.next().await.expect("an event").expect("bytes");
            let event = String::from_utf8(event.to_vec()).expect("utf-8");
            if !event.starts_with("event: beat\n") {
                return event;
            }
        }
    }

    async fn listen(page: &Router, last_id: &str) -> axum::body::BodyDataStream {
        let request = Request::get("/_dev/wire").header("last-event-id", last_id);
        let request = request.body(Body::empty()).expect("a request");
        let answer = page.clone().oneshot(request).await.expect("an answer");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut body = answer.into_body().into_data_stream();
        let hello = next(&mut body).await;
        assert!(hello.starts_with("event: listening\n"), "{hello:?}");
        assert!(hello.contains("{\"run\":\"one\"}"), "{hello:?}");
        body
    }

    fn record(tap: &TrafficTap, name: &str) {
        tap.record(|| TapReport {
            from: TapPeer::Weappd,
            to: TapPeer::Wechat,
            name: name.to_owned(),
            answer: false,
            who: Some("o1".to_owned()),
            detail: serde_json::json!({"appid": "wx1"}),
        });
    }

    fn hop(event: &str) -> serde_json::Value {
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        serde_json::from_str(data.expect("data")).expect("json")
    }

    #[tokio::test]
    async fn the_wire_gives_each_hop_as_json_until_the_goodbye() {
        let tap = TrafficTap::on(Clock::manual(5).0);
        let stop = Stop::new();
        let config = PageConfig {
            run: "one".to_owned(),
            stop: stop.clone(),
            ..config()
        };
        let page = router(&tap, config);
        let mut body = listen(&page, "").await;
        record(&tap, "jscode2session");
        let event = next(&mut body).await;
        assert!(event.contains("id: one-0\n"), "{event}");
        let told = hop(&event);
        assert_eq!(
            (&told["from"], &told["to"], &told["name"], &told["who"]),
            (
                &"weappd".into(),
                &"wechat".into(),
                &"jscode2session".into(),
                &"o1".into()
            )
        );
        record(&tap, "second");
        assert_eq!(hop(&next(&mut body).await)["seq"], 1);
        // Whoever comes later hears all of it, whoever comes again what is new.
        for (last_id, seqs) in [("", &[0, 1][..]), ("one-0", &[1]), ("two-0", &[0, 1])] {
            let mut late = listen(&page, last_id).await;
            for seq in seqs {
                assert_eq!(hop(&next(&mut late).await)["seq"], *seq, "{last_id}");
            }
        }
        stop.ask();
        while let Some(last) = body.next().await {
            let last = String::from_utf8(last.expect("bytes").to_vec()).expect("utf-8");
            assert!(last.starts_with("event: beat"), "{last}");
        }
    }

    #[tokio::test]
    async fn the_page_hears_of_the_business_server() {
        let tap = TrafficTap::on(Clock::manual(5).0);
        let (news, server) = watch::channel(ServerNews::default());
        let config = PageConfig {
            run: "one".to_owned(),
            server: Some(server),
            ..config()
        };
        let page = router(&tap, config);
        let mut body = listen(&page, "").await;
        let first = next(&mut body).await;
        assert!(first.starts_with("event: server\n"), "{first}");
        assert_eq!(hop(&first)["ready"], false);
        let ended = serde_json::json!({"kind": "exited", "code": 3});
        news.send_replace(ServerNews {
            ended: Some(ended.clone()),
            lines: vec!["out of luck".to_owned()],
            ..ServerNews::default()
        });
        let told = loop {
            let told = hop(&next(&mut body).await);
            if told["ended"] == ended {
                break told;
            }
        };
        assert_eq!(told["lines"][0], "out of luck");
    }

    #[tokio::test]
    async fn an_untapped_wire_is_not_asked_again() {
        let answer = get(page(&TrafficTap::off()), "/_dev/wire", None).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
}
