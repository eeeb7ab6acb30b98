//! How many files weappd and its apps may have open at a time.

use rustix::process::{Resource, getrlimit, setrlimit};
use weappd_base::open_files::HINT;

/// With fewer, some hundred phones are enough to stop all else.
const FEW: u64 = 1024;

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
    let limit = getrlimit(Resource::Nofile).current;
    if let Some(files) = limit.filter(|files| *files < FEW) {
        tracing::warn!(
            files,
            "few files may be open at a time, and every connection is one: {HINT}"
        );
    }
}
