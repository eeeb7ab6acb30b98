//! WeChat's server: what `api.weixin.qq.com` answers.

use serde_json::{Value, json};

use crate::code_table::CodeError;
use crate::simulator::Simulator;
use crate::wechat_refusal::WechatRefusal;

/// The query of `jscode2session`, as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeToSessionQuery {
    pub(crate) appid: String,
    pub(crate) secret: String,
    pub(crate) js_code: String,
    pub(crate) grant_type: String,
}

impl Simulator {
    /// Trades a code for the user's openid and session key.
    pub(crate) fn code_to_session(
        &self,
        asked: &CodeToSessionQuery,
    ) -> Result<Value, WechatRefusal> {
        if asked.appid.is_empty() {
            return Err(WechatRefusal::AppidMissing);
        }
        if asked.secret.is_empty() {
            return Err(WechatRefusal::SecretMissing);
        }
        if asked.js_code.is_empty() {
            return Err(WechatRefusal::CodeMissing);
        }
        if asked.grant_type != "authorization_code" {
            return Err(WechatRefusal::GrantType);
        }
        let mini_app = self.mini_app(&asked.appid).ok_or(WechatRefusal::Appid)?;
        if !mini_app.credential.secret.is(&asked.secret) {
            return Err(WechatRefusal::Secret);
        }
        let now = self.now();
        let grant = self.with_state(|state| {
            let redeemed = state.codes.redeem(&asked.appid, &asked.js_code, now);
            let grant = redeemed.map_err(|bad| match bad {
                CodeError::Invalid | CodeError::OtherApp => WechatRefusal::Code,
                CodeError::Used => WechatRefusal::CodeUsed,
            })?;
            let risky = state.known(&grant.user).is_some_and(|user| user.risky);
            if risky {
                Err(WechatRefusal::RiskyUser)
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
    pub(crate) fn refuse(&self, refusal: &WechatRefusal) -> Value {
        let (errcode, errmsg) = refusal.wire();
        let rid = self.trace_id();
        json!({ "errcode": errcode, "errmsg": format!("{errmsg}, rid: {rid}") })
    }

    /// Time and chance, 3 times 8 hex digits.
    pub(crate) fn trace_id(&self) -> String {
        format!(
            "{:08x}-{}-{}",
            self.now().get(),
            hex::encode(self.random().bytes::<4>()),
            hex::encode(self.random().bytes::<4>()),
        )
    }
}
