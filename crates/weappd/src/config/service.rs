//! The services of a site, among which `X-WX-SERVICE` chooses.

use weappd_base::language::pick;
use weappd_base::words;
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
                words!("`{name}` is no name of a service", "`{name}` 不能作为服务名"),
                pick("1 to 64 letters, digits, - _ and dots, as the mini program writes it in X-WX-SERVICE", "1 到 64 个字母、数字、- _ 和点，与小程序在 X-WX-SERVICE 里写的一致"),
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
            let message = words!(
                "the service `{name}` leads nowhere",
                "服务 `{name}` 没有写由谁处理"
            );
            checker.error(
                &leads.place,
                message,
                pick("give it an app or a proxy", "请给它写上 app 或 proxy"),
            );
        }
    }
    services
}

/// What a header carries without doubt.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}
