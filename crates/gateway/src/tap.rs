//! Reports to the wiretap, secrets masked.

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use weappd_base::secret::{mask, mask_json};
use weappd_base::wiretap::{Party, Report, Wiretap};
use weappd_wechat::Credential;

use crate::config::TokenMode;
use crate::deliver::Message;
use crate::query::Query;

/// The longest body shown.
const SHOWN: usize = 4096;

/// A call as it is drawn: the app's and ours look alike.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) body: Option<&'a [u8]>,
}

/// App to weappd, or weappd to WeChat, where a token of ours is added.
pub(crate) fn called(wiretap: &Wiretap, to_wechat: bool, call: &Call<'_>, token: Option<&str>) {
    wiretap.hop(|| {
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
            (Party::Weappd, Party::Wechat)
        } else {
            (Party::App, Party::Weappd)
        };
        report(from, to, name(call.path), false, detail)
    });
}

/// The way back of [`called`].
pub(crate) fn answered(
    wiretap: &Wiretap,
    from_wechat: bool,
    path: &str,
    status: StatusCode,
    body: Option<&[u8]>,
) {
    wiretap.hop(|| {
        let mut detail = json!({"status": status.as_u16()});
        if let Some(body) = body {
            detail["body"] = shown(body);
        }
        let (from, to) = if from_wechat {
            (Party::Wechat, Party::Weappd)
        } else {
            (Party::Weappd, Party::App)
        };
        report(from, to, name(path), true, detail)
    });
}

/// The question for a token.
pub(crate) fn token_asked(
    wiretap: &Wiretap,
    credential: &Credential,
    mode: TokenMode,
    force: bool,
) {
    wiretap.hop(|| {
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
        report(Party::Weappd, Party::Wechat, name, false, detail)
    });
}

/// WeChat's answer to it.
pub(crate) fn token_answered(wiretap: &Wiretap, mode: TokenMode, body: Option<&[u8]>) {
    wiretap.hop(|| {
        let body = body.map_or(Value::from("no answer"), shown);
        let name = name(token_path(mode));
        report(
            Party::Wechat,
            Party::Weappd,
            name,
            true,
            json!({"body": body}),
        )
    });
}

/// WeChat pushes a message.
pub(crate) fn pushed(wiretap: &Wiretap, message: &Message, headers: &HeaderMap, safe: bool) {
    wiretap.hop(|| {
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let detail = json!({
            "path": "/weapp/message",
            "appid": message.appid,
            "content_type": content_type,
            "mode": if safe { "safe" } else { "plain" },
            "message": shown(message.body.as_bytes()),
        });
        Report {
            who: message.openid.clone(),
            ..report(Party::Wechat, Party::Weappd, "message push", false, detail)
        }
    });
}

/// weappd's answer to a push.
pub(crate) fn push_answered(wiretap: &Wiretap, openid: Option<&str>, answer: &str) {
    wiretap.hop(|| Report {
        who: openid.map(str::to_owned),
        ..report(
            Party::Weappd,
            Party::Wechat,
            "message push",
            true,
            json!({"body": answer}),
        )
    });
}

/// The message goes to the app.
pub(crate) fn delivering(wiretap: &Wiretap, message: &Message) {
    wiretap.hop(|| Report {
        who: message.openid.clone(),
        ..report(
            Party::Weappd,
            Party::App,
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
pub(crate) fn delivered(wiretap: &Wiretap, message: &Message, outcome: &str) {
    wiretap.hop(|| Report {
        who: message.openid.clone(),
        ..report(
            Party::App,
            Party::Weappd,
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

fn report(from: Party, to: Party, name: &str, answer: bool, detail: Value) -> Report {
    Report {
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
