//! Bodies as libraries send them.

use http::HeaderValue;

/// A text without the byte order mark that some editors and libraries begin it with.
pub(crate) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)
}

/// How a body is compressed, as its header or its first bytes say.
pub(crate) fn compression(header: Option<&HeaderValue>, body: &[u8]) -> Option<String> {
    let named = header.and_then(|value| value.to_str().ok());
    let named = named.map(str::trim).filter(|name| *name != "identity");
    if let Some(name) = named {
        return Some(name.chars().take(20).collect());
    }
    body.starts_with(b"\x1f\x8b").then(|| "gzip".to_owned())
}
