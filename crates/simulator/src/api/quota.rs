//! Quotas, shown and cleared, and the check of the push address.

use serde_json::{Map, Value, json};

use super::{ApiCall, fine, text};
use crate::endpoints;
use crate::simulator::Simulator;
use crate::wechat_refusal::WechatRefusal;

impl Simulator {
    /// `POST /cgi-bin/openapi/quota/get`.
    pub(super) fn show_quota(&self, call: &ApiCall, appid: &str) -> Result<Value, WechatRefusal> {
        let path = counted_path(&call.fields()?)?;
        let now = self.now();
        let (limit, used, a_minute) = self.with_state(|state| {
            let used = state.quota.used(appid, &path, now);
            let settings = &state.settings;
            (settings.daily_limit(&path), used, settings.limit(&path))
        });
        let mut answer = fine();
        answer["quota"] = json!({
            "daily_limit": limit,
            "used": used,
            "remain": limit.saturating_sub(used),
        });
        if let Some(a_minute) = a_minute {
            answer["rate_limit"] = json!({"call_count": a_minute, "refresh_second": 60});
        }
        Ok(answer)
    }

    /// `POST /cgi-bin/openapi/quota/clear`.
    pub(super) fn clear_one_quota(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<Value, WechatRefusal> {
        let path = counted_path(&call.fields()?)?;
        self.clear(appid, Some(&path))
    }

    /// `POST /cgi-bin/clear_quota`, with a token, and `/v2`, with the `AppSecret`.
    pub(super) fn clear_quota(&self, call: &ApiCall, appid: &str) -> Result<Value, WechatRefusal> {
        if call.path.ends_with("/v2") {
            let secret = call.field("appsecret");
            let app = self
                .mini_app(call.field("appid"))
                .ok_or(WechatRefusal::Appid)?;
            if !app.credential.secret.is(secret) {
                return Err(WechatRefusal::Secret);
            }
        } else if text(&call.fields()?, "appid") != appid {
            return Err(WechatRefusal::Appid);
        }
        self.clear(appid, None)
    }

    fn clear(&self, appid: &str, path: Option<&str>) -> Result<Value, WechatRefusal> {
        let now = self.now();
        if self.with_state(|state| state.quota.clear(appid, path, now)) {
            Ok(fine())
        } else {
            Err(WechatRefusal::ClearedTooOften)
        }
    }

    /// `POST /cgi-bin/callback/check`: every name is this machine, and it answers.
    pub(super) fn check_callback(call: &ApiCall) -> Value {
        let action = call.fields().unwrap_or_default();
        let action = text(&action, "action").to_owned();
        let mut answer = fine();
        if action != "ping" {
            answer["dns"] = json!([{"ip": "127.0.0.1", "real_operator": "DEFAULT"}]);
        }
        if action != "dns" {
            let ping = json!({
                "ip": "127.0.0.1",
                "from_operator": "DEFAULT",
                "package_loss": "0%",
                "time": "0.1ms",
            });
            answer["ping"] = json!([ping]);
        }
        answer
    }
}

/// The path whose quota is meant.
fn counted_path(fields: &Map<String, Value>) -> Result<String, WechatRefusal> {
    let path = text(fields, "cgi_path");
    match endpoints::method_of(path) {
        Some(_) => Ok(path.to_owned()),
        None => Err(WechatRefusal::QuotaPath),
    }
}
