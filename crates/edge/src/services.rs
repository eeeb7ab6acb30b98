//! The services of a site, among which `X-WX-SERVICE` chooses, as in WeChat's cloud hosting.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::house::{Rooms, Way};
use crate::page::Refusal;
use crate::site::SessionRule;

const X_WX_SERVICE: HeaderName = HeaderName::from_static("x-wx-service");

/// The services of a site by name. Without any, the header means nothing.
#[derive(Debug, Default)]
pub(crate) struct Services(pub(crate) HashMap<String, Arc<Way>>);

impl Services {
    /// The one that a request names, if it names any.
    fn named(&self, headers: &HeaderMap) -> Result<Option<&Arc<Way>>, Refusal> {
        let mut names = headers.get_all(X_WX_SERVICE).iter();
        let Some(name) = names.next() else {
            return Ok(None);
        };
        if names.next().is_some() {
            return Err(Refusal::BadRequest("The request names two services."));
        }
        let name = name.to_str().map_err(|_| Refusal::UnknownService)?;
        let way = self.0.get(name.trim()).ok_or(Refusal::UnknownService)?;
        Ok(Some(way))
    }
}

/// Where a request leads on a site, and whom it lets through: the service it names, in
/// place of an app's route or where there is none; else the route of its path. weappd's
/// own endpoints, files and redirects are no services' to answer, and a path that wants a
/// session wants it of any service, and in any spelling that is not a route's own.
pub(crate) fn lead<'a>(
    site: &'a Rooms,
    path: &str,
    headers: &HeaderMap,
) -> Result<(&'a Arc<Way>, SessionRule), Refusal> {
    let found = site.routes.find(path);
    let routed = found.map(|(_, way)| way);
    let named = if site.services.0.is_empty() || !routed.is_none_or(|way| way.leads_to_app()) {
        None
    } else {
        site.services.named(headers)?
    };
    let way = named.or(routed).ok_or(Refusal::NotFound)?;
    let rules = [Some(way), routed].map(|way| way.map(|way| way.session));
    let written = || found.is_some_and(|(pattern, _)| pattern.path() == path);
    let strict = rules.contains(&Some(SessionRule::Require))
        || way.is_guarded() && site.guards.want(path) && !written();
    let rule = if strict {
        SessionRule::Require
    } else {
        SessionRule::Pass
    };
    Ok((way, rule))
}
