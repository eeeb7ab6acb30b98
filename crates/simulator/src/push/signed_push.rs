//! How a push is written: JSON or XML, open, both ways, or closed.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::message;

use crate::push_target::{PushBodyFormat, PushEncryption, PushTarget};

/// What differs in every push.
#[derive(Debug)]
pub(super) struct PushStamp<'a> {
    pub(super) openid: &'a str,
    pub(super) timestamp: UnixSecs,
    pub(super) nonce: &'a str,
    pub(super) random: [u8; 16],
    /// Signed with a token that is not the right one.
    pub(super) forged: bool,
}

/// A push, ready to send.
#[derive(Debug)]
pub(super) struct SignedPush {
    pub(super) query: String,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// The mini program's `gh_...`, always the same.
pub(super) fn original_id(appid: &str) -> String {
    format!("gh_{}", &hex::encode(Sha1::digest(appid.as_bytes()))[..12])
}

pub(super) fn write(target: &PushTarget, message: &Value, stamp: &PushStamp<'_>) -> SignedPush {
    let wrong = Secret::new("not the token");
    let token = if stamp.forged { &wrong } else { &target.token };
    let timestamp = stamp.timestamp.to_string();
    let nonce = stamp.nonce;
    let signature = message::signature(token, &timestamp, nonce);
    let mut query = format!(
        "signature={signature}&timestamp={timestamp}&nonce={nonce}&openid={}",
        stamp.openid
    );
    let open = text(target.format, message);
    let body = match (target.mode, &target.key) {
        (PushEncryption::Plain, _) | (_, None) => open,
        (mode, Some(key)) => {
            let encrypt = message::encrypt(key, &target.appid, &open, stamp.random);
            let signature = message::msg_signature(token, &timestamp, nonce, &encrypt);
            let _ = write!(query, "&encrypt_type=aes&msg_signature={signature}");
            let mut shown = if mode == PushEncryption::Safe {
                json!({ "ToUserName": message["ToUserName"] })
            } else {
                message.clone()
            };
            shown["Encrypt"] = encrypt.into();
            text(target.format, &shown)
        }
    };
    SignedPush {
        query,
        // WeChat says so of JSON as well.
        content_type: "text/xml",
        body,
    }
}

fn text(format: PushBodyFormat, message: &Value) -> String {
    match (format, message) {
        (PushBodyFormat::Xml, Value::Object(fields)) => {
            let mut xml = String::from("<xml>");
            children(&mut xml, fields);
            xml.push_str("</xml>");
            xml
        }
        _ => message.to_string(),
    }
}

fn children(xml: &mut String, fields: &Map<String, Value>) {
    // In XML the list of a subscription event stands in an element of the event's name.
    let around = match fields.get("Event").and_then(Value::as_str) {
        Some("subscribe_msg_popup_event") => Some("SubscribeMsgPopupEvent"),
        Some("subscribe_msg_change_event") => Some("SubscribeMsgChangeEvent"),
        Some("subscribe_msg_sent_event") => Some("SubscribeMsgSentEvent"),
        _ => None,
    };
    for (name, value) in fields.iter().filter(|(name, _)| is_name(name)) {
        match around {
            Some(around) if name == "List" => {
                let _ = write!(xml, "<{around}>");
                element(xml, name, value);
                let _ = write!(xml, "</{around}>");
            }
            _ => element(xml, name, value),
        }
    }
}

fn element(xml: &mut String, name: &str, value: &Value) {
    if let Value::Array(items) = value {
        for item in items {
            element(xml, name, item);
        }
        return;
    }
    let _ = write!(xml, "<{name}>");
    match value {
        Value::Object(fields) => children(xml, fields),
        Value::String(text) => {
            let _ = write!(
                xml,
                "<![CDATA[{}]]>",
                text.replace("]]>", "]]]]><![CDATA[>")
            );
        }
        Value::Null => {}
        plain => {
            let _ = write!(xml, "{plain}");
        }
    }
    let _ = write!(xml, "</{name}>");
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    use weappd_outbound::OutboundTrust;
    use weappd_wechat::message::{MessageCodec, MessageKey, PushSignature as Seen};

    use proptest::prelude::*;

    use super::*;
    use crate::push_target::PushClient;

    const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

    fn target(mode: PushEncryption, format: PushBodyFormat) -> PushTarget {
        PushTarget {
            appid: "wx1".to_owned(),
            url: "http://127.0.0.1/".parse().expect("a url"),
            token: Secret::new("token"),
            key: (mode != PushEncryption::Plain).then(key),
            mode,
            format,
            client: PushClient::new(OutboundTrust::PlainOnly).expect("a poster"),
        }
    }

    fn key() -> MessageKey {
        MessageKey::parse(&Secret::new(KEY)).expect("a key")
    }

    fn stamp(forged: bool) -> PushStamp<'static> {
        PushStamp {
            openid: "oUser",
            timestamp: UnixSecs::new(1_800_000_000),
            nonce: "42",
            random: [7; 16],
            forged,
        }
    }

    fn field<'a>(query: &'a str, name: &str) -> &'a str {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .expect(name)
    }

    fn open(letter: &SignedPush) -> Result<String, weappd_wechat::Error> {
        let mailbox = MessageCodec {
            appid: "wx1".to_owned(),
            token: Secret::new("token"),
            key: key(),
        };
        let seen = Seen {
            timestamp: field(&letter.query, "timestamp"),
            nonce: field(&letter.query, "nonce"),
            msg_signature: field(&letter.query, "msg_signature"),
        };
        mailbox.open(seen, &letter.body)
    }

    #[test]
    fn a_plain_letter_is_signed_and_readable() {
        let message =
            json!({"ToUserName": "gh_1", "MsgType": "text", "Content": "你好", "MsgId": 24});
        let letter = write(
            &target(PushEncryption::Plain, PushBodyFormat::Json),
            &message,
            &stamp(false),
        );
        assert_eq!(letter.body, message.to_string());
        let given = field(&letter.query, "signature");
        assert!(message::is_signed(
            &Secret::new("token"),
            "1800000000",
            "42",
            given
        ));
        assert!(!letter.query.contains("encrypt_type"));
        assert_eq!(field(&letter.query, "openid"), "oUser");
        let xml = write(
            &target(PushEncryption::Plain, PushBodyFormat::Xml),
            &message,
            &stamp(false),
        )
        .body;
        assert_eq!(
            xml,
            "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><MsgType><![CDATA[text]]></MsgType>\
             <Content><![CDATA[你好]]></Content><MsgId>24</MsgId></xml>"
        );
    }

    #[test]
    fn closed_letters_open_with_the_key_in_both_formats() {
        let message = json!({"ToUserName": "gh_1", "MsgType": "text", "Content": "]]><x>"});
        for format in [PushBodyFormat::Json, PushBodyFormat::Xml] {
            for mode in [PushEncryption::Safe, PushEncryption::Compatible] {
                let letter = write(&target(mode, format), &message, &stamp(false));
                let shows = letter.body.contains("Content");
                assert_eq!(shows, mode == PushEncryption::Compatible, "{mode:?}");
                assert_eq!(open(&letter).ok(), Some(text(format, &message)));
            }
        }
    }

    #[test]
    fn a_forged_letter_fails_every_signature() {
        let message = json!({"ToUserName": "gh_1", "MsgType": "text"});
        let letter = write(
            &target(PushEncryption::Safe, PushBodyFormat::Json),
            &message,
            &stamp(true),
        );
        let given = field(&letter.query, "signature");
        assert!(!message::is_signed(
            &Secret::new("token"),
            "1800000000",
            "42",
            given
        ));
        assert!(matches!(
            open(&letter),
            Err(weappd_wechat::Error::MessageSignature)
        ));
    }

    #[test]
    fn lists_of_subscription_events_stand_deeper_in_xml() {
        let event = json!({
            "Event": "subscribe_msg_popup_event",
            "List": [{"TemplateId": "a"}, {"TemplateId": "b"}],
            "not a name": 1,
        });
        let xml = text(PushBodyFormat::Xml, &event);
        assert!(xml.contains(
            "<SubscribeMsgPopupEvent><List><TemplateId><![CDATA[a]]></TemplateId></List>\
             <List><TemplateId><![CDATA[b]]></TemplateId></List></SubscribeMsgPopupEvent>"
        ));
        assert!(!xml.contains("not a name"));
    }

    #[test]
    fn original_ids_look_like_wechats() {
        let id = original_id("wx1");
        assert!(id.starts_with("gh_") && id.len() == 15);
        assert_ne!(id, original_id("wx2"));
    }

    proptest! {
        #[test]
        fn any_message_arrives_as_production_reads_it(
            fields in prop::collection::btree_map("[A-Za-z_]{1,12}", ".{0,60}", 0..6),
            number: u64,
        ) {
            let mut message = json!({"ToUserName": "gh_1", "MsgType": "text", "MsgId": number});
            for (name, value) in fields {
                message[name] = value.into();
            }
            for format in [PushBodyFormat::Json, PushBodyFormat::Xml] {
                for mode in [PushEncryption::Safe, PushEncryption::Compatible] {
                    let letter = write(&target(mode, format), &message, &stamp(false));
                    prop_assert_eq!(open(&letter).ok(), Some(text(format, &message)));
                }
                let open = write(&target(PushEncryption::Plain, format), &message, &stamp(false)).body;
                prop_assert_eq!(open, text(format, &message));
            }
        }
    }
}
