//! The desk: the simulator's own page, at `/`.
//!
//! The page is the folder `desk/` of this crate, carried inside the binary. It asks this
//! site and no other. Test ids: `users`, `user-NAME`, `user-add`, `codes`, `tokens`,
//! `calls`, `call` (one each, with `data-path`), `call-detail`, `fault-KIND`, `heal`,
//! `clock-forward-SECS`, `push`, `language`, `theme`.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "desk/"]
struct Assets;

pub(super) async fn index() -> Response {
    file("index.html")
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(name: &str) -> Response {
    let mut answer = match Assets::get(name) {
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
        Some(file) => {
            let kind = mime_guess::from_path(name).first_or_octet_stream();
            let kind = match kind.type_().as_str() {
                "text" => format!("{kind}; charset=utf-8"),
                _ => kind.to_string(),
            };
            ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
        }
    };
    let guards: [(HeaderName, HeaderValue); 4] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    answer.headers_mut().extend(guards);
    answer
}

/// The page loads from this site and calls this site.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
