//! `weappd status`: whether a weappd runs here, since when, where it listens, and its apps.

use hyper::Method;
use serde_json::Value;
use weappd_base::language::{Language, pick};
use weappd_base::words;

use crate::cli::running::{RunningWeappd, good, padded, read, span, text};
use crate::cli::{app, say};
use crate::control;
use crate::exit::ExitFailure;

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    target: RunningWeappd,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: StatusArgs) -> Result<(), ExitFailure> {
    let data_dir = args.target.data_dir();
    let ask = async |path: &str| {
        let answer = control::ask(&data_dir, Method::GET, path).await?;
        read(&good(answer, "").await?)
    };
    let (mut status, apps) = (ask("/status").await?, ask("/apps").await?);
    if args.json {
        status["apps"] = apps;
        say(status);
    } else {
        let apps = apps.as_array().map(Vec::as_slice).unwrap_or_default();
        say(words(&status) + &apps_words(apps));
    }
    Ok(())
}

/// The apps; that there are none is no fault of a site that is a proxy.
fn apps_words(apps: &[Value]) -> String {
    if apps.is_empty() {
        let (label, none) = (pick("apps", "应用"), pick("none", "无"));
        return format!("  {} {none}", padded(label, 11));
    }
    format!("\n{}", app::table(apps))
}

/// All but the apps.
fn words(status: &Value) -> String {
    let mut words = words!(
        "weappd {} {}: process {}, up {}{}\n",
        "weappd {} {}：进程 {}，已运行 {}{}\n",
        text(&status["version"]),
        text(&status["command"]),
        status["pid"],
        span(status["uptime_secs"].as_u64().unwrap_or_default()),
        if status["is_stopping"] == true {
            pick(", stopping", "，正在停止")
        } else {
            ""
        }
    );
    for listener in status["listeners"].as_array().into_iter().flatten() {
        let name = text(&listener["name"]);
        let name = listener_name(&name);
        let line = format!("  {} {}\n", padded(name, 11), text(&listener["address"]));
        words.push_str(&line);
    }
    words
}

/// What a listener is called in the language that is spoken here.
pub(super) fn listener_name(name: &str) -> &str {
    match (Language::current(), name) {
        (Language::Chinese, "Internal") => "内部接口",
        (Language::Chinese, "WeChat") => "微信",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_says_what_runs_and_where() {
        let status = json!({
            "version": "0.1.0", "command": "serve", "pid": 7, "uptime_secs": 65,
            "is_stopping": false,
            "listeners": [{"name": "HTTPS", "address": "[::]:443"}],
        });
        assert_eq!(
            words(&status),
            "weappd 0.1.0 serve: process 7, up 1m5s\n  HTTPS       [::]:443\n"
        );
        assert_eq!(apps_words(&[]), "  apps        none");
    }
}
