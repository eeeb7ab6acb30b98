//! What must hold for any input to this room's parsers: the bodies of the fuzz targets,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "session/columns.rs"]
mod columns;
#[path = "../feed.rs"]
mod feed;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde_json::{Map, Value, json};
use weappd_base::json::object;
use weappd_base::unix_time::UnixSecs;

use crate::app_terms::AppTerms;
use crate::config::Config;
use crate::dialect::native::{DecryptBody, LoginBody, PhoneBody};
use crate::dialect::rpc::{self, RpcCall};
use crate::login_app::{MiniAppReferer, meant};
use crate::profile::ProfileUpdate;
use crate::session::CachedSession;
use crate::session_lifetime::SessionLifetime;
use crate::skey::{PresentedSkey, SkeyHash};
use crate::store::records::SessionRow;
use crate::tap;
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 1] = [("session_calls", calls)];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

/// What phones, business servers and old databases say.
fn calls(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(10) {
        0 => rpc_raw(feed.rest()),
        1 | 2 => rpc_call(&mut feed),
        3 => bodies(feed.rest()),
        4 => headers(&mut feed),
        5 => masked(&mut feed),
        6 => choice(&mut feed),
        7 => settings(&mut feed),
        8 => columns::write(feed.below(4), feed.number(), &feed.text()),
        _ => stored(&feed.text()),
    }
}

/// The answer to a refused call, as the original's clients read it.
fn refused(refusal: rpc::RpcError) {
    let known = [1002, 1003, 1009, 1010, 1011];
    assert!(known.contains(&refusal.0), "{refusal:?}");
    let answer: Value = serde_json::from_slice(&rpc::refused(refusal)).expect("JSON");
    let said = json!({
        "returnCode": refusal.0, "returnMessage": refusal.1, "returnData": "",
        "version": 1, "componentName": "MA",
    });
    assert_eq!(answer, said);
}

fn rpc_raw(body: &[u8]) {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    match rpc::read(body) {
        Err(refusal) => {
            assert_eq!(refusal == rpc::REQUEST_IS_NOT_JSON, value.is_none());
            refused(refusal);
        }
        Ok(call) => same_call(&call, &value.expect("it was read")),
    }
}

/// A call says what its JSON says.
fn same_call(call: &RpcCall, value: &Value) {
    let para = &value["interface"]["para"];
    let name = value["interface"]["interfaceName"]
        .as_str()
        .expect("a name");
    let is = |field: &str, text: &str| as_text(&para[field]).as_deref() == Some(text);
    let iv = |text: &Option<String>| *text == as_text(&para["iv"]);
    let same = match call {
        RpcCall::LogIn {
            code,
            encrypt_data,
            iv: given,
        } => {
            name == "qcloud.cam.id_skey"
                && is("code", code)
                && is("encrypt_data", encrypt_data)
                // The old server's word for having none.
                && (iv(given) || given.is_none() && is("iv", "old"))
        }
        RpcCall::Check { id, skey } => {
            name == "qcloud.cam.auth" && is("id", id) && is("skey", skey)
        }
        RpcCall::Decrypt {
            id,
            skey,
            encrypt_data,
            iv: given,
        } => {
            name == "qcloud.cam.decrypt"
                && is("id", id)
                && is("skey", skey)
                && is("encrypt_data", encrypt_data)
                && iv(given)
        }
        RpcCall::Register { appid, secret } => {
            name == "qcloud.cam.initdata" && is("appid", appid) && is("secret", secret)
        }
    };
    assert!(same, "{call:?} is not {value}");
}

/// A parameter as PHP reads it where it wants a text.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("1".to_owned()),
        Value::Bool(false) => Some(String::new()),
        Value::Array(_) | Value::Object(_) => Some("Array".to_owned()),
    }
}

/// Whether a number is in it that may be read as its neighbour.
pub(crate) fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(list) => list.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        _ => false,
    }
}

/// A call from parts: accepted exactly if none of its parameters is missing; and the answers.
fn rpc_call(feed: &mut Feed<'_>) {
    const CALLS: [(&str, &[&str]); 5] = [
        ("qcloud.cam.id_skey", &["code", "encrypt_data"]),
        ("qcloud.cam.auth", &["id", "skey"]),
        ("qcloud.cam.decrypt", &["id", "skey", "encrypt_data"]),
        ("qcloud.cam.initdata", &["appid", "secret"]),
        ("qcloud.cam.other", &[]),
    ];
    let (name, needed) = CALLS[feed.below(5)];
    let mut para = Map::new();
    while !feed.is_empty() && para.len() < 8 {
        let field = [
            "code",
            "encrypt_data",
            "iv",
            "id",
            "skey",
            "appid",
            "secret",
            "x",
        ][feed.below(8)];
        let text = feed.text();
        let value = serde_json::from_str(&text).unwrap_or(Value::from(text));
        let value = if has_fraction(&value) {
            Value::Null
        } else {
            value
        };
        para.insert(field.to_owned(), value);
    }
    let good = needed
        .iter()
        .all(|field| para.get(*field).is_some_and(|value| !value.is_null()));
    let body = json!({"interface": {"interfaceName": name, "para": para}, "version": 7});
    match rpc::read(body.to_string().as_bytes()) {
        Ok(call) => {
            assert!(good && !needed.is_empty());
            same_call(&call, &body);
        }
        Err(refusal) => {
            assert!(!good || needed.is_empty(), "{refusal:?}");
            refused(refusal);
        }
    }
    let info = Value::Object(para.clone());
    let answer = rpc::logged_in(true, ("i", "s"), &info.to_string(), Duration::from_secs(7));
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["returnData"]["user_info"], info);
    let answer: Value = serde_json::from_slice(&rpc::checked(&info.to_string())).expect("JSON");
    assert_eq!(answer["returnData"], json!({"user_info": info}));
}

/// Bodies of weappd's own dialect.
fn bodies(body: &[u8]) {
    let value = serde_json::from_slice::<Value>(body);
    let Some(value) = value.as_ref().ok().filter(|value| value.is_object()) else {
        // Fields nobody reads may hold what no `Value` holds; a list is no body.
        let login = object::<LoginBody>(body);
        assert!(value.is_err() || login.is_err());
        assert!(ProfileUpdate::read(body).is_err() || value.is_err());
        return;
    };
    if let Ok(login) = object::<LoginBody>(body) {
        assert_eq!(login.code, value["code"].as_str().expect("a text"));
        if let Ok((data, signed)) = login.brought() {
            let has = |name: &str| value[name].as_str().is_some_and(|text| !text.is_empty());
            assert_eq!(data.is_some(), has("encryptedData") && has("iv"));
            assert_eq!(signed.is_some(), has("rawData") && has("signature"));
        }
    }
    drop(object::<DecryptBody>(body));
    if let Ok(phone) = object::<PhoneBody>(body) {
        drop(phone.brought());
    }
    if let Ok(ProfileUpdate::Chosen(fields)) = ProfileUpdate::read(body) {
        assert!(!fields.is_empty() && fields.len() <= 2);
        if let Some(nick) = fields.get("nickName").and_then(Value::as_str) {
            assert!((1..=64).contains(&nick.chars().count()) && !nick.contains(char::is_control));
        }
        if let Some(url) = fields.get("avatarUrl").and_then(Value::as_str) {
            // A browser takes a backslash for a slash.
            let plain = url.replace('\\', "/");
            let outside = plain.starts_with("https://") || plain.starts_with("http://");
            assert!(outside || !plain.starts_with("//"), "{url}");
            assert!(url.len() <= 1024 && url.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}

fn lines(feed: &mut Feed<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for _ in 0..6 {
        const NAMES: [&str; 9] = [
            "x-wx-skey",
            "x-wx-id",
            "authorization",
            "x-wx-code",
            "referer",
            "x-weappd-appid",
            "x-wx-appid",
            "x-wx-encrypted-data",
            "x-wx-iv",
        ];
        let name = NAMES[feed.below(9)];
        if let Ok(value) = HeaderValue::from_bytes(feed.field()) {
            map.append(HeaderName::from_static(name), value);
        }
    }
    map
}

/// What a request shows of its session is bounded, and the dialect's words fit.
fn headers(feed: &mut Feed<'_>) {
    let map = lines(feed);
    if let Ok(shown) = PresentedSkey::read(&map) {
        assert!(!shown.skey.is_empty() && shown.skey.len() <= 100);
        let is_header = map.get("x-wx-skey").is_some_and(|skey| skey == shown.skey);
        let is_bearer = shown.skey.len() == 64 && shown.id.is_none();
        assert!(is_header || is_bearer);
    }
    let drawn = tap::request(&Method::GET, &Uri::from_static("/weapp/user"), &map);
    let values = drawn["headers"].as_object().into_iter().flatten();
    let drawn: Vec<&str> = values.filter_map(|(_, value)| value.as_str()).collect();
    for name in ["x-wx-skey", "x-wx-code", "authorization"] {
        for value in map
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
        {
            let others = map.iter().filter(|(other, _)| *other != name);
            let mut others = others.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()));
            let told = others.any(|other| other.contains(value));
            let is_shown = drawn.iter().any(|shown| shown.contains(value));
            assert!(value.len() < 9 || told || !is_shown, "{drawn:?}");
        }
    }
}

/// Secrets under any spelling of their names, at any depth, are not drawn.
fn masked(feed: &mut Feed<'_>) {
    const SECRET: &str = "tiihtNczf5v6AKRyjwEUhQ";
    const NAMES: [&str; 8] = [
        "session_key",
        "sessionKey",
        "SKEY",
        "X-WX-Skey",
        "access_token",
        "app-secret",
        "js_code",
        "tcKey",
    ];
    let name = NAMES[feed.below(8)];
    let deep = feed.below(4);
    let other = feed.text();
    let mut value = json!({ name: SECRET, "nickName": other });
    for _ in 0..deep {
        value = if feed.flag() {
            json!([value, 1])
        } else {
            json!({ "data": value })
        };
    }
    let drawn = tap::body(value.to_string().as_bytes()).to_string();
    // A tab before it, drawn `\t`, completes it.
    let said = json!(other).to_string().contains(SECRET);
    assert!(said || !drawn.contains(SECRET), "{drawn}");
    // A token of 40 letters or more is hidden wherever it stands.
    let token = "Ab3-_".repeat(8 + deep);
    let drawn = tap::body(json!([format!("{other} {token}")]).to_string().as_bytes());
    assert!(!drawn.to_string().contains(&token));
    let raw = feed.rest();
    let drawn = tap::body(raw).to_string();
    assert!(drawn.len() <= 8 * raw.len() + 64);
}

/// A login is for one of the site's mini programs, or for none.
fn choice(feed: &mut Feed<'_>) {
    let appids: Vec<String> = ["wx1", "wx2"][..feed.below(3)]
        .iter()
        .map(ToString::to_string)
        .collect();
    let text = feed.text();
    if let Some(referer) = MiniAppReferer::parse(&text) {
        let again = format!(
            "https://servicewechat.com/{}/{}/page-frame.html",
            referer.appid, referer.version
        );
        assert_eq!(again, text);
    }
    let map = lines(feed);
    match meant(&appids, &map) {
        Ok(Some(appid)) => assert!(appids.iter().any(|own| own == appid)),
        Ok(None) => assert!(appids.is_empty()),
        Err(stray) => assert!(stray.to_string().is_ascii() && stray.to_string().len() < 200),
    }
}

/// Settings: no problem shows a password; durations of any length end somewhere.
fn settings(feed: &mut Feed<'_>) {
    const PASSWORD: &str = "s3cretPassw0rd";
    let (scheme, user, place) = (feed.text(), feed.text(), feed.text());
    let config = Config {
        store: format!("{scheme}:{user}:{PASSWORD}@{place}"),
        cauth_time_zone: feed.text(),
        ..Config::default()
    };
    let problems = config.problems();
    let shown = format!("{problems:?} {config:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    let limits = SessionLifetime {
        login: Duration::from_secs(feed.number().unsigned_abs()),
        idle: Duration::from_secs(feed.number().unsigned_abs()),
    };
    let (created, visit) = (UnixSecs::new(feed.number()), UnixSecs::new(feed.number()));
    let end = limits.end(created, visit);
    assert!(end <= created + limits.login);
    assert!(end <= visit + limits.idle);
}

/// Whatever a column of a database holds, the answers are JSON.
fn stored(column: &str) {
    let info = columns::read(column);
    for user_info in [info, Some(column.to_owned()), None] {
        let found = SessionRow {
            seq: 1,
            created: UnixSecs::new(1),
            last_visit: UnixSecs::new(1),
            user: 1,
            appid: "wx1".to_owned(),
            openid: "o1".to_owned(),
            unionid: None,
            id: "i".to_owned(),
            user_info,
            phone: None,
        };
        let terms = AppTerms::of(SessionLifetime {
            login: Duration::from_secs(1),
            idle: Duration::from_secs(1),
        });
        let session = CachedSession::new(SkeyHash::of("s"), found, terms);
        let info: Value = serde_json::from_str(&session.identity.user_info_json).expect("JSON");
        assert!(info.is_object());
        let answer: Value = serde_json::from_slice(&session.wafer1_user()).expect("JSON");
        assert_eq!(answer["data"]["userInfo"], info);
        let answer: Value = serde_json::from_slice(&session.wafer2_user()).expect("JSON");
        assert_eq!(answer["data"], info);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
