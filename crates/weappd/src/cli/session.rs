//! `weappd session …`: who is logged in at the weappd that runs, and ending it.

mod show;

use std::path::Path;
use weappd_base::language::{Language, pick};
use weappd_base::words;

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use hyper::Method;
use serde_json::Value;
use weappd_base::clock::Clock;
use weappd_base::unix_time::UnixSecs;

use crate::cli::running::{self, RunningWeappd, escaped, good, moment, read, secs, text};
use crate::cli::say;
use crate::control;
use crate::exit::ExitFailure;

/// What to do about a refusal.
fn session_hint() -> &'static str {
    pick(
        "weappd's log says more; is its store there?",
        "详情见 weappd 的日志；它的会话数据库能用吗？",
    )
}

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Show a user's sessions: number, times, device
    List {
        /// The user's openid
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        openid: String,
        /// Of this mini program only
        #[arg(long)]
        appid: Option<String>,
        #[command(flatten)]
        target: RunningWeappd,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one session or one user: name, phone number (masked), session keys' age, devices
    Show {
        /// The session's number, as `weappd session list` shows it, or the user's openid
        #[arg(value_name = "ID|OPENID", value_parser = NonEmptyStringValueParser::new(), required_unless_present = "openid")]
        which: Option<String>,
        /// The same for an openid, as the other commands have it
        #[arg(long, value_parser = NonEmptyStringValueParser::new(), conflicts_with = "which")]
        openid: Option<String>,
        /// Of this mini program only
        #[arg(long)]
        appid: Option<String>,
        #[command(flatten)]
        target: RunningWeappd,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End one session, a user's sessions, or everybody's
    Revoke {
        #[command(flatten)]
        which: SessionChoice,
        /// The user's sessions of this mini program only
        // Not only `requires`, which clap forgets where `openid` may not stand.
        #[arg(long, requires = "openid", conflicts_with_all = ["id", "all"])]
        appid: Option<String>,
        #[command(flatten)]
        target: RunningWeappd,
    },
}

/// Whose sessions end.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct SessionChoice {
    /// The session's number, as `weappd session list` shows it
    id: Option<i64>,
    /// All sessions of this user
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    openid: Option<String>,
    /// All sessions of everybody
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(command: SessionCommand) -> Result<(), ExitFailure> {
    match command {
        SessionCommand::List {
            openid,
            appid,
            target,
            json,
        } => {
            let user = user(&openid, appid.as_deref());
            list(&target.data_dir(), &user, json).await
        }
        SessionCommand::Show {
            which,
            openid,
            appid,
            target,
            json,
        } => {
            let which = which.or(openid).unwrap_or_default();
            show::run(&target.data_dir(), &which, appid.as_deref(), json).await
        }
        SessionCommand::Revoke {
            which,
            appid,
            target,
        } => revoke(&target.data_dir(), &which, appid.as_deref()).await,
    }
}

/// `/sessions` of a user.
fn user(openid: &str, appid: Option<&str>) -> String {
    format!("/sessions?{}", named(openid, appid))
}

/// A user in a query.
fn named(openid: &str, appid: Option<&str>) -> String {
    let appid = appid.map(|appid| format!("&appid={}", escaped(appid)));
    format!("openid={}{}", escaped(openid), appid.unwrap_or_default())
}

async fn list(data_dir: &Path, user: &str, json: bool) -> Result<(), ExitFailure> {
    let answer = control::ask(data_dir, Method::GET, user).await?;
    let body = good(answer, session_hint()).await?;
    if json {
        say(body);
        return Ok(());
    }
    let list = read(&body)?;
    let sessions = list["sessions"].as_array().map_or(&[][..], Vec::as_slice);
    say(table(sessions, Clock::system().unix_secs()));
    Ok(())
}

/// The sessions as a table for people.
fn table(sessions: &[Value], now: UnixSecs) -> String {
    if sessions.is_empty() {
        return pick("no sessions", "没有会话").to_owned();
    }
    let head = match Language::current() {
        Language::English => ["id", "appid", "opened", "last visit", "ends", "device"],
        Language::Chinese => ["编号", "appid", "建立", "最近访问", "到期", "设备"],
    };
    let mut rows = vec![head.map(str::to_owned)];
    for session in sessions {
        rows.push([
            text(&session["session"]),
            text(&session["appid"]),
            moment(secs(&session["created"]), now),
            moment(secs(&session["last_visit"]), now),
            moment(secs(&session["expires_at"]), now),
            text(&session["device"]),
        ]);
    }
    running::table(&rows)
}

async fn revoke(
    data_dir: &Path,
    which: &SessionChoice,
    appid: Option<&str>,
) -> Result<(), ExitFailure> {
    let path = match (which.id, &which.openid) {
        (Some(id), _) => format!("/sessions/{id}"),
        (None, Some(openid)) => user(openid, appid),
        (None, None) => "/sessions?all=true".to_owned(),
    };
    let answer = control::ask(data_dir, Method::DELETE, &path).await?;
    let ended = read(&good(answer, session_hint()).await?)?["ended"].as_u64();
    match (ended, which.id) {
        (Some(0), Some(id)) => Err(ExitFailure::say(
            words!("no session has the number {id}", "没有编号为 {id} 的会话"),
            pick(
                "`weappd session list --openid …` shows a user's sessions",
                "`weappd session list --openid …` 列出一个用户的会话",
            ),
        )),
        (Some(1), _) => {
            say(pick("1 session ended", "已结束 1 个会话"));
            Ok(())
        }
        (ended, _) => {
            say(words!(
                "{} sessions ended",
                "已结束 {} 个会话",
                ended.unwrap_or_default()
            ));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up() {
        let sessions = [
            serde_json::json!({"session": 12, "appid": "wx1", "openid": "o", "created": 940,
                               "last_visit": 995, "expires_at": 8200, "device": null}),
        ];
        assert_eq!(
            table(&sessions, UnixSecs::new(1000)),
            "id  appid  opened    last visit  ends     device\n\
             12  wx1    1m0s ago  5s ago      in 2h0m  -"
        );
        assert_eq!(table(&[], UnixSecs::new(1000)), "no sessions");
    }

    #[test]
    fn an_openid_cannot_ask_for_more() {
        assert_eq!(
            user("o&all=true", Some("wx1")),
            "/sessions?openid=o%26all%3Dtrue&appid=wx1"
        );
    }
}
