//! One route, made ready for requests.

use std::sync::Arc;

use http::StatusCode;

use crate::files::static_files::StaticRoot;
use crate::route::app_handler::AppHandler;
use crate::route::room_router::RoomRouter;
use crate::route::shared_path::SharedPath;
use crate::site::SessionRule;

/// One route made ready.
#[derive(Debug)]
pub(crate) struct RouteEntry {
    /// The site's mini programs.
    pub(crate) appids: Arc<[String]>,
    pub(crate) session: SessionRule,
    pub(crate) to: RouteHandler,
}

impl RouteEntry {
    pub(crate) fn leads_to_app(&self) -> bool {
        matches!(self.to, RouteHandler::App(_) | RouteHandler::Shared(_))
    }

    /// Whether the target reads paths again, perhaps in another way.
    pub(crate) fn is_guarded(&self) -> bool {
        self.leads_to_app() || matches!(self.to, RouteHandler::Static(_))
    }
}

/// Where a route leads.
#[derive(Debug)]
pub(crate) enum RouteHandler {
    App(AppHandler),
    Static(StaticRoot),
    Redirect { to: String, code: StatusCode },
    Router(RoomRouter),
    Shared(Box<SharedPath>),
}
