//! The business server behind a route.

use crate::upstream::group::UpstreamGroup;

/// Who answers for a business server.
#[derive(Debug)]
pub(crate) enum AppHandler {
    /// An app that weappd runs, by its name.
    Managed(String),
    /// One of these addresses.
    Group(UpstreamGroup),
}
