//! From the start of the processes to the first right answer over HTTPS.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::options::Options;
use crate::bench::process::{Process, now, pinned};
use crate::bench::stats::Sample;
use crate::bench::table;
use crate::bench::users::User;
use crate::bench::world::{Base, Running, World};

/// How often weappd is started.
const STARTS: u32 = 20;

/// How often the stack is started: it takes seconds.
const STACK_STARTS: u32 = 5;

/// Starts both servers again and again.
pub(super) fn run(world: &World, _: &Options) -> Result<(), String> {
    let base = &world.base;
    let mut raw: Vec<Value> = Vec::new();
    let mut rows = Vec::new();
    let mut server = |name: &str, times: u32, once: &dyn Fn() -> Result<f64, String>| {
        let all = (0..times).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
        raw.extend(all.iter().map(|ms| json!({"server": name, "ms": ms})));
        let ms: Sample = all.into_iter().collect();
        rows.push([
            name.to_owned(),
            times.to_string(),
            format!("{:.1}", ms.median()),
            format!("{:.1}", ms.least()),
            format!("{:.1}", ms.most()),
        ]);
        Ok::<_, String>(())
    };
    server("weappd", STARTS, &|| {
        first_answer(base, world.weappd.https, &world.somebody, || {
            world.weappd.spawn(base)
        })
    })?;
    server("nginx + Koa + MariaDB", STACK_STARTS, &|| {
        first_answer(base, world.stack.https, &world.somebody_at_stack, || {
            world.stack.spawn(base)
        })
    })?;
    table::print("Start to first answered GET /weapp/user over HTTPS, ms\n");
    let head = ["server", "starts", "median", "least", "most"];
    table::print(&table::markdown(head, &rows));
    table::keep("start", &base.machine, &raw)
}

/// One start, in milliseconds. The asker runs before the server does.
fn first_answer(
    base: &Base,
    port: u16,
    user: &User,
    spawn: impl FnOnce() -> Result<Running, String>,
) -> Result<f64, String> {
    let mut ask: Command = pinned(base.machine.client_cores, &base.programs.tools);
    ask.args(["first", &port.to_string()])
        .arg(&base.cert)
        .args([&user.skey, &user.openid]);
    let mut asker = Process::start("asker", &mut ask, &base.dir)?;
    asker.wait_until(Duration::from_millis(1), |asker| {
        asker.said().starts_with("ready\n")
    })?;
    let began = now();
    let running = spawn()?;
    let said = asker.finish()?;
    let answered: Option<u64> = said.lines().nth(1).and_then(|line| line.parse().ok());
    let answered = Duration::from_nanos(answered.ok_or(format!("the asker said {said}"))?);
    if !running.owns_its_port() {
        return Err(format!("port {port} does not belong to {}", running.name));
    }
    let took = answered
        .checked_sub(began)
        .ok_or("the clock was set back")?;
    Ok(took.as_secs_f64() * 1e3)
}
