//! Answers to a certificate authority's HTTP-01 questions (RFC 8555, 8.3).

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Response, header};
use parking_lot::RwLock;

use crate::body::EdgeBody;

/// Where a certificate authority looks; never redirected to HTTPS.
pub(crate) const FOLDER: &str = "/.well-known/acme-challenge/";

/// Open challenges, set by the code that orders certificates. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AcmeChallenges(Arc<RwLock<HashMap<String, String>>>);

impl AcmeChallenges {
    /// From now on `token` is answered with `authorization`, on every site.
    pub fn open(&self, token: impl Into<String>, authorization: impl Into<String>) {
        drop(self.0.write().insert(token.into(), authorization.into()));
    }

    /// The challenge is over.
    pub fn close(&self, token: &str) {
        drop(self.0.write().remove(token));
    }

    pub(crate) fn answer(&self, path: &str) -> Option<Response<EdgeBody>> {
        let token = path.strip_prefix(FOLDER)?;
        let authorization = self.0.read().get(token)?.clone();
        let mut response = Response::new(EdgeBody::full(authorization));
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Some(response)
    }
}
