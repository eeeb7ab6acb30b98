//! Uploads without end, or given up half-way: bounded, and gone without a trace.

use super::*;

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
