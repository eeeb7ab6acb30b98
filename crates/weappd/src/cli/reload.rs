//! `weappd reload`: the running weappd takes what weappd.toml says now.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use weappd_base::language::pick;
use weappd_base::words;

use hyper::Method;
use serde_json::Value;
use tokio::time::timeout;

use crate::cli::running::{RunningWeappd, read};
use crate::cli::say;
use crate::control;
use crate::exit::ExitFailure;

/// A reload takes moments; a look-up of names may take longer.
const TELL_AFTER: Duration = Duration::from_secs(5);
/// After that the log must tell.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

pub(super) async fn run(target: RunningWeappd) -> Result<(), ExitFailure> {
    let data_dir = target.data_dir();
    let asking = control::ask(&data_dir, Method::POST, "/reload");
    let answer = wait_for(asking, (TELL_AFTER, LONGEST_WAIT)).await?;
    let is_done = answer.status().is_success();
    let body = control::body(answer).await?;
    let told = read(&String::from_utf8_lossy(&body))?;
    let read = told["file"].as_str().map(Path::new);
    if let (Some(named), Some(read)) = (target.config(), read)
        && !is_same(named, read)
    {
        warn(&words!(
            "the weappd that runs here was started with {}: that was read again, and not {}\n",
            "这里运行的 weappd 是用 {} 启动的：重新加载的是它，而不是 {}\n",
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

/// Says after a while that it waits, and ends the wait.
async fn wait_for<T>(
    asking: impl Future<Output = Result<T, ExitFailure>>,
    (tell_after, longest): (Duration, Duration),
) -> Result<T, ExitFailure> {
    let mut asking = pin!(asking);
    if let Ok(answer) = timeout(tell_after, &mut asking).await {
        return answer;
    }
    warn(pick(
        "weappd has not answered yet; Ctrl-C ends the wait and not the reload\n",
        "weappd 还没有响应；按 Ctrl-C 只结束等待，不影响重新加载\n",
    ));
    let late = || {
        let sentence = words!(
            "weappd did not answer within {} s",
            "weappd 在 {} 秒内没有响应",
            longest.as_secs()
        );
        let hint = pick(
            "what becomes of the reload is in its log; `weappd status` says whether it answers",
            "重新加载的结果见它的日志；用 `weappd status` 查看它是否有响应",
        );
        Err(ExitFailure::say(sentence, hint))
    };
    let answer = timeout(longest.saturating_sub(tell_after), asking).await;
    answer.unwrap_or_else(|_| late())
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
    let words = words.unwrap_or(pick(
        "weappd refused and gave no reason",
        "weappd 拒绝了请求，没有说明原因",
    ));
    let words = words!(
        "{}\nnothing changed: the running weappd goes on as before\n",
        "{}\n什么都没有改变：正在运行的 weappd 照常工作\n",
        words.trim_end()
    );
    ExitFailure::told(code, words)
}

#[expect(clippy::print_stderr, reason = "warnings for the person who asked")]
fn warn(words: &str) {
    eprint!("{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_for_the_answer_has_an_end() {
        let short = (Duration::from_millis(1), Duration::from_millis(20));
        let never = std::future::pending::<Result<(), ExitFailure>>();
        let ended = wait_for(never, short).await.expect_err("no answer");
        assert!(ended.words().contains("its log"), "{}", ended.words());
        let late = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(7)
        };
        let patient = (Duration::from_millis(1), Duration::from_mins(1));
        assert_eq!(wait_for(late, patient).await.ok(), Some(7));
    }
}
