//! What the server answers to a push: nothing, `success`, or a message, perhaps encrypted.

use serde_json::{Value, json};
use weappd_wechat::message::{MessageCodec, PushSignature};

use crate::push_target::{PushEncryption, PushTarget};

/// The reply in an answer, decrypted; none where the answer only acknowledges.
pub(super) fn read(target: &PushTarget, answer: &str) -> Option<Value> {
    let answer = answer.trim();
    if answer.is_empty() || answer == "success" {
        return None;
    }
    let Some(key) = target
        .key
        .clone()
        .filter(|_| target.mode != PushEncryption::Plain)
    else {
        return Some(readable(answer));
    };
    if !answer.contains("Encrypt") {
        return Some(json!({ "error": "in this mode a reply must be encrypted", "text": answer }));
    }
    let mailbox = MessageCodec {
        appid: target.appid.clone(),
        token: target.token.clone(),
        key,
    };
    let [signature, timestamp, nonce] =
        ["MsgSignature", "TimeStamp", "Nonce"].map(|name| field(answer, name));
    let stamp = PushSignature {
        timestamp: &timestamp,
        nonce: &nonce,
        msg_signature: &signature,
    };
    Some(match mailbox.open(stamp, answer) {
        Ok(text) => readable(&text),
        Err(error) => json!({ "error": error.to_string(), "text": answer }),
    })
}

fn readable(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A field of a JSON or XML answer, as text; empty where there is none.
fn field(answer: &str, name: &str) -> String {
    if let Ok(json) = serde_json::from_str::<Value>(answer) {
        return match &json[name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
    }
    let found = answer
        .split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    let text = found.map_or("", |(text, _)| text.trim());
    let bare = text
        .strip_prefix("<![CDATA[")
        .and_then(|t| t.strip_suffix("]]>"));
    bare.unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use weappd_base::secret::Secret;
    use weappd_base::unix_time::UnixSecs;
    use weappd_outbound::OutboundTrust;
    use weappd_wechat::envelope;
    use weappd_wechat::message::MessageKey;

    use super::*;
    use crate::push_target::{PushBodyFormat, PushClient};

    fn target(mode: PushEncryption) -> PushTarget {
        let key = Secret::new("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG");
        PushTarget {
            appid: "wx1".to_owned(),
            url: "http://127.0.0.1/".parse().expect("a url"),
            token: Secret::new("token"),
            key: Some(MessageKey::parse(&key).expect("a key")),
            mode,
            format: PushBodyFormat::Json,
            client: PushClient::new(OutboundTrust::PlainOnly).expect("a poster"),
        }
    }

    #[test]
    fn an_acknowledgement_is_no_reply() {
        for answer in ["", "success", " success\n"] {
            assert_eq!(read(&target(PushEncryption::Safe), answer), None);
        }
        let plain = read(&target(PushEncryption::Plain), r#"{"MsgType":"text"}"#);
        assert_eq!(plain, Some(json!({"MsgType": "text"})));
    }

    #[test]
    fn sealed_replies_open_in_both_formats_and_forged_ones_do_not() {
        let safe = target(PushEncryption::Safe);
        let mailbox = MessageCodec {
            appid: "wx1".to_owned(),
            token: Secret::new("token"),
            key: safe.key.clone().expect("a key"),
        };
        for format in [envelope::BodyFormat::Json, envelope::BodyFormat::Xml] {
            let reply = r#"{"demo_resp":"good luck"}"#;
            let sealed = mailbox.seal(format, reply, (UnixSecs::new(1_800_000_000), "42"), [9; 16]);
            assert_eq!(
                read(&safe, &sealed),
                Some(json!({"demo_resp": "good luck"}))
            );
            let forged = sealed.replace("1800000000", "1800000001");
            assert!(read(&safe, &forged).expect("a reply")["error"].is_string());
        }
        assert!(read(&safe, "hello").expect("a reply")["error"].is_string());
    }
}
