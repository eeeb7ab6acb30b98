//! The front door: the only listener the public sees.
//!
//! An [`Edge`] is built from sites and run on listening sockets that somebody else bound.
//! One acceptor a socket deals connections to the edge threads; a connection lives on its
//! thread for life, and every request on it walks the road in `gate.rs`.
//!
//! # Map
//!
//! - The way in: `listener` (accept, deal), `worker` (an edge thread), `connection`
//!   (hyper on a connection), `tls` and `certs`, `stream` (the wire and its deadlines),
//!   `stream_tasks` (the same for the streams of HTTP/2), `pace`, `traffic`, `linger`, `framing` (what
//!   hyper would mend silently).
//! - The road: `gate`, and its steps `screen`, `path`, `house`, `route`, `services` and `guard`,
//!   `challenge`, `redirect`, `headers` and `claims`, `identity`.
//! - Who is believed: `trust`, with `forwarded` (what proxies tell), `gateway` (WeChat's) and
//!   `nets`.
//! - The targets: `client_share`, then `proxy` with `ring`, `health`, `pool`, `upstream_reads`
//!   and `upgrade`, `static_files` with `range` and `protected`, `room`, `shared_path`.
//! - Beside the road: `body` with `upload` and `download`, `date`, `page` (refusals) and
//!   `plain_http`, `access_log` with `access_lines`, `notices`, `tap`.
//!
//! # Invariants
//!
//! - A path is matched in the spelling in which it is forwarded; one that an app may take
//!   for a path that wants a session wants it too.
//! - No header of a client in which apps look for its identity or address reaches one; only
//!   configured proxies, and gateways of WeChat's, are believed.
//! - A request is sent to a business server once; again only if nothing was sent, or if it may
//!   be repeated and a kept connection was closed without a word.
//! - A connection is a tunnel only after a 101.
//! - No file that weappd reads or keeps is served, whatever name leads to it.
//! - Every wait for a client has an end.
//! - No secret stands in the access log.

mod access_lines;
mod access_log;
mod body;
mod certs;
mod challenge;
mod claims;
mod client_share;
mod config;
mod connection;
mod date;
mod download;
mod error;
mod forwarded;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod gateway;
mod guard;
mod head_answer;
mod headers;
mod health;
mod house;
mod identity;
mod linger;
mod listener;
mod nets;
mod notices;
mod pace;
mod page;
mod path;
mod plain_http;
mod pool;
mod protected;
mod proxy;
mod range;
mod redirect;
mod ring;
mod room;
mod route;
mod screen;
mod server;
mod services;
mod shared_path;
mod site;
mod static_files;
mod stream;
mod stream_tasks;
mod tap;
mod tls;
mod tls_records;
mod tls_stream;
mod traffic;
mod trust;
mod upgrade;
mod upload;
mod upstream_reads;
mod worker;

pub use access_lines::{AccessLog, AccessSink};
pub use certs::{CertSeverity, CertWarning, check_certificate};
pub use challenge::Challenges;
pub use config::Config;
pub use error::Error;
pub use identity::{Caller, Identify};
pub use protected::Protected;
pub use server::{Control, Edge, EdgeParts, Upstreams};
pub use site::{Bound, CertFiles, Kind, Route, Service, SessionRule, Site, Target};
