//! The api to WeChat: pooled connections, with TLS where the endpoint asks for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use weappd_outbound::{ClientSettings, OutboundClient, OutboundTrust, SendError};

use crate::error::Error;

/// What goes wrong while a body is on its way.
pub(crate) type OutBodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body on its way to WeChat.
pub(crate) type OutBody = UnsyncBoxBody<Bytes, OutBodyError>;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);

/// Pooled connections to one endpoint.
#[derive(Debug)]
pub(crate) struct ApiClient {
    endpoint: String,
    scheme: Scheme,
    authority: Authority,
    /// What stands before each path.
    folder: String,
    client: OutboundClient<OutBody>,
}

/// A body that is there already.
pub(crate) fn whole(body: Bytes) -> OutBody {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl ApiClient {
    /// Makes ready to call; nothing is connected yet.
    pub(crate) fn build(endpoint: &str) -> Result<Self, Error> {
        let refuse = || Error::Endpoint(endpoint.to_owned());
        let uri: Uri = endpoint.parse().map_err(|_| refuse())?;
        if uri.query().is_some() {
            return Err(refuse());
        }
        let folder = uri.path().trim_end_matches('/').to_owned();
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(refuse());
        };
        let tls = scheme == Scheme::HTTPS;
        if !(tls || scheme == Scheme::HTTP) || authority.as_str().contains('@') {
            return Err(refuse());
        }
        // Without TLS no trusted certificates are asked of the machine: a simulated WeChat works
        // where none are installed.
        let trust = if tls {
            OutboundTrust::Machine
        } else {
            OutboundTrust::PlainOnly
        };
        let client = OutboundClient::new(&ClientSettings {
            connect_timeout: Some(CONNECT),
            ..ClientSettings::new(trust)
        })
        .map_err(|problem| Error::TrustRoots(Arc::new(problem)))?;
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            scheme,
            authority,
            folder,
            client,
        })
    }

    /// Where it connects to, as it is configured.
    pub(crate) fn is_at(&self, endpoint: &str) -> bool {
        self.endpoint == endpoint.trim_end_matches('/')
    }

    /// The address of a path (with its query) at the endpoint; none if it is too long.
    pub(crate) fn uri(&self, path_and_query: impl Into<String>) -> Option<Uri> {
        let path_and_query = path_and_query.into();
        let whole = if self.folder.is_empty() {
            path_and_query
        } else {
            format!("{}{path_and_query}", self.folder)
        };
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(whole).ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Sends a request; the answer's body is still on its way.
    pub(crate) async fn send(
        &self,
        request: Request<OutBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.client.send(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_keep_their_path() {
        let api = ApiClient::build("http://127.0.0.1:8082/relay/").expect("an endpoint");
        let uri = api.uri("/wxa/x?a=b").expect("an address");
        assert_eq!(uri, "http://127.0.0.1:8082/relay/wxa/x?a=b");
        for bad in [
            "",
            "api.weixin.qq.com",
            "ftp://a",
            "https://u:p@a",
            "http://a/?b",
        ] {
            assert!(ApiClient::build(bad).is_err(), "{bad}");
        }
        assert!(ApiClient::build("https://api.weixin.qq.com").is_ok());
    }
}
