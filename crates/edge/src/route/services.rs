//! The services of a site, among which `X-WX-SERVICE` chooses, as in WeChat's cloud hosting.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName};

use crate::refusal::EdgeRefusal;
use crate::route::route_entry::RouteEntry;

const X_WX_SERVICE: HeaderName = HeaderName::from_static("x-wx-service");

/// The services of a site by name. Without any, the header means nothing.
#[derive(Debug, Default)]
pub(crate) struct SiteServices(HashMap<String, RouteEntry>);

impl SiteServices {
    pub(crate) fn new(services: HashMap<String, RouteEntry>) -> Self {
        Self(services)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that a request names, if it names any.
    pub(crate) fn named(&self, headers: &HeaderMap) -> Result<Option<&RouteEntry>, EdgeRefusal> {
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
