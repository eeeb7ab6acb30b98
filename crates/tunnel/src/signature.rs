//! How weappd and business servers believe each other.
//!
//! The old signature is `sha1(data ‖ key)` over the data text exactly as it came. Callbacks
//! carry a second one beside it, after the Standard Webhooks scheme, which also covers the
//! time and an id, so that a kept callback cannot be played again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use weappd_base::secret::{Secret, same_bytes};
use weappd_base::unix_time::UnixSecs;

/// How a business server is named on the wire: lower-case hex `md5(host)`.
pub(crate) fn tc_id(host: &str) -> String {
    hex::encode(Md5::digest(host.as_bytes()))
}

/// Signs a data text: lower-case hex `sha1(data ‖ key)`.
pub(crate) fn sign(data: &str, key: &Secret) -> String {
    hex::encode(digest(data, key))
}

/// Whether `signature` was made over `data` with `key`, in constant time.
pub(crate) fn check(data: &str, key: &Secret, signature: &str) -> bool {
    let mut given = [0; 20];
    hex::decode_to_slice(signature, &mut given).is_ok() && same_bytes(&given, &digest(data, key))
}

fn digest(data: &str, key: &Secret) -> [u8; 20] {
    let mut sum = Sha1::new();
    sum.update(data.as_bytes());
    sum.update(key.expose().as_bytes());
    sum.finalize().into()
}

/// The `webhook-signature` of a callback.
pub(crate) fn webhook(id: &str, timestamp: UnixSecs, body: &[u8], key: &Secret) -> String {
    let mut mac = hmac_sha256(key.expose().as_bytes());
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// HMAC-SHA256 under a key of any length.
pub(crate) fn hmac_sha256(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUSH: &str = r#"[{"tunnelIds":["02ca30d0-740a-4b02-9d74-6f5d7f78f3ec","t2"],"type":"message","content":"{\"type\":\"speak\",\"content\":{\"word\":\"大家好 \\\"hi\\\"\"}}"}]"#;

    /// Made by running wafer-node-server-sdk 0.8.2.
    const GOLDEN: [(&str, &str); 6] = [
        (
            r#"{"receiveUrl":"https://www.qcloud.la/tunnel","protocolType":"wss"}"#,
            "12f5241eb4ad62cd7dce40bd76122cc0c8242a98",
        ),
        (
            r#"[{"tunnelIds":["t2"],"type":"close"}]"#,
            "228c7fce20298b17506ab9ae1b7027a54314b993",
        ),
        (PUSH, "6f93c6b020eb56cadbe2242b764af635f3e2d06e"),
        (
            r#"{"tunnelId":"t1","type":"connect"}"#,
            "142c7be0e1bb6b6e91dc67483c2d16ab763c120d",
        ),
        (
            r#"{"tunnelId":"t1","type":"message","content":"{\"type\":\"speak\",\"content\":{\"word\":\"hello\"}}"}"#,
            "876a27e9dd5658734292ef78128c8ce7d6350bbd",
        ),
        (
            r#"{"tunnelId":"t1","type":"close"}"#,
            "0aa1c2ffe0c98ad49695f4adc02511f3057690e6",
        ),
    ];

    #[test]
    fn the_sdks_signatures_are_ours() {
        let key = Secret::new("9f338d1f0ecc37d25ac7b161c1d7bf72");
        assert_eq!(tc_id("www.qcloud.la"), "881158cfef0395d472a6ebffeb0840a3");
        for (data, signature) in GOLDEN {
            assert_eq!(sign(data, &key), signature, "{data}");
            assert!(check(data, &key, signature));
            assert!(check(data, &key, &signature.to_uppercase()));
            assert!(!check(&data[1..], &key, signature));
            assert!(!check(data, &Secret::new("other"), signature));
            assert!(!check(data, &key, &signature[1..]));
        }
        assert!(!check("", &key, ""));
        assert!(!check("", &key, "zz"));
    }

    #[test]
    fn the_webhook_signature_covers_id_time_and_body() {
        let key = Secret::new("secret");
        let signed = webhook("msg_1", UnixSecs::new(1_614_265_330), b"{}", &key);
        assert!(signed.starts_with("v1,") && signed.len() == 3 + 44);
        assert_ne!(
            signed,
            webhook("msg_2", UnixSecs::new(1_614_265_330), b"{}", &key)
        );
        assert_ne!(
            signed,
            webhook("msg_1", UnixSecs::new(1_614_265_331), b"{}", &key)
        );
        assert_ne!(
            signed,
            webhook("msg_1", UnixSecs::new(1_614_265_330), b"[]", &key)
        );
    }
}
