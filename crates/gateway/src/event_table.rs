//! Every event that WeChat documents with an answer or a user of its own.
//!
//! Sources: WeChat's pages on virtual payment of mini programs and mini games, and on events
//! (事件通知).

use crate::event_rule::{AnswerForm, AnyOf, EventRule};

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

/// Families of events of which WeChat may add more; `transport_` are the carriers' of instant
/// delivery.
const FAMILIES: [(&str, EventRule); 3] = [
    ("xpay_", XPAY),
    ("minigame_", GAME),
    ("transport_", DELIVERY),
];

pub(crate) const EVENTS: [EventRule; 53] = [
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

impl EventRule {
    /// What is known of an event. Its name may be written in any case.
    pub(crate) fn of(event: &str) -> Option<Self> {
        let known = EVENTS
            .iter()
            .find(|rule| rule.name.eq_ignore_ascii_case(event));
        let family = || {
            let lower = event.to_ascii_lowercase();
            FAMILIES
                .iter()
                .find_map(|(start, rule)| lower.starts_with(start).then_some(rule))
        };
        known.or_else(family).copied()
    }

    /// What is known of a message's kind, `event/` and the `Event`.
    pub(crate) fn of_kind(kind: &str) -> Option<Self> {
        Self::of(kind.strip_prefix("event/")?)
    }
}
