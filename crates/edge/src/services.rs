//! The services of a site, among which `X-WX-SERVICE` chooses, as in WeChat's cloud hosting.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::house::{Rooms, To, Way};
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
/// session wants it of any service.
pub(crate) fn lead<'a>(
    site: &'a Rooms,
    path: &str,
    headers: &HeaderMap,
) -> Result<(&'a Arc<Way>, SessionRule), Refusal> {
    let routed = site.routes.find(path);
    let is_app = |way: &&Arc<Way>| matches!(way.to, To::App(_) | To::Proxy(_));
    if !site.services.0.is_empty()
        && routed.as_ref().is_none_or(is_app)
        && let Some(way) = site.services.named(headers)?
    {
        let rules = [Some(way.session), routed.map(|routed| routed.session)];
        let strict = rules.contains(&Some(SessionRule::Require));
        let rule = if strict {
            SessionRule::Require
        } else {
            SessionRule::Pass
        };
        return Ok((way, rule));
    }
    let way = routed.ok_or(Refusal::NotFound)?;
    Ok((way, way.session))
}
