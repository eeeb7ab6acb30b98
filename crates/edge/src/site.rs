//! What the front door leads to: sites, their certificates and their routes.

use std::net::TcpListener;
use std::path::PathBuf;

use axum::Router;
use weappd_certs::CertFiles;

use crate::route::room_router::RoomRouter;

/// A listening socket and what is spoken on it.
#[derive(Debug)]
pub struct BoundListener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// With or without TLS.
    pub kind: ListenerKind,
}

/// What is spoken on a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Plain HTTP/1.1.
    Http,
    /// HTTP/1.1 and HTTP/2 over TLS 1.2 or 1.3.
    Https,
}

/// One site: the names it answers to and where its paths lead.
#[derive(Clone, Debug)]
pub struct Site {
    /// Host names without port, `*.example.com` for one more label in front, or `*` for
    /// every name that no other site has.
    pub hosts: Vec<String>,
    /// The certificate; without one the site is answered over plain HTTP only.
    pub tls: Option<CertFiles>,
    /// Sends plain HTTP requests to HTTPS at this port (443: no port in the address).
    pub redirect: Option<u16>,
    /// Paths, each exactly so, that plain HTTP is answered at all the same.
    pub no_redirect: Vec<String>,
    /// Paths at which apps take what weappd itself sends them: they, and what is under them,
    /// lead no other request to an app, in no spelling. Of `/` that holds for what is no GET.
    pub reserved: Vec<String>,
    /// The mini programs whose users are known here; without one, those of any.
    pub appids: Vec<String>,
    /// Where paths lead. The most specific one wins, in whatever order they stand.
    pub routes: Vec<SiteRoute>,
    /// What `X-WX-SERVICE` chooses among; with none, it means nothing.
    pub services: Vec<SiteService>,
}

/// A service of a site, as WeChat's cloud hosting has them.
#[derive(Clone, Debug)]
pub struct SiteService {
    /// What clients call it.
    pub name: String,
    /// Where it leads: an app or a proxy.
    pub target: RouteTarget,
    /// Whether its callers must be logged in, whatever the path.
    pub session: SessionRule,
}

/// One path of a site and its target.
#[derive(Clone, Debug)]
pub struct SiteRoute {
    /// `/api` leads `/api` and everything under `/api/`, but not `/apix`; `/api/` leads
    /// only what is under it; `= /api` leads exactly that path; `/` leads everything.
    pub path: String,
    /// Where it leads.
    pub target: RouteTarget,
    /// Whether the caller must be logged in.
    pub session: SessionRule,
}

/// Whether a route asks who is calling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionRule {
    /// Any caller may come; the app is told who is calling, if that is known.
    #[default]
    Pass,
    /// Only a known caller may come.
    Require,
}

/// Where a route leads.
#[derive(Clone, Debug)]
pub enum RouteTarget {
    /// An app under the supervisor, by its name in the upstreams table.
    App(String),
    /// Business servers at `address:port` or `host:port`, taken in turn.
    Proxy(Vec<String>),
    /// Files: the whole request path is looked up under this directory.
    Static(PathBuf),
    /// Another address.
    Redirect {
        /// The address; `{path}` in it stands for the request's path and query.
        to: String,
        /// 301, 302, 303, 307 or 308.
        code: u16,
    },
    /// One of weappd's own routers. It finds the client's address as
    /// `axum::extract::ConnectInfo<SocketAddr>` and the scheme as `http::uri::Scheme`
    /// among the request's extensions.
    Router(RoomRouter),
    /// A path of which an app or a proxy answers all but `GET`.
    Shared {
        /// The other target of the path: an app or a proxy.
        app: Box<RouteTarget>,
        /// The router that answers `GET`.
        router: Router,
        /// Whether the app is asked for `GET` first, and the router answers only what the app
        /// does not know (404, 405 or 501).
        app_first: bool,
    },
}
