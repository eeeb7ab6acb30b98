//! Downloads: whole, in part, as what, and never from elsewhere.

use super::*;

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
