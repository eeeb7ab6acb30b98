//! `weappd inbox …`: the messages WeChat pushed to the weappd that runs.

use std::path::Path;
use weappd_base::language::{Language, pick};
use weappd_base::words;

use clap::Subcommand;
use hyper::Method;
use serde_json::Value;
use weappd_base::clock::Clock;
use weappd_base::unix_time::{UnixMillis, UnixSecs};

use crate::cli::running::{self, RunningWeappd, good, moment, read, text};
use crate::cli::say;
use crate::control;
use crate::exit::ExitFailure;

/// What to do about a refusal.
fn inbox_hint() -> &'static str {
    pick("weappd's log says more", "详情见 weappd 的日志")
}

#[derive(Debug, Subcommand)]
pub(super) enum InboxCommand {
    /// Show how many messages wait for the app, and how many were given up
    Status {
        #[command(flatten)]
        target: RunningWeappd,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the dead letters: messages the app did not take in days
    List {
        /// How many at most
        #[arg(short = 'n', long, default_value_t = 100)]
        most: u32,
        #[command(flatten)]
        target: RunningWeappd,
        /// Print JSON, with the messages themselves
        #[arg(long)]
        json: bool,
    },
    /// Deliver dead letters anew: all of them, or one
    Replay {
        /// The letter's number, as `weappd inbox list` shows it
        id: Option<i64>,
        #[command(flatten)]
        target: RunningWeappd,
    },
}

pub(super) async fn run(command: InboxCommand) -> Result<(), ExitFailure> {
    match command {
        InboxCommand::Status { target, json } => status(&target.data_dir(), json).await,
        InboxCommand::List { most, target, json } => list(&target.data_dir(), most, json).await,
        InboxCommand::Replay { id, target } => replay(&target.data_dir(), id).await,
    }
}

async fn status(data_dir: &Path, json: bool) -> Result<(), ExitFailure> {
    let answer = control::ask(data_dir, Method::GET, "/inbox").await?;
    let body = good(answer, inbox_hint()).await?;
    if json {
        say(body);
        return Ok(());
    }
    let counts = read(&body)?;
    say(summary(&counts, Clock::system().unix_secs()));
    Ok(())
}

/// A time of the inbox.
fn millis(value: &Value) -> Option<UnixMillis> {
    value.as_i64().map(UnixMillis::new)
}

/// What waits, and why, for people.
fn summary(counts: &Value, now: UnixSecs) -> String {
    let mut lines = vec![words!(
        "waiting for the app: {}",
        "等待投递给应用：{}",
        text(&counts["waiting"])
    )];
    if counts["tried"].as_i64().is_some_and(|tried| tried > 0) {
        lines.push(words!(
            "  tried before: {}",
            "  其中已尝试过：{}",
            text(&counts["tried"])
        ));
    }
    if let Some(oldest) = millis(&counts["oldest"]) {
        lines.push(words!(
            "  oldest came: {}",
            "  最早一条到达：{}",
            moment(Some(oldest.to_secs()), now)
        ));
    }
    if let Some(why) = counts["why"].as_str() {
        lines.push(words!("  not taken: {why}", "  未被接收的原因：{why}"));
    }
    lines.push(words!(
        "dead letters: {}",
        "死信：{}",
        text(&counts["dead"])
    ));
    lines.join("\n")
}

async fn list(data_dir: &Path, most: u32, json: bool) -> Result<(), ExitFailure> {
    let path = format!("/inbox/dead?most={most}");
    let answer = control::ask(data_dir, Method::GET, &path).await?;
    let body = good(answer, inbox_hint()).await?;
    if json {
        say(body);
        return Ok(());
    }
    let list = read(&body)?;
    let letters = list.as_array().map_or(&[][..], Vec::as_slice);
    say(table(letters, Clock::system().unix_secs()));
    Ok(())
}

/// The dead letters as a table for people.
fn table(letters: &[Value], now: UnixSecs) -> String {
    if letters.is_empty() {
        return pick("no dead letters", "没有死信").to_owned();
    }
    let head = match Language::current() {
        Language::English => ["id", "appid", "openid", "kind", "came", "tries", "why"],
        Language::Chinese => [
            "编号",
            "appid",
            "openid",
            "类型",
            "到达",
            "尝试次数",
            "原因",
        ],
    };
    let mut rows = vec![head.map(str::to_owned)];
    for letter in letters {
        rows.push([
            text(&letter["id"]),
            text(&letter["appid"]),
            text(&letter["openid"]),
            text(&letter["kind"]),
            moment(millis(&letter["came"]).map(UnixMillis::to_secs), now),
            text(&letter["tries"]),
            text(&letter["why"]),
        ]);
    }
    running::table(&rows)
}

async fn replay(data_dir: &Path, id: Option<i64>) -> Result<(), ExitFailure> {
    let which = id.map(|id| format!("?id={id}")).unwrap_or_default();
    let path = format!("/inbox/replay{which}");
    let answer = control::ask(data_dir, Method::POST, &path).await?;
    let replayed = read(&good(answer, inbox_hint()).await?)?["replayed"].as_u64();
    match (replayed.unwrap_or_default(), id) {
        (0, Some(id)) => Err(ExitFailure::say(
            words!(
                "no dead letter has the number {id}",
                "没有编号为 {id} 的死信"
            ),
            pick(
                "`weappd inbox list` shows every dead letter",
                "`weappd inbox list` 列出所有死信",
            ),
        )),
        (1, _) => {
            say(pick(
                "1 dead letter is delivered anew",
                "正在重新投递 1 条死信",
            ));
            Ok(())
        }
        (count, _) => {
            say(words!(
                "{count} dead letters are delivered anew",
                "正在重新投递 {count} 条死信"
            ));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_is_stuck() {
        let quiet = serde_json::json!({"waiting": 0, "dead": 1, "tried": 0, "oldest": null,
                                       "why": null});
        assert_eq!(
            summary(&quiet, UnixSecs::new(1000)),
            "waiting for the app: 0\ndead letters: 1"
        );
        let stuck = serde_json::json!({"waiting": 7, "dead": 0, "tried": 2, "oldest": 940_500,
                                       "why": "the app answered HTTP 500"});
        assert_eq!(
            summary(&stuck, UnixSecs::new(1000)),
            "waiting for the app: 7\n  tried before: 2\n  oldest came: 1m0s ago\n  \
             not taken: the app answered HTTP 500\ndead letters: 0"
        );
    }

    #[test]
    fn the_table_lines_up() {
        let letters = [
            serde_json::json!({"id": 3, "appid": "wx1", "openid": "o1", "kind": "text",
                               "body": "{}", "tries": 10, "came": 940_500, "given_up": 990_000,
                               "why": "HTTP 500"}),
        ];
        assert_eq!(
            table(&letters, UnixSecs::new(1000)),
            "id  appid  openid  kind  came      tries  why\n\
             3   wx1    o1      text  1m0s ago  10     HTTP 500"
        );
        assert_eq!(table(&[], UnixSecs::new(1000)), "no dead letters");
    }
}
