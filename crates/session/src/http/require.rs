//! The layer that demands a session before a request goes on.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, FutureExt as _};
use tower::{Layer, Service};

use crate::http::answer::refusal;
use crate::identity::{AuthError, UserIdentity};
use crate::sessions::SessionService;

/// Demands a session: without one the request is answered in its dialect's words, with one
/// it goes on, carrying `Extension<Arc<Identity>>`.
pub fn require_login(sessions: SessionService) -> RequireLogin {
    RequireLogin {
        sessions,
        appids: Arc::new([]),
    }
}

/// The layer made by [`require_login`].
#[derive(Clone, Debug)]
pub struct RequireLogin {
    sessions: SessionService,
    appids: Arc<[String]>,
}

impl RequireLogin {
    /// Lets only users of these mini programs pass: a session of another is unknown here.
    #[must_use]
    pub fn of_apps(self, appids: &[String]) -> Self {
        Self {
            appids: appids.into(),
            ..self
        }
    }

    async fn check(&self, headers: &HeaderMap) -> Result<Arc<UserIdentity>, AuthError> {
        let identity = self.sessions.check_headers(headers).await?;
        if self.appids.is_empty() || self.appids.contains(&identity.appid) {
            Ok(identity)
        } else {
            Err(AuthError::Unknown)
        }
    }
}

impl<S> Layer<S> for RequireLogin {
    type Service = RequireLoginService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireLoginService {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service behind [`RequireLogin`].
#[derive(Clone, Debug)]
pub struct RequireLoginService<S> {
    layer: RequireLogin,
    inner: S,
}

impl<S> Service<Request> for RequireLoginService<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let layer = self.layer.clone();
        // The one that was asked whether it is ready is the one to call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        async move {
            match layer.check(request.headers()).await {
                Ok(identity) => {
                    request.extensions_mut().insert(identity);
                    Ok(inner.call(request).await?.into_response())
                }
                Err(denied) => Ok(refusal(request.headers(), &denied)),
            }
        }
        .boxed()
    }
}
