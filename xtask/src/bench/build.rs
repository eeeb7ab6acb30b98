//! Builds what is measured and says where it is.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::run::{root, say};

/// The programs under test.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) weappd: String,
    pub(super) bare_hello: String,
    pub(super) tools: String,
    pub(super) load: String,
    pub(super) wechat: String,
}

/// Builds everything with `profile`.
pub(super) fn all(profile: &str) -> Result<Programs, String> {
    let weappd = build(profile, "weappd", &["--bin", "weappd"])?;
    let examples = ["bare_hello", "bench_tools", "bench_load"];
    let examples = examples.map(|name| ["--example", name]).concat();
    let examples = build(profile, "weappd-edge", &examples)?;
    let stand_in = build(profile, "weappd-wechat", &["--example", "bench_wechat"])?;
    let find = |list: &[(String, String)], name: &str| {
        let built = list.iter().find(|(built, _)| built == name);
        built
            .map(|(_, path)| path.clone())
            .ok_or(format!("cargo built no {name}"))
    };
    Ok(Programs {
        weappd: find(&weappd, "weappd")?,
        bare_hello: find(&examples, "bare_hello")?,
        tools: find(&examples, "bench_tools")?,
        load: find(&examples, "bench_load")?,
        wechat: find(&stand_in, "bench_wechat")?,
    })
}

/// Runs cargo and reads from it which executables there are now.
fn build(profile: &str, package: &str, what: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut args = vec!["build", "--profile", profile, "--package", package];
    args.extend(what);
    args.extend(["--message-format", "json-render-diagnostics"]);
    say(&format!("$ cargo {}", args.join(" ")));
    let built = Command::new("cargo")
        .args(&args)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if !built.status.success() {
        return Err(format!("{package} does not build"));
    }
    let said = String::from_utf8_lossy(&built.stdout).into_owned();
    let executables = said.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some((
            message["target"]["name"].as_str()?.to_owned(),
            message["executable"].as_str()?.to_owned(),
        ))
    });
    Ok(executables.collect())
}
