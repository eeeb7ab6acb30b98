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

mod bounds;
mod downloads;
mod pictures;
mod uploads;

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
