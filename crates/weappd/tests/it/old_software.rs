//! Old software runs unchanged: the real packages of the Wafer years, driven from Rust.
//!
//! `old_software/` holds what a team of those years would have written: two business
//! servers on the unchanged server SDKs ([`OldAppServer`], apps of a [`production`] weappd) and,
//! for the unchanged client SDKs, a Node `wx` with a driver that takes orders
//! ([`ClientDriver`]).
//! The packages come from npm at exact versions, once, into the target directory
//! ([`OldSoftware::install`]); nothing of them is patched.
//!
//! [`stories`] are the test bodies; [`runs`] tells them. Phones know a weappd only by its
//! [`OldEndpoint`], business servers only by their sdk.config.

mod beside;
mod client;
mod demos;
mod production;
pub(crate) mod runs;
mod server;
pub(crate) mod stories;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use client::ClientDriver;
pub(crate) use server::OldAppServer;

use crate::npm;

/// Where phones reach a weappd under test.
#[derive(Clone, Debug)]
pub(crate) struct OldEndpoint {
    /// The public site, `https://localhost:PORT`, without a slash at the end.
    pub(crate) site_url: String,
    /// The simulated WeChat, both its sides.
    pub(crate) wechat_url: String,
    /// The certificate the phones must trust, if the site has HTTPS.
    pub(crate) ca_pem_path: Option<PathBuf>,
}

/// Which generation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaferVersion {
    /// `/login`, `/user`, `/tunnel`; `X-WX-Id` and `X-WX-Skey`.
    One,
    /// The same under `/weapp`, `X-WX-Skey` alone.
    Two,
}

impl WaferVersion {
    /// Where the endpoints of this generation stand under a site.
    fn prefix(self) -> &'static str {
        match self {
            Self::One => "",
            Self::Two => "/weapp",
        }
    }
}

/// The installed packages.
#[derive(Clone, Debug)]
pub(crate) struct OldSoftware {
    node_modules: PathBuf,
}

impl OldSoftware {
    /// Installs the packages unless that was done before; tests in other processes wait.
    pub(crate) fn install() -> Self {
        Self {
            node_modules: npm::install("old-software", &fixture("")),
        }
    }

    /// Where the packages are, for `NODE_PATH`.
    pub(crate) fn modules(&self) -> &Path {
        &self.node_modules
    }

    /// `node SCRIPT` with the packages in reach.
    pub(crate) fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command
            .arg(fixture(script))
            .env("NODE_PATH", &self.node_modules);
        command
    }
}

/// A file of `old_software/`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/old_software")
        .join(name)
}

#[test]
fn the_packages_are_the_ones_of_those_years() {
    let software = OldSoftware::install();
    for (package, version) in [
        ("qcloud-weapp-server-sdk", "0.8.2"),
        ("wafer-client-sdk", "0.8.4"),
        ("wafer-node-sdk", "1.4.5"),
        ("wafer-node-session", "1.0.10"),
        ("wafer2-client-sdk", "2.1.0"),
    ] {
        let manifest = fs::read_to_string(software.node_modules.join(package).join("package.json"));
        let manifest: serde_json::Value =
            serde_json::from_str(&manifest.expect(package)).expect("a package.json");
        assert_eq!(manifest["version"], version, "{package}");
    }
}

#[test]
fn the_lock_names_no_host() {
    npm::names_no_host(&fixture(""));
}
