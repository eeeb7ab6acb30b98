//! What WeChat documents of each event it pushes: whose it is, what makes a repeat the same,
//! which answer it wants, and how soon.
//!
//! `FromUserName` is the user of few events only: most are sent in WeChat's own name, and say
//! elsewhere whom they are about. Sources: WeChat's pages on virtual payment of mini programs
//! and mini games, and on events (事件通知).

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
type AnyOf = &'static [&'static str];

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventRule {
    name: &'static str,
    /// Where the user stands; empty if the event is nobody's.
    user: AnyOf,
    /// What two pushes of one event have in common, and no others; empty if only the message
    /// itself tells.
    key: &'static [AnyOf],
    pub(crate) answer: AnswerForm,
    /// After how many seconds WeChat gives up.
    pub(crate) seconds: u64,
    /// Whether the answer is never encrypted.
    pub(crate) is_plain: bool,
    /// Fields that WeChat's own JSON has as texts, and its XML without a sign of it.
    texts: &'static [&'static str],
}

const FROM: AnyOf = &["FromUserName"];
const OPENID: AnyOf = &["OpenId", "OpenID", "UserOpenid"];
const PAYLOAD_OPENID: AnyOf = &["MiniGame.Payload.OpenId", "Payload.OpenId"];
const NOBODY: AnyOf = &[];

/// Answered with `success` at once, told by the whole message.
const EVENT: EventRule = EventRule {
    name: "",
    user: NOBODY,
    key: &[],
    answer: AnswerForm::Receipt,
    seconds: 5,
    is_plain: false,
    texts: &[],
};
/// Virtual payment of mini programs.
const XPAY: EventRule = EventRule {
    user: OPENID,
    answer: AnswerForm::ErrCode,
    ..EVENT
};
/// Mini games.
const GAME: EventRule = EventRule {
    user: PAYLOAD_OPENID,
    answer: AnswerForm::ErrCode,
    seconds: 3,
    is_plain: true,
    ..EVENT
};
const GAME_ORDER: EventRule = EventRule {
    key: &[
        &["MiniGame.Payload.OutTradeNo", "Payload.OutTradeNo"],
        &["MiniGame.Payload.Env", "Payload.Env"],
        &["MiniGame.IsMock", "IsMock"],
    ],
    ..GAME
};
/// What a carrier of the logistics assistant is asked.
const CARRIER: EventRule = EventRule {
    answer: AnswerForm::Document {
        code: "ResultCode",
        may_be_bare: true,
    },
    ..EVENT
};
const CARRIER_ASKED: EventRule = EventRule {
    answer: AnswerForm::Document {
        code: "ResultCode",
        may_be_bare: false,
    },
    ..EVENT
};
/// Instant delivery (即时配送).
const DELIVERY: EventRule = EventRule {
    answer: AnswerForm::Document {
        code: "resultcode",
        may_be_bare: true,
    },
    ..EVENT
};
const DELIVERY_ORDER: &[AnyOf] = &[&["shop_order_id"], &["order_status"], &["action_time"]];
const SUBSCRIPTION: EventRule = EventRule {
    user: FROM,
    texts: &["CreateTime", "PopupScene", "MsgID", "ErrorCode"],
    ..EVENT
};
const WITHDRAWN: EventRule = EventRule {
    user: &["OpenID", "OpenId"],
    ..EVENT
};

/// A family of events of which WeChat may add more.
const FAMILIES: [(&str, EventRule); 2] = [("xpay_", XPAY), ("minigame_", GAME)];

const EVENTS: [EventRule; 53] = [
    // Virtual payment, mini programs.
    EventRule {
        name: "xpay_goods_deliver_notify",
        key: &[&["OutTradeNo"], &["Env"]],
        ..XPAY
    },
    EventRule {
        name: "xpay_coin_pay_notify",
        key: &[&["OutTradeNo"], &["Env"]],
        ..XPAY
    },
    EventRule {
        name: "xpay_refund_notify",
        key: &[&["MchRefundId", "WxRefundId"], &["RetCode"]],
        ..XPAY
    },
    EventRule {
        name: "xpay_complaint_notify",
        key: &[&["ComplaintId"], &["ComplaintTime"]],
        ..XPAY
    },
    EventRule {
        name: "xpay_wxpay_callback_notify",
        user: NOBODY,
        key: &[&["BusinessCode"], &["BusinessState"]],
        ..XPAY
    },
    EventRule {
        name: "xpay_subscribe_signing_result_notify",
        user: &["UserOpenid", "OpenId"],
        key: &[&["OutContractCode"], &["Action"]],
        ..XPAY
    },
    EventRule {
        name: "xpay_subscribe_pay_fail_notify",
        key: &[&["OutTradeNo"]],
        ..XPAY
    },
    EventRule {
        name: "xpay_apple_subscribe_signing_result_notify",
        key: APPLE_CONTRACT,
        ..XPAY
    },
    EventRule {
        name: "xpay_apple_subscribe_unsigning_result_notify",
        key: APPLE_CONTRACT,
        ..XPAY
    },
    EventRule {
        name: "xpay_subscribe_ios_refund_query_notify",
        user: NOBODY,
        // An order may be asked for again, later: not in the same second.
        key: &[&["pay_order_id"], &["refund_time"]],
        answer: AnswerForm::RefundQuery,
        seconds: 3,
        ..XPAY
    },
    // Virtual payment and gifts, mini games.
    EventRule {
        name: "minigame_game_pay_goods_deliver_notify",
        ..GAME_ORDER
    },
    EventRule {
        name: "minigame_h5_goods_deliver_notify",
        ..GAME_ORDER
    },
    EventRule {
        name: "minigame_coin_deliver_completed",
        ..GAME_ORDER
    },
    EventRule {
        name: "minigame_recharge_center_coin_deliver_completed",
        ..GAME_ORDER
    },
    EventRule {
        name: "minigame_pay_refund_succ_notify",
        user: NOBODY,
        key: &[
            &["MiniGame.Payload.RefundId", "Payload.RefundId"],
            &["MiniGame.IsMock", "IsMock"],
        ],
        ..GAME
    },
    EventRule {
        name: "minigame_deliver_goods",
        user: &["MiniGame.ToUserOpenid", "ToUserOpenid"],
        key: &[
            &["MiniGame.OrderId", "OrderId"],
            &["MiniGame.IsPreview", "IsPreview"],
        ],
        ..GAME
    },
    // B2b payment.
    EventRule {
        name: "retail_pay_notify",
        user: &["payer_openid"],
        key: &[&["mchid"], &["out_trade_no"], &["pay_status"], &["env"]],
        answer: AnswerForm::Success,
        texts: &["CreateTime"],
        ..EVENT
    },
    EventRule {
        name: "retail_refund_notify",
        user: &["payer_openid"],
        key: &[&["mchid"], &["out_refund_no"], &["refund_status"], &["env"]],
        answer: AnswerForm::Success,
        texts: &["CreateTime"],
        ..EVENT
    },
    // Orders as WeChat sees them.
    EventRule {
        name: "trade_manage_remind_access_api",
        ..EVENT
    },
    EventRule {
        name: "trade_manage_remind_shipping",
        ..EVENT
    },
    EventRule {
        name: "trade_manage_order_settlement",
        // Twice for each order: shipped, and settled.
        key: &[
            &["transaction_id", "merchant_trade_no"],
            &["confirm_receive_time"],
            &["settlement_time"],
        ],
        ..EVENT
    },
    EventRule {
        name: "wxa_trade_controlled",
        ..EVENT
    },
    EventRule {
        name: "complaint_callback",
        user: &["BussiCallBackInfo.open_id"],
        ..EVENT
    },
    EventRule {
        name: "open_product_order_pay",
        user: &["order_info.openid", "order_info.sp_openid"],
        key: &[&["order_info.order_id"], &["order_info.pay_time"]],
        answer: AnswerForm::Success,
        ..EVENT
    },
    // What users allowed.
    EventRule {
        name: "user_authorization_revoke",
        ..WITHDRAWN
    },
    EventRule {
        name: "user_authorization_cancellation",
        ..WITHDRAWN
    },
    EventRule {
        name: "user_info_modified",
        ..WITHDRAWN
    },
    EventRule {
        name: "subscribe_msg_popup_event",
        ..SUBSCRIPTION
    },
    EventRule {
        name: "subscribe_msg_change_event",
        ..SUBSCRIPTION
    },
    EventRule {
        name: "subscribe_msg_sent_event",
        ..SUBSCRIPTION
    },
    EventRule {
        name: "user_enter_tempsession",
        user: FROM,
        ..EVENT
    },
    // What WeChat found out.
    EventRule {
        name: "wxa_media_check",
        key: &[&["trace_id"]],
        ..EVENT
    },
    EventRule {
        name: "wxa_punish_event",
        ..EVENT
    },
    EventRule {
        name: "wxa_comment_bad_score",
        ..EVENT
    },
    EventRule {
        name: "wxainsurance_claim_result",
        ..EVENT
    },
    // The logistics assistant: for merchants, then for carriers.
    EventRule {
        name: "add_express_path",
        user: FROM,
        ..EVENT
    },
    EventRule {
        name: "update_business_bind_result",
        ..EVENT
    },
    EventRule {
        name: "add_waybill",
        // The same order must get the same waybill.
        key: &[&["BizID"], &["OrderID"]],
        ..CARRIER_ASKED
    },
    EventRule {
        name: "cancel_waybill",
        user: FROM,
        key: &[&["BizID"], &["OrderID"], &["WayBillID"]],
        ..CARRIER
    },
    EventRule {
        name: "check_biz",
        ..CARRIER
    },
    EventRule {
        name: "get_quota",
        ..CARRIER_ASKED
    },
    EventRule {
        name: "add_single_waybill",
        key: &[&["WXAppId"], &["OrderID"], &["Token"]],
        ..CARRIER_ASKED
    },
    EventRule {
        name: "cancel_single_waybill",
        key: &[&["WXAppId"], &["OrderID"], &["WayBillID"], &["Token"]],
        ..CARRIER
    },
    EventRule {
        name: "query_single_waybill",
        ..CARRIER_ASKED
    },
    EventRule {
        name: "query_single_waybill_fee",
        ..CARRIER_ASKED
    },
    EventRule {
        name: "waybill_query_expect_time_range",
        ..CARRIER_ASKED
    },
    EventRule {
        name: "waybill_notify_query",
        ..CARRIER_ASKED
    },
    EventRule {
        name: "remind_waybill",
        ..CARRIER
    },
    EventRule {
        name: "waybill_complaint",
        ..CARRIER
    },
    EventRule {
        name: "waybill_evaluate_agent",
        ..CARRIER
    },
    EventRule {
        name: "notify_single_waybill_pay",
        key: &[&["WXAppId"], &["OrderID"], &["PayOrderId"]],
        ..CARRIER
    },
    // Instant delivery: for merchants, then for carriers.
    EventRule {
        name: "update_waybill_status",
        key: DELIVERY_ORDER,
        ..DELIVERY
    },
    EventRule {
        name: "mock_update_order_status",
        key: DELIVERY_ORDER,
        ..DELIVERY
    },
];

/// The same contract may end and begin again.
const APPLE_CONTRACT: &[AnyOf] = &[
    &["AppleSubscriptionInfo.OriginalTransactionId"],
    &["Action", "AppleSubscriptionInfo.Action"],
    &[
        "AppleSubscriptionInfo.SignedTime",
        "AppleSubscriptionInfo.UnsignedTime",
        "AppleSubscriptionInfo.RenewalDate",
    ],
];

/// The carriers' side of instant delivery, which only asks and cancels.
const TRANSPORT: (&str, EventRule) = ("transport_", DELIVERY);

/// Names whose value is a text in WeChat's JSON, in whatever event, though XML may show
/// digits only.
const TEXT_NAMES: [&str; 29] = [
    "MsgID",
    "OutTradeNo",
    "OutContractCode",
    "MchOrderNo",
    "MchOrderId",
    "MchRefundId",
    "WxRefundId",
    "WxOrderId",
    "TransactionId",
    "OriginalTransactionId",
    "ComplaintId",
    "OrderId",
    "OrderID",
    "PayOrderId",
    "WayBillId",
    "WayBillID",
    "WaybillId",
    "BizID",
    "mchid",
    "out_trade_no",
    "out_refund_no",
    "transaction_id",
    "wxpay_transaction_id",
    "wxpay_refund_id",
    "shop_order_id",
    "waybill_id",
    "comment_id",
    "punish_id",
    "pay_order_id",
];

impl EventRule {
    /// What is known of an event. Its name may be written in any case.
    pub(crate) fn of(event: &str) -> Option<Self> {
        let known = EVENTS
            .iter()
            .find(|rule| rule.name.eq_ignore_ascii_case(event));
        let family = || {
            let lower = event.to_ascii_lowercase();
            let mut families = FAMILIES.iter().chain([&TRANSPORT]);
            families.find_map(|(start, rule)| lower.starts_with(start).then_some(rule))
        };
        known.or_else(family).copied()
    }

    /// What is known of a message's kind, `event/` and the `Event`.
    pub(crate) fn of_kind(kind: &str) -> Option<Self> {
        Self::of(kind.strip_prefix("event/")?)
    }

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

/// Makes texts of the numbers that are texts in WeChat's own JSON, and of those that
/// JavaScript and others would round. `MsgId` is a number there, whatever its size.
pub(crate) fn as_wechat_writes(fields: &mut Map<String, Value>) {
    let event = fields.get("Event").and_then(Value::as_str);
    let texts = event
        .and_then(EventRule::of)
        .map_or(&[][..], |rule| rule.texts);
    rewrite(fields, texts, true);
}

fn rewrite(fields: &mut Map<String, Value>, texts: &[&str], is_root: bool) {
    for (name, value) in fields {
        let name = name.as_str();
        let is_text = texts.contains(&name) || TEXT_NAMES.contains(&name);
        rewrite_value(value, texts, is_text, is_root && name == "MsgId");
    }
}

fn rewrite_value(value: &mut Value, texts: &[&str], is_text: bool, stays: bool) {
    match value {
        Value::Number(number) if !stays && (is_text || is_rounded(number)) => {
            *value = Value::String(number.to_string());
        }
        Value::Object(fields) => rewrite(fields, texts, false),
        Value::Array(list) => {
            for item in list {
                rewrite_value(item, texts, is_text, stays);
            }
        }
        _ => {}
    }
}

/// Whether a double cannot hold it.
fn is_rounded(number: &serde_json::Number) -> bool {
    const EXACT: i64 = (1 << 53) - 1;
    number
        .as_i64()
        .is_some_and(|number| !(-EXACT..=EXACT).contains(&number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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

    #[test]
    fn numbers_are_texts_where_wechat_writes_them_so() {
        let mut sent = fields(json!({"CreateTime": 1_610_969_468,
            "Event": "subscribe_msg_sent_event", "MsgId": 24_000_000_000_000_001_i64,
            "E": {"List": [{"MsgID": 1_864_323_726_461_255_680_i64, "ErrorCode": 0, "Other": 1}]}}));
        as_wechat_writes(&mut sent);
        assert_eq!(
            Value::Object(sent),
            json!({"CreateTime": "1610969468", "Event": "subscribe_msg_sent_event",
                "MsgId": 24_000_000_000_000_001_i64,
                "E": {"List": [{"MsgID": "1864323726461255680", "ErrorCode": "0", "Other": 1}]}})
        );
        let mut pay = fields(
            json!({"CreateTime": 5, "Event": "xpay_goods_deliver_notify",
            "OutTradeNo": 12_345_678, "Env": 0, "ids": [9_007_199_254_740_993_i64, 7]}),
        );
        as_wechat_writes(&mut pay);
        assert_eq!(
            Value::Object(pay),
            json!({"CreateTime": 5, "Event": "xpay_goods_deliver_notify",
                "OutTradeNo": "12345678", "Env": 0, "ids": ["9007199254740993", 7]})
        );
    }
}
