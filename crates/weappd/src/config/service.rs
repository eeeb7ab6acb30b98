//! The services of a site, among which `X-WX-SERVICE` chooses.

use weappd_edge::SiteService;

use crate::config::{
    checker::ConfigChecker,
    document::PathStep,
    raw,
    route::{self, RouteContext, RouteTargets},
};

/// Settles the services of the site at `base`.
pub(crate) fn all(
    checker: &ConfigChecker<'_>,
    base: &[PathStep<'_>],
    written: &[(String, raw::ServiceSection)],
    known: &RouteContext<'_>,
) -> Vec<SiteService> {
    let mut services = Vec::new();
    for (name, service) in written {
        let place = [base, &["services".into(), name.as_str().into()]].concat();
        if !is_name(name) {
            checker.error(
                &place,
                format!("`{name}` is no name of a service"),
                "1 to 64 letters, digits, - _ and dots, as the mini program writes it in X-WX-SERVICE",
            );
        }
        let leads = RouteTargets {
            place,
            app: service.app.as_deref(),
            proxy: &service.proxy.0,
            root: None,
            redirect: None,
        };
        if let Some(target) = leads.target(checker, known) {
            services.push(SiteService {
                name: name.clone(),
                target,
                session: route::rule(service.session),
            });
        } else if leads.given(checker).is_empty() {
            let message = format!("the service `{name}` leads nowhere");
            checker.error(&leads.place, message, "give it an app or a proxy");
        }
    }
    services
}

/// What a header carries without doubt.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}
