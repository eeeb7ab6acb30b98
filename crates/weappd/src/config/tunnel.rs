//! Tunnels: whose they are, where phones reach them, and whether their callbacks arrive at a
//! business server at all.

use std::borrow::Cow;
use weappd_base::language::pick;
use weappd_base::words;

use http::Uri;
use weappd_base::setting_problem::SettingProblem;
use weappd_tunnel::{BusinessConfig, OwnSites};

use crate::config::{
    address, checker::ConfigChecker, document::PathStep, raw::TunnelShort, resolve::OpenDoors,
};
use crate::plan::SitePlan;
use crate::site_rooms::{self, PathOwner};

/// Gives every site its business server, from `[tunnel] key` where the list has none, and
/// follows the callbacks of each.
pub(crate) fn settle(
    checker: &ConfigChecker<'_>,
    mut tunnel: weappd_tunnel::Config,
    short: &TunnelShort,
    sites: &mut [SitePlan],
    doors: &OpenDoors,
) -> weappd_tunnel::Config {
    let listed = tunnel.businesses.len();
    for site in &mut *sites {
        site.tunnel_issuer = short.issuer;
        let name = site.hosts.first().filter(|host| !host.contains('*'));
        let Some(host) = name.cloned() else {
            continue;
        };
        let known = |business: &BusinessConfig| business.host == host;
        if !tunnel.businesses.iter().any(known) {
            let Some(key) = short.key.clone() else {
                continue;
            };
            tunnel.businesses.push(BusinessConfig {
                host: host.clone(),
                key,
                receive: short.receive.clone(),
                ..BusinessConfig::default()
            });
        }
        site.tunnel_business = Some(host);
    }
    if short.receive.is_some() && !checker.says(&["tunnel".into(), "key".into()]) {
        checker.error(
            &["tunnel".into(), "receive".into()],
            pick(
                "`receive` goes with `key`, which is missing",
                "`receive` 要与 `key` 一起设置，现在缺少 `key`",
            ),
            pick(
                "give the SDK's tunnelSignatureKey as key",
                "请把 SDK 的 tunnelSignatureKey 填到 key",
            ),
        );
    }
    let problems = tunnel.problems();
    let are_sound = problems.is_empty();
    let problems = problems.into_iter().map(|problem| {
        // What came of the short form is told where the short form stands.
        let index = (problem.field)
            .strip_prefix("businesses[")
            .and_then(|rest| rest.split_once("]."));
        match index {
            Some((at, key)) if at.parse().is_ok_and(|at: usize| at >= listed) => SettingProblem {
                field: key.to_owned().into(),
                ..problem
            },
            _ => problem,
        }
    });
    checker.room(&["tunnel".into()], problems);
    let configured = tunnel.businesses.len();
    if configured == 0 {
        tunnel.businesses.extend(unasked(sites));
    }
    tunnel.own_sites = own_sites(sites, doors);
    for business in &mut tunnel.businesses {
        business.public_base = public_base(&business.host, sites, doors);
    }
    if are_sound {
        for (at, business) in tunnel.businesses.iter().take(configured).enumerate() {
            let place = BusinessPlace {
                listed: (at < listed).then_some(at),
            };
            follow(checker, business, &place, &tunnel, sites, doors);
        }
    }
    tunnel
}

/// The business server of a file without any: weappd's app, which is told its key. The key
/// is empty here, and made anew at each start.
fn unasked(sites: &mut [SitePlan]) -> Option<BusinessConfig> {
    let site = sites
        .iter_mut()
        .find(|site| site_rooms::is_apps(site, site_rooms::TUNNEL))?;
    let name = site.hosts.first().filter(|host| !host.contains('*'));
    let host = name.cloned()?;
    site.tunnel_business = Some(host.clone());
    Some(BusinessConfig {
        host,
        ..BusinessConfig::default()
    })
}

/// The public addresses of the sites; the way to them is known once they are served.
fn own_sites(sites: &[SitePlan], doors: &OpenDoors) -> OwnSites {
    let ports = |addresses: &[std::net::SocketAddr]| {
        addresses.iter().map(std::net::SocketAddr::port).collect()
    };
    OwnSites {
        via: None,
        hosts: sites.iter().flat_map(|site| site.hosts.clone()).collect(),
        http_ports: ports(&doors.http),
        https_ports: ports(&doors.https),
    }
}

/// Where phones reach the site of a business server: at the port that `redirect` says HTTPS has
/// outside, or that weappd has HTTPS on. A site without TLS stands behind a TLS proxy of its own,
/// at the usual port.
fn public_base(host: &str, sites: &[SitePlan], doors: &OpenDoors) -> Option<String> {
    let site = sites
        .iter()
        .find(|site| site.hosts.iter().any(|name| name == host))?;
    let mut ports = doors.https.iter().map(std::net::SocketAddr::port);
    let first = ports.clone().next();
    // To the first port it sends without being told.
    let outside = site.redirect.filter(|port| Some(*port) != first);
    let port = match site.tls {
        Some(_) if outside.is_some() => outside,
        Some(_) if !ports.clone().any(|port| port == 443) => ports.next(),
        _ => None,
    };
    Some(match port {
        Some(443) | None => format!("wss://{host}"),
        Some(port) => format!("wss://{host}:{port}"),
    })
}

/// Where a business server is written down.
struct BusinessPlace {
    /// Its index in the list; `None` for `[tunnel] key`.
    listed: Option<usize>,
}

impl BusinessPlace {
    fn of(&self, key: &'static str) -> Vec<PathStep<'static>> {
        match (self.listed, key) {
            (Some(at), key) => vec!["tunnel".into(), "businesses".into(), at.into(), key.into()],
            (None, "host") => vec!["tunnel".into(), "key".into()],
            (None, key) => vec!["tunnel".into(), key.into()],
        }
    }
}

/// Follows the callbacks of one business server, and says so if they come back to weappd.
fn follow(
    checker: &ConfigChecker<'_>,
    business: &BusinessConfig,
    place: &BusinessPlace,
    tunnel: &weappd_tunnel::Config,
    sites: &[SitePlan],
    doors: &OpenDoors,
) {
    if let Some(receive) = &business.receive {
        let Ok(url) = receive.parse::<Uri>() else {
            return;
        };
        if let Some(why) = comes_back(&url, &tunnel.own_sites, sites, doors) {
            checker.error(
                &place.of("receive"),
                words!("callbacks to {receive} come back to weappd: {why}", "发往 {receive} 的回调会回到 weappd：{why}"),
                pick("give the address at which your business server takes callbacks, or leave `receive` out", "请写业务服务器接收回调的地址，或删掉 `receive`"),
            );
        }
        return;
    }
    let its_address = [doors.internal].into_iter().chain(doors.wechat_https);
    for door in its_address {
        if address::leads_to(&business.host, door) {
            checker.error(
                &place.of("host"),
                words!(
                    "callbacks to {} come back to weappd: it is the internal API",
                    "发往 {} 的回调会回到 weappd：那是内部接口",
                    business.host
                ),
                pick(
                    "`host` is the SDK's serverHost: the name of your site",
                    "`host` 是 SDK 的 serverHost，即你的站点的域名",
                ),
            );
        }
    }
    let own = |site: &&SitePlan| site.tunnel_business.as_ref() == Some(&business.host);
    for site in sites.iter().filter(own) {
        for path in site_rooms::tunnel_paths(site) {
            if let Some(why) = not_taken(site, path) {
                let message = words!(
                    "tunnels of {} would be dead: {why}",
                    "{} 的信道会收不到消息：{why}",
                    business.host
                );
                let hint = pick(
                    "give the site an app or proxy = 1937; or `receive`, the whole \
                            address of a business server elsewhere; or remove the key, if there \
                            are no tunnels",
                    "请给站点写上 app 或 proxy = 1937；业务服务器在别处时写 `receive`（完整地址）；不用信道就删掉 key",
                );
                if site.routes.is_empty() {
                    // A site that is still to be written.
                    checker.warning(&place.of("host"), message, hint);
                } else {
                    checker.error(&place.of("host"), message, hint);
                }
                break;
            }
        }
    }
}

/// Why callbacks to `url` would reach no business server.
fn comes_back(
    url: &Uri,
    own: &OwnSites,
    sites: &[SitePlan],
    doors: &OpenDoors,
) -> Option<Cow<'static, str>> {
    let host = url.host()?;
    let default = if url.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let named = format!("{host}:{}", url.port_u16().unwrap_or(default));
    if address::leads_to(&named, doors.internal) {
        return Some(pick("it is the internal API", "那是内部接口").into());
    }
    if doors
        .wechat_https
        .is_some_and(|door| address::leads_to(&named, door))
    {
        return Some(
            pick(
                "it is the stand-in for WeChat",
                "那是 weappd 代替微信接口的监听地址",
            )
            .into(),
        );
    }
    if own.has(url) {
        return not_taken(site_rooms::of_host(sites, host)?, url.path());
    }
    let mut public = doors.http.iter().chain(&doors.https);
    public
        .any(|door| address::leads_to(&named, *door))
        .then(|| words!("no site is called {host}", "没有域名为 {host} 的站点").into())
}

/// Why a `POST` to `path` of a site reaches no business server.
fn not_taken(site: &SitePlan, path: &str) -> Option<Cow<'static, str>> {
    let name = site
        .hosts
        .first()
        .map_or(pick("the site", "该站点"), String::as_str);
    let why = match site_rooms::who_takes(site, path) {
        PathOwner::App => return None,
        PathOwner::Weappd => words!(
            "weappd itself answers {path} of {name}",
            "{name} 的 {path} 由 weappd 自己处理"
        ),
        PathOwner::Files => words!(
            "at {path} of {name} stand files",
            "{name} 的 {path} 是静态文件"
        ),
        PathOwner::Redirect => words!(
            "{path} of {name} is sent elsewhere",
            "{name} 的 {path} 跳转到别处"
        ),
        PathOwner::Nobody => words!(
            "no app and no proxy answers {path} of {name}",
            "{name} 的 {path} 没有应用或 proxy 来处理"
        ),
    };
    Some(why.into())
}
