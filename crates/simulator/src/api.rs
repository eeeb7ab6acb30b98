//! WeChat's server beyond the login: who may call what, and who answers.

use axum::body::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use crate::endpoints;
use crate::platform::CodeToSessionQuery;
use crate::simulator::Simulator;
use crate::token_book::TokenMint;
use crate::wechat_refusal::WechatRefusal;

mod content;
mod messages;
mod people;
mod pictures;
mod quota;
mod template;

/// The calls that carry no `access_token`.
const OPEN: [&str; 4] = [
    "/sns/jscode2session",
    "/cgi-bin/token",
    "/cgi-bin/stable_token",
    "/cgi-bin/clear_quota/v2",
];

/// The calls that help when all others are used up.
const CLEARING: [&str; 4] = [
    "/cgi-bin/clear_quota",
    "/cgi-bin/clear_quota/v2",
    "/cgi-bin/openapi/quota/clear",
    "/cgi-bin/openapi/quota/get",
];

/// A server's call, as it came.
#[derive(Debug)]
pub(crate) struct ApiCall {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// What WeChat says to it.
#[derive(Debug)]
pub(crate) enum ApiReply {
    Json(Value),
    Picture {
        png: Vec<u8>,
        /// How much of the pool that has an end is used, where the picture counts.
        used: Option<u32>,
    },
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct ApiOutcome {
    pub(crate) said: Result<ApiReply, WechatRefusal>,
    /// The mini program that called, if that was found out.
    pub(crate) appid: Option<String>,
    pub(crate) note: Option<&'static str>,
}

impl ApiCall {
    /// A field of the query; empty where there is none.
    fn field(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body's fields.
    fn fields(&self) -> Result<Map<String, Value>, WechatRefusal> {
        if self.body.trim_ascii().is_empty() {
            return Err(WechatRefusal::BodyEmpty);
        }
        serde_json::from_slice(&self.body).map_err(|_| WechatRefusal::BodyNotJson)
    }
}

/// A text of a body; empty where there is none.
fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The answer that only says that it worked.
fn fine() -> Value {
    json!({ "errcode": 0, "errmsg": "ok" })
}

impl Simulator {
    /// Answers a server's call.
    pub(crate) fn answer(&self, call: &ApiCall) -> ApiOutcome {
        let mut outcome = ApiOutcome {
            said: Err(WechatRefusal::UnknownPath),
            appid: None,
            note: None,
        };
        outcome.said = self.admit(call, &mut outcome.appid).and_then(|()| {
            let appid = outcome.appid.clone().unwrap_or_default();
            if let Some(said) = self.simulated(call, &appid) {
                return said;
            }
            outcome.note = Some("a general answer: this call is not simulated");
            Ok(ApiReply::Json(fine()))
        });
        outcome
    }

    /// The path, the method, the `access_token` and the limit, in this order.
    fn admit(&self, call: &ApiCall, appid: &mut Option<String>) -> Result<(), WechatRefusal> {
        let method = endpoints::method_of(&call.path).ok_or(WechatRefusal::UnknownPath)?;
        if call.method != method {
            return Err(if method == Method::GET {
                WechatRefusal::NotGet
            } else {
                WechatRefusal::NotPost
            });
        }
        let now = self.now();
        *appid = if OPEN.contains(&call.path.as_str()) {
            let fields = call.fields().unwrap_or_default();
            let named = match call.field("appid") {
                "" => text(&fields, "appid"),
                named => named,
            };
            self.mini_app(named).map(|app| app.credential.appid.clone())
        } else {
            let token = call.field("access_token");
            let found = self.with_state(|state| {
                let checked = state.token_book.check(token, now);
                checked.map(ToOwned::to_owned)
            });
            Some(found?)
        };
        self.with_state(|state| {
            let whose = appid.as_deref().unwrap_or_default();
            let a_day = state.settings.daily_limit(&call.path);
            if !CLEARING.contains(&call.path.as_str())
                && !state.quota.take(whose, &call.path, a_day, now)
            {
                return Err(WechatRefusal::DayLimit);
            }
            let Some(limit) = state.settings.limit(&call.path) else {
                return Ok(());
            };
            let key = format!("{whose} {}", call.path);
            if state.meter.take(key, limit, now) {
                Ok(())
            } else {
                Err(WechatRefusal::MinuteLimit)
            }
        })
    }

    /// The answer of a call that is simulated.
    fn simulated(&self, call: &ApiCall, appid: &str) -> Option<Result<ApiReply, WechatRefusal>> {
        let json = match call.path.as_str() {
            "/sns/jscode2session" => self.code_to_session(&CodeToSessionQuery {
                appid: call.field("appid").to_owned(),
                secret: call.field("secret").to_owned(),
                js_code: call.field("js_code").to_owned(),
                grant_type: call.field("grant_type").to_owned(),
            }),
            "/cgi-bin/token" => self.classic_token(call),
            "/cgi-bin/stable_token" => self.stable_token(call),
            "/wxa/business/getuserphonenumber" => self.user_phone_number(call, appid),
            "/wxa/business/checkencryptedmsg" => self.check_encrypted(call, appid),
            "/wxa/business/getuserencryptkey" => self.user_keys(call, appid),
            "/wxa/checksession" => self.check_session_key(call, appid),
            "/wxa/resetusersessionkey" => self.reset_session_key(call, appid),
            "/wxa/getuserriskrank" => self.user_risk_rank(call, appid),
            "/wxa/msg_sec_check" => self.check_text(call, appid),
            "/wxa/media_check_async" => self.check_media(call, appid),
            "/cgi-bin/message/subscribe/send" => self.send_subscribed(call, appid),
            "/cgi-bin/message/custom/send" => self.send_custom(call, appid),
            "/cgi-bin/message/custom/typing" | "/cgi-bin/message/custom/business/typing" => {
                self.show_typing(call, appid)
            }
            "/cgi-bin/openapi/quota/get" => self.show_quota(call, appid),
            "/cgi-bin/openapi/quota/clear" => self.clear_one_quota(call, appid),
            "/cgi-bin/clear_quota" | "/cgi-bin/clear_quota/v2" => self.clear_quota(call, appid),
            "/cgi-bin/callback/check" => Ok(Self::check_callback(call)),
            "/cgi-bin/media/upload" => Ok(self.take_media(call)),
            "/cgi-bin/getcallbackip" | "/cgi-bin/get_api_domain_ip" => {
                Ok(json!({ "ip_list": ["127.0.0.1"] }))
            }
            "/wxa/getwxacodeunlimit" => return Some(Self::unlimited_picture(call)),
            "/wxa/getwxacode" | "/cgi-bin/wxaapp/createwxaqrcode" => {
                return Some(self.counted_picture(call, appid));
            }
            _ => return None,
        };
        Some(json.map(ApiReply::Json))
    }

    /// `GET /cgi-bin/token`.
    fn classic_token(&self, call: &ApiCall) -> Result<Value, WechatRefusal> {
        let asked = [
            call.field("appid"),
            call.field("secret"),
            call.field("grant_type"),
        ];
        self.check_credential(asked)?;
        let now = self.now();
        let given = self.with_state(|state| {
            let mint = TokenMint {
                random: self.random(),
                now,
                lives: state.settings.token_life(),
            };
            let a_day = state.settings.tokens_per_day;
            state.token_book.classic(asked[0], mint, a_day)
        })?;
        Ok(json!({ "access_token": given.token, "expires_in": given.expires_in }))
    }

    /// `POST /cgi-bin/stable_token`.
    fn stable_token(&self, call: &ApiCall) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let asked = ["appid", "secret", "grant_type"].map(|name| text(&fields, name));
        self.check_credential(asked)?;
        let force = fields.get("force_refresh") == Some(&Value::Bool(true));
        let now = self.now();
        let given = self.with_state(|state| {
            let mint = TokenMint {
                random: self.random(),
                now,
                lives: state.settings.token_life(),
            };
            state.token_book.stable(asked[0], mint, force)
        });
        Ok(json!({ "access_token": given.token, "expires_in": given.expires_in }))
    }

    fn check_credential(
        &self,
        [appid, secret, grant_type]: [&str; 3],
    ) -> Result<(), WechatRefusal> {
        if appid.is_empty() {
            return Err(WechatRefusal::AppidMissing);
        }
        if secret.is_empty() {
            return Err(WechatRefusal::SecretMissing);
        }
        if grant_type != "client_credential" {
            return Err(WechatRefusal::GrantType);
        }
        let mini_app = self.mini_app(appid).ok_or(WechatRefusal::Appid)?;
        if !mini_app.credential.secret.is(secret) {
            return Err(WechatRefusal::Secret);
        }
        self.with_state(|state| {
            let settings = &state.settings;
            let allowed = &settings.ip_allow_list;
            if settings.secret_frozen {
                Err(WechatRefusal::SecretFrozen)
            } else if allowed.is_empty() || allowed.iter().any(|ip| ip == "127.0.0.1") {
                Ok(())
            } else {
                Err(WechatRefusal::IpNotAllowed)
            }
        })
    }
}

#[cfg(test)]
mod guards_tests;
#[cfg(test)]
mod sweep_tests;
#[cfg(test)]
mod tests;
