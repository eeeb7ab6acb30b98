//! Plain HTTP on a port that speaks TLS: answered with a sentence, where an alert would be
//! bytes that nobody reads.

use std::future::poll_fn;
use std::io;

use http::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use weappd_base::error_body::ErrorBody;

use crate::conn::linger::{LINGER_MAX, Linger};
use crate::error_page;

const ENGLISH: &str = "This port speaks HTTPS: write https:// in place of http://.";
const CHINESE: &str = "该端口使用 HTTPS，请把地址开头的 http:// 改为 https://。";

/// Whether a client's first bytes are a request's, not a TLS record's.
pub(crate) fn is_request(first_bytes: &[u8]) -> bool {
    first_bytes.first().is_some_and(u8::is_ascii_alphabetic)
}

/// Says so, and closes.
pub(crate) async fn refuse(mut io: TcpStream, first_bytes: &[u8]) -> io::Error {
    let html = memchr::memmem::find(first_bytes, b"text/html").is_some();
    let ending = async {
        io.write_all(answer(html).as_bytes()).await?;
        io.shutdown().await?;
        let mut linger = Linger::new();
        poll_fn(|cx| linger.poll(cx, &mut io)).await;
        Ok::<_, io::Error>(())
    };
    // However it ended, the client had its chance.
    drop(tokio::time::timeout(LINGER_MAX, ending).await);
    io::Error::new(io::ErrorKind::InvalidData, "plain HTTP, not TLS")
}

fn answer(html: bool) -> String {
    let (kind, text) = if html {
        let page = error_page::page(StatusCode::BAD_REQUEST, (ENGLISH, CHINESE), None);
        ("text/html", page)
    } else {
        let body = ErrorBody::new("plain_http", ENGLISH).to_string();
        ("application/json", body)
    };
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {kind}; charset=utf-8\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_records_are_told_apart() {
        for request in ["GET / HTTP/1.1", "P", "options *", "PRI * HTTP/2.0"] {
            assert!(is_request(request.as_bytes()), "{request}");
        }
        for other in [&b"\x16\x03\x01"[..], b"\x80\x2e", b"", b"\r\nGET", b"\0"] {
            assert!(!is_request(other), "{other:?}");
        }
    }
}
