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
//! | `wire.js`, `names.js`, `whose.js`, `json.js` | the sequence diagram: drawing, naming, whose hop it is, opening one |
//! | `words.js`, `dom.js`, `main.js` | the two languages, small helpers, the start |
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
//! `phone-U-picture` (the picture as it came back), `phone-U-expire`, `phone-U-clear`.
//!
//! For the page: `language`, `theme`, `wire` (with `data-live`), `wire-arrow` (one each, with
//! `data-name`, `data-label`, `data-from`, `data-to`, `data-answer`, `data-phone`), `wire-hint`,
//! `wire-pause`, `wire-clear`, `wire-filter-all`, `wire-filter-U`, `wire-newer`,
//! `wire-detail`, `wire-detail-json`, `wire-detail-close`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use rust_embed::RustEmbed;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use weappd_base::tap::{TapEvent, TrafficTap};
use weappd_base::tasks::Stop;

/// What the page must be told about its surroundings.
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// Where the simulated WeChat answers the phones: `http://127.0.0.1:8082`.
    pub wechat_url: String,
    /// The path under which this site answers mini programs: `/weapp`.
    pub weapp_prefix: String,
    /// Whose phones stand on the stage, from the left.
    pub users: Vec<String>,
    /// Ends the open event streams when weappd stops.
    pub stop: Stop,
}

impl PageConfig {
    /// Alice and Bob, `/weapp`, and a simulated WeChat at `wechat_url`.
    pub fn new(wechat_url: impl Into<String>, stop: Stop) -> Self {
        Self {
            wechat_url: wechat_url.into(),
            weapp_prefix: "/weapp".to_owned(),
            users: vec!["alice".to_owned(), "bob".to_owned()],
            stop,
        }
    }
}

/// The files of the page.
#[derive(RustEmbed)]
#[folder = "page/"]
struct PageFiles;

/// Serves the page at `/` and all it needs under `/_dev/`.
pub fn router(tap: TrafficTap, config: PageConfig) -> Router {
    let page = PageState(Arc::new(Shared {
        policy: policy(&config.wechat_url),
        info: PageInfo {
            wechat_url: config.wechat_url.trim_end_matches('/').to_owned(),
            weapp_prefix: config.weapp_prefix.trim_end_matches('/').to_owned(),
            users: config.users,
        },
        tap,
        stop: config.stop,
    }));
    Router::new()
        .route("/", get(index))
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
    tap: TrafficTap,
    stop: Stop,
}

/// `/_dev/config.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    wechat_url: String,
    weapp_prefix: String,
    users: Vec<String>,
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

/// Server-sent events: one `listening`, then each hop as JSON (its `seq` is the event's id),
/// and `lost` with a number when this listener was too slow. 204 when nothing is tapped,
/// which tells a browser not to ask again.
async fn wire(State(page): State<PageState>) -> Response {
    let Some(hops) = page.0.tap.subscribe() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let hello = Event::default()
        .event("listening")
        .retry(Duration::from_secs(1))
        .data("{}");
    let told = stream::iter([Ok(hello)]).chain(events(hops, page.0.stop.clone()));
    let mut answer = Sse::new(told)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response();
    page.guard(answer.headers_mut());
    answer
}

/// The hops of a tap as events, until the tap or weappd ends.
fn events(
    hops: Receiver<Arc<TapEvent>>,
    stop: Stop,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((hops, stop), |(mut hops, stop)| async move {
        let event = tokio::select! {
            heard = hops.recv() => match heard {
                Ok(hop) => of_hop(&hop),
                Err(RecvError::Lagged(count)) => {
                    Event::default().event("lost").data(count.to_string())
                }
                Err(RecvError::Closed) => return None,
            },
            () = stop.asked() => return None,
        };
        Some((Ok(event), (hops, stop)))
    })
}

fn of_hop(hop: &TapEvent) -> Event {
    let event = Event::default().id(hop.seq.to_string());
    match serde_json::to_string(hop) {
        Ok(text) => event.data(text),
        // A hop is plain JSON; should one ever not be, the listener hears of a gap.
        Err(_) => event.event("lost").data("1"),
    }
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
    use http::Request;
    use tower::ServiceExt;
    use weappd_base::clock::Clock;
    use weappd_base::tap::{TapPeer, TapReport};

    use super::*;

    fn page(tap: TrafficTap) -> Router {
        router(tap, PageConfig::new("http://127.0.0.1:8082/", Stop::new()))
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
        let answer = get(page(TrafficTap::off()), "/", None).await;
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
        let again = get(page(TrafficTap::off()), "/", Some(&tag)).await;
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
            let answer = get(page(TrafficTap::off()), &format!("/_dev/{name}"), None).await;
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            assert!(answer.headers().contains_key(header::ETAG), "{name}");
        }
        let none = get(page(TrafficTap::off()), "/_dev/nothing.js", None).await;
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
        let answer = get(page(TrafficTap::off()), "/_dev/config.json", None).await;
        let told: serde_json::Value = serde_json::from_str(&text(answer).await).expect("json");
        assert_eq!(
            told,
            serde_json::json!({
                "wechatUrl": "http://127.0.0.1:8082",
                "weappPrefix": "/weapp",
                "users": ["alice", "bob"],
            })
        );
    }

    #[tokio::test]
    async fn the_wire_gives_each_hop_as_json_until_the_goodbye() {
        let tap = TrafficTap::on(Clock::manual(5).0);
        let stop = Stop::new();
        let page = router(
            tap.clone(),
            PageConfig::new("http://127.0.0.1:1", stop.clone()),
        );
        let answer = get(page, "/_dev/wire", None).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut body = answer.into_body().into_data_stream();
        let hello = body.next().await.expect("hello").expect("bytes");
        assert!(hello.starts_with(b"event: listening\n"), "{hello:?}");
        tap.record(|| TapReport {
            from: TapPeer::Weappd,
            to: TapPeer::Wechat,
            name: "jscode2session".to_owned(),
            answer: false,
            who: Some("o1".to_owned()),
            detail: serde_json::json!({"appid": "wx1"}),
        });
        let event = body.next().await.expect("an event").expect("bytes");
        let event = String::from_utf8(event.to_vec()).expect("utf-8");
        let data = event
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .expect("data");
        let hop: serde_json::Value = serde_json::from_str(data).expect("json");
        assert_eq!(
            (&hop["from"], &hop["to"], &hop["name"], &hop["who"]),
            (
                &"weappd".into(),
                &"wechat".into(),
                &"jscode2session".into(),
                &"o1".into()
            )
        );
        stop.ask();
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn an_untapped_wire_is_not_asked_again() {
        let answer = get(page(TrafficTap::off()), "/_dev/wire", None).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
}
