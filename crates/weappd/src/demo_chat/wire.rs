//! The tunnel protocol as a business server speaks it: Wafer 1 and 2, read in
//! wafer-node-server-sdk and wafer2-node-sdk.

use md5::Md5;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use weappd_base::secret::{Secret, same_bytes};

/// What happened in a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TunnelNews {
    pub(super) tunnel_id: String,
    pub(super) packet: DemoPacket,
}

/// The kinds of packets a callback brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DemoPacket {
    /// The phone is there.
    Connect,
    /// The phone said something.
    Message { kind: String, content: Value },
    /// The phone is gone.
    Close,
    /// Something of a later protocol.
    Other,
}

/// A callback that is not taken; the codes are those of the old SDKs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WireRefusal {
    NotJson,
    FieldsMissing,
    BadSignature,
    BadData,
}

/// A tunnel as `/get/wsurl` hands it out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DemoTunnel {
    pub(super) tunnel_id: String,
    pub(super) connect_url: String,
}

/// What must go to some tunnels: a message, or the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChatPush {
    pub(super) tunnel_ids: Vec<String>,
    /// The message as JSON text; `None` closes the tunnels.
    pub(super) content: Option<String>,
}

impl WireRefusal {
    /// Code and message of the answer.
    pub(super) fn words(&self) -> (i32, &'static str) {
        match self {
            Self::NotJson => (9001, "the body is not JSON"),
            Self::FieldsMissing => (9002, "data or signature is missing"),
            Self::BadSignature => (9003, "the signature does not fit"),
            Self::BadData => (9004, "data is not a packet"),
        }
    }
}

/// Reads a callback and believes it only with the right signature.
pub(super) fn read_callback(body: &[u8], key: &Secret) -> Result<TunnelNews, WireRefusal> {
    let envelope: Value = serde_json::from_slice(body).map_err(|_| WireRefusal::NotJson)?;
    let text = |name: &str| envelope.get(name).and_then(Value::as_str);
    let (Some(data), Some(signature)) = (text("data"), text("signature")) else {
        return Err(WireRefusal::FieldsMissing);
    };
    if !same_bytes(sign(data, key).as_bytes(), signature.as_bytes()) {
        return Err(WireRefusal::BadSignature);
    }
    let data: Value = serde_json::from_str(data).map_err(|_| WireRefusal::BadData)?;
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let (Some(tunnel_id), Some(kind)) = (text("tunnelId"), text("type")) else {
        return Err(WireRefusal::BadData);
    };
    let packet = match kind {
        "connect" => DemoPacket::Connect,
        "message" => read_message(text("content").unwrap_or_default()),
        "close" => DemoPacket::Close,
        _ => DemoPacket::Other,
    };
    Ok(TunnelNews {
        tunnel_id: tunnel_id.to_owned(),
        packet,
    })
}

/// `{"type", "content"}`, or whatever the phone sent under the SDKs' name for that.
fn read_message(content: &str) -> DemoPacket {
    let read: Option<Value> = serde_json::from_str(content).ok();
    let kind = read.as_ref().and_then(|m| m.get("type")?.as_str());
    match (kind, &read) {
        (Some(kind), Some(message)) => DemoPacket::Message {
            kind: kind.to_owned(),
            content: message.get("content").cloned().unwrap_or_default(),
        },
        _ => DemoPacket::Message {
            kind: "UnknownRaw".to_owned(),
            content: Value::from(content),
        },
    }
}

/// The body of `POST /get/wsurl`: a tunnel, please, and tell me here what happens in it.
pub(super) fn wsurl_request(server_host: &str, key: &Secret) -> String {
    let receive_url = format!("http://{server_host}/weapp/tunnel");
    let data = json!({"receiveUrl": receive_url, "protocolType": "wss"}).to_string();
    let signature = sign(&data, key);
    json!({
        "data": data,
        "tcId": tc_id(server_host),
        "tcKey": key.expose(),
        "signature": signature,
    })
    .to_string()
}

/// The body of `POST /ws/push`.
pub(super) fn push_request(push: &ChatPush, server_host: &str, key: &Secret) -> String {
    let packet = match &push.content {
        Some(content) => {
            json!({"tunnelIds": push.tunnel_ids, "type": "message", "content": content})
        }
        None => json!({"tunnelIds": push.tunnel_ids, "type": "close"}),
    };
    let data = json!([packet]).to_string();
    let signature = sign(&data, key);
    json!({"data": data, "tcId": tc_id(server_host), "signature": signature}).to_string()
}

/// Reads the answer to [`wsurl_request`]; `None` if it is not one, or not signed.
pub(super) fn read_issued(answer: &Value, key: &Secret) -> Option<DemoTunnel> {
    let data = answer.get("data")?.as_str()?;
    let signature = answer.get("signature")?.as_str()?;
    if !same_bytes(sign(data, key).as_bytes(), signature.as_bytes()) {
        return None;
    }
    serde_json::from_str(data).ok()
}

/// The tunnels that a push found dead.
pub(super) fn read_gone(answer: &Value) -> Vec<String> {
    let ids = answer
        .pointer("/data/invalidTunnelIds")
        .and_then(Value::as_array);
    let ids = ids.into_iter().flatten().filter_map(Value::as_str);
    ids.map(str::to_owned).collect()
}

/// `sha1(data + key)`, over the text exactly as it travels.
fn sign(data: &str, key: &Secret) -> String {
    let sum = Sha1::new()
        .chain_update(data)
        .chain_update(key.expose())
        .finalize();
    hex::encode(sum)
}

/// How the tunnel service names a business server.
fn tc_id(server_host: &str) -> String {
    hex::encode(Md5::digest(server_host))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Produced by running qcloud-weapp-server-sdk 0.8.2.
    const HOST: &str = "www.qcloud.la";

    fn key() -> Secret {
        Secret::new("9f338d1f0ecc37d25ac7b161c1d7bf72")
    }

    fn callback(data: &str, signature: &str) -> Vec<u8> {
        json!({"data": data, "dataEncode": "json", "signature": signature})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn callbacks_signed_by_the_old_sdk_are_read() {
        let connect = callback(
            r#"{"tunnelId":"t1","type":"connect"}"#,
            "142c7be0e1bb6b6e91dc67483c2d16ab763c120d",
        );
        let news = read_callback(&connect, &key());
        assert_eq!(news.map(|n| n.packet), Ok(DemoPacket::Connect));

        let message = callback(
            r#"{"tunnelId":"t1","type":"message","content":"{\"type\":\"speak\",\"content\":{\"word\":\"hello\"}}"}"#,
            "876a27e9dd5658734292ef78128c8ce7d6350bbd",
        );
        let news = read_callback(&message, &key());
        assert_eq!(
            news,
            Ok(TunnelNews {
                tunnel_id: "t1".to_owned(),
                packet: DemoPacket::Message {
                    kind: "speak".to_owned(),
                    content: json!({"word": "hello"}),
                },
            })
        );
    }

    #[test]
    fn a_callback_that_is_not_ours_is_refused_with_the_old_codes() {
        let code = |body: &[u8]| read_callback(body, &key()).map_err(|refusal| refusal.words().0);
        let data = r#"{"tunnelId":"t1","type":"connect"}"#;
        assert_eq!(code(b"hello"), Err(9001));
        assert_eq!(code(br#"{"data":"x"}"#), Err(9002));
        assert_eq!(code(&callback(data, "0")), Err(9003));
        let almost = "142c7be0e1bb6b6e91dc67483c2d16ab763c120e";
        assert_eq!(code(&callback(data, almost)), Err(9003));
        assert_eq!(code(&callback("[]", &sign("[]", &key()))), Err(9004));
        assert_eq!(code(&callback("no", &sign("no", &key()))), Err(9004));
    }

    #[test]
    fn what_is_no_message_is_raw() {
        for raw in [
            "",
            "ping",
            "null",
            "[1]",
            r#"{"content":1}"#,
            r#"{"type":7}"#,
        ] {
            assert_eq!(
                read_message(raw),
                DemoPacket::Message {
                    kind: "UnknownRaw".to_owned(),
                    content: Value::from(raw),
                },
                "{raw}"
            );
        }
    }

    #[test]
    fn requests_are_signed_as_the_old_sdk_signs_them() {
        assert_eq!(tc_id(HOST), "881158cfef0395d472a6ebffeb0840a3");
        let close = ChatPush {
            tunnel_ids: vec!["t2".to_owned()],
            content: None,
        };
        let body: Value = serde_json::from_str(&push_request(&close, HOST, &key())).expect("JSON");
        assert_eq!(body["data"], r#"[{"tunnelIds":["t2"],"type":"close"}]"#);
        assert_eq!(
            body["signature"],
            "228c7fce20298b17506ab9ae1b7027a54314b993"
        );
        assert!(body.get("tcKey").is_none(), "a push carries no key");

        let ids = ["02ca30d0-740a-4b02-9d74-6f5d7f78f3ec", "t2"];
        let said = ChatPush {
            tunnel_ids: ids.map(str::to_owned).to_vec(),
            content: Some(r#"{"type":"speak","content":{"word":"大家好 \"hi\""}}"#.to_owned()),
        };
        let body: Value = serde_json::from_str(&push_request(&said, HOST, &key())).expect("JSON");
        assert_eq!(
            body["signature"],
            "6f93c6b020eb56cadbe2242b764af635f3e2d06e"
        );
    }

    #[test]
    fn a_tunnel_is_taken_only_with_its_signature() {
        let data = r#"{"tunnelId":"t","connectUrl":"ws://x/"}"#;
        let answer = |signature: &str| json!({"code": 0, "data": data, "signature": signature});
        let issued = read_issued(&answer(&sign(data, &key())), &key());
        assert_eq!(issued.map(|i| i.connect_url).as_deref(), Some("ws://x/"));
        assert!(read_issued(&answer("forged"), &key()).is_none());
        assert!(read_issued(&json!({"code": 0, "data": {}}), &key()).is_none());
    }

    #[test]
    fn the_dead_are_read_from_a_push_answer() {
        let answer = json!({"code": 0, "data": {"invalidTunnelIds": ["t1", 7, "t2"]}});
        assert_eq!(read_gone(&answer), ["t1", "t2"]);
        assert!(read_gone(&json!({"code": 0, "data": {}})).is_empty());
    }
}
