//! `weappd reload`: the running weappd takes what weappd.toml says now.

use std::path::Path;

use hyper::Method;
use serde_json::Value;

use crate::cli::running::{RunningWeappd, read};
use crate::cli::say;
use crate::control;
use crate::exit::ExitFailure;

pub(super) async fn run(target: RunningWeappd) -> Result<(), ExitFailure> {
    let answer = control::ask(&target.data_dir(), Method::POST, "/reload").await?;
    let is_done = answer.status().is_success();
    let body = control::body(answer).await?;
    let told = read(&String::from_utf8_lossy(&body))?;
    let read = told["file"].as_str().map(Path::new);
    if let (Some(named), Some(read)) = (target.config(), read)
        && !is_same(named, read)
    {
        warn(&format!(
            "the weappd that runs here was started with {}: that was read again, and not {}\n",
            read.display(),
            named.display()
        ));
    }
    if !is_done {
        return Err(refused(&told));
    }
    if let Some(warnings) = told["report"]["warnings"].as_str() {
        warn(warnings);
    }
    say(told["words"].as_str().unwrap_or("reloaded"));
    Ok(())
}

/// Whether both lead to one file, or to one place where no file is.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    matches!((place(one), place(other)), (Ok(one), Ok(other)) if one == other)
}

/// Why nothing changed, in weappd's own words.
fn refused(told: &Value) -> ExitFailure {
    let error = &told["error"];
    let code = error["exit_code"].as_u64();
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    let words = error["message"].as_str();
    let words = words.unwrap_or("weappd refused and gave no reason");
    let words = format!(
        "{}\nnothing changed: the running weappd goes on as before\n",
        words.trim_end()
    );
    ExitFailure::told(code, words)
}

#[expect(clippy::print_stderr, reason = "warnings for the person who asked")]
fn warn(words: &str) {
    eprint!("{words}");
}
