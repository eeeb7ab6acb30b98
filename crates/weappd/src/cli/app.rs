//! `weappd app …`: speaks to the supervisor of the weappd that runs.

use std::fmt::Write as _;
use std::path::Path;
use weappd_base::language::{Language, pick};
use weappd_base::words;

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;

use crate::cli::running::{
    self, RunningWeappd, app_hint, dash, escaped, good, no_apps, refused, span, text,
};
use crate::cli::{logs, say};
use crate::control;
use crate::exit::ExitFailure;

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    /// Show every app: state, port, restarts, memory
    List {
        #[command(flatten)]
        target: RunningWeappd,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Start an app that is stopped
    Start(NamedApp),
    /// Stop an app and keep it stopped
    Stop(NamedApp),
    /// Stop an app and start it again
    Restart(NamedApp),
    /// Print an app's output, as `weappd logs` does
    Logs(logs::LogsArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct NamedApp {
    /// The app's name, as `weappd app list` shows it
    name: String,
    #[command(flatten)]
    target: RunningWeappd,
}

pub(super) async fn run(command: AppCommand) -> Result<(), ExitFailure> {
    match command {
        AppCommand::List { target, json } => list(&target.data_dir(), json).await,
        AppCommand::Start(named) => deed(&named, "start").await,
        AppCommand::Stop(named) => deed(&named, "stop").await,
        AppCommand::Restart(named) => deed(&named, "restart").await,
        AppCommand::Logs(args) => logs::run(args).await,
    }
}

async fn list(data_dir: &Path, json: bool) -> Result<(), ExitFailure> {
    let answer = control::ask(data_dir, Method::GET, "/apps").await?;
    let text = good(answer, app_hint()).await?;
    if json {
        say(text);
        return Ok(());
    }
    let apps: Vec<Value> =
        serde_json::from_str(&text).map_err(|error| ExitFailure::new(&error, ""))?;
    say(table(&apps));
    Ok(())
}

/// The apps as a table for people.
pub(super) fn table(apps: &[Value]) -> String {
    if apps.is_empty() {
        return no_apps().to_owned();
    }
    let head = match Language::current() {
        Language::English => [
            "app",
            "state",
            "pid",
            "port",
            "restarts",
            "uptime",
            "memory",
            "last ending",
        ],
        Language::Chinese => [
            "应用",
            "状态",
            "进程",
            "端口",
            "重启次数",
            "已运行",
            "内存",
            "上次退出",
        ],
    };
    let mut rows = vec![head.map(str::to_owned)];
    let mut notes = String::new();
    for app in apps {
        let instances = app["instances"].as_array().cloned().unwrap_or_default();
        let mut fails = false;
        for instance in instances {
            let summary = text(&instance["summary"]);
            let (state, why) = state_and_why(&summary);
            if let Some(why) = why {
                let name = text(&app["name"]);
                notes += &words!("\n{name}: {why}", "\n{name}：{why}");
            }
            fails |= failing(state, &instance);
            rows.push([
                text(&app["name"]),
                state_words(state),
                text(&instance["pid"]),
                port(&instance),
                text(&instance["restarts"]),
                instance["uptime_ms"]
                    .as_u64()
                    .map_or_else(dash, |ms| span(ms / 1000)),
                instance["memory_bytes"].as_u64().map_or_else(dash, memory),
                ending(&instance["last_ending"]),
            ]);
        }
        if fails {
            let _ = write!(notes, "\n{}", see_logs(&text(&app["name"])));
        }
    }
    running::table(&rows) + &notes
}

/// Whether an instance ends by itself again and again, or did so for good.
fn failing(state: &str, instance: &Value) -> bool {
    let ended = !matches!(
        instance["last_ending"]["kind"].as_str(),
        None | Some("stopped")
    );
    match state {
        "starting" => ended && instance["restarts"].as_u64() > Some(0),
        _ => ["crash-looping", "restarting", "down"]
            .iter()
            .any(|word| state.starts_with(word)),
    }
}

fn see_logs(name: &str) -> String {
    words!(
        "{name}: `weappd logs {name}` shows what it printed",
        "{name}：用 `weappd logs {name}` 查看它的输出"
    )
}

/// A state as a cell, and what is too long for one.
fn state_and_why(summary: &str) -> (&str, Option<&str>) {
    for (state, between) in [("starting", ", "), ("down", ": ")] {
        let rest = summary.strip_prefix(state);
        if let Some(why) = rest.and_then(|rest| rest.strip_prefix(between)) {
            return (state, Some(why));
        }
    }
    (summary, None)
}

/// A state in the language that is spoken here.
fn state_words(state: &str) -> String {
    if Language::current() == Language::English {
        return state.to_owned();
    }
    let (word, rest) = state.split_once(", next try in ").unwrap_or((state, ""));
    let word = match word {
        "ready" => "就绪",
        "starting" => "正在启动",
        "stopping" => "正在停止",
        "stopped" => "已停止",
        "restarting" => "正在重启",
        "crash-looping" => "反复崩溃",
        "down" => "已放弃",
        other => other,
    };
    if rest.is_empty() {
        word.to_owned()
    } else {
        format!("{word}，{rest} 后重试")
    }
}

/// Where requests go: the port it was given, or the one it listens on instead.
fn port(instance: &Value) -> String {
    let given = text(&instance["port"]);
    let at = instance["address"]
        .as_str()
        .and_then(|at| at.rsplit(':').next());
    match at {
        Some(at) if at != given => format!("{at} (PORT {given})"),
        _ => given,
    }
}

/// How a process ended, in words.
fn ending(ending: &Value) -> String {
    match ending["kind"].as_str() {
        None => dash(),
        Some("stopped") => pick("stopped", "被停止").to_owned(),
        Some("exited") => words!("exit code {}", "退出码 {}", ending["code"]),
        Some("signalled") => words!("signal {}", "信号 {}", ending["signal"]),
        Some("never_started") => {
            words!("could not start: {}", "无法启动：{}", text(&ending["why"]))
        }
        Some("hung_at_start") => words!(
            "not ready after {} ms",
            "{} 毫秒后仍未就绪",
            ending["after_ms"]
        ),
        Some(other) => other.to_owned(),
    }
}

fn memory(bytes: u64) -> String {
    let tenths = bytes * 10 / (1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

async fn deed(named: &NamedApp, verb: &str) -> Result<(), ExitFailure> {
    let path = format!("/apps/{}/{verb}", escaped(&named.name));
    let answer = control::ask(&named.target.data_dir(), Method::POST, &path).await?;
    if answer.status().is_success() {
        let done = match verb {
            "start" => pick("started", "已启动"),
            "stop" => pick("stopped", "已停止"),
            _ => pick("restarted", "已重启"),
        };
        let body = control::body(answer).await?;
        let view: Value = serde_json::from_slice(&body).unwrap_or_default();
        match view["summary"].as_str() {
            Some(now) if verb != "stop" && now != "ready" => {
                say(unready(&named.name, done, &text(&view["summary"])));
            }
            _ => say(words!("{} {done}", "{} {done}", named.name)),
        }
        return Ok(());
    }
    Err(refused(answer, app_hint()).await)
}

/// That an app is not ready after a command, and where to see why.
fn unready(name: &str, done: &str, now: &str) -> String {
    let now = state_words(now);
    words!(
        "{name} {done}; now: {now}\n{}",
        "{name} {done}；当前状态：{now}\n{}",
        see_logs(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_see_why_an_app_fails_is_said() {
        let told = |summary: &str, restarts: u32, ending: Value| {
            let app = serde_json::json!({"name": "shop", "instances": [
                {"summary": summary, "restarts": restarts, "last_ending": ending}]});
            table(&[app]).ends_with("\nshop: `weappd logs shop` shows what it printed")
        };
        let exited = || serde_json::json!({"kind": "exited", "code": 1});
        for (summary, restarts, ending, wanted) in [
            ("crash-looping, next try in 12 s", 5, exited(), true),
            ("restarting, next try in 100 ms", 1, exited(), true),
            ("down: gave up after 3 tries in a row", 3, exited(), true),
            ("starting", 4, exited(), true),
            ("starting", 0, Value::Null, false),
            ("ready", 4, exited(), false),
            ("stopped", 1, serde_json::json!({"kind": "stopped"}), false),
        ] {
            assert_eq!(told(summary, restarts, ending), wanted, "{summary}");
        }
        assert!(
            unready("shop", "restarted", "starting")
                .ends_with("`weappd logs shop` shows what it printed")
        );
    }

    #[test]
    fn the_table_lines_up() {
        let apps = [serde_json::json!({
            "name": "chat",
            "instances": [{"summary": "ready", "pid": 7, "port": 5757, "restarts": 0,
                           "uptime_ms": 65_000, "memory_bytes": 3_300_000, "last_ending": {"kind": "exited", "code": 1}}],
        })];
        assert_eq!(
            table(&apps),
            "app   state  pid  port  restarts  uptime  memory   last ending\n\
             chat  ready  7    5757  0         1m5s    3.1 MiB  exit code 1"
        );
        let slow = [serde_json::json!({
            "name": "slow",
            "instances": [{"summary": "starting, not ready after 5.2 s: it does not listen",
                           "pid": 7, "port": 5757, "restarts": 0, "uptime_ms": 5_000}],
        })];
        assert_eq!(
            table(&slow),
            "app   state     pid  port  restarts  uptime  memory  last ending\n\
             slow  starting  7    5757  0         5s      -       -\n\
             slow: not ready after 5.2 s: it does not listen"
        );
        for (address, shown) in [
            (Value::Null, "20001"),
            (Value::from("127.0.0.1:20001"), "20001"),
            (Value::from("[::1]:3000"), "3000 (PORT 20001)"),
        ] {
            let instance = serde_json::json!({"port": 20001, "address": address});
            assert_eq!(port(&instance), shown);
        }
    }
}
