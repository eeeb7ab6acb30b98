//! Uploads: what is kept, and what is refused in which words.

use weappd_base::metrics::{MetricRegistry, exposition};

use super::*;

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
async fn uploads_and_downloads_are_counted_by_their_end() {
    let room = FilesWorld::new();
    let registry = MetricRegistry::new();
    room.files.register_metrics(&registry);
    room.refused(form_without_file()).await;
    let name = room.keep(PNG).await;
    room.get(&name, &[]).await;
    room.get("nobody.png", &[]).await;
    room.get("0123456789abcdef0123456789abcdef.png", &[]).await;
    let text = registry.text();
    for line in [
        "weappd_files_uploads_total{end=\"done\"} 1",
        "weappd_files_uploads_total{end=\"refused\"} 1",
        "weappd_files_uploads_total{end=\"failed\"} 0",
        "weappd_files_kept_bytes_total 18",
        "weappd_files_downloads_total{end=\"done\"} 1",
        "weappd_files_downloads_total{end=\"refused\"} 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    assert_eq!(exposition::problem(&text), None, "{text}");
}

fn form_without_file() -> Vec<u8> {
    let mut body = part("name=\"user\"", b"1");
    body.extend_from_slice(b"--XX--\r\n");
    body
}
