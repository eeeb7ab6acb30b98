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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    GrantType,
    Appid,
    Code,
    Secret,
    CodeUsed,
    AppidMissing,
    SecretMissing,
    CodeMissing,
    NotGet,
    Simulated(i64),
}

impl Refusal {
    /// WeChat's number and text.
    fn wire(self) -> (i64, &'static str) {
        match self {
            Self::GrantType => (40002, "invalid grant_type"),
            Self::Appid => (40013, "invalid appid"),
            Self::Code => (40029, "invalid code"),
            Self::Secret => (40125, "invalid appsecret"),
            Self::CodeUsed => (40163, "code been used"),
            Self::AppidMissing => (41002, "appid missing"),
            Self::SecretMissing => (41004, "appsecret missing"),
            Self::CodeMissing => (41008, "missing code"),
            Self::NotGet => (43001, "require GET method"),
            Self::Simulated(-1) => (-1, "system error"),
            Self::Simulated(errcode) => (errcode, "simulated fault"),
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
        let grant = self
            .with_state(|state| state.codes.redeem(&asked.appid, &asked.js_code, now))
            .map_err(|bad| match bad {
                BadCode::Invalid => Refusal::Code,
                BadCode::Used => Refusal::CodeUsed,
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
    pub(crate) fn refuse(&self, refusal: Refusal) -> Value {
        let (errcode, errmsg) = refusal.wire();
        let rid = format!(
            "{:08x}-{}-{}",
            self.now(),
            hex::encode(self.tokens().bytes::<4>()),
            hex::encode(self.tokens().bytes::<4>()),
        );
        json!({ "errcode": errcode, "errmsg": format!("{errmsg}, rid: {rid}") })
    }
}
