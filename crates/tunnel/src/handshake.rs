//! The HTTP side of opening a WebSocket (RFC 6455 section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha1::{Digest as _, Sha1};

/// What RFC 6455 adds to a key before hashing it.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request opens no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeError {
    /// It does not ask for a WebSocket.
    NotAsked,
    /// It asks for another version than 13.
    Version,
    /// Its key is not 16 bytes in base64.
    Key,
}

/// The headers that accept the upgrade `headers` ask for.
pub(crate) fn accept(headers: &HeaderMap) -> Result<HeaderMap, UpgradeError> {
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(UpgradeError::NotAsked);
    }
    let is_version_13 = headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_some_and(|version| version.as_bytes().trim_ascii() == b"13");
    if !is_version_13 {
        return Err(UpgradeError::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(UpgradeError::Key)?;
    let key = key.as_bytes().trim_ascii();
    let mut nonce = [0; 18];
    if key.len() != 24 || STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return Err(UpgradeError::Key);
    }
    let mut answer = HeaderMap::with_capacity(4);
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&accept_key(key)).map_err(|_| UpgradeError::Key)?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    // A client that offered protocols hangs up unless one is chosen; tunnels speak only one
    // language, whatever it is called.
    if let Some(protocol) = first_protocol(headers) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

fn accept_key(key: &[u8]) -> String {
    let mut sum = Sha1::new();
    sum.update(key);
    sum.update(MAGIC);
    STANDARD.encode(sum.finalize())
}

fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').map(str::trim).find(|p| !p.is_empty())?;
    HeaderValue::from_str(first).ok()
}

/// Whether a list header names `token`.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(change: impl FnOnce(&mut HeaderMap)) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(&mut headers);
        headers
    }

    #[test]
    fn the_example_of_the_rfc() {
        let answer = accept(&headers(|_| {})).expect("a good request");
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!answer.contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn an_offered_protocol_is_chosen() {
        let asked = headers(|h| {
            h.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat, b"));
        });
        let answer = accept(&asked).expect("a good request");
        assert_eq!(answer[SEC_WEBSOCKET_PROTOCOL], "chat");
    }

    #[test]
    fn what_is_no_upgrade() {
        let without = |name: &'static str| headers(|h| drop(h.remove(name)));
        assert_eq!(accept(&without("upgrade")), Err(UpgradeError::NotAsked));
        assert_eq!(accept(&without("connection")), Err(UpgradeError::NotAsked));
        assert_eq!(
            accept(&without("sec-websocket-version")),
            Err(UpgradeError::Version)
        );
        assert_eq!(
            accept(&without("sec-websocket-key")),
            Err(UpgradeError::Key)
        );
        for key in [
            "",
            "AAAA",
            "dGhlIHNhbXBsZSBub25jZQ=!",
            "dGhlIHNhbXBsZSBub25jZSE5",
        ] {
            let asked = headers(|h| {
                h.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
            });
            assert_eq!(accept(&asked), Err(UpgradeError::Key), "{key}");
        }
    }
}
