//! A callback as it is sent: its data text, its old signature, its id.

use bytes::Bytes;
use serde::Serialize;
use weappd_base::secret::Secret;

use crate::id::TunnelId;
use crate::signature;
use crate::tunnel::{EventKind, TunnelEvent};

/// A callback as it goes over the wire, the same at each try.
#[derive(Debug)]
pub(crate) struct CallbackRequest {
    pub(crate) body: Bytes,
    pub(crate) id: String,
    pub(crate) seq: u32,
    pub(crate) name: &'static str,
}

impl CallbackRequest {
    /// Writes down what happened to a tunnel.
    pub(crate) fn write(tunnel: TunnelId, event: &TunnelEvent, key: &Secret, id: String) -> Self {
        let name = event.kind.name();
        let content = match &event.kind {
            EventKind::Message(content) => Some(&**content),
            EventKind::Connect | EventKind::Close => None,
        };
        let data = data_text(&tunnel.to_string(), name, content);
        Self {
            body: Bytes::from(envelope_text(&data, key)),
            id,
            seq: event.seq,
            name,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallbackData<'a> {
    tunnel_id: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallbackEnvelope<'a> {
    data: &'a str,
    data_encode: &'a str,
    signature: &'a str,
}

/// The data text of a callback.
fn data_text(tunnel_id: &str, kind: &str, content: Option<&str>) -> String {
    let data = CallbackData {
        tunnel_id,
        r#type: kind,
        content,
    };
    // Texts always have a JSON form.
    serde_json::to_string(&data).unwrap_or_default()
}

/// The body of a callback.
fn envelope_text(data: &str, key: &Secret) -> String {
    let envelope = CallbackEnvelope {
        data,
        data_encode: "json",
        signature: &signature::sign(data, key),
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn callbacks_are_signed_like_the_originals() {
        let key = Secret::new("9f338d1f0ecc37d25ac7b161c1d7bf72");
        let message = r#"{"type":"speak","content":{"word":"hello"}}"#;
        let golden = [
            (
                data_text("t1", "connect", None),
                "142c7be0e1bb6b6e91dc67483c2d16ab763c120d",
            ),
            (
                data_text("t1", "message", Some(message)),
                "876a27e9dd5658734292ef78128c8ce7d6350bbd",
            ),
            (
                data_text("t1", "close", None),
                "0aa1c2ffe0c98ad49695f4adc02511f3057690e6",
            ),
        ];
        for (data, signed) in golden {
            let body: Value = serde_json::from_str(&envelope_text(&data, &key)).expect("JSON");
            assert_eq!(
                body,
                json!({"data": data, "dataEncode": "json", "signature": signed})
            );
        }
    }

    proptest! {
        #[test]
        fn every_callback_round_trips(content: String, id: String, key: String) {
            let key = Secret::new(key);
            let data = data_text(&id, "message", Some(&content));
            let body: Value = serde_json::from_str(&envelope_text(&data, &key)).expect("JSON");
            let (text, signed) = (body["data"].as_str(), body["signature"].as_str());
            prop_assert!(signature::check(text.expect("text"), &key, signed.expect("text")));
            let data: Value = serde_json::from_str(text.expect("text")).expect("JSON");
            let said = json!({"tunnelId": id, "type": "message", "content": content});
            prop_assert_eq!(data, said);
        }
    }
}
