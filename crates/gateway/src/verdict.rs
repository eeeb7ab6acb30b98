//! What the app's answer says to a message, and how WeChat is told of it.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};
use weappd_wechat::envelope::BodyFormat;

use crate::deliver::AppAnswer;
use crate::event_rule::{AnswerForm, EventRule};
use crate::xml;

/// The word that acknowledges a push.
pub(crate) const SUCCESS: &str = "success";
/// What WeChat hears where there is nothing better: it pushes again.
pub(crate) const NOT_DONE: &str = "not done yet, push again";
/// The longest answer of an app that is given to WeChat.
const MAX_REPLY: usize = 64 * 1024;
/// Addresses an answer back, where the app left it out.
const ECHOED: [&str; 9] = [
    "MsgType",
    "Event",
    "Token",
    "OrderID",
    "BizID",
    "WayBillID",
    "shopid",
    "shop_order_id",
    "waybill_id",
];

/// What the app says to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppVerdict {
    /// It took the message, with these words: a JSON text, any other, or none.
    Taken(String),
    /// It said no, with words for WeChat if it had any; and why, for people.
    Refused { words: Option<String>, why: String },
    /// It was not there, or did not answer in time.
    Absent(String),
}

impl AppVerdict {
    /// Reads an answer. Without a rule only the status counts.
    pub(crate) fn of(rule: Option<&EventRule>, answer: &AppAnswer, message: &str) -> Self {
        let status = answer.status;
        if !status.is_success() {
            return Self::no(format!("the app answered HTTP {}", status.as_u16()));
        }
        let form = rule.map_or(AnswerForm::Receipt, |rule| rule.answer);
        let text = text_of(&answer.body).filter(|_| answer.is_whole);
        if form == AnswerForm::Receipt {
            return Self::Taken(text.unwrap_or_default());
        }
        let Some(text) = text else {
            return Self::no("the app's answer is too long, broken off or no text".to_owned());
        };
        let says_success = text.is_empty() || text.eq_ignore_ascii_case(SUCCESS);
        match form {
            AnswerForm::Document { code, may_be_bare } => {
                let bare = (says_success && may_be_bare).then(|| bare_result(code));
                let given = || fields_of(&text).filter(|fields| fields.contains_key(code));
                bare.or_else(given).map_or_else(
                    || Self::no(unread(&text, &format!("{{\"{code}\":0, ...}}"))),
                    |fields| Self::Taken(addressed(fields, message).to_string()),
                )
            }
            AnswerForm::RefundQuery => match fields_of(&text) {
                Some(fields) => Self::Taken(Value::Object(fields).to_string()),
                None => Self::no(unread(&text, r#"{"IosRefundQueryResponse":{...}}"#)),
            },
            _ if says_success => Self::Taken(String::new()),
            _ => Self::of_err_code(form, &text),
        }
    }

    /// Reads an answer that must be `success`, or have an `ErrCode`.
    fn of_err_code(form: AnswerForm, text: &str) -> Self {
        let fields = fields_of(text);
        let code = fields.as_ref().and_then(err_code);
        match (fields, code) {
            (Some(fields), Some(code)) if form == AnswerForm::ErrCode => {
                err_code_words(fields, code)
            }
            (_, Some(0)) => Self::Taken(String::new()),
            (_, Some(code)) => Self::no(format!("the app answered ErrCode {code}")),
            (_, None) => Self::no(unread(text, r#"{"ErrCode":0,"ErrMsg":"success"}"#)),
        }
    }

    fn no(why: String) -> Self {
        Self::Refused { words: None, why }
    }

    /// Why it was not taken, for people.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Taken(_) => None,
            Self::Refused { why, .. } | Self::Absent(why) => Some(why),
        }
    }
}

/// An answer to a push, not encrypted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyWord {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Whether it is encrypted, where the push was.
    pub(crate) may_seal: bool,
}

impl ReplyWord {
    pub(crate) fn success() -> Self {
        Self {
            status: StatusCode::OK,
            text: SUCCESS.to_owned(),
            may_seal: false,
        }
    }

    /// What WeChat is told of a deed; nothing if the app has not said anything yet.
    pub(crate) fn of(rule: &EventRule, format: BodyFormat, verdict: Option<&AppVerdict>) -> Self {
        match verdict {
            Some(AppVerdict::Taken(words)) => Self::taken(rule, format, words),
            Some(AppVerdict::Refused {
                words: Some(words), ..
            }) => Self::said(rule, format, words),
            _ => Self::not_done(rule, format),
        }
    }

    fn taken(rule: &EventRule, format: BodyFormat, words: &str) -> Self {
        match (words.is_empty(), rule.is_plain) {
            (true, false) => Self::success(),
            // Mini games want the document.
            (true, true) => {
                let done = json!({"ErrCode": 0, "ErrMsg": "Success"});
                Self::said(rule, format, &done.to_string())
            }
            (false, _) => Self::said(rule, format, words),
        }
    }

    fn said(rule: &EventRule, format: BodyFormat, words: &str) -> Self {
        Self {
            status: StatusCode::OK,
            text: in_format(format, words),
            may_seal: !rule.is_plain,
        }
    }

    /// Never to be taken for a yes, whatever is looked at: the status, or the words.
    fn not_done(rule: &EventRule, format: BodyFormat) -> Self {
        let text = if rule.answer == AnswerForm::ErrCode {
            let words = json!({"ErrCode": -1, "ErrMsg": NOT_DONE});
            in_format(format, &words.to_string())
        } else {
            NOT_DONE.to_owned()
        };
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            text,
            may_seal: false,
        }
    }

    /// A message that needs no answer, answered with the app's words.
    pub(crate) fn reply(format: BodyFormat, words: &str) -> Self {
        if words.is_empty() || words == SUCCESS {
            return Self::success();
        }
        Self {
            status: StatusCode::OK,
            text: in_format(format, words),
            may_seal: true,
        }
    }
}

/// A JSON object in the push's format; any other text as it is.
fn in_format(format: BodyFormat, words: &str) -> String {
    match (format, serde_json::from_str(words).ok()) {
        (BodyFormat::Xml, Some(fields)) => xml::from_json(&fields),
        _ => words.to_owned(),
    }
}

fn text_of(body: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.trim_start_matches('\u{feff}').trim();
    (text.len() <= MAX_REPLY).then(|| text.to_owned())
}

/// An object, of JSON or XML.
fn fields_of(text: &str) -> Option<Map<String, Value>> {
    if text.starts_with('<') {
        return xml::to_json(text);
    }
    // Some frameworks make a JSON text of a text.
    match weappd_wechat::lenient::lenient_json(text).ok()? {
        Value::Object(fields) => Some(fields),
        Value::String(inner) => serde_json::from_str(&inner).ok(),
        _ => None,
    }
}

/// `ErrCode`, in whatever case, as a number or as text.
fn err_code(fields: &Map<String, Value>) -> Option<i64> {
    let (_, value) = fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("ErrCode"))?;
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The app's own words, with the names WeChat reads.
fn err_code_words(fields: Map<String, Value>, code: i64) -> AppVerdict {
    let named = fields.into_iter().map(|(name, value)| {
        if name.eq_ignore_ascii_case("ErrCode") {
            ("ErrCode".to_owned(), Value::from(code))
        } else if name.eq_ignore_ascii_case("ErrMsg") {
            ("ErrMsg".to_owned(), value)
        } else {
            (name, value)
        }
    });
    let words = Value::Object(named.collect()).to_string();
    if code == 0 {
        AppVerdict::Taken(words)
    } else {
        AppVerdict::Refused {
            words: Some(words),
            why: format!("the app answered ErrCode {code}"),
        }
    }
}

fn unread(text: &str, wanted: &str) -> String {
    let start: String = text.chars().take(40).collect();
    format!("the app answered {start:?}, which is no answer to this event: say {wanted}")
}

fn bare_result(code: &str) -> Map<String, Value> {
    let message = if code == "resultcode" {
        "resultmsg"
    } else {
        "ResultMsg"
    };
    let pairs = [(code, Value::from(0)), (message, Value::from("success"))];
    pairs
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

/// The document with what it echoes, where the app left it out.
fn addressed(mut answer: Map<String, Value>, message: &str) -> Value {
    let asked: Map<String, Value> = serde_json::from_str(message).unwrap_or_default();
    let swapped = [
        ("ToUserName", "FromUserName"),
        ("FromUserName", "ToUserName"),
        ("CreateTime", "CreateTime"),
    ];
    let kept = ECHOED.map(|name| (name, name));
    for (name, source) in swapped.into_iter().chain(kept) {
        if let (false, Some(value)) = (answer.contains_key(name), asked.get(source)) {
            answer.insert(name.to_owned(), value.clone());
        }
    }
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> AppAnswer {
        AppAnswer {
            status: StatusCode::from_u16(status).expect("a status"),
            body: Bytes::from(body.to_owned()),
            is_whole: true,
        }
    }

    fn word(event: &str, format: BodyFormat, status: u16, body: &str) -> (u16, String) {
        let rule = EventRule::of(event).expect("an event");
        let message = r#"{"ToUserName":"gh_1","FromUserName":"oWX","Event":"e","OrderID":"7"}"#;
        let verdict = AppVerdict::of(Some(&rule), &answer(status, body), message);
        let word = ReplyWord::of(&rule, format, Some(&verdict));
        (word.status.as_u16(), word.text)
    }

    const ORDER: &str = "xpay_goods_deliver_notify";
    const GAME: &str = "minigame_deliver_goods";

    #[test]
    fn a_deed_is_done_when_the_app_says_so_in_wechats_words() {
        let done = r#"{"ErrCode":0,"ErrMsg":"success"}"#;
        for (said, heard) in [
            ("", "success"),
            ("success", "success"),
            (done, done),
            (
                r#"{"errcode":"0","errmsg":"ok"}"#,
                r#"{"ErrCode":0,"ErrMsg":"ok"}"#,
            ),
            ("<xml><ErrCode>0</ErrCode></xml>", r#"{"ErrCode":0}"#),
        ] {
            let heard = (200, heard.to_owned());
            assert_eq!(word(ORDER, BodyFormat::Json, 200, said), heard, "{said}");
        }
        let game = (200, r#"{"ErrCode":0,"ErrMsg":"Success"}"#.to_owned());
        assert_eq!(word(GAME, BodyFormat::Json, 200, "success"), game);
        let xml = "<xml><ErrCode>0</ErrCode><ErrMsg><![CDATA[success]]></ErrMsg></xml>";
        assert_eq!(word(ORDER, BodyFormat::Xml, 200, done).1, xml);
    }

    #[test]
    fn what_is_no_yes_is_never_told_as_one() {
        let no = r#"{"ErrCode":1,"ErrMsg":"sold out"}"#;
        assert_eq!(word(ORDER, BodyFormat::Json, 200, no), (200, no.to_owned()));
        for (event, status, said) in [
            (ORDER, 500, ""),
            (ORDER, 500, r#"{"ErrCode":0}"#),
            (ORDER, 404, "success"),
            (ORDER, 302, ""),
            (ORDER, 200, "ok"),
            (ORDER, 200, "{}"),
            (ORDER, 200, "<html>"),
            (ORDER, 200, r#"{"ErrCode":null}"#),
            (GAME, 200, "[0]"),
            ("retail_pay_notify", 200, r#"{"ErrCode":5}"#),
            ("retail_pay_notify", 200, "fail"),
            ("add_waybill", 200, "success"),
            ("check_biz", 200, r#"{"code":0}"#),
            ("xpay_subscribe_ios_refund_query_notify", 200, "success"),
        ] {
            for format in [BodyFormat::Json, BodyFormat::Xml] {
                let (told, text) = word(event, format, status, said);
                assert_eq!(told, 500, "{event} {said}");
                assert!(text.contains(NOT_DONE) && !text.contains(SUCCESS), "{text}");
            }
        }
        let rule = EventRule::of(ORDER).expect("an event");
        let cut = AppAnswer {
            is_whole: false,
            ..answer(200, "")
        };
        assert!(AppVerdict::of(Some(&rule), &cut, "{}").why().is_some());
        assert_eq!(ReplyWord::of(&rule, BodyFormat::Json, None).status, 500);
    }

    #[test]
    fn documents_are_addressed_back() {
        let (status, text) = word(
            "add_waybill",
            BodyFormat::Json,
            200,
            r#"{"ResultCode":0,"WayBillID":"SF1"}"#,
        );
        let text: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((status, &text["ToUserName"]), (200, &json!("oWX")));
        assert_eq!(text["FromUserName"], "gh_1");
        assert_eq!(text["OrderID"], "7");
        assert_eq!(text["WayBillID"], "SF1");
        let (status, text) = word("update_waybill_status", BodyFormat::Xml, 200, "");
        assert_eq!(status, 200);
        assert!(text.contains("<resultcode>0</resultcode>"), "{text}");
    }

    #[test]
    fn of_other_messages_only_the_status_counts() {
        let taken = AppVerdict::of(None, &answer(204, "anything"), "{}");
        assert_eq!(taken, AppVerdict::Taken("anything".to_owned()));
        let refused = AppVerdict::of(None, &answer(400, ""), "{}");
        assert_eq!(refused.why(), Some("the app answered HTTP 400"));
    }
}
