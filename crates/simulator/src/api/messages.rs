//! Messages to users: subscribed ones, and answers to customers.

use serde_json::{Map, Value, json};

use super::{ApiCall, fine, template, text};
use weappd_base::unix_time::UnixSecs;

use crate::simulator::Simulator;
use crate::wechat_refusal::WechatRefusal;

impl Simulator {
    /// `POST /cgi-bin/message/subscribe/send`: one message for each time the user agreed.
    pub(super) fn send_subscribed(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let (openid, template_id) = (text(&fields, "touser"), text(&fields, "template_id"));
        if template_id.is_empty() {
            return Err(WechatRefusal::Template);
        }
        let state = text(&fields, "miniprogram_state");
        if !matches!(state, "" | "developer" | "trial" | "formal") {
            return Err(WechatRefusal::Args);
        }
        let data = fields.get("data").and_then(Value::as_object);
        let data =
            data.ok_or_else(|| WechatRefusal::TemplateData("argument invalid! data".to_owned()))?;
        template::check(data)?;
        let settings = self.settings();
        if settings.verdict(&Value::Object(data.clone()).to_string()).0 == "risky" {
            return Err(WechatRefusal::SensitiveWord);
        }
        let msgid = self.message_id();
        let now = self.now();
        self.with_state(|state| {
            let (_, user) = state.user_of(appid, openid)?;
            let key = (appid.to_owned(), template_id.to_owned());
            let left = user.subscriptions.get_mut(&key).filter(|left| **left > 0);
            *left.ok_or(WechatRefusal::NotSubscribed)? -= 1;
            user.receive(received("subscribe", appid, now, &fields));
            Ok(())
        })?;
        let event = json!({
            "MsgType": "event",
            "Event": "subscribe_msg_sent_event",
            "List": {
                "TemplateId": template_id,
                "MsgID": msgid.to_string(),
                "ErrorCode": "0",
                "ErrorStatus": "success",
            },
        });
        self.push_later(appid, openid, event, 0);
        Ok(json!({ "errcode": 0, "errmsg": "ok", "msgid": msgid }))
    }

    /// `POST /cgi-bin/message/custom/send`: while the user's message or visit allows it.
    pub(super) fn send_custom(&self, call: &ApiCall, appid: &str) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let kind = text(&fields, "msgtype");
        if !matches!(kind, "text" | "image" | "link" | "miniprogrampage") {
            return Err(WechatRefusal::MessageType);
        }
        if !fields.get(kind).is_some_and(Value::is_object) {
            return Err(WechatRefusal::Args);
        }
        let now = self.now();
        self.with_state(|state| {
            let (_, user) = state.user_of(appid, text(&fields, "touser"))?;
            let windows = user
                .windows
                .get_mut(appid)
                .ok_or(WechatRefusal::OutOfTime)?;
            windows.spend(now)?;
            user.receive(received("custom", appid, now, &fields));
            Ok(())
        })?;
        Ok(fine())
    }

    /// `POST /cgi-bin/message/custom/typing`, which costs nothing.
    pub(super) fn show_typing(&self, call: &ApiCall, appid: &str) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        if !matches!(text(&fields, "command"), "Typing" | "CancelTyping") {
            return Err(WechatRefusal::Args);
        }
        let openid = text(&fields, "touser");
        self.with_state(|state| state.user_of(appid, openid).map(drop))?;
        Ok(fine())
    }

    /// `POST /cgi-bin/media/upload`: a `media_id`; the media itself is not kept.
    pub(super) fn take_media(&self, call: &ApiCall) -> Value {
        let kind = match call.field("type") {
            "" => "image",
            kind => kind,
        };
        json!({
            "type": kind,
            "media_id": self.random().url256(),
            "created_at": self.now(),
        })
    }
}

/// A message as the phone keeps it.
fn received(kind: &str, appid: &str, now: UnixSecs, fields: &Map<String, Value>) -> Value {
    json!({ "kind": kind, "appid": appid, "at": now, "message": fields })
}
