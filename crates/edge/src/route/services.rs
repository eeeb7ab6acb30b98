//! The services of a site, among which `X-WX-SERVICE` chooses, as in WeChat's cloud hosting.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::error_page::EdgeRefusal;
use crate::route::site_table::{CompiledSite, RouteEntry};
use crate::site::SessionRule;

const X_WX_SERVICE: HeaderName = HeaderName::from_static("x-wx-service");

/// The services of a site by name. Without any, the header means nothing.
#[derive(Debug, Default)]
pub(crate) struct SiteServices(pub(crate) HashMap<String, Arc<RouteEntry>>);

impl SiteServices {
    /// The one that a request names, if it names any.
    fn named(&self, headers: &HeaderMap) -> Result<Option<&Arc<RouteEntry>>, EdgeRefusal> {
        let mut names = headers.get_all(X_WX_SERVICE).iter();
        let Some(name) = names.next() else {
            return Ok(None);
        };
        if names.next().is_some() {
            return Err(EdgeRefusal::BadRequest("The request names two services."));
        }
        let name = name.to_str().map_err(|_| EdgeRefusal::UnknownService)?;
        let entry = self.0.get(name.trim()).ok_or(EdgeRefusal::UnknownService)?;
        Ok(Some(entry))
    }
}

/// Where a request leads on a site, and whom it lets through: the service it names, in
/// place of an app's route or where there is none; else the route of its path. weappd's
/// own endpoints, files and redirects are no services' to answer, and a path that wants a
/// session wants it of any service, and in any spelling that is not a route's own.
pub(crate) fn select_route<'a>(
    site: &'a CompiledSite,
    path: &str,
    headers: &HeaderMap,
) -> Result<(&'a Arc<RouteEntry>, SessionRule), EdgeRefusal> {
    let found = site.routes.find(path);
    let routed = found.map(|(_, entry)| entry);
    let named = if site.services.0.is_empty() || !routed.is_none_or(|entry| entry.leads_to_app()) {
        None
    } else {
        site.services.named(headers)?
    };
    let entry = named.or(routed).ok_or(EdgeRefusal::NotFound)?;
    let rules = [Some(entry), routed].map(|entry| entry.map(|entry| entry.session));
    let written = || found.is_some_and(|(pattern, _)| pattern.path() == path);
    let strict = rules.contains(&Some(SessionRule::Require))
        || entry.is_guarded() && site.guards.require_session(path) && !written();
    let rule = if strict {
        SessionRule::Require
    } else {
        SessionRule::Pass
    };
    Ok((entry, rule))
}
