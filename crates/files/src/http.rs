//! The HTTP endpoints: `POST /weapp/upload`, `GET|HEAD /weapp/files/{name}`.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::{Path, State, rejection::PathRejection},
    routing::{get, post},
};
use http::{HeaderMap, Method, Request, Response, StatusCode, header, request, uri::Authority};
use serde_json::json;
use weappd_base::error_body::ErrorBody;
use weappd_base::language::{english, pick};

use crate::{
    download,
    error::Error,
    file_name::FileName,
    files::Files,
    picture_owner::PictureOwner,
    transfer_counters::TransferEnd,
    upload::{self, StoredUpload, UploadRules},
};

/// Says under which address phones reach this server, so that `imgUrl` can be absolute.
#[derive(Clone)]
pub struct PublicBase(Arc<BaseUrlFn>);

type BaseUrlFn = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;

impl PublicBase {
    /// Always the same address, such as `https://www.example.com`.
    pub fn fixed(base: &str) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self(Arc::new(move |_| Some(base.clone())))
    }

    /// The host the request names; `is_https` says how the request came.
    pub fn of_request(is_https: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |parts| {
            let scheme = if is_https(parts) { "https" } else { "http" };
            host(parts).map(|host| format!("{scheme}://{host}"))
        }))
    }
}

impl fmt::Debug for PublicBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicBase")
    }
}

/// The host and port a request names, if they are nothing but that.
fn host(parts: &request::Parts) -> Option<Authority> {
    let named = match parts.uri.authority() {
        Some(authority) => authority.clone(),
        None => parts
            .headers
            .get(header::HOST)?
            .to_str()
            .ok()?
            .parse()
            .ok()?,
    };
    (!named.as_str().contains('@') && !named.host().is_empty()).then_some(named)
}

#[derive(Clone)]
struct UploadRouteState {
    files: Files,
    base: PublicBase,
}

/// `POST /weapp/upload` alone: the wiring demands a session for it. A site has it if files are
/// enabled when its table is made.
pub fn upload_router(files: Files, base: PublicBase) -> Router {
    Router::new()
        .route("/weapp/upload", post(take))
        .with_state(UploadRouteState { files, base })
}

/// `GET|HEAD /weapp/files/{name}` alone: a file's unguessable name is its key, because
/// pictures are fetched by the phone without headers. A site has it if files are enabled when its
/// table is made.
pub fn download_router(files: Files) -> Router {
    Router::new()
        .route("/weapp/files/{name}", get(give))
        .with_state(files)
}

async fn take(State(state): State<UploadRouteState>, request: Request<Body>) -> Response<Body> {
    // A site's table may be older than the settings.
    if !state.files.is_enabled() {
        return refuse_upload(&Error::NotFound);
    }
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let terms = UploadRules::of_files(&state.files);
    match accept(&state, &parts, terms, &mut body).await {
        Ok((stored, url)) => {
            let data = json!({
                "imgUrl": url,
                "size": stored.size,
                "mimeType": stored.mime,
                "name": stored.name.as_str(),
            });
            envelope(StatusCode::OK, &json!({"code": 0, "data": data}))
        }
        Err(error) => refuse_upload(&error),
    }
}

/// Takes the form of [`upload_router`] for a picture that `owner` shows of themselves, and
/// gives its address. Whoever else answers the request asks first who is calling.
pub async fn take_picture(
    (files, base): (&Files, &PublicBase),
    owner: PictureOwner<'_>,
    parts: &request::Parts,
    body: Body,
) -> Result<String, Error> {
    let state = UploadRouteState {
        files: files.clone(),
        base: base.clone(),
    };
    let mut body = body.into_data_stream();
    let terms = UploadRules::of_picture(files, owner);
    let (_, url) = accept(&state, parts, terms, &mut body).await?;
    Ok(url)
}

/// A kept file, and the address it can be fetched from.
async fn accept(
    state: &UploadRouteState,
    parts: &request::Parts,
    terms: UploadRules<'_>,
    body: &mut BodyDataStream,
) -> Result<(StoredUpload, String), Error> {
    let accepted = accept_form(state, parts, terms, body).await;
    let counters = state.files.counters();
    counters.uploads.inc(TransferEnd::of(&accepted));
    if let Ok((stored, _)) = &accepted {
        counters.kept_bytes.add(stored.size);
    }
    accepted
}

async fn accept_form(
    state: &UploadRouteState,
    parts: &request::Parts,
    terms: UploadRules<'_>,
    body: &mut BodyDataStream,
) -> Result<(StoredUpload, String), Error> {
    let boundary = text(&parts.headers, header::CONTENT_TYPE)
        .and_then(|value| multer::parse_boundary(value).ok())
        .ok_or(Error::NotMultipart)?;
    let base = (state.base.0)(parts).ok_or(Error::NoHost)?;
    let limit = terms.max_bytes;
    let declared = text(&parts.headers, header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > limit.saturating_add(upload::MAX_FORM_BYTES)) {
        return Err(Error::TooLarge { limit });
    }
    let stored = upload::receive(&state.files, terms, boundary, body).await?;
    tracing::info!(file = %stored.name, bytes = stored.size, "file kept");
    let url = format!("{base}/weapp/files/{}", stored.name);
    Ok((stored, url))
}

async fn give(
    State(files): State<Files>,
    name: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    let name = name.ok().filter(|_| files.is_enabled());
    let Some(name) = name.and_then(|Path(name)| FileName::parse(&name)) else {
        return refuse_download(&Error::NotFound);
    };
    let given = download::give(&files, name, &method, &headers).await;
    files.counters().downloads.inc(TransferEnd::of(&given));
    match given {
        Ok(answer) => answer,
        Err(error) => refuse_download(&error),
    }
}

/// A file that is not given, in the shape of weappd's own errors: the old dialects have no
/// such endpoint.
fn refuse_download(error: &Error) -> Response<Body> {
    let (status, words) = told(error);
    let code = match error {
        Error::NotFound => "not_found",
        _ => "file_failed",
    };
    envelope(status, &ErrorBody::new(code, &words))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// An upload that is not kept, in the words of Wafer 2, whose endpoint it is.
fn refuse_upload(error: &Error) -> Response<Body> {
    let (status, words) = told(error);
    envelope(status, &json!({"code": -1, "error": words}))
}

/// The status and the words each failure is answered with. What went wrong inside is
/// logged here, once, and not told.
fn told(error: &Error) -> (StatusCode, String) {
    let status = error.status();
    let words = if status.is_server_error() {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(error = english(error), cause, "files: a request failed");
        match error {
            Error::DiskFull(_) | Error::TotalReached { .. } => pick(
                "the server has no space left for files",
                "服务器没有空间存放文件了",
            )
            .to_owned(),
            _ => pick(
                "the server could not read or write the file",
                "服务器无法读写这个文件",
            )
            .to_owned(),
        }
    } else {
        tracing::debug!(error = english(error), "files: a request was refused");
        error.to_string()
    };
    (status, words)
}

/// A JSON answer that nobody on the way may keep.
fn envelope(status: StatusCode, json: &impl fmt::Display) -> Response<Body> {
    let mut answer = Response::new(Body::from(json.to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-store"),
    );
    answer
}
