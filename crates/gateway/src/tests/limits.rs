//! How long bodies and calls may be.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use weappd_base::fair_timer::FairTimer;

use super::support::{Setting, World, serve};
use crate::config::Config;
use crate::http::api_router;

fn small() -> Config {
    Config {
        max_request_bytes: 1000,
        max_answer_bytes: 1000,
        timeout_ms: 300,
        replay_bytes: 100,
        ..Config::default()
    }
}

fn chunked(chunks: usize) -> Body {
    let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 100]));
    Body::from_stream(stream::iter((0..chunks).map(move |_| chunk())))
}

#[tokio::test]
async fn long_bodies_are_refused_with_and_without_a_length() {
    let world = World::of(Setting {
        config: small(),
        ..Setting::default()
    })
    .await;
    for body in [Body::from(vec![b'x'; 1001]), chunked(11)] {
        let said = world.post("/wxa/x", body).await;
        assert_eq!((said.status, said.errcode()), (413, -808_005));
    }
    for body in [Body::from(vec![b'x'; 1000]), chunked(10)] {
        let said = world.post("/wxa/x", body).await;
        assert_eq!((said.status, said.text.len()), (200, 1000));
    }
}

async fn world_of(answers: Router) -> World {
    World::of(Setting {
        config: small(),
        endpoint: Some(serve(answers)),
        ..Setting::default()
    })
    .await
}

#[tokio::test]
async fn long_answers_are_refused_or_cut() {
    let world = world_of(Router::new().fallback(async |request: Request| {
        if request.uri().path() == "/wxa/known" {
            Body::from(vec![b'x'; 1001])
        } else {
            chunked(11)
        }
    }))
    .await;
    let said = world.call("/wxa/known?access_token=t").await;
    assert_eq!((said.status, said.errcode()), (502, -808_008));
    let request = Request::get("/wxa/unknown?access_token=t")
        .header("host", "localhost")
        .body(Body::empty())
        .expect("a request");
    let answer = api_router(world.gateway.clone())
        .oneshot(request)
        .await
        .expect("an answer");
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test]
async fn slow_calls_and_slow_answers_end_in_time() {
    let world = world_of(Router::new().fallback(async |request: Request| {
        if request.uri().path() == "/wxa/never" {
            std::future::pending::<()>().await;
        }
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from("first"))]);
        Body::from_stream(first.chain(stream::pending()))
    }))
    .await;
    let started = FairTimer::start();
    let said = world.call("/wxa/never?access_token=t").await;
    assert_eq!((said.status, said.errcode()), (504, -808_007));
    let request = Request::get("/wxa/stalls?access_token=t")
        .header("host", "localhost")
        .body(Body::empty())
        .expect("a request");
    let answer = api_router(world.gateway.clone())
        .oneshot(request)
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.into_body().collect().await.is_err());
    assert!(started.fair() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_that_never_ends_ends_in_time() {
    let world = World::of(Setting {
        config: small(),
        ..Setting::default()
    })
    .await;
    let endless = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let said = world.post("/wxa/x?access_token=t", endless).await;
    assert_eq!((said.status, said.errcode()), (504, -808_007));
}
