//! Reports to the tap, secrets masked.

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use weappd_base::secret::{mask, mask_json};
use weappd_base::tap::{TapPeer, TapReport, TrafficTap};
use weappd_wechat::AppCredential;

use crate::config::TokenMode;
use crate::deliver::PushedMessage;
use crate::query::CallQuery;

/// The longest body shown.
const SHOWN: usize = 4096;

/// A call as it is drawn: the app's and ours look alike.
pub(crate) struct TappedCall<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a CallQuery,
    pub(crate) body: Option<&'a [u8]>,
}

/// App to weappd, or weappd to WeChat, where a token of ours is added.
pub(crate) fn called(
    tap: &TrafficTap,
    to_wechat: bool,
    call: &TappedCall<'_>,
    token: Option<&str>,
) {
    tap.record(|| {
        let mut query = call.query.shown();
        if let (Some(token), Value::Object(fields)) = (token, &mut query) {
            fields.insert("access_token".to_owned(), Value::from(mask(token)));
        }
        let mut detail = json!({
            "method": call.method.as_str(),
            "path": call.path,
            "query": query,
        });
        if let Some(body) = call.body.filter(|body| !body.is_empty()) {
            detail["body"] = shown(body);
        }
        let (from, to) = if to_wechat {
            (TapPeer::Weappd, TapPeer::Wechat)
        } else {
            (TapPeer::App, TapPeer::Weappd)
        };
        report(from, to, name(call.path), false, detail)
    });
}

/// The way back of [`called`].
pub(crate) fn answered(
    tap: &TrafficTap,
    from_wechat: bool,
    path: &str,
    status: StatusCode,
    body: Option<&[u8]>,
) {
    tap.record(|| {
        let mut detail = json!({"status": status.as_u16()});
        if let Some(body) = body {
            detail["body"] = shown(body);
        }
        let (from, to) = if from_wechat {
            (TapPeer::Wechat, TapPeer::Weappd)
        } else {
            (TapPeer::Weappd, TapPeer::App)
        };
        report(from, to, name(path), true, detail)
    });
}

/// The question for a token.
pub(crate) fn token_asked(
    tap: &TrafficTap,
    credential: &AppCredential,
    mode: TokenMode,
    force: bool,
) {
    tap.record(|| {
        let mut body = json!({
            "grant_type": "client_credential",
            "appid": credential.appid,
            "secret": mask(credential.secret.expose()),
        });
        if mode == TokenMode::Stable {
            body["force_refresh"] = Value::from(force);
        }
        let detail = json!({"path": token_path(mode), "body": body});
        let name = name(token_path(mode));
        report(TapPeer::Weappd, TapPeer::Wechat, name, false, detail)
    });
}

/// WeChat's answer to it.
pub(crate) fn token_answered(tap: &TrafficTap, mode: TokenMode, body: Option<&[u8]>) {
    tap.record(|| {
        let body = body.map_or(Value::from("no answer"), shown);
        let name = name(token_path(mode));
        report(
            TapPeer::Wechat,
            TapPeer::Weappd,
            name,
            true,
            json!({"body": body}),
        )
    });
}

/// WeChat pushes a message.
pub(crate) fn pushed(tap: &TrafficTap, message: &PushedMessage, headers: &HeaderMap, safe: bool) {
    tap.record(|| {
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let detail = json!({
            "path": "/weapp/message",
            "appid": message.appid,
            "content_type": content_type,
            "mode": if safe { "safe" } else { "plain" },
            "message": shown(message.body.as_bytes()),
        });
        TapReport {
            who: message.openid.clone(),
            ..report(
                TapPeer::Wechat,
                TapPeer::Weappd,
                "message push",
                false,
                detail,
            )
        }
    });
}

/// weappd's answer to a push.
pub(crate) fn push_answered(tap: &TrafficTap, openid: Option<&str>, answer: &str) {
    tap.record(|| TapReport {
        who: openid.map(str::to_owned),
        ..report(
            TapPeer::Weappd,
            TapPeer::Wechat,
            "message push",
            true,
            json!({"body": answer}),
        )
    });
}

/// The message goes to the app.
pub(crate) fn delivering(tap: &TrafficTap, message: &PushedMessage) {
    tap.record(|| TapReport {
        who: message.openid.clone(),
        ..report(
            TapPeer::Weappd,
            TapPeer::App,
            "message",
            false,
            json!({
                "headers": {"X-WX-APPID": message.appid, "X-WX-OPENID": message.openid},
                "try": message.tries.saturating_add(1),
                "body": shown(message.body.as_bytes()),
            }),
        )
    });
}

/// What the app said to it.
pub(crate) fn delivered(tap: &TrafficTap, message: &PushedMessage, outcome: &str) {
    tap.record(|| TapReport {
        who: message.openid.clone(),
        ..report(
            TapPeer::App,
            TapPeer::Weappd,
            "message",
            true,
            json!({"outcome": outcome}),
        )
    });
}

fn token_path(mode: TokenMode) -> &'static str {
    match mode {
        TokenMode::Stable => "/cgi-bin/stable_token",
        TokenMode::Classic => "/cgi-bin/token",
    }
}

/// APIs go by the last part of their path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn report(from: TapPeer, to: TapPeer, name: &str, answer: bool, detail: Value) -> TapReport {
    TapReport {
        from,
        to,
        name: name.to_owned(),
        answer,
        who: None,
        detail,
    }
}

/// A body for people: JSON with its secrets masked, or how long it is.
fn shown(body: &[u8]) -> Value {
    let json = (body.len() <= SHOWN)
        .then(|| serde_json::from_slice::<Value>(body).ok())
        .flatten();
    json.map_or_else(
        || Value::from(format!("{} bytes", body.len())),
        |mut json| {
            mask_json(&mut json);
            json
        },
    )
}
