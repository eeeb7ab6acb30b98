//! WeChat's server: what `api.weixin.qq.com` answers.

use serde_json::{Value, json};

use crate::codes::BadCode;
use crate::simulator::Simulator;

/// The query of `jscode2session`, as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeToSession {
    pub(crate) appid: String,
    pub(crate) secret: String,
    pub(crate) js_code: String,
    pub(crate) grant_type: String,
}

/// Why WeChat refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TokenNotLatest,
    GrantType,
    Openid,
    MediaType,
    MessageType,
    Appid,
    TokenInvalid,
    Code,
    Template,
    UnknownPath,
    Args,
    Secret,
    Scene,
    PathLength,
    CodeUsed,
    CodeScene,
    RiskyUser,
    TokenMissing,
    AppidMissing,
    SecretMissing,
    CodeMissing,
    Page,
    TokenExpired,
    NotGet,
    NotPost,
    NotSubscribed,
    OtherApp,
    BodyEmpty,
    CodesUsedUp,
    DayLimit,
    MinuteLimit,
    OutOfTime,
    RepliesUsedUp,
    BodyNotJson,
    TemplateData(String),
    SensitiveWord,
    Inactive,
    SessionGone,
    NotOurs,
    SignatureMethod,
    Signature,
    ApiSignature,
    IpNotAllowed,
    SecretFrozen,
    ClearedTooOften,
    QuotaPath,
    Simulated(i64),
}

impl Refusal {
    /// WeChat's number and text.
    fn wire(&self) -> (i64, &str) {
        match self {
            Self::TokenNotLatest => (
                40001,
                "invalid credential, access_token is invalid or not latest",
            ),
            Self::NotOurs => (1, "system error, unknown data"),
            Self::GrantType => (40002, "invalid grant_type"),
            Self::Openid => (40003, "invalid openid"),
            Self::MediaType => (40004, "invalid media type"),
            Self::MessageType => (40008, "invalid message type"),
            Self::Appid => (40013, "invalid appid"),
            Self::TokenInvalid => (40014, "invalid access_token"),
            Self::Code => (40029, "invalid code"),
            Self::Template => (40037, "invalid template_id"),
            Self::UnknownPath => (40066, "invalid url"),
            Self::Args => (40097, "invalid args"),
            Self::Secret => (40125, "invalid appsecret"),
            Self::Scene => (40129, "invalid scene"),
            Self::PathLength => (40159, "path is empty or longer than it may be"),
            Self::CodeUsed => (40163, "code been used"),
            Self::CodeScene => (
                40169,
                "invalid length for scene, or the data is not json string",
            ),
            Self::IpNotAllowed => (
                40164,
                "invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in whitelist",
            ),
            Self::ApiSignature => (40234, "invalid signature"),
            Self::SecretFrozen => (40243, "AppSecret frozen"),
            Self::ClearedTooOften => (48006, "forbid to clear quota because of reaching the limit"),
            Self::QuotaPath => (76021, "cgi_path not found"),
            Self::RiskyUser => (40226, "code blocked"),
            Self::TokenMissing => (41001, "access_token missing"),
            Self::AppidMissing => (41002, "appid missing"),
            Self::SecretMissing => (41004, "appsecret missing"),
            Self::CodeMissing => (41008, "missing code"),
            Self::Page => (41030, "invalid page"),
            Self::TokenExpired => (42001, "access_token expired"),
            Self::NotGet => (43001, "require GET method"),
            Self::NotPost => (43002, "require POST method"),
            Self::NotSubscribed => (43101, "user refuse to accept the msg"),
            Self::OtherApp => (43104, "appid and openid not match"),
            Self::BodyEmpty => (44002, "empty post data"),
            Self::CodesUsedUp => (45029, "qrcode count out of limit"),
            Self::DayLimit => (45009, "reach max api daily quota limit"),
            Self::MinuteLimit => (
                45011,
                "api minute-quota reach limit, must slower, retry next minute",
            ),
            Self::OutOfTime => (
                45015,
                "response out of time limit or subscription is canceled",
            ),
            Self::RepliesUsedUp => (45047, "out of response count limit"),
            Self::BodyNotJson => (47001, "data format error"),
            Self::TemplateData(what) => (47003, what),
            Self::SensitiveWord => (45168, "sensitive word"),
            Self::Inactive => (61010, "code is expired"),
            Self::SessionGone => (87007, "session_key is not existed or expired"),
            Self::SignatureMethod => (87008, "invalid sig_method"),
            Self::Signature => (87009, "invalid signature"),
            Self::Simulated(-1) => (-1, "system error"),
            Self::Simulated(errcode) => (*errcode, "simulated fault"),
        }
    }
}

impl Simulator {
    /// Trades a code for the user's openid and session key.
    pub(crate) fn code_to_session(&self, asked: &CodeToSession) -> Result<Value, Refusal> {
        if asked.appid.is_empty() {
            return Err(Refusal::AppidMissing);
        }
        if asked.secret.is_empty() {
            return Err(Refusal::SecretMissing);
        }
        if asked.js_code.is_empty() {
            return Err(Refusal::CodeMissing);
        }
        if asked.grant_type != "authorization_code" {
            return Err(Refusal::GrantType);
        }
        let mini_app = self.mini_app(&asked.appid).ok_or(Refusal::Appid)?;
        if !mini_app.credential.secret.is(&asked.secret) {
            return Err(Refusal::Secret);
        }
        let now = self.now();
        let grant = self.with_state(|state| {
            let redeemed = state.codes.redeem(&asked.appid, &asked.js_code, now);
            let grant = redeemed.map_err(|bad| match bad {
                BadCode::Invalid | BadCode::OtherApp => Refusal::Code,
                BadCode::Used => Refusal::CodeUsed,
            })?;
            let risky = state.known(&grant.user).is_some_and(|user| user.risky);
            if risky {
                Err(Refusal::RiskyUser)
            } else {
                Ok(grant)
            }
        })?;
        let mut answer = json!({
            "session_key": grant.session_key.expose(),
            "openid": grant.user.openid(&grant.appid),
        });
        if mini_app.has_unionid {
            answer["unionid"] = grant.user.unionid().into();
        }
        Ok(answer)
    }

    /// A refusal with a trace id of WeChat's shape: time and chance, 3 times 8 hex digits.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Value {
        let (errcode, errmsg) = refusal.wire();
        let rid = self.trace_id();
        json!({ "errcode": errcode, "errmsg": format!("{errmsg}, rid: {rid}") })
    }

    /// Time and chance, 3 times 8 hex digits.
    pub(crate) fn trace_id(&self) -> String {
        format!(
            "{:08x}-{}-{}",
            self.now(),
            hex::encode(self.tokens().bytes::<4>()),
            hex::encode(self.tokens().bytes::<4>()),
        )
    }
}
