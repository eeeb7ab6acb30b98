//! Gives kept files back: whole, in part, or not at all if the phone has them already.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use weappd_base::tasks::Work;
use weappd_content::{ContentChoice, ContentMeta};

use crate::{error::Error, file_name::FileName, file_type, files::Files};

/// How much is read from disk at once.
const READ_BYTES: u64 = 128 * 1024;

/// Answers a download.
pub(crate) async fn give(
    files: &Files,
    name: FileName,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Body>, Error> {
    let mime = file_type::mime_of(name.extension());
    let shown = if file_type::may_show_inline(mime) {
        "inline"
    } else {
        "attachment"
    };
    let disposition = format!("{shown}; filename=\"{name}\"");
    let file = files.find(name).await?;
    let state = file.metadata().map_err(Error::OpenFile)?;
    let meta = ContentMeta::of_file(&state).map_err(Error::OpenFile)?;
    let choice = ContentChoice::of(method, headers, &meta);
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = choice.status();
    let out = answer.headers_mut();
    choice.write_headers(&meta, out);
    put(
        out,
        header::CACHE_CONTROL,
        &format!(
            "public, max-age={}, immutable",
            files.settings().config.cache_secs
        ),
    );
    if choice == ContentChoice::NotModified {
        return Ok(answer);
    }
    put(out, header::CONTENT_TYPE, mime);
    put(out, header::CONTENT_DISPOSITION, &disposition);
    put(out, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(
        out,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; sandbox",
    );
    let (from, len) = choice.bytes(meta.len).unwrap_or_default();
    put(out, header::CONTENT_LENGTH, &len.to_string());
    if len > 0 && *method != Method::HEAD {
        *answer.body_mut() = stream(files.work().clone(), file, from, from + len);
    }
    Ok(answer)
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Reads a file piece by piece, off the edge threads.
fn stream(work: Work, file: File, from: u64, to: u64) -> Body {
    let file = Arc::new(file);
    let pieces = futures_util::stream::try_unfold(from, move |at| {
        let (work, file) = (work.clone(), Arc::clone(&file));
        async move {
            if at >= to {
                return Ok(None);
            }
            let count = usize::try_from(READ_BYTES.min(to - at)).unwrap_or(usize::MAX);
            let piece = work
                .run_blocking(move || {
                    let mut piece = vec![0; count];
                    file.read_exact_at(&mut piece, at).map(|()| piece)
                })
                .await
                .map_err(io::Error::other)??;
            let next = at + piece.len() as u64;
            Ok::<_, io::Error>(Some((Bytes::from(piece), next)))
        }
    });
    Body::from_stream(pieces)
}
