//! How many files weappd and its apps may have open at a time.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Shells and systemd give a program 1,024 descriptors, and let it have more if it asks: each
/// connection costs one, and the client's share of requests is a part of them. Its apps
/// inherit what they may have.
pub(crate) fn raise_limit() {
    const ENOUGH: u64 = 65_536;
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays low");
        }
    }
}
