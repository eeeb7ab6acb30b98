//! How the business server of `weappd dev` is, for the phone page.
//!
//! Its log tells at once when something happens, and what it printed before it ended.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use weappd_apps::{AppSupervisor, AppView, ExitReason, InstanceState};
use weappd_base::tap::{TapPeer, TapReport, TrafficTap};
use weappd_simulator::ServerNews;

use crate::server_context::ServerContext;

/// The lines shown of what it printed.
const MAX_LINES: usize = 14;
/// The longest of them, in characters.
const MAX_CHARS: usize = 400;
/// How soon one that is not ready is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Follows the first app until weappd ends; what it hears goes to pages, and an ending to the wire.
pub(crate) fn watch_server(
    context: &ServerContext,
    apps: AppSupervisor,
) -> watch::Receiver<ServerNews> {
    let (news, heard) = watch::channel(ServerNews::default());
    let (tap, stop) = (context.tap.clone(), context.back.clone());
    context.tasks.spawn(async move {
        tokio::select! {
            () = follow(apps, tap, news) => {}
            () = stop.asked() => {}
        }
    });
    heard
}

async fn follow(apps: AppSupervisor, tap: TrafficTap, news: watch::Sender<ServerNews>) {
    let Some(app) = apps.list().await.into_iter().next() else {
        return;
    };
    let Ok(mut log) = apps.logs(&app.name, 0, true).await else {
        return;
    };
    let mut lines = LastLines::default();
    let mut told = None;
    loop {
        let Ok(view) = apps.describe(&app.name).await else {
            return;
        };
        let now = look(&view, &lines);
        let ending = ending_of(&view);
        if ending.is_some() && ending != told {
            tap.record(|| ended(&now));
        }
        told = ending.or(told);
        let is_ready = now.ready;
        news.send_if_modified(|before| {
            let is_new = *before != now;
            *before = now;
            is_new
        });
        tokio::select! {
            chunk = log.next() => match chunk {
                Some(chunk) => lines.add(&chunk),
                None => return,
            },
            () = sleep(LOOK_AGAIN), if !is_ready => {}
        }
    }
}

/// Which of its processes ended by itself, if none runs now.
fn ending_of(view: &AppView) -> Option<(u32, ExitReason)> {
    let instance = view.instances.first()?;
    let ending = instance.last_ending.clone()?;
    let is_asked_for = matches!(ending, ExitReason::Stopped | ExitReason::Killed);
    (instance.pid.is_none() && !is_asked_for).then_some((instance.restarts, ending))
}

fn look(view: &AppView, lines: &LastLines) -> ServerNews {
    let first = view.instances.first();
    let is = |wanted: fn(&InstanceState) -> bool| {
        (view.instances.iter()).any(|instance| wanted(&instance.state))
    };
    let ended = first.and_then(|instance| instance.last_ending.as_ref());
    ServerNews {
        ready: is(|state| *state == InstanceState::Ready),
        rests: is(|state| matches!(state, InstanceState::Down { .. } | InstanceState::Stopped)),
        ended: ended.and_then(|ending| serde_json::to_value(ending).ok()),
        lines: lines.0.iter().cloned().collect(),
    }
}

/// The arrow of a process that ended.
fn ended(news: &ServerNews) -> TapReport {
    TapReport {
        from: TapPeer::App,
        to: TapPeer::App,
        name: "exited".to_owned(),
        answer: false,
        who: None,
        detail: json!({ "ended": news.ended, "lines": news.lines }),
    }
}

/// What the app printed last.
#[derive(Debug, Default)]
struct LastLines(VecDeque<String>);

impl LastLines {
    /// Adds the lines of a chunk of the log; what weappd itself says in it is left out.
    fn add(&mut self, chunk: &[u8]) {
        for line in String::from_utf8_lossy(chunk).lines() {
            // When it came and from where, then the text: `…Z out.2 text`.
            let mut parts = line.splitn(3, ' ');
            let source = parts.nth(1).unwrap_or_default();
            let is_printed = source.starts_with("out") || source.starts_with("err");
            let Some(text) = parts.next().filter(|_| is_printed) else {
                continue;
            };
            if self.0.len() >= MAX_LINES {
                self.0.pop_front();
            }
            self.0.push_back(plain(text));
        }
    }
}

/// A line without the colours meant for a terminal.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            let _ends = letters.find(char::is_ascii_alphabetic);
        } else if letter == '\t' || !letter.is_control() {
            plain.push(letter);
        }
        if plain.len() > MAX_CHARS * 4 {
            break;
        }
    }
    plain.chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_those_the_app_printed() {
        let mut lines = LastLines::default();
        let at = "2026-11-20T08:00:00.000Z";
        let log = format!(
            "{at} sys started: pid 7\n{at} out hello  world\n{at} err.1 \u{1b}[31mboom\u{1b}[0m\tnow\n\
             {at} sys exited with code 1\n"
        );
        lines.add(log.as_bytes());
        assert_eq!(lines.0, ["hello  world", "boom\tnow"]);
        for number in 0..20 {
            lines.add(format!("{at} out {number}\n").as_bytes());
        }
        assert_eq!(lines.0.len(), MAX_LINES);
        assert_eq!(lines.0.back().map(String::as_str), Some("19"));
        lines.add(format!("{at} out {}\n", "x".repeat(90_000)).as_bytes());
        assert!(lines.0.back().is_some_and(|line| line.len() == MAX_CHARS));
    }
}
