//! Content security: texts at once, pictures and sounds by a later push.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{ApiCall, text};
use weappd_base::unix_time::UnixSecs;

use crate::simulator::{SimulatedUser, Simulator};
use crate::wechat_refusal::WechatRefusal;

/// Content is checked for users who were here within 2 hours.
const ACTIVE_SPAN: Duration = Duration::from_hours(2);
/// The longest text, in characters.
const MAX_CONTENT: usize = 2500;

impl SimulatedUser {
    pub(super) fn is_active(&self, appid: &str, now: UnixSecs) -> bool {
        let seen = self.active_at.get(appid);
        seen.is_some_and(|at| now < *at + ACTIVE_SPAN)
    }
}

impl Simulator {
    /// `POST /wxa/msg_sec_check`, version 2. The words of the settings decide.
    pub(super) fn check_text(&self, call: &ApiCall, appid: &str) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let content = text(&fields, "content");
        if content.is_empty() || content.chars().count() > MAX_CONTENT {
            return Err(WechatRefusal::Args);
        }
        self.check_who_asks(&fields, appid)?;
        let all = ["content", "title", "nickname", "signature"]
            .map(|name| text(&fields, name))
            .join("\n");
        let settings = self.settings();
        let (suggest, label, word) = settings.verdict(&all);
        let mut detail = vec![json!({
            "strategy": "content_model",
            "errcode": 0,
            "suggest": suggest,
            "label": label,
            "prob": 90,
        })];
        if let Some(word) = word {
            detail.push(json!({
                "strategy": "keyword",
                "errcode": 0,
                "suggest": suggest,
                "label": label,
                "level": 90,
                "keyword": word,
            }));
        }
        Ok(json!({
            "errcode": 0,
            "errmsg": "ok",
            "result": { "suggest": suggest, "label": label },
            "detail": detail,
            "trace_id": self.trace_id(),
        }))
    }

    /// `POST /wxa/media_check_async`: the result is pushed later, as `wxa_media_check`.
    pub(super) fn check_media(&self, call: &ApiCall, appid: &str) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let url = text(&fields, "media_url").to_owned();
        if url.is_empty() {
            return Err(WechatRefusal::Args);
        }
        let kind = fields.get("media_type").and_then(Value::as_u64);
        if !matches!(kind, Some(1 | 2)) {
            return Err(WechatRefusal::MediaType);
        }
        self.check_who_asks(&fields, appid)?;
        let trace_id = self.trace_id();
        let event = self.media_event(appid, &trace_id, &url);
        let delay = self.settings().media_check_delay_ms;
        self.push_later(appid, text(&fields, "openid"), event, delay);
        Ok(json!({ "errcode": 0, "errmsg": "ok", "trace_id": trace_id }))
    }

    /// What is judged is the address: the media is not fetched.
    fn media_event(&self, appid: &str, trace_id: &str, url: &str) -> Value {
        let mut event = json!({
            "MsgType": "event",
            "Event": "wxa_media_check",
            "appid": appid,
            "trace_id": trace_id,
            "version": 2,
        });
        let is_web = url.starts_with("http://") || url.starts_with("https://");
        if !is_web || url.contains("missing") {
            event["errcode"] = json!(-1008);
            event["errmsg"] = json!("download failed");
            return event;
        }
        let settings = self.settings();
        let (suggest, label, _) = settings.verdict(url);
        event["detail"] = json!([{
            "strategy": "content_model",
            "errcode": 0,
            "suggest": suggest,
            "label": label,
            "prob": 90,
        }]);
        event["errcode"] = json!(0);
        event["errmsg"] = json!("ok");
        event["result"] = json!({ "suggest": suggest, "label": label });
        event
    }

    /// The version, the scene and the user, which both checks need.
    fn check_who_asks(
        &self,
        fields: &Map<String, Value>,
        appid: &str,
    ) -> Result<(), WechatRefusal> {
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        if number("version") != Some(2) {
            return Err(WechatRefusal::Args);
        }
        if !matches!(number("scene"), Some(1..=4)) {
            return Err(WechatRefusal::Scene);
        }
        let now = self.now();
        self.with_state(|state| {
            let (_, user) = state.user_of(appid, text(fields, "openid"))?;
            if user.is_active(appid, now) {
                Ok(())
            } else {
                Err(WechatRefusal::Inactive)
            }
        })
    }
}
