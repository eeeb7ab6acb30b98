//! One of weappd's own routers, with what it can say at once.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use http::Response;
use http::request::Parts;

/// Answers requests without a body that memory alone can answer: without a future, and without
/// the boxes that a router needs for each request.
pub trait InstantAnswer: Send + Sync {
    /// The answer, the same that the router would give; none if it must be asked. Failures are
    /// the router's to tell.
    fn instant_answer(&self, head: &Parts) -> Option<Response<Bytes>>;
}

/// One of weappd's own routers.
#[derive(Clone)]
pub struct RoomRouter {
    pub(crate) router: Router,
    instant: Option<Arc<dyn InstantAnswer>>,
}

impl From<Router> for RoomRouter {
    fn from(router: Router) -> Self {
        Self {
            router,
            instant: None,
        }
    }
}

impl RoomRouter {
    /// The router is asked only what `instant` leaves to it.
    pub fn after(instant: Arc<dyn InstantAnswer>, router: Router) -> Self {
        Self {
            router,
            instant: Some(instant),
        }
    }

    /// The router alone.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// What can be said at once. If that panics, the router is asked.
    pub(crate) fn instant_answer(&self, head: &Parts) -> Option<Response<Bytes>> {
        let instant = self.instant.as_ref()?;
        catch_unwind(AssertUnwindSafe(|| instant.instant_answer(head))).ok()?
    }
}

impl fmt::Debug for RoomRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomRouter")
            .field("instant", &self.instant.is_some())
            .finish_non_exhaustive()
    }
}
