//! hyper's bare answers to heads that it cannot read, completed with a body; and heads made
//! readable that hyper would refuse without need.

use std::fmt::Write as _;

use weappd_base::language::Language;
use weappd_base::request_id::{REQUEST_ID, RequestId};

use crate::refusal::EdgeRefusal;

/// The same bytes with those at `raw` written as `%XX`.
pub(crate) fn escape(bytes: &[u8], raw: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2 * raw.len());
    let mut done = 0;
    for at in raw {
        let Some(byte) = bytes.get(*at) else { break };
        out.extend_from_slice(bytes.get(done..*at).unwrap_or_default());
        let mut text = String::with_capacity(3);
        let _ = write!(text, "%{byte:02X}");
        out.extend_from_slice(text.as_bytes());
        done = at + 1;
    }
    out.extend_from_slice(bytes.get(done..).unwrap_or_default());
    out
}

/// An answer to a refused head.
#[derive(Debug)]
pub(crate) struct HeadAnswer {
    pub(crate) status: u16,
    pub(crate) body_len: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) request_id: RequestId,
}

/// hyper's bare answer with a body that says what is wrong; nothing if it is none.
pub(crate) fn complete(bare: &[u8]) -> Option<HeadAnswer> {
    let bare = std::str::from_utf8(bare).ok()?;
    let (head, rest) = bare.split_once("content-length: 0\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let refusal = match status {
        414 => EdgeRefusal::UriTooLong,
        431 => EdgeRefusal::HeadTooLarge,
        _ => EdgeRefusal::BadRequest("The request's head cannot be read."),
    };
    let request_id = RequestId::fresh();
    let body = refusal.json(&request_id, Language::English);
    let length = body.len();
    let close = if bare.contains("connection: close\r\n") {
        ""
    } else {
        "connection: close\r\n"
    };
    let text = format!(
        "{head}content-type: application/json; charset=utf-8\r\ncache-control: no-store\r\n\
         {REQUEST_ID}: {request_id}\r\n{close}content-length: {length}\r\n{rest}{body}"
    );
    Some(HeadAnswer {
        status,
        body_len: length,
        bytes: text.into_bytes(),
        request_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_answer_is_completed() {
        let bare =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let answer = complete(bare).expect("an answer");
        let text = String::from_utf8(answer.bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert_eq!((answer.status, answer.body_len), (431, body.len()));
        assert!(head.ends_with("\r\ndate: x"), "{head}");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert!(body.contains("head_too_large"), "{body}");
        for other in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
            b"",
            b"\xFF",
        ] {
            assert!(complete(other).is_none());
        }
    }

    #[test]
    fn every_byte_that_a_browser_or_nginx_lets_through_is_a_uri() {
        for byte in (b'!'..=b'~').chain(0x80..=0xFF) {
            let target = [&b"/a"[..], &[byte], b"?b", &[byte]].concat();
            let raw = if matches!(byte, b'"' | b'<' | b'>' | b'`' | 0x80..) {
                vec![2, 5]
            } else {
                Vec::new()
            };
            let uri = http::Uri::try_from(escape(&target, &raw));
            assert!(uri.is_ok(), "{}", target.escape_ascii());
        }
        assert_eq!(escape(b"a\"b", &[1]), b"a%22b");
        assert_eq!(escape(b"\xB0", &[0, 9]), b"%B0");
    }
}
