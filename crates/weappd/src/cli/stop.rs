//! `weappd stop`: asks the running weappd to end in order, and waits until it has.

use std::path::Path;
use std::time::{Duration, Instant};
use weappd_base::language::pick;
use weappd_base::words;

use hyper::Method;

use crate::cli::running::{RunningWeappd, good, read};
use crate::cli::say;
use crate::control;
use crate::data_dir::DataDir;
use crate::exit::ExitFailure;

/// How often to look whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// From when on the person who waits is told why.
const LONG: Duration = Duration::from_secs(2);
/// How much longer than its own time for a stop it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(target: RunningWeappd) -> Result<(), ExitFailure> {
    let data_dir = target.data_dir();
    let answer = control::ask(&data_dir, Method::POST, "/stop").await?;
    let status = read(&good(answer, "").await?)?;
    let grace = Duration::from_millis(status["grace_ms"].as_u64().unwrap_or(30_000));
    let pid = &status["pid"];
    let took = ended(&data_dir, grace * 2 + PATIENCE).await?;
    let Some(took) = took else {
        return Err(ExitFailure::say(
            words!(
                "weappd (process {pid}) was asked to stop and has not ended yet",
                "已要求 weappd（进程 {pid}）停止，但它还没有退出"
            ),
            &words!(
                "look at its log; `kill -9 {pid}` ends it at once",
                "请查看它的日志；`kill -9 {pid}` 会立即强制结束它"
            ),
        ));
    };
    say(words!(
        "weappd (process {pid}) stopped after {}.{} s",
        "weappd（进程 {pid}）已停止，用时 {}.{} 秒",
        took.as_secs(),
        took.subsec_millis() / 100
    ));
    Ok(())
}

/// How long it took to end, if it did within `bound`.
async fn ended(data_dir: &Path, bound: Duration) -> Result<Option<Duration>, ExitFailure> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let took = begun.elapsed();
        if !DataDir::is_held(data_dir)? {
            return Ok(Some(took));
        }
        if took >= bound {
            return Ok(None);
        }
        if took >= LONG && !told {
            told = true;
            say(pick(
                "stopping: requests, tunnels and apps are given time to finish",
                "正在停止：等待请求、信道和应用完成手头的工作",
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}
