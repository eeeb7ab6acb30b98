//! The front door: the only listener the public sees.
//!
//! An [`Edge`] is built from sites and run on listening sockets that its caller bound.
//! One acceptor a socket deals connections to the edge threads; a connection lives on its
//! thread for life, and every request on it goes through the pipeline in `gate.rs`.
//!
//! # Map
//!
//! - `server` (the edge as one value), `tables` (what requests go by) and `reload` (which replaces
//!   them), `worker` (an edge thread) and `thread_loop` (what it does), `gate` (the pipeline) and
//!   `request_context`, `site` (what a site is), `body`, `refusal` and `error_page` (what is
//!   answered), `date`, `metrics` (what is told of `thread_counters`).
//! - `conn`: `listener` (accept, deal) with `listener_registry` and `listener_changes`, `connection`
//!   (hyper on a connection), `conn_info` (what its requests share), `conn_count`, `client_wire`
//!   (its bytes and their deadlines), `stream_tasks` (the same for the streams of HTTP/2), `pace`,
//!   `traffic`, `framing` (what hyper would mend silently), `head_answer`, `upload`, `linger`.
//! - `tls`: `settings`, `cert_resolver`, `stream`, `records`, `plain_http`. The certificates
//!   themselves are the room `certs`.
//! - `route`: `site_table` of `compiled_site`s (made by `site_compiler`), `route_table` of
//!   `route_entry`s, `services`, `app_handler`, `reserved_paths`; on the way there
//!   `request_screen`, `path_spelling`, `path_guards`, `challenge`, `redirect`; `router_call` and
//!   `shared_path`.
//! - `upstream`: `proxy` with `address`, `app_upstreams`, `group`, `health`, `pool`, `stream`,
//!   `answer_body` and `upgrade`.
//! - `files`: `static_files` with `file_body` and `protected`.
//! - `caller`: `identity`; `headers` and `header_claims`; `client_trust` and `peer_role`, with
//!   `forwarded` (what proxies tell), `wechat_gateway` and `ip_networks`; `client_share`.
//! - `log`: `access_log` with `log_format`, `log_switch` and `access_sink`, `throttled_log`,
//!   `request_tap`.
//!
//! # Invariants
//!
//! - A path is matched in the spelling in which it is forwarded; one that an app may take
//!   for a path that wants a session wants it too.
//! - No header of a client in which apps look for its identity or address reaches one; only
//!   configured proxies, and gateways of WeChat's, are believed.
//! - A request is sent to a business server once; again only if nothing was sent, or if it may
//!   be repeated and a kept connection was closed without an answer.
//! - A connection is a tunnel only after a 101.
//! - No file that weappd reads or keeps is served, whatever name leads to it.
//! - Every wait for a client has an end.
//! - No secret stands in the access log.
//! - A request goes by one table from its beginning to its end; nothing that lives longer keeps
//!   it.

mod body;
mod body_error;
mod caller;
mod config;
mod conn;
mod date;
mod error;
mod error_page;
mod files;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/edge.rs"]
pub mod fuzzing;
mod gate;
mod log;
mod metrics;
mod refusal;
mod reload;
mod request_context;
mod route;
mod server;
mod site;
mod tables;
mod thread_counters;
mod thread_loop;
mod tls;
mod upstream;
mod worker;

pub use caller::identity::{Caller, Identify};
pub use config::Config;
pub use conn::listener_changes::ListenerChanges;
pub use error::Error;
pub use files::protected::ProtectedFiles;
pub use log::access_sink::{AccessLog, AccessSink};
pub use reload::{EdgeControl, EdgeReload, StagedEdge};
pub use route::challenge::AcmeChallenges;
pub use route::room_router::{InstantAnswer, RoomRouter};
pub use server::{Edge, EdgeParts};
pub use site::{
    BoundListener, ListenerKind, RouteTarget, SessionRule, Site, SiteRoute, SiteService,
};
pub use upstream::app_upstreams::AppUpstreams;
