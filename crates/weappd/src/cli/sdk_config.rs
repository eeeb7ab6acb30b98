//! `weappd sdk-config`: the file that points an old Wafer business server at this weappd.
//!
//! Wafer 1 business servers read `/etc/qcloud/sdk.config`; Wafer 2 ones the same fields
//! from their `config.js` or `sdk.config.json`. Read in the two Node server SDKs.

use std::path::Path;

use serde_json::json;
use weappd_tunnel::Business;

use crate::cli::{say, serve};
use crate::config::Config;
use crate::exit::Failure;

pub(super) fn run(file: &Path, host: Option<&str>) -> Result<(), Failure> {
    let config = serve::load(file)?;
    let hosts: Vec<&str> = config
        .sites
        .iter()
        .flat_map(|site| &site.hosts)
        .map(String::as_str)
        .collect();
    let host = match host {
        Some(host) if hosts.contains(&host) => host,
        Some(host) => {
            return Err(Failure::say(
                format_args!("no site is called {host}"),
                &format!("the sites are {}", hosts.join(", ")),
            ));
        }
        None => hosts.first().copied().unwrap_or_default(),
    };
    let businesses = &config.tunnel.businesses;
    let has_key = |business: &&Business| business.host == host && !business.key.is_empty();
    let Some(business) = businesses.iter().find(has_key) else {
        return Err(Failure::say(
            format_args!("{host} has no tunnel key"),
            "give one: key = \"…\" under [tunnel] (`weappd init` writes a random one)",
        ));
    };
    let internal = format!("http://{}", config.internal);
    let sdk = json!({
        "serverHost": host,
        "authServerUrl": format!("{internal}/mina_auth/{}", mini_program(&config, host)),
        "tunnelServerUrl": internal,
        "tunnelSignatureKey": business.key.expose(),
        "networkTimeout": 30_000,
    });
    say(format_args!("{sdk:#}"));
    Ok(())
}

/// The path's last part where there are several mini programs: the site's first one, since
/// these servers know of no other.
fn mini_program(config: &Config, host: &str) -> String {
    if config.mini_apps.len() < 2 {
        return String::new();
    }
    let mut sites = config.sites.iter();
    let site = sites.find(|site| site.hosts.iter().any(|name| name == host));
    let appid = site.and_then(|site| site.appids.first());
    appid.map(|appid| format!("{appid}/")).unwrap_or_default()
}
