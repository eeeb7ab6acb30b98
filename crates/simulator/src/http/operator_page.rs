//! The operator's page, at `/`.
//!
//! The page is the folder `desk/` of this crate, carried inside the binary. It asks this
//! site and no other. Test ids: `users`, `user-NAME`, `user-add`, `codes`, `tokens`,
//! `calls`, `call` (one each, with `data-path`), `call-detail`, `fault-KIND`, `heal`,
//! `clock-forward-SECS`, `push`, `language`, `theme`, `to-phones` (in `weappd dev`).

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "desk/"]
struct DeskFiles;

/// The phone page's files, of which the operator's page uses some: both look the same.
#[derive(RustEmbed)]
#[folder = "page/"]
struct PhonePageFiles;

/// What it uses of the phone page.
const SHARED: [&str; 4] = ["dom.js", "icon.svg", "json.js", "style.css"];

pub(super) async fn index() -> Response {
    file("index.html")
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    file(&name)
}

fn file(name: &str) -> Response {
    let found = if SHARED.contains(&name) {
        PhonePageFiles::get(name)
    } else {
        DeskFiles::get(name)
    };
    let mut answer = match found {
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

#[cfg(test)]
mod tests {
    use super::super::simulator_world::{SimulatorWorld, bytes_of};
    use super::*;

    #[tokio::test]
    async fn the_desk_stands_at_the_root_and_calls_nobody_else() {
        let world = SimulatorWorld::new();
        let files = DeskFiles::iter().chain(SHARED.iter().map(|name| (*name).into()));
        let paths = files.map(|name| format!("/desk/{name}"));
        for path in std::iter::once("/".to_owned()).chain(paths) {
            let answer = world.send("GET", &path, String::new()).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].clone();
            assert_eq!(policy, POLICY, "{path}");
            let text = String::from_utf8(bytes_of(answer).await).expect("a text");
            for address in text.match_indices("http").map(|(at, _)| &text[at..]) {
                let known = [
                    "http://127.0.0.1",
                    "https://api.weixin.qq.com",
                    "http://www.w3.org/2000/svg",
                ];
                let plain = !address.starts_with("http://") && !address.starts_with("https://");
                assert!(
                    plain || known.iter().any(|one| address.starts_with(one)),
                    "{path}"
                );
            }
        }
        let strange = world.send("GET", "/desk/phone.js", String::new()).await;
        assert_eq!(strange.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn both_languages_say_everything() {
        let words = DeskFiles::get("words.js").expect("the words");
        let words = String::from_utf8(words.data.into_owned()).expect("a text");
        let (english, chinese) = words
            .split_once("\n  zh: {")
            .expect("English, then Chinese");
        let keys = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("    "));
            lines
                .flat_map(|line| line.split("', ").map(str::to_owned).collect::<Vec<_>>())
                .filter_map(|entry| Some(entry.trim().split_once(": '")?.0.to_owned()))
                .collect()
        };
        let chinese = chinese.split_once("\n  },").expect("an end").0;
        assert_eq!(keys(english), keys(chinese));
        assert!(keys(english).len() > 80);
    }
}
