//! One site, made ready for requests.

use http::HeaderMap;

use crate::refusal::EdgeRefusal;
use crate::route::path_guards::PathGuards;
use crate::route::reserved_paths::ReservedPaths;
use crate::route::route_entry::RouteEntry;
use crate::route::route_table::RouteTable;
use crate::route::services::SiteServices;
use crate::site::SessionRule;

/// One site made ready.
#[derive(Debug)]
pub(crate) struct CompiledSite {
    pub(crate) redirect: Option<u16>,
    pub(crate) no_redirect: Vec<String>,
    pub(crate) has_tls: bool,
    pub(crate) routes: RouteTable<RouteEntry>,
    pub(crate) guards: PathGuards,
    pub(crate) reserved: ReservedPaths,
    pub(crate) services: SiteServices,
}

impl CompiledSite {
    /// Where a request leads on a site, and whom it lets through: the service it names, in
    /// place of an app's route or where there is none; else the route of its path. weappd's
    /// own endpoints, files and redirects are no services' to answer, and a path that wants a
    /// session wants it of any service, and in any spelling that is not a route's own.
    pub(crate) fn select_route(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(&RouteEntry, SessionRule), EdgeRefusal> {
        let found = self.routes.find(path);
        let routed = found.map(|(_, entry)| entry);
        let named = if self.services.is_empty() || !routed.is_none_or(RouteEntry::leads_to_app) {
            None
        } else {
            self.services.named(headers)?
        };
        let entry = named.or(routed).ok_or(EdgeRefusal::NotFound)?;
        let rules = [Some(entry), routed].map(|entry| entry.map(|entry| entry.session));
        let written = || found.is_some_and(|(pattern, _)| pattern.path() == path);
        let strict = rules.contains(&Some(SessionRule::Require))
            || entry.is_guarded() && self.guards.require_session(path) && !written();
        let rule = if strict {
            SessionRule::Require
        } else {
            SessionRule::Pass
        };
        Ok((entry, rule))
    }
}
