//! `wx.uploadFile` and `wx.downloadFile` against a real `weappd serve`.

use std::path::Path;

use hyper::Method;
use serde_json::json;

use crate::http::{self, HttpAnswer, TestClient, connector};
use crate::raw::{self, RawClient};
use crate::world::{TestPhone, TestWorld, WorldRecipe, text};

/// The smallest PNG there is: one pixel.
pub(crate) const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

/// As phones write it: a field before the file, and a name in Chinese.
pub(crate) fn form(name: &str, kind: &str, file: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\n三木\r\n\
         --WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {kind}\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--WebKitFormBoundaryX--\r\n");
    body
}

pub(crate) async fn upload(phone: &TestPhone, site: &TestClient, body: Vec<u8>) -> HttpAnswer {
    let ask = site.post("/weapp/upload").header(
        "content-type",
        "multipart/form-data; boundary=WebKitFormBoundaryX",
    );
    let ask = match &phone.skey {
        Some(skey) => ask.header("x-wx-skey", skey),
        None => ask,
    };
    ask.body(body).send().await
}

async fn shared() -> (TestWorld, TestPhone) {
    let world = WorldRecipe::new()
        .sections("[files]\nmax_upload_bytes = 2097152")
        .serve();
    let mut phone = world.phone("alice");
    phone.log_in().await;
    (world, phone)
}

/// The path of an `imgUrl`, which must lead to the site itself.
fn path_of(url: &str) -> String {
    let path = url
        .strip_prefix("https://localhost")
        .expect("an absolute URL");
    assert!(path.starts_with("/weapp/files/"), "{url}");
    path.to_owned()
}

#[tokio::test]
async fn a_picture_goes_up_and_comes_back() {
    let (world, phone) = shared().await;
    let site = world.site();
    let answer = upload(&phone, &site, form("我的照片.png", "image/png", PNG)).await;
    assert_eq!(answer.status(), 200);
    let told = http::json(&answer);
    assert_eq!(told["code"], 0, "{told}");
    let data = &told["data"];
    assert_eq!(
        (&data["size"], &data["mimeType"]),
        (&json!(PNG.len()), &json!("image/png"))
    );
    let path = path_of(text(&data["imgUrl"]));
    assert!(path.ends_with(text(&data["name"])));

    // Pictures are fetched without headers: the name is the key.
    let whole = site.get(&path).send().await;
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.body(), PNG);
    assert_eq!(whole.headers()["content-type"], "image/png");
    assert_eq!(whole.headers()["x-content-type-options"], "nosniff");
    let tag = whole.headers()["etag"].to_str().expect("text");
    let same = site.get(&path).header("if-none-match", tag).send().await;
    assert_eq!(same.status(), 304);
    let head = site.request(Method::HEAD, &path).send().await;
    assert_eq!(head.headers()["content-length"], PNG.len().to_string());
    let length = PNG.len();
    for (range, from, to) in [
        ("bytes=0-3", 0, 4),
        ("bytes=8-", 8, length),
        ("bytes=-4", length - 4, length),
    ] {
        let part = site.get(&path).header("range", range).send().await;
        assert_eq!(part.status(), 206, "{range}");
        assert_eq!(part.body(), &PNG[from..to], "{range}");
        let wanted = format!("bytes {from}-{}/{length}", to - 1);
        assert_eq!(part.headers()["content-range"], wanted);
    }
    let none = site.get(&path).header("range", "bytes=5000-").send().await;
    assert_eq!(none.status(), 416);

    // The same picture again is another file; names are never guessed.
    let again = http::json(&upload(&phone, &site, form("a.png", "image/png", PNG)).await);
    assert_ne!(again["data"]["name"], data["name"]);
    for path in [
        "/weapp/files/",
        "/weapp/files/a.png",
        "/weapp/files/..%2f..%2fweappd.toml",
        "/weapp/files/%2e%2e",
    ] {
        let answer = site.get(path).send().await;
        assert!(matches!(answer.status().as_u16(), 400 | 404), "{path}");
    }
}

#[tokio::test]
async fn what_is_kept_outlives_weappd() {
    let (world, phone) = shared().await;
    let told = http::json(&upload(&phone, &world.site(), form("a.png", "image/png", PNG)).await);
    let path = path_of(text(&told["data"]["imgUrl"]));
    let kept = world.dir().join(".weappd/files");
    let name = text(&told["data"]["name"]).to_owned();
    assert_eq!(world.site().get(&path).send().await.body(), PNG);
    let (dir, _) = world.end(rustix::process::Signal::TERM);
    let found = walk(&kept).into_iter().any(|path| path.ends_with(&name));
    assert!(found, "{:?}", walk(&kept));
    drop(dir);
}

fn walk(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    let all = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            walk(&path)
        } else {
            vec![path.display().to_string()]
        }
    });
    all.collect()
}

#[tokio::test]
async fn too_large_is_413_in_the_envelope() {
    let (world, phone) = shared().await;
    let site = world.site();
    let limit = 2 * 1024 * 1024;
    let picture = |size: usize| {
        let mut bytes = PNG.to_vec();
        bytes.resize(size, 0);
        bytes
    };
    let fits = upload(&phone, &site, form("a.png", "image/png", &picture(limit))).await;
    assert_eq!(http::json(&fits)["data"]["size"], limit);
    for size in [limit + 1, 8 * limit] {
        let large = upload(&phone, &site, form("a.png", "image/png", &picture(size))).await;
        assert_eq!(large.status(), 413, "{size}");
        let told = http::json(&large);
        assert_eq!(told["code"], -1, "{told}");
        assert!(text(&told["error"]).contains(&limit.to_string()), "{told}");
    }
    let kept = walk(&world.dir().join(".weappd/files"));
    assert_eq!(kept.len(), 1, "what was refused is not kept: {kept:?}");
}

#[tokio::test]
async fn what_a_file_is_counts_and_not_what_it_is_called() {
    let (world, phone) = shared().await;
    let site = world.site();
    for (name, kind, bytes) in [
        ("a.png", "image/png", &b"<script>alert(1)</script>"[..]),
        ("a.html", "text/html", b"<!doctype html><html></html>"),
        (
            "a.png",
            "image/png",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0",
        ),
        (
            "a.svg",
            "image/svg+xml",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
        ),
        ("a.php", "image/png", b"<?php system($_GET['c']);"),
    ] {
        let answer = upload(&phone, &site, form(name, kind, bytes)).await;
        assert_eq!(answer.status(), 415, "{name}: {answer:?}");
        assert_eq!(http::json(&answer)["code"], -1);
    }
    // Called something else, it is what it is.
    let told = http::json(&upload(&phone, &site, form("../../x.php", "text/html", PNG)).await);
    assert_eq!(told["data"]["mimeType"], "image/png", "{told}");
    let name = text(&told["data"]["name"]);
    assert!(!name.contains('/') && !name.contains("php"), "{name}");
    assert!(
        Path::new(name)
            .extension()
            .is_some_and(|kind| kind == "png"),
        "{name}"
    );
}

#[tokio::test]
async fn strangers_upload_nothing() {
    let (world, mut phone) = shared().await;
    let site = world.site();
    let words = json!({"code": -1, "error": "ERR_SKEY_INVALID"});
    for skey in [None, Some(String::new()), Some("0".repeat(64))] {
        phone.skey = skey;
        let answer = upload(&phone, &site, form("a.png", "image/png", PNG)).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(http::json(&answer), words);
    }
    let get = site.get("/weapp/upload").send().await;
    assert!(matches!(get.status().as_u16(), 401 | 405), "{get:?}");
    assert_eq!(
        walk(&world.dir().join(".weappd/files")),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_refused_upload_gets_to_read_why() {
    let (world, phone) = shared().await;
    let tls = connector(&world.ca(), &[b"http/1.1"]);
    let skey = phone.skey.as_deref().expect("an skey");
    // Nobody's; of a type that is not taken; too large for the files; too large for the door.
    for (who, kind, size, status) in [
        ("", "image/png", 3_000_000, 401),
        (skey, "text/plain", 1_500_000, 415),
        (skey, "image/png", 8_000_000, 413),
        (skey, "image/png", 105_000_000, 413),
    ] {
        // The last is announced only: nobody has to take all that.
        let body = form("a.png", kind, &vec![b'x'; size.min(8_000_000)]);
        let head = format!(
            "POST /weapp/upload HTTP/1.1\r\nHost: localhost\r\nX-WX-Skey: {who}\r\n\
             Content-Type: multipart/form-data; boundary=WebKitFormBoundaryX\r\n\
             Content-Length: {}\r\n\r\n",
            body.len().max(size)
        );
        let head = match who {
            "" => head.replace("X-WX-Skey: \r\n", ""),
            _ => head,
        };
        let mut wire = RawClient::tls(world.https, &tls).await;
        // As many clients do: everything is sent before anything is read.
        wire.say(head).await.expect("sent");
        wire.say(body).await.expect("sent");
        let said = wire
            .until("an answer", |said| said.contains("\r\n\r\n"))
            .await;
        assert_eq!(raw::status(&said), status, "{kind}, {size}: {said}");
    }
}

#[tokio::test]
async fn rooms_tell_phones_in_their_language_and_the_log_in_english() {
    let world = WorldRecipe::new().serve();
    let site = world.site();
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let skey = phone.skey.clone().expect("logged in");
    for (language, wanted) in [
        (
            "zh-CN,zh;q=0.9",
            [
                "请求内容必须是 JSON 对象",
                "没有这个会话",
                "multipart",
                "没有这个文件",
            ],
        ),
        (
            "en",
            [
                "the body must be a JSON object",
                "no such session",
                "multipart",
                "no such file",
            ],
        ),
    ] {
        let body = |answer: HttpAnswer| String::from_utf8_lossy(answer.body()).into_owned();
        let told = [
            body(
                site.post("/weapp/session")
                    .header("accept-language", language)
                    .body(b"x".to_vec())
                    .send()
                    .await,
            ),
            body(
                site.get("/weapp/session")
                    .header("accept-language", language)
                    .header("x-wx-skey", "nobody")
                    .send()
                    .await,
            ),
            body(
                site.post("/weapp/upload")
                    .header("accept-language", language)
                    .header("x-wx-skey", &skey)
                    .send()
                    .await,
            ),
            body(
                site.get("/weapp/files/0123456789abcdef0123456789abcdef.png")
                    .header("accept-language", language)
                    .send()
                    .await,
            ),
        ];
        for (told, wanted) in told.iter().zip(wanted) {
            assert!(told.contains(wanted), "{language}: {wanted} in {told}");
        }
        let chinese = told
            .iter()
            .filter(|told| told.contains("请求") || told.contains("没有"));
        assert_eq!(
            chinese.count(),
            if language == "en" { 0 } else { 4 },
            "{told:?}"
        );
    }
    let log = world.transcript();
    assert!(!log.contains("没有") && !log.contains("请求"), "{log}");
}
