//! What is known of an event: whose it is, what makes a repeat the same, which answer WeChat
//! wants, and how soon.
//!
//! `FromUserName` is the user of few events only: most are sent in WeChat's own name, and say
//! elsewhere whom they are about.

use serde_json::{Map, Value};

/// What WeChat takes for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerForm {
    /// `success` says that the push arrived, and no more.
    Receipt,
    /// `success` says that the deed is done; anything else, that it is not.
    Success,
    /// `{"ErrCode":0,"ErrMsg":"success"}` says that the deed is done, and so do `success` and
    /// nothing at all. Another number has WeChat come again.
    ErrCode,
    /// A document with what was asked, addressed back to the sender.
    Document {
        /// The field of its result.
        code: &'static str,
        /// Whether a result without further data is one: then an app may say `success`.
        may_be_bare: bool,
    },
    /// Whether Apple should refund. There is no answer but the app's, and no time to try twice.
    RefundQuery,
}

/// Paths of fields that hold the same thing; the first one that is there counts.
pub(crate) type AnyOf = &'static [&'static str];

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventRule {
    pub(crate) name: &'static str,
    /// Where the user stands; empty if the event is nobody's.
    pub(crate) user: AnyOf,
    /// What two pushes of one event have in common, and no others; empty if only the message
    /// itself tells.
    pub(crate) key: &'static [AnyOf],
    pub(crate) answer: AnswerForm,
    /// After how many seconds WeChat gives up.
    pub(crate) seconds: u64,
    /// Whether the answer is never encrypted.
    pub(crate) is_plain: bool,
    /// Fields that WeChat's own JSON has as texts, and its XML without a sign of it.
    pub(crate) texts: &'static [&'static str],
}

impl EventRule {
    /// Whether WeChat takes `success` for the deed itself: then nobody but the app may say it.
    pub(crate) fn is_deed(&self) -> bool {
        self.answer != AnswerForm::Receipt
    }

    /// Whether a mini program may choose to have weappd say that it is done once it is on
    /// the disk: where there is nothing to say but that.
    pub(crate) fn may_be_stored(&self) -> bool {
        matches!(self.answer, AnswerForm::Success | AnswerForm::ErrCode)
    }

    /// The user a message is about.
    pub(crate) fn user(&self, fields: &Map<String, Value>) -> Option<String> {
        first(self.user, fields)
    }

    /// What a repeated push has in common with the first; `None` if only the whole message
    /// tells.
    pub(crate) fn key(&self, event: &str, fields: &Map<String, Value>) -> Option<String> {
        let (number, others) = self.key.split_first()?;
        let mut key = event.to_ascii_lowercase();
        let number = first(number, fields)?;
        let others = others
            .iter()
            .map(|names| first(names, fields).unwrap_or_default());
        let user = self.user(fields).unwrap_or_default();
        for part in [number].into_iter().chain(others).chain([user]) {
            key.push(' ');
            // Whoever writes a space into a number must not become another's.
            key.push_str(&part.replace('%', "%25").replace(' ', "%20"));
        }
        Some(key)
    }
}

/// The first of the fields that is there and not empty, as text.
fn first(paths: AnyOf, fields: &Map<String, Value>) -> Option<String> {
    paths.iter().find_map(|path| {
        let mut parts = path.split('.');
        let found = field(fields.get(parts.next()?)?, parts)?;
        Some(found).filter(|text| !text.is_empty())
    })
}

/// Goes down a path; an object may also be written as a JSON text, as `Payload` is.
fn field<'a>(value: &Value, mut path: impl Iterator<Item = &'a str>) -> Option<String> {
    let Some(name) = path.next() else {
        return match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(yes) => Some(yes.to_string()),
            _ => None,
        };
    };
    match value {
        Value::Object(fields) => field(fields.get(name)?, path),
        Value::String(text) => {
            let inner = weappd_wechat::lenient::lenient_json(text).ok()?;
            field(inner.get(name)?, path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event_table::EVENTS;

    fn rule(event: &str) -> EventRule {
        EventRule::of(event).expect(event)
    }

    fn fields(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn every_event_stands_there_once_and_can_be_told() {
        for (at, one) in EVENTS.iter().enumerate() {
            assert!(!one.name.is_empty());
            let twice = EVENTS[at + 1..].iter().any(|other| other.name == one.name);
            assert!(!twice, "{}", one.name);
            assert!([3, 5].contains(&one.seconds), "{}", one.name);
        }
        assert!(EventRule::of("VIEW").is_none() && EventRule::of("").is_none());
        assert!(EventRule::of_kind("text").is_none());
        assert!(rule("Check_Biz").is_deed() && !rule("wxa_media_check").is_deed());
        assert_eq!(rule("xpay_new_notify").answer, AnswerForm::ErrCode);
        assert_eq!(rule("minigame_new").seconds, 3);
        assert_eq!(rule("transport_cancel_order").seconds, 5);
    }

    #[test]
    fn the_user_is_who_the_event_is_about() {
        let payload = json!({"OpenId": "oB", "OutTradeNo": "T1", "Env": 0}).to_string();
        for (event, message, user, key) in [
            (
                "xpay_goods_deliver_notify",
                json!({"FromUserName": "oWX", "OpenId": "oB", "OutTradeNo": "T1", "Env": 0}),
                Some("oB"),
                Some("xpay_goods_deliver_notify T1 0 oB"),
            ),
            (
                "xpay_refund_notify",
                json!({"OpenId": "oB", "WxRefundId": "W 1", "RetCode": 0, "RetryTimes": 3}),
                Some("oB"),
                Some("xpay_refund_notify W%201 0 oB"),
            ),
            (
                "minigame_game_pay_goods_deliver_notify",
                json!({"FromUserName": "oWX", "MiniGame": {"Payload": payload}}),
                Some("oB"),
                Some("minigame_game_pay_goods_deliver_notify T1 0  oB"),
            ),
            (
                "minigame_deliver_goods",
                json!({"MiniGame": {"ToUserOpenid": "oG", "OrderId": "7", "IsPreview": 0}}),
                Some("oG"),
                Some("minigame_deliver_goods 7 0 oG"),
            ),
            (
                "xpay_subscribe_signing_result_notify",
                json!({"UserOpenid": "oU", "OutContractCode": "C", "Action": "contract_notify"}),
                Some("oU"),
                Some("xpay_subscribe_signing_result_notify C contract_notify oU"),
            ),
            (
                "xpay_subscribe_ios_refund_query_notify",
                json!({"FromUserName": "oWX", "pay_order_id": "T", "refund_time": "5"}),
                None,
                Some("xpay_subscribe_ios_refund_query_notify T 5 "),
            ),
            (
                "user_authorization_revoke",
                json!({"FromUserName": "oWX", "OpenID": "oU"}),
                Some("oU"),
                None,
            ),
            (
                "trade_manage_remind_shipping",
                json!({"FromUserName": "oWX", "transaction_id": "1"}),
                None,
                None,
            ),
            (
                "xpay_goods_deliver_notify",
                json!({"OpenId": "o"}),
                Some("o"),
                None,
            ),
        ] {
            let (rule, fields) = (rule(event), fields(message));
            assert_eq!(rule.user(&fields).as_deref(), user, "{event}");
            assert_eq!(rule.key(event, &fields).as_deref(), key, "{event}");
        }
    }
}
