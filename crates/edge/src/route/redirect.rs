//! Answers that send the client elsewhere.

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::body::EdgeBody;
use crate::refusal::EdgeRefusal;

/// The same address over HTTPS. 301 for what a client may repeat as it likes, 308 for
/// the rest, so that a POST stays a POST.
pub(crate) fn to_https(
    head: &Parts,
    host: &str,
    port: u16,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let port = if port == 443 {
        String::new()
    } else {
        format!(":{port}")
    };
    let code = if matches!(head.method, Method::GET | Method::HEAD) {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::PERMANENT_REDIRECT
    };
    to(&format!("https://{host}{port}{}", target(head)), code)
}

/// The address a route names; `{path}` in it is the request's path and query.
pub(crate) fn to_address(
    head: &Parts,
    to: &str,
    code: StatusCode,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    if to.contains("{path}") {
        return self::to(&to.replace("{path}", target(head)), code);
    }
    self::to(to, code)
}

pub(crate) fn to(location: &str, code: StatusCode) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let location = HeaderValue::from_str(location).map_err(|_| EdgeRefusal::Internal)?;
    let mut response = Response::new(EdgeBody::default());
    *response.status_mut() = code;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn target(head: &Parts) -> &str {
    head.uri.path_and_query().map_or("/", |p| p.as_str())
}
