//! The sites: names, certificates, and where their paths lead.

mod tell;

use std::{collections::BTreeMap, path::Path as FilePath};
use weappd_base::language::pick;
use weappd_base::words;

use weappd_apps::AppConfig;
use weappd_certs::{CertFiles, CertSeverity};
use weappd_session::MiniApp;

use crate::{
    config::{
        address,
        checker::ConfigChecker,
        document::PathStep,
        raw::{self, RawConfig, TlsSource, UpstreamList, WaferDialect},
        resolve::OpenDoors,
        route, service, spelling,
    },
    plan::{SitePlan, TunnelIssuer},
};

pub(crate) use tell::tell;

/// What sites may refer to.
struct SiteContext<'a> {
    doors: &'a OpenDoors,
    mini_apps: &'a [MiniApp],
    apps: &'a BTreeMap<String, AppConfig>,
    session: &'a weappd_session::Config,
}

/// Settles all sites.
pub(crate) fn all(
    checker: &ConfigChecker<'_>,
    raw: &RawConfig,
    doors: &OpenDoors,
    mini_apps: &[MiniApp],
    apps: &BTreeMap<String, AppConfig>,
) -> Vec<SitePlan> {
    let known = SiteContext {
        doors,
        mini_apps,
        apps,
        session: &raw.session,
    };
    let short = short_form(checker, raw);
    let written = written(raw, short.as_ref());
    if written.is_empty() && !checker.reader.is_left_out(checker.doc, &["sites".into()]) {
        checker.error(
            &["domain".into()],
            pick("no site is configured", "没有配置任何站点"),
            pick(
                "begin with: domain = \"www.example.com\"",
                "先写：domain = \"www.example.com\"",
            ),
        );
    }
    let mut seen: Vec<String> = Vec::new();
    written
        .iter()
        .map(|site| settle(checker, site, &known, &mut seen))
        .collect()
}

/// Every site as it is written: the short form's first.
fn written<'a>(raw: &'a RawConfig, short: Option<&'a raw::SiteSection>) -> Vec<WrittenSite<'a>> {
    let short = short.map(|site| WrittenSite::short(raw, site));
    let long = raw.sites.0.iter().map(WrittenSite::long);
    short.into_iter().chain(long).collect()
}

/// The short form as a site of the long form; `None` without `domain`.
fn short_form(checker: &ConfigChecker<'_>, raw: &RawConfig) -> Option<raw::SiteSection> {
    if !checker.says(&["domain".into()]) {
        let keys = [
            "cert", "key", "tls", "proxy", "root", "dialects", "routes", "services",
        ];
        if let Some(key) = keys.into_iter().find(|key| checker.says(&[(*key).into()])) {
            checker.error(
                &[key.into()],
                words!("`{key}` is of no site", "`{key}` 不属于任何站点"),
                pick("give the site's name as domain = \"www.example.com\", or put this under [sites.\"...\"]", "请写上站点的域名 domain = \"www.example.com\"，或把它移到 [sites.\"...\"] 下面"),
            );
        }
        return None;
    }
    if raw.domain.0.is_empty() {
        checker.error(
            &["domain".into()],
            pick("`domain` names no host", "`domain` 里没有域名"),
            pick(
                "write domain = \"www.example.com\"",
                "写成 domain = \"www.example.com\"",
            ),
        );
    }
    let listens = raw.app.as_ref().is_some_and(|app| app.listens);
    // An app beside routes answers / only if no route does.
    let app = listens && !raw.routes.iter().any(|route| route.path == "/");
    Some(raw::SiteSection {
        cert: raw.cert.clone(),
        key: raw.key.clone(),
        tls: raw.tls,
        dialects: raw.dialects.clone(),
        app: app.then(|| "app".to_owned()),
        proxy: UpstreamList(raw.proxy.0.clone()),
        root: raw.root.clone(),
        ..raw::SiteSection::default()
    })
}

/// A site as it is written, and where.
struct WrittenSite<'a> {
    path: Vec<PathStep<'a>>,
    names: Vec<(&'a str, Vec<PathStep<'a>>)>,
    site: &'a raw::SiteSection,
    routes: &'a [raw::RouteSection],
    services: &'a [(String, raw::ServiceSection)],
}

impl<'a> WrittenSite<'a> {
    fn short(raw: &'a RawConfig, site: &'a raw::SiteSection) -> Self {
        let names = raw.domain.0.iter().enumerate();
        Self {
            path: Vec::new(),
            names: names
                .map(|(at, name)| (name.as_str(), vec!["domain".into(), at.into()]))
                .collect(),
            site,
            routes: &raw.routes,
            services: &raw.services.0,
        }
    }

    fn long((host, site): &'a (String, raw::SiteSection)) -> Self {
        let path: Vec<PathStep<'a>> = vec!["sites".into(), host.as_str().into()];
        let mut names = vec![(host.as_str(), path.clone())];
        for (at, alias) in site.aliases.iter().enumerate() {
            names.push((
                alias,
                [path.as_slice(), &["aliases".into(), at.into()]].concat(),
            ));
        }
        Self {
            path,
            names,
            site,
            routes: &site.routes,
            services: &site.services.0,
        }
    }

    fn at(&self, key: &'a str) -> Vec<PathStep<'a>> {
        [self.path.as_slice(), &[key.into()]].concat()
    }

    /// Where the site's name stands.
    fn name_place(&self) -> Vec<PathStep<'a>> {
        self.names
            .first()
            .map_or_else(|| self.path.clone(), |(_, path)| path.clone())
    }
}

fn settle(
    checker: &ConfigChecker<'_>,
    written: &WrittenSite<'_>,
    known: &SiteContext<'_>,
    seen: &mut Vec<String>,
) -> SitePlan {
    let hosts = hosts(checker, written, seen);
    let tls = tls(checker, written, &hosts, known.doors);
    let leads_to = route::RouteContext {
        doors: known.doors,
        apps: known.apps,
    };
    let redirect = written.site.redirect.unwrap_or(known.doors.redirect);
    let speaks = |dialect, default| {
        written
            .site
            .dialects
            .as_ref()
            .map_or(default, |dialects| dialects.contains(&dialect))
    };
    SitePlan {
        redirect: (known.doors.https.first())
            .filter(|_| tls.is_some() && !known.doors.http.is_empty())
            .and_then(|address| redirect.port(address.port())),
        tls,
        appids: mini_apps(checker, written, known),
        wafer1: speaks(WaferDialect::Wafer1, known.session.wafer1),
        wafer2: speaks(WaferDialect::Wafer2, known.session.wafer2),
        routes: route::all(
            checker,
            &written.path,
            written.site,
            written.routes,
            &leads_to,
        ),
        services: service::all(checker, &written.path, written.services, &leads_to),
        messages: Vec::new(),
        push_paths: Vec::new(),
        message_targets: Vec::new(),
        tunnel_business: None,
        tunnel_issuer: TunnelIssuer::default(),
        hosts,
    }
}

fn hosts(
    checker: &ConfigChecker<'_>,
    written: &WrittenSite<'_>,
    seen: &mut Vec<String>,
) -> Vec<String> {
    let mut hosts = Vec::new();
    for (name, path) in &written.names {
        match address::host(name) {
            Err((message, hint)) => checker.error(path, message, hint),
            Ok(host) if seen.contains(&host) => checker.error(
                path,
                words!("two sites are called {host}", "有两个站点都用了域名 {host}"),
                pick(
                    "a name leads to one site; put the routes of both under one of them",
                    "一个域名只能属于一个站点；请把两边的路由写到同一个站点下面",
                ),
            ),
            Ok(host) => {
                seen.push(host.clone());
                hosts.push(host);
            }
        }
    }
    hosts
}

fn tls(
    checker: &ConfigChecker<'_>,
    written: &WrittenSite<'_>,
    hosts: &[String],
    doors: &OpenDoors,
) -> Option<CertFiles> {
    let name = hosts
        .first()
        .map_or(pick("the site", "该站点"), String::as_str);
    let (site, says) = (written.site, |key| checker.says(&written.at(key)));
    if site.tls == Some(TlsSource::Off) {
        if let Some(key) = ["cert", "key"].into_iter().find(|key| says(key)) {
            let message = words!(
                "{name} has `{key}`, but TLS is off",
                "{name} 写了 `{key}`，但 TLS 是关闭的"
            );
            checker.error(
                &written.at("tls"),
                message,
                pick("remove one of the two", "删掉其中一个"),
            );
        } else if doors.no_http {
            let message = words!("{name} can be reached nowhere", "{name} 无法访问");
            let hint = pick(
                "it has no TLS, and [edge] http is false",
                "它没有 TLS，而 [edge] http 是 false",
            );
            checker.error(&written.at("tls"), message, hint);
        }
        return None;
    }
    let (Some(cert), Some(key)) = (&site.cert, &site.key) else {
        match (says("cert"), says("key")) {
            (true, false) => {
                let hint = pick(
                    "give the private key that came with it: key = \"2_www.example.com.key\"",
                    "请写上与它配套的私钥：key = \"2_www.example.com.key\"",
                );
                checker.error(
                    &written.at("cert"),
                    pick("`cert` without `key`", "有 `cert` 没有 `key`"),
                    hint,
                );
            }
            (false, true) => {
                let hint = pick(
                    "give the certificate chain that came with it: \
                            cert = \"1_www.example.com_bundle.crt\"",
                    "请写上与它配套的证书链：cert = \"1_www.example.com_bundle.crt\"",
                );
                checker.error(
                    &written.at("key"),
                    pick("`key` without `cert`", "有 `key` 没有 `cert`"),
                    hint,
                );
            }
            (true, true) => {}
            (false, false) => no_certificate(checker, written, name),
        }
        return None;
    };
    if doors.no_https {
        let message = words!(
            "{name} has a certificate, but [edge] https is false",
            "{name} 有证书，但 [edge] https 是 false"
        );
        checker.error(
            &written.at("cert"),
            message,
            pick(
                "give [edge] https an address such as \":443\"",
                "给 [edge] https 写上地址，例如 \":443\"",
            ),
        );
    }
    let files = CertFiles {
        cert: checker.dir.join(cert),
        key: checker.dir.join(key),
    };
    certificate(checker, written, &files, hosts);
    Some(files)
}

fn no_certificate(checker: &ConfigChecker<'_>, written: &WrittenSite<'_>, name: &str) {
    if checker.reader.is_left_out(checker.doc, &written.at("tls")) {
        return;
    }
    let place = if written.site.tls.is_some() {
        written.at("tls")
    } else {
        written.name_place()
    };
    checker.error(
        &place,
        words!("{name} has no certificate, and mini programs speak HTTPS only", "{name} 没有证书，而小程序只能用 HTTPS"),
        pick("automatic certificates come with a later release: give cert and key, the files your \
         certificate vendor sent (or tls = \"off\" behind a TLS proxy of your own)", "以后的版本才支持自动申请证书：请写上 cert 和 key，即证书服务商给的文件（前面有自己的 TLS 代理时写 tls = \"off\"）"),
    );
}

/// Loads the certificate as the edge will.
fn certificate(
    checker: &ConfigChecker<'_>,
    written: &WrittenSite<'_>,
    files: &CertFiles,
    hosts: &[String],
) {
    let place = |path: &FilePath| written.at(if path == files.key { "key" } else { "cert" });
    match weappd_certs::check_certificate(files, hosts, checker.now) {
        Ok(warnings) => {
            for warning in warnings {
                let message = format!("{} {}", warning.path.display(), warning.what);
                match warning.severity {
                    CertSeverity::Warning => {
                        checker.warning(&place(&warning.path), message, warning.hint);
                    }
                    CertSeverity::Note => checker.note(&place(&warning.path), message),
                }
            }
        }
        Err(errors) => errors.iter().for_each(|error| {
            let at = place(error.path());
            let cause = std::error::Error::source(error);
            let hint = error.hint().unwrap_or_default();
            let (message, hint) = match (cause, error) {
                (Some(cause), weappd_certs::Error::ReadFile { path, .. }) => (
                    words!(
                        "cannot read {}: {cause}",
                        "无法读取 {}：{cause}",
                        path.display()
                    ),
                    words!(
                        "{hint}",
                        "相对路径以 weappd.toml 所在目录为起点；运行 weappd 的用户要有读取权限"
                    ),
                ),
                (Some(cause), _) => (format!("{error}: {cause}"), hint.to_owned()),
                (None, _) => (error.to_string(), hint.to_owned()),
            };
            checker.error(&at, message, hint);
        }),
    }
}

/// The mini programs whose users log in on a site.
fn mini_apps(
    checker: &ConfigChecker<'_>,
    written: &WrittenSite<'_>,
    known: &SiteContext<'_>,
) -> Vec<String> {
    let appids = || known.mini_apps.iter().map(|mini| mini.appid.as_str());
    let named: Vec<(&String, Vec<PathStep<'_>>)> =
        match (&written.site.miniapp, &written.site.miniapps) {
            (Some(_), Some(_)) => {
                checker.error(
                    &written.at("miniapp"),
                    pick(
                        "both `miniapp` and `miniapps` say who logs in here",
                        "这里同时写了 `miniapp` 和 `miniapps`",
                    ),
                    pick(
                        "keep miniapps = [...], with this one in it",
                        "只留 miniapps = [...]，把这一个也放进去",
                    ),
                );
                return Vec::new();
            }
            (Some(one), None) => vec![(one, written.at("miniapp"))],
            (None, Some(all)) if all.is_empty() => {
                checker.error(
                    &written.at("miniapps"),
                    pick(
                        "`miniapps` names no mini program",
                        "`miniapps` 里没有小程序",
                    ),
                    pick(
                        "write it like miniapps = [\"wx0123456789abcdef\", \"wxfedcba9876543210\"]",
                        "写成 miniapps = [\"wx0123456789abcdef\", \"wxfedcba9876543210\"] 这样",
                    ),
                );
                return Vec::new();
            }
            (None, Some(all)) => {
                let place = |at: usize| [written.at("miniapps").as_slice(), &[at.into()]].concat();
                let all = all.iter().enumerate();
                all.map(|(at, appid)| (appid, place(at))).collect()
            }
            (None, None) => return unnamed(checker, written, known),
        };
    let mut settled: Vec<String> = Vec::new();
    for (appid, place) in named {
        if !appids().any(|known| known == appid) {
            let all: Vec<&str> = appids().collect();
            let hint = spelling::hint(appid, all.iter());
            let message = words!(
                "no mini program is called `{appid}`",
                "没有 AppID 为 `{appid}` 的小程序"
            );
            checker.error(&place, message, hint);
        }
        if settled.contains(appid) {
            let message = words!(
                "the mini program {appid} stands here twice",
                "小程序 {appid} 在这里写了两次"
            );
            checker.error(&place, message, pick("keep one", "只留一个"));
        } else {
            settled.push(appid.clone());
        }
    }
    settled
}

/// Those of a site that names none: the only one there is, or the short form's own.
fn unnamed(
    checker: &ConfigChecker<'_>,
    written: &WrittenSite<'_>,
    known: &SiteContext<'_>,
) -> Vec<String> {
    match known.mini_apps {
        [] => Vec::new(),
        [only] => vec![only.appid.clone()],
        // The short form has no key for it: [miniapp] is its mini program.
        [first, ..] if written.path.is_empty() && checker.says(&["miniapp".into()]) => {
            vec![first.appid.clone()]
        }
        all => {
            let appids: Vec<&str> = all.iter().map(|mini| mini.appid.as_str()).collect();
            let quoted: Vec<String> = appids.iter().map(|id| format!("\"{id}\"")).collect();
            let hint = if written.path.is_empty() {
                pick(
                    "put the site under [sites.\"...\"], with miniapps = [...]",
                    "请把站点写到 [sites.\"...\"] 下面，并写上 miniapps = [...]",
                )
                .to_owned()
            } else {
                words!(
                    "add miniapp = \"...\", one of {}, or for several miniapps = [{}]",
                    "加上 miniapp = \"...\"（{} 之一），有多个时写 miniapps = [{}]",
                    appids.join(", "),
                    quoted.join(", ")
                )
            };
            checker.error(
                &written.name_place(),
                pick(
                    "the site does not say which mini program logs in here",
                    "站点没有写明在这里登录的是哪个小程序",
                ),
                hint,
            );
            Vec::new()
        }
    }
}
