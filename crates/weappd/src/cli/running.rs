//! What the commands that speak to a running weappd share: which one, its answers, tables.

use std::path::{Path, PathBuf};
use weappd_base::language::{Language, pick};
use weappd_base::words;

use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;
use weappd_base::unix_time::UnixSecs;

use crate::config;
use crate::control;
use crate::exit::ExitFailure;

/// What to do about a refusal.
pub(super) fn app_hint() -> &'static str {
    pick(
        "`weappd app list` shows every app",
        "`weappd app list` 列出所有应用",
    )
}

/// What there is to say where no app is.
pub(super) fn no_apps() -> &'static str {
    pick(
        "no apps: add [app] with run = \"…\" to weappd.toml",
        "没有应用：请在 weappd.toml 里加上 [app] 和 run = \"…\"",
    )
}

/// Which running weappd.
#[derive(Debug, clap::Args)]
pub(super) struct RunningWeappd {
    /// The configuration file of the running weappd
    #[arg(short, long = "config")]
    config: Option<PathBuf>,
    /// The data directory of the running weappd
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl RunningWeappd {
    /// `--config`.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// `--data-dir`, else what the configuration says, else `.weappd` here.
    pub(super) fn data_dir(&self) -> PathBuf {
        if let Some(dir) = &self.data_dir {
            return dir.clone();
        }
        let file = self.config.as_deref().unwrap_or(Path::new("weappd.toml"));
        config::data_dir_of(file)
    }
}

/// The text of a good answer; of another one, its words and `hint`.
pub(super) async fn good(answer: Response<Incoming>, hint: &str) -> Result<String, ExitFailure> {
    if !answer.status().is_success() {
        return Err(refused(answer, hint).await);
    }
    let body = control::body(answer).await?;
    Ok(String::from_utf8_lossy(&body).trim_end().to_owned())
}

/// A good answer's text as JSON.
pub(super) fn read(text: &str) -> Result<Value, ExitFailure> {
    serde_json::from_str(text).map_err(|error| {
        ExitFailure::new(
            &error,
            pick(
                "is the running weappd of another version?",
                "正在运行的 weappd 是不是另一个版本？",
            ),
        )
    })
}

/// Why weappd refused, in its own words; its own hint goes before `hint`.
pub(super) async fn refused(answer: Response<Incoming>, hint: &str) -> ExitFailure {
    let body = control::body(answer).await.unwrap_or_default();
    let words: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = &words["error"];
    let message = error["message"].as_str().unwrap_or(pick(
        "weappd refused and gave no reason",
        "weappd 拒绝了请求，没有说明原因",
    ));
    // The apps of a running weappd are spoken of in English.
    let message = match (Language::current(), error["code"].as_str()) {
        (Language::Chinese, Some("app_not_found")) => "没有这个名字的应用",
        (Language::Chinese, Some("closing")) => "应用已停止，weappd 正在退出",
        _ => message,
    };
    ExitFailure::say(message, error["hint"].as_str().unwrap_or(hint))
}

/// Rows under each other; columns are as wide as their longest text.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells.map(|(cell, width)| padded(cell, width)).collect();
        line.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text with blanks after it, as wide as `width` columns of a terminal: a Chinese character
/// takes two.
pub(super) fn padded(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(blanks))
}

pub(super) fn dash() -> String {
    "-".to_owned()
}

/// A value as a cell. What came over the network cannot move the terminal's cursor.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => dash(),
        Value::String(text) => text.replace(char::is_control, " "),
        other => other.to_string(),
    }
}

/// A span of time in its two largest units.
pub(super) fn span(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m{}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h{}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d{}h", secs / 86_400, secs / 3600 % 24),
    }
}

/// A moment as the control socket tells it, in seconds.
pub(super) fn secs(value: &Value) -> Option<UnixSecs> {
    value.as_i64().map(UnixSecs::new)
}

/// A moment as it is seen from `now`.
pub(super) fn moment(at: Option<UnixSecs>, now: UnixSecs) -> String {
    match at {
        None => dash(),
        Some(at) if at > now => words!("in {}", "{} 后", span(at.since(now).as_secs())),
        Some(at) => words!("{} ago", "{} 前", span(now.since(at).as_secs())),
    }
}

/// A text as it may stand in a path or a query.
pub(super) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> UnixSecs {
        UnixSecs::new(secs)
    }

    #[test]
    fn a_text_cannot_leave_its_place_in_a_path_or_a_query() {
        assert_eq!(escaped("a/../b c&all=true"), "a%2F..%2Fb%20c%26all%3Dtrue");
    }

    #[test]
    fn moments_lie_ahead_or_behind() {
        assert_eq!(moment(Some(at(1000)), at(1065)), "1m5s ago");
        assert_eq!(moment(Some(at(8200)), at(1000)), "in 2h0m");
        assert_eq!(moment(None, at(1000)), "-");
    }

    #[test]
    fn a_cell_is_one_line() {
        assert_eq!(text(&Value::from("a\u{1b}[2J\nb")), "a [2J b");
    }
}
