//! The ready instances of apps.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::upstream::address::UpstreamAddr;

/// The ready instances of each app.
pub type AppUpstreams = Arc<HashMap<String, Vec<SocketAddr>>>;

/// One of the ready instances of an app, taken in turn.
pub(crate) fn pick(ready: &[SocketAddr], turn: usize) -> Option<UpstreamAddr> {
    let at = turn.checked_rem(ready.len())?;
    ready.get(at).copied().map(UpstreamAddr::Addr)
}
