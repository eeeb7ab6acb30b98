//! Numbers of XML that are texts in WeChat's own JSON.

use serde_json::{Map, Value};

use crate::event_rule::EventRule;

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

    fn fields(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).expect("an object")
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
