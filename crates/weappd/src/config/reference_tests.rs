//! docs/config.md is right: it tells every key of every section, no other, and the defaults
//! that are in force.

use std::fmt::Debug;

use serde::Deserialize;
use weappd_apps::AppConfig;
use weappd_apps::config::{LogConfig, ReadyConfig, RestartConfig, StopConfig};

use crate::config::api_security::ApiSecuritySection;
use crate::config::internal::InternalSection;
use crate::config::keys::keys_of;
use crate::config::raw::FurtherPush;
use crate::config::raw::{
    ListenSection, LogSection, MiniAppSection, RawConfig, SiteSection, TunnelShort,
};
use crate::config::read::SectionReader;
use crate::config::secret_source::SecretSource;
use crate::config::{document, problem};

const PAGE: &str = include_str!("../../../../docs/config.md");

/// The rows of a section's first table: a key and its default, which may be empty.
fn rows(heading: &str) -> Vec<(String, String)> {
    let (_, rest) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("docs/config.md has no section {heading}"));
    let table = rest.lines().skip_while(|line| !line.starts_with('|'));
    let table = table.skip(2).take_while(|line| line.starts_with('|'));
    let rows = table.flat_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let default = cells[2].trim_matches('`').to_owned();
        let keys = cells[1].split(", ").map(|key| key.trim_matches('`'));
        let keys: Vec<_> = keys.map(|key| (key.to_owned(), default.clone())).collect();
        keys
    });
    rows.collect()
}

/// Holds the keys that the page tells of a section against those it has.
fn same_keys(heading: &str, has: &[&[&str]]) {
    let mut told: Vec<_> = rows(heading).into_iter().map(|(key, _)| key).collect();
    let mut has: Vec<_> = has.concat().into_iter().map(str::to_owned).collect();
    told.sort();
    has.sort();
    assert_eq!(told, has, "the keys of {heading} in docs/config.md");
}

/// Reads the defaults that the page tells of a section, as weappd.toml would be read.
fn as_told<T: for<'de> Deserialize<'de> + Default>(heading: &str) -> T {
    let keys = keys_of::<T>();
    let told = rows(heading).into_iter().filter(|(key, default)| {
        let first = key.split('.').next().unwrap_or_default();
        !default.is_empty() && keys.contains(&first)
    });
    let lines: Vec<_> = told
        .map(|(key, default)| format!("{key} = {default}\n"))
        .collect();
    assert!(!lines.is_empty(), "{heading} tells no default");
    let text = lines.concat();
    let doc = document::parse(&text).expect("the defaults are TOML");
    let path = std::path::Path::new("config.md");
    let problems = problem::ProblemList::new(path, &text);
    let secrets = SecretSource {
        env: &|_| None,
        dir: std::path::PathBuf::new(),
        files: std::cell::RefCell::default(),
        needs_secrets: true,
    };
    let value = SectionReader::new(&problems, &secrets).read(&doc);
    let found = problems.into_sorted();
    assert!(found.is_empty(), "{heading}: {found:?}");
    value
}

fn same_words<T: for<'de> Deserialize<'de> + Default + Debug>(heading: &str) {
    let (told, real) = (as_told::<T>(heading), T::default());
    assert_eq!(format!("{told:?}"), format!("{real:?}"), "{heading}");
}

#[test]
fn every_key_is_told_and_no_other() {
    let elsewhere = [
        "miniapp", "app", "sites", "miniapps", "apps", "edge", "tunnel", "session", "files",
        "wechat", "gateway", "internal", "log",
    ];
    let top = keys_of::<RawConfig>().iter().copied();
    let top: Vec<_> = top.filter(|key| !elsewhere.contains(key)).collect();
    same_keys("The short form", &[&top]);
    same_keys("`[miniapp]`", &[keys_of::<MiniAppSection>()]);
    same_keys("`[[miniapp.pushes]]`", &[keys_of::<FurtherPush>()]);
    same_keys(
        "`[miniapp.api_security]`",
        &[keys_of::<ApiSecuritySection>()],
    );
    same_keys("`[sites.\"www.example.com\"]`", &[keys_of::<SiteSection>()]);
    same_keys("`[session]`", &[keys_of::<weappd_session::Config>()]);
    let gateway = keys_of::<weappd_gateway::Config>();
    let gateway: Vec<_> = gateway
        .iter()
        .copied()
        .filter(|key| *key != "inbox")
        .collect();
    same_keys("`[gateway]`", &[&gateway]);
    let inbox = keys_of::<weappd_gateway::InboxConfig>();
    same_keys("`[gateway.inbox]`", &[inbox]);
    same_keys("`[files]`", &[keys_of::<weappd_files::Config>()]);
    let tunnel = keys_of::<weappd_tunnel::Config>();
    same_keys("`[tunnel]`", &[keys_of::<TunnelShort>(), tunnel]);
    same_keys(
        "`[edge]`",
        &[keys_of::<ListenSection>(), keys_of::<weappd_edge::Config>()],
    );
    same_keys("`[internal]`", &[keys_of::<InternalSection>()]);
    same_keys("`[wechat]`", &[keys_of::<weappd_wechat::Config>()]);
    same_keys("`[log]`", &[keys_of::<LogSection>()]);

    let parts = [
        ("restart", keys_of::<RestartConfig>()),
        ("ready", keys_of::<ReadyConfig>()),
        ("stop", keys_of::<StopConfig>()),
        ("log", keys_of::<LogConfig>()),
    ];
    let whole = keys_of::<AppConfig>().iter().map(|key| (*key).to_owned());
    let whole = whole.filter(|key| parts.iter().all(|(part, _)| part != key));
    let deep = parts.iter().flat_map(|(part, keys)| {
        let keys = keys.iter().map(move |key| format!("{part}.{key}"));
        keys.collect::<Vec<_>>()
    });
    let app: Vec<_> = whole.chain(deep).collect();
    let app: Vec<_> = app.iter().map(String::as_str).collect();
    same_keys("`[app]`", &[&app]);
}

#[test]
fn every_default_is_the_real_one() {
    let session: weappd_session::Config = as_told("`[session]`");
    assert!(session == weappd_session::Config::default());
    same_words::<weappd_gateway::Config>("`[gateway]`");
    same_words::<weappd_gateway::InboxConfig>("`[gateway.inbox]`");
    same_words::<weappd_files::Config>("`[files]`");
    same_words::<weappd_tunnel::Config>("`[tunnel]`");
    same_words::<weappd_edge::Config>("`[edge]`");
    same_words::<ListenSection>("`[edge]`");
    same_words::<weappd_wechat::Config>("`[wechat]`");
    same_words::<InternalSection>("`[internal]`");
    same_words::<LogSection>("`[log]`");
    same_words::<MiniAppSection>("`[miniapp]`");
    same_words::<AppConfig>("`[app]`");
    assert_eq!(
        as_told::<RawConfig>("The short form").data_dir,
        RawConfig::default().data_dir
    );
}
