//! The room seen from outside: forms go in over HTTP, files come back.

use std::{
    convert::Infallible,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tower::ServiceExt as _;
use weappd_base::{
    random::RandomSource,
    tasks::{Tasks, Work},
};

use crate::{
    Config, Error, Files, FilesParts, PictureOwner,
    http::{PublicBase, download_router, take_picture, upload_router},
};

const PNG: &[u8] = b"\x89PNG\r\n\x1A\n0123456789";
const MAX_UPLOAD_BYTES: u64 = 100_000;

struct FilesWorld {
    dir: tempfile::TempDir,
    router: Router,
    files: Files,
    tasks: Tasks,
}

impl FilesWorld {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let tasks = Tasks::new();
        let files = Files::open(FilesParts {
            config: Config {
                max_upload_bytes: MAX_UPLOAD_BYTES,
                ..config
            },
            data_dir: dir.path().to_owned(),
            random: RandomSource::system(),
            work: Work::current(),
        })
        .expect("a store");
        let base = PublicBase::of_request(|_| true);
        let router = upload_router(files.clone(), base).merge(download_router(files.clone()));
        Self {
            dir,
            router,
            files,
            tasks,
        }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
        let answer = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (parts.status, parts.headers, body)
    }

    async fn upload(&self, body: impl Into<Body>) -> (StatusCode, Value) {
        let (status, headers, body) = self.send(form(body)).await;
        assert_eq!(
            headers[header::CONTENT_TYPE],
            "application/json; charset=utf-8"
        );
        (status, serde_json::from_slice(&body).expect("json"))
    }

    /// Uploads what must be refused, and checks that nothing stays.
    async fn refused(&self, body: impl Into<Body>) -> (StatusCode, String) {
        let (status, json) = self.upload(body).await;
        assert_eq!(json["code"], -1, "{json}");
        self.is_empty().await;
        (status, json["error"].as_str().expect("a text").to_owned())
    }

    /// Waits until no file is left anywhere.
    async fn is_empty(&self) {
        for _ in 0..500 {
            if count_files(self.dir.path()) == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        unreachable!("a file was left behind");
    }

    async fn get(&self, name: &str, asked: &[(header::HeaderName, &str)]) -> Got {
        let mut request = Request::get(format!("/weapp/files/{name}"));
        for (header, value) in asked {
            request = request.header(header, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let (status, headers, body) = self.send(request).await;
        Got {
            status,
            headers,
            body,
        }
    }

    async fn keep(&self, content: &[u8]) -> String {
        let (status, json) = self.upload(one_file("a.png", content)).await;
        assert_eq!(status, StatusCode::OK, "{json}");
        json["data"]["name"].as_str().expect("a name").to_owned()
    }
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

fn count_files(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}

fn form(body: impl Into<Body>) -> Request<Body> {
    Request::post("/weapp/upload")
        .header(header::HOST, "www.example.com:8443")
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=XX")
        .body(body.into())
        .expect("a request")
}

fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
    let mut part = format!("--XX\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
    part.reserve(content.len());
    let mut part = part.into_bytes();
    part.extend_from_slice(content);
    part.extend_from_slice(b"\r\n");
    part
}

fn one_file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = part(&format!("name=\"file\"; filename=\"{name}\""), content);
    body.extend_from_slice(b"--XX--\r\n");
    body
}

#[tokio::test]
async fn a_picture_goes_in_and_comes_back() {
    let room = FilesWorld::new();
    let mut body = part("name=\"user\"", "三木".as_bytes());
    body.extend(part("name=\"photo\"; filename=\"tmp_1.jpg\"", PNG));
    body.extend(part("name=\"after\"", b"x"));
    body.extend_from_slice(b"--XX--\r\n");
    let (status, json) = room.upload(body).await;
    assert_eq!((status, &json["code"]), (StatusCode::OK, &0.into()));
    let data = &json["data"];
    assert_eq!(data["size"], PNG.len());
    // The content decides, not the name the phone gave.
    assert_eq!(data["mimeType"], "image/png");
    let name = data["name"].as_str().expect("a name");
    assert_eq!(
        Path::new(name).extension().and_then(|e| e.to_str()),
        Some("png")
    );
    let url = format!("https://www.example.com:8443/weapp/files/{name}");
    assert_eq!(data["imgUrl"], url);

    let got = room.get(name, &[]).await;
    assert_eq!(
        (got.status, got.body),
        (StatusCode::OK, Bytes::from_static(PNG))
    );
    for (header, value) in [
        (header::CONTENT_TYPE, "image/png"),
        (header::CONTENT_LENGTH, "18"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=2592000, immutable"),
        (header::ACCEPT_RANGES, "bytes"),
    ] {
        assert_eq!(got.headers[header], value);
    }
    assert!(
        got.headers[header::CONTENT_DISPOSITION]
            .to_str()
            .expect("text")
            .starts_with("inline")
    );
}

#[tokio::test]
async fn a_room_that_is_off_answers_nothing() {
    let room = FilesWorld::with(Config {
        enabled: false,
        ..Config::default()
    });
    let (status, ..) = room.send(form(one_file("a.png", PNG))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    room.is_empty().await;
}

#[tokio::test]
async fn large_content_survives_any_chunking() {
    let room = FilesWorld::new();
    let mut content = PNG.to_vec();
    content.extend((0..90_000_u32).map(|n| (n * 7 % 251) as u8));
    // Near-boundaries inside the file must not end it.
    content.extend_from_slice(b"\r\n--X\r\n--XY\r--XX\r\n-");
    let body = one_file("a.png", &content);
    for size in [1, 7, 1000, 65_536, body.len()] {
        let chunks: Vec<_> = body
            .chunks(size)
            .map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk)))
            .collect();
        let (status, json) = room.upload(Body::from_stream(stream::iter(chunks))).await;
        assert_eq!(status, StatusCode::OK, "{size}: {json}");
        let got = room
            .get(json["data"]["name"].as_str().expect("a name"), &[])
            .await;
        assert_eq!(got.body, content, "in chunks of {size}");
    }
}

#[tokio::test]
async fn the_limit_holds_by_announcement_and_by_count() {
    let room = FilesWorld::new();
    let limit = usize::try_from(MAX_UPLOAD_BYTES).expect("fits");
    let mut content = PNG.to_vec();
    content.resize(limit, 7);
    room.keep(&content).await;
    std::fs::remove_dir_all(room.dir.path().join("files")).expect("removed");

    let room = FilesWorld::new();
    content.push(7);
    let (status, words) = room.refused(one_file("a.png", &content)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(words, "the file is larger than the limit of 100000 bytes");

    // Announced: refused before a byte is read.
    let mut request = form(Body::from_stream(stream::pending::<
        Result<Bytes, Infallible>,
    >()));
    let length = (MAX_UPLOAD_BYTES * 100)
        .to_string()
        .parse()
        .expect("a value");
    request.headers_mut().insert(header::CONTENT_LENGTH, length);
    request
        .headers_mut()
        .insert(header::EXPECT, "100-continue".parse().expect("a value"));
    let (status, _, body) = room.send(request).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(String::from_utf8_lossy(&body).contains("100000"));
}

/// A body that never ends and counts how much of it was taken.
struct Endless {
    head: Option<Bytes>,
    again: Bytes,
    taken: Arc<AtomicUsize>,
}

impl Stream for Endless {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = self.head.take().unwrap_or_else(|| self.again.clone());
        self.taken.fetch_add(chunk.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(chunk)))
    }
}

/// Sends `head`, then zeros without end, and says how much the room took.
async fn endless(room: &FilesWorld, head: &[u8]) -> (StatusCode, String, usize) {
    let taken = Arc::new(AtomicUsize::new(0));
    let body = Body::from_stream(Endless {
        head: Some(Bytes::copy_from_slice(head)),
        again: Bytes::from_static(&[b'a'; 8192]),
        taken: Arc::clone(&taken),
    });
    let mut request = form(body);
    // Told not to read on after the refusal, the count shows what was read before it.
    request
        .headers_mut()
        .insert(header::EXPECT, "100-continue".parse().expect("a value"));
    let (status, _, body) = room.send(request).await;
    room.is_empty().await;
    let json: Value = serde_json::from_slice(&body).expect("json");
    let words = json["error"].as_str().expect("a text").to_owned();
    (status, words, taken.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_body_without_end_is_bounded_wherever_it_does_not_end() {
    let room = FilesWorld::new();
    let file = part("name=\"file\"; filename=\"a.png\"", PNG);
    let (status, _, taken) = endless(&room, file.strip_suffix(b"\r\n").expect("a line")).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(taken < 130_000, "{taken}");

    // In a part's name, before the first part, in a text field.
    let name: &[u8] = b"--XX\r\nContent-Disposition: form-data; name=\"";
    for (head, most) in [
        (name, 100_000),
        (b"no boundary", 100_000),
        (
            b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
            300_000,
        ),
    ] {
        let (status, words, taken) = endless(&room, head).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{words}");
        assert!(words.contains("too many parts or too much text"), "{words}");
        assert!(taken < most, "{taken}");
    }
}

#[tokio::test]
async fn ten_thousand_parts_are_refused() {
    let room = FilesWorld::new();
    let mut body = Vec::new();
    for n in 0..10_000 {
        body.extend(part(&format!("name=\"f{n}\""), b""));
    }
    body.extend_from_slice(b"--XX--\r\n");
    let (status, _) = room.refused(body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    let body: Vec<u8> = (0..1000).flat_map(|_| part("name=\"f\"", b"")).collect();
    let (status, words) = room.refused(body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(words.contains("too many parts"), "{words}");
}

#[tokio::test]
async fn names_are_never_used() {
    let room = FilesWorld::new();
    for name in [
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/passwd",
        "a\0.png",
        "con",
        ".htaccess",
        "x.png\\\"; name=\\\"other",
        &"long".repeat(5000),
        "\u{202e}gnp.exe",
        "<script>.html",
    ] {
        // A NUL breaks the part's headers; everything else is a name like any other.
        let (status, json) = room.upload(one_file(name, PNG)).await;
        if name.contains('\0') {
            assert_eq!(status, StatusCode::BAD_REQUEST);
            continue;
        }
        assert_eq!(status, StatusCode::OK, "{name}: {json}");
        let kept = json["data"]["name"].as_str().expect("a name");
        assert_eq!(kept.len(), 36, "{kept}");
        assert_eq!(room.get(kept, &[]).await.status, StatusCode::OK);
    }
    let mut inside: Vec<_> = std::fs::read_dir(room.dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    inside.sort();
    assert_eq!(inside, ["files"]);
}

#[tokio::test]
async fn what_is_no_accepted_file_is_refused_in_words() {
    let room = FilesWorld::new();
    for (content, found) in [
        (&b"<html><script>alert(1)</script>"[..], "text/html"),
        (
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
            "unknown type",
        ),
        (b"MZ\x90\0", "application/vnd.microsoft.portable-executable"),
        (b"just words", "unknown type"),
        (b"", "an empty file"),
    ] {
        let (status, words) = room.refused(one_file("a.png", content)).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(
            words,
            format!("files of this type are not accepted ({found})")
        );
    }

    let mut two = part("name=\"a\"; filename=\"a.png\"", PNG);
    two.extend(one_file("b.png", PNG));
    let (status, words) = room.refused(two).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(words.contains("more than one file"), "{words}");

    for none in [
        b"--XX--\r\n".to_vec(),
        [part("name=\"a\"", b"text"), b"--XX--\r\n".to_vec()].concat(),
        one_file("", b""),
    ] {
        let (status, words) = room.refused(none).await;
        assert_eq!(
            (status, words.as_str()),
            (StatusCode::BAD_REQUEST, "the form holds no file")
        );
    }
}

/// A part with a type.
fn typed(disposition: &str, kind: &str, content: &[u8]) -> Vec<u8> {
    part(&format!("{disposition}\r\nContent-Type: {kind}"), content)
}

#[tokio::test]
async fn the_part_with_a_file_name_is_the_file_whatever_types_fields_have() {
    let room = FilesWorld::new();
    let file = typed("name=\"file\"; filename=\"a.png\"", "image/png", PNG);
    let end = b"--XX--\r\n".to_vec();
    let long = vec![b'1'; 100_000];
    for (name, kind, content) in [
        ("meta", "application/json", &b"{\"a\":1}"[..]),
        ("meta", "application/json", b""),
        ("xml", "application/xml", b"<a/>"),
        ("raw", "application/octet-stream", b"\x01\x02\x03"),
        ("thumb", "image/png", PNG),
        ("note", "text/plain", b"words"),
        ("long", "application/json", &long),
    ] {
        let field = typed(&format!("name=\"{name}\""), kind, content);
        for body in [
            [field.clone(), file.clone(), end.clone()].concat(),
            [file.clone(), field.clone(), end.clone()].concat(),
            [field.clone(), file.clone(), field, end.clone()].concat(),
        ] {
            let (status, json) = room.upload(body).await;
            assert_eq!(status, StatusCode::OK, "{name} {kind}: {json}");
            assert_eq!(json["data"]["size"], PNG.len(), "{name} {kind}");
        }
    }
    // A file without a name is one still, where there is no other.
    let bare = typed("name=\"file\"", "image/png", PNG);
    let (status, json) = room.upload([bare, end.clone()].concat()).await;
    assert_eq!(
        (status, &json["data"]["size"]),
        (StatusCode::OK, &PNG.len().into())
    );
    // Every draft that was not the file is gone.
    let kept = room.upload([file.clone(), end.clone()].concat()).await;
    assert_eq!(kept.0, StatusCode::OK);
    let room = FilesWorld::new();
    let meta = typed("name=\"meta\"", "application/json", b"{}");
    let (status, words) = room.refused([meta, end.clone()].concat()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{words}");
    let (status, _) = room.refused([file.clone(), file, end].concat()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn truncated_and_broken_forms_leave_nothing() {
    let room = FilesWorld::new();
    let whole = one_file("a.png", PNG);
    // Everything but the last line break is needed.
    for end in 0..whole.len() - 2 {
        let (status, words) = room.refused(whole[..end].to_vec()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "cut at {end}: {words}");
    }
    for content_type in [
        "application/json",
        "multipart/form-data",
        "",
        "multipart/mixed; boundary=XX",
    ] {
        let mut request = form(whole.clone());
        let value = content_type.parse().expect("a value");
        request.headers_mut().insert(header::CONTENT_TYPE, value);
        let (status, ..) = room.send(request).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    let mut request = form(whole);
    request.headers_mut().remove(header::HOST);
    assert_eq!(room.send(request).await.0, StatusCode::BAD_REQUEST);
    room.is_empty().await;
}

#[tokio::test]
async fn a_stalled_upload_is_given_up() {
    let room = FilesWorld::with(Config {
        upload_idle_secs: 1,
        ..Config::default()
    });
    let begun = Bytes::from(part(
        "name=\"f\"; filename=\"a.png\"",
        &[PNG, &[0; 5000]].concat(),
    ));
    let body = stream::iter([Ok::<_, Infallible>(begun)]).chain(stream::pending());
    let (status, _, body) = room.send(form(Body::from_stream(body))).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert!(String::from_utf8_lossy(&body).contains("for 1 s"));
    room.is_empty().await;
}

#[tokio::test]
async fn ranges_and_conditions() {
    let room = FilesWorld::new();
    let name = room.keep(PNG).await;
    let whole = room.get(&name, &[]).await;
    let etag = whole.headers[header::ETAG]
        .to_str()
        .expect("text")
        .to_owned();

    let got = room.get(&name, &[(header::RANGE, "bytes=8-11")]).await;
    assert_eq!(got.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(got.headers[header::CONTENT_RANGE], "bytes 8-11/18");
    assert_eq!(&got.body[..], b"0123");

    let got = room.get(&name, &[(header::RANGE, "bytes=18-")]).await;
    assert_eq!(got.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(got.headers[header::CONTENT_RANGE], "bytes */18");
    assert!(got.body.is_empty());

    let stale = [(header::RANGE, "bytes=8-11"), (header::IF_RANGE, "\"old\"")];
    assert_eq!(room.get(&name, &stale).await.status, StatusCode::OK);
    let fresh = [
        (header::RANGE, "bytes=8-11"),
        (header::IF_RANGE, etag.as_str()),
    ];
    assert_eq!(
        room.get(&name, &fresh).await.status,
        StatusCode::PARTIAL_CONTENT
    );

    let got = room.get(&name, &[(header::IF_NONE_MATCH, &etag)]).await;
    assert_eq!(got.status, StatusCode::NOT_MODIFIED);
    assert!(got.body.is_empty());
    assert_eq!(got.headers[header::ETAG], etag);

    let head = Request::head(format!("/weapp/files/{name}"))
        .header(header::RANGE, "bytes=8-11")
        .body(Body::empty())
        .expect("a request");
    let (status, headers, body) = room.send(head).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    assert_eq!(headers[header::CONTENT_LENGTH], "18");
}

#[tokio::test]
async fn what_can_carry_a_script_is_offered_for_saving() {
    let config = Config {
        allowed_types: vec!["text/html".to_owned()],
        ..Config::default()
    };
    assert_eq!(config.problems(), []);
    let room = FilesWorld::with(config);
    let name = room.keep(b"<html><script>alert(1)</script></html>").await;
    let got = room.get(&name, &[]).await;
    assert_eq!(got.headers[header::CONTENT_TYPE], "text/html");
    assert_eq!(got.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let disposition = got.headers[header::CONTENT_DISPOSITION]
        .to_str()
        .expect("text");
    assert!(disposition.starts_with("attachment;"), "{disposition}");
    let policy = &got.headers[header::CONTENT_SECURITY_POLICY];
    assert_eq!(policy, "default-src 'none'; sandbox");
    // Pictures, not on this list, are refused now.
    assert_eq!(
        room.upload(one_file("a.png", PNG)).await.0,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
}

#[tokio::test]
async fn no_path_leads_out() {
    let room = FilesWorld::new();
    std::fs::write(room.dir.path().join("secret.jpg"), b"secret").expect("written");
    let incoming = room.dir.path().join("files/.incoming");
    let half = "0123456789abcdef0123456789abcdef.jpg";
    std::fs::write(incoming.join(half), b"half").expect("written");
    for name in [
        "..%2fsecret.jpg",
        "%2e%2e%2fsecret.jpg",
        "..%5csecret.jpg",
        "%252e%252e%252fsecret.jpg",
        "..%c0%afsecret.jpg",
        "%00",
        "%ff",
        ".incoming%2f0123456789abcdef0123456789abcdef.jpg",
        half,
        "con",
    ] {
        let got = room.get(name, &[]).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{name}");
        assert_eq!(
            &got.body[..],
            br#"{"error":{"code":"not_found","message":"no such file"}}"#
        );
    }
}

/// Serves the room over a real socket, as an edge thread would.
fn serve(room: &FilesWorld) -> std::net::SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("non-blocking");
    let address = socket.local_addr().expect("an address");
    let listener = tokio::net::TcpListener::from_std(socket).expect("a listener");
    let (router, tasks) = (room.router.clone(), room.tasks.clone());
    room.tasks.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            tasks.spawn(async move {
                let io = hyper_util::rt::TokioIo::new(socket);
                let connection = hyper::server::conn::http1::Builder::new();
                drop(connection.serve_connection(io, service).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_phone_that_hangs_up_leaves_nothing() {
    let room = FilesWorld::new();
    let mut phone = tokio::net::TcpStream::connect(serve(&room))
        .await
        .expect("a connection");
    let head = "POST /weapp/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\
                Content-Type: multipart/form-data; boundary=XX\r\n\r\n";
    let begun = part(
        "name=\"f\"; filename=\"a.png\"",
        &[PNG, &[0; 5000]].concat(),
    );
    phone.write_all(head.as_bytes()).await.expect("sent");
    phone.write_all(&begun).await.expect("sent");
    for _ in 0..500 {
        if count_files(room.dir.path()) == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(count_files(room.dir.path()), 1);
    drop(phone);
    room.is_empty().await;
}

impl FilesWorld {
    /// Takes a picture for `owner` and gives its name.
    async fn picture(&self, owner: &str, body: Vec<u8>) -> Result<String, Error> {
        let (parts, body) = form(body).into_parts();
        let base = PublicBase::of_request(|_| true);
        let url = take_picture((&self.files, &base), PictureOwner(owner), &parts, body).await?;
        let name = url.strip_prefix("https://www.example.com:8443/weapp/files/");
        Ok(name.unwrap_or_else(|| panic!("{url}")).to_owned())
    }
}

#[tokio::test]
async fn a_picture_belongs_to_its_owner_and_nobody_else_removes_it() {
    let room = FilesWorld::new();
    let name = room
        .picture("wx1 alice", one_file("a.png", PNG))
        .await
        .expect("kept");
    let url = format!("https://elsewhere.example/weapp/files/{name}");
    assert_eq!(room.get(&name, &[]).await.status, StatusCode::OK);

    // Not a stranger's, nor one of the same name in another mini program.
    for stranger in ["wx1 bob", "wx2 alice", ""] {
        let removed = room
            .files
            .remove_picture(PictureOwner(stranger), &url)
            .await;
        assert!(!removed.expect("looked"), "{stranger}");
    }
    // Not what was uploaded as any file, whoever says it is theirs.
    let plain = room.keep(PNG).await;
    for other in [
        format!("/weapp/files/{plain}"),
        format!("/weapp/files/{name}/.."),
        format!("/weapp/files/../{name}"),
        name.clone(),
        "https://thirdwx.qlogo.cn/mmopen/a/132".to_owned(),
        String::new(),
    ] {
        let removed = room
            .files
            .remove_picture(PictureOwner("wx1 alice"), &other)
            .await;
        assert!(!removed.expect("looked"), "{other}");
    }
    assert_eq!(room.get(&name, &[]).await.status, StatusCode::OK);

    let alice = PictureOwner("wx1 alice");
    assert!(
        room.files
            .remove_picture(alice, &url)
            .await
            .expect("removed")
    );
    assert_eq!(room.get(&name, &[]).await.status, StatusCode::NOT_FOUND);
    let again = room.files.remove_picture(alice, &url).await;
    assert!(!again.expect("looked"), "there is none left");
    assert_eq!(room.get(&plain, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_an_owner_left_behind_is_swept_once_it_is_old() {
    let room = FilesWorld::new();
    let alice = PictureOwner("wx1 alice");
    let url = |name: &str| format!("/weapp/files/{name}?v=1");
    let mut names = Vec::new();
    for _ in 0..4 {
        let kept = room.picture("wx1 alice", one_file("a.png", PNG)).await;
        names.push(kept.expect("kept"));
    }
    let kept = room.picture("wx2 alice", one_file("a.png", PNG)).await;
    let stranger = kept.expect("kept");
    let plain = room.keep(PNG).await;
    assert!(
        names.iter().all(|name| name[..2] == names[0][..2]),
        "{names:?}"
    );
    let age = |name: &str| {
        let path = room.dir.path().join("files").join(&name[..2]).join(name);
        let file = std::fs::File::options()
            .append(true)
            .open(path)
            .expect("a file");
        let came = file
            .metadata()
            .expect("a state")
            .modified()
            .expect("a time");
        let hour = std::time::Duration::from_hours(1);
        file.set_modified(came - hour).expect("set");
    };
    let tidied = room.files.tidy_pictures(alice, Some(&url(&names[0]))).await;
    assert_eq!(tidied.expect("tidied"), 0, "they may be on their way");
    for name in names.iter().take(3).chain([&stranger, &plain]) {
        age(name);
    }
    let tidied = room.files.tidy_pictures(alice, Some(&url(&names[0]))).await;
    assert_eq!(tidied.expect("tidied"), 2);
    for (name, there) in [
        (&names[0], true),
        (&names[1], false),
        (&names[2], false),
        (&names[3], true),
        (&stranger, true),
        (&plain, true),
    ] {
        let found = room.get(name, &[]).await.status == StatusCode::OK;
        assert_eq!(found, there, "{name}");
    }
    let nobody = room
        .files
        .tidy_pictures(PictureOwner("wx1 nobody"), None)
        .await;
    assert_eq!(nobody.expect("tidied"), 0);
    let rest = room.files.tidy_pictures(alice, None).await;
    assert_eq!(rest.expect("tidied"), 1);
}

#[tokio::test]
async fn a_picture_has_a_bound_of_its_own_and_must_be_one() {
    let room = FilesWorld::with(Config {
        max_avatar_bytes: 1000,
        ..Config::default()
    });
    let sized = |size: usize| {
        let mut png = PNG.to_vec();
        png.resize(size, 0);
        one_file("a.png", &png)
    };
    room.picture("alice", sized(1000)).await.expect("fits");
    let large = room.picture("alice", sized(1001)).await;
    assert!(
        matches!(large, Err(Error::TooLarge { limit: 1000 })),
        "{large:?}"
    );
    let far = room.picture("alice", sized(2_000_000)).await;
    assert!(
        matches!(far, Err(Error::TooLarge { limit: 1000 })),
        "{far:?}"
    );
    let sound = room
        .picture("alice", one_file("a.png", b"ID3\x04\0sound"))
        .await;
    assert!(
        matches!(
            sound,
            Err(Error::TypeRefused {
                found: "audio/mpeg"
            })
        ),
        "a sound is a file, but no picture: {sound:?}"
    );
    let (status, _) = room.upload(one_file("a.mp3", b"ID3\x04\0sound")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_removed_makes_room() {
    let room = FilesWorld::with(Config {
        max_total_bytes: 150_000,
        ..Config::default()
    });
    let mut png = PNG.to_vec();
    png.resize(90_000, 0);
    let first = room
        .picture("alice", one_file("a.png", &png))
        .await
        .expect("fits");
    let second = room.picture("alice", one_file("a.png", &png)).await;
    assert!(
        matches!(second, Err(Error::TotalReached { .. })),
        "{second:?}"
    );
    let url = format!("/weapp/files/{first}");
    let removed = room.files.remove_picture(PictureOwner("alice"), &url).await;
    assert!(removed.expect("removed"));
    room.picture("alice", one_file("a.png", &png))
        .await
        .expect("fits now");
}
