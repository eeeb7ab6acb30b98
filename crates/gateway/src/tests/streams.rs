//! Twenty megabytes both ways, never all of it in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;

use super::support::{Setting, World, serve, until};
use crate::api_client::ApiClient;
use crate::http::api_router;

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 320;

/// A body whose chunks appear one for each permit.
fn gated(permits: Arc<Semaphore>) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| {
        let permits = Arc::clone(&permits);
        async move {
            if sent == CHUNKS {
                return None;
            }
            permits.acquire().await.expect("open").forget();
            let chunk = Bytes::from(vec![u8::try_from(sent % 251).expect("a byte"); CHUNK]);
            Some((Ok::<_, std::io::Error>(chunk), sent + 1))
        }
    }))
}

/// Reads chunk for chunk, counting.
async fn swallow(mut body: impl http_body::Body<Data = Bytes> + Unpin, seen: &AtomicUsize) -> bool {
    while let Some(Ok(frame)) = body.frame().await {
        let data = frame.into_data().unwrap_or_default();
        let at = seen.fetch_add(data.len(), Ordering::Relaxed);
        let right = |(n, byte): (usize, &u8)| usize::from(*byte) == ((at + n) / CHUNK) % 251;
        if !data.iter().enumerate().all(right) {
            return false;
        }
    }
    seen.load(Ordering::Relaxed) == CHUNK * CHUNKS
}

/// How many chunks may be under way: what is kept for a second try, and the sockets' own.
const WINDOW: usize = 8;

/// Each chunk is let out only when all but the last few before it have arrived at the other
/// end: whoever gathered the body first would wait forever.
async fn lockstep(permits: &Semaphore, seen: &AtomicUsize) {
    for sent in 1..=CHUNKS {
        permits.add_permits(1);
        let arrived = sent.saturating_sub(WINDOW) * CHUNK;
        until("the chunk arrives", || {
            seen.load(Ordering::Relaxed) >= arrived
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_stream() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let endpoint = serve(Router::new().fallback(async move |request: Request| {
        let all = swallow(request.into_body(), &counter).await;
        if all { "{\"errcode\":0}" } else { "broken" }
    }));
    let world = World::of(Setting {
        endpoint: Some(endpoint),
        ..Setting::default()
    })
    .await;
    let api = ApiClient::build(&serve(api_router(world.gateway.clone()))).expect("a api");
    let permits = Arc::new(Semaphore::new(0));
    let mut request = Request::new(
        gated(Arc::clone(&permits))
            .map_err(Into::into)
            .boxed_unsync(),
    );
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = api
        .uri("/cgi-bin/media/upload?access_token=t")
        .expect("an address");
    let (answer, ()) = tokio::join!(api.send(request), lockstep(&permits, &seen));
    let body = answer.expect("an answer").into_body();
    let body = body.collect().await.expect("a body").to_bytes();
    assert_eq!(&*body, b"{\"errcode\":0}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_stream() {
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    let endpoint = serve(Router::new().fallback(async move || gated(Arc::clone(&gate))));
    let world = World::of(Setting {
        endpoint: Some(endpoint),
        ..Setting::default()
    })
    .await;
    let api = ApiClient::build(&serve(api_router(world.gateway.clone()))).expect("a api");
    let mut request = Request::new(crate::api_client::whole(Bytes::new()));
    *request.uri_mut() = api
        .uri("/cgi-bin/media/get?access_token=t")
        .expect("an address");
    let seen = AtomicUsize::new(0);
    let reading = async {
        let answer = api.send(request).await.expect("an answer");
        swallow(answer.into_body(), &seen).await
    };
    let (all, ()) = tokio::join!(reading, lockstep(&permits, &seen));
    assert!(all);
}
