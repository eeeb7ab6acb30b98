//! A session check over HTTPS: who is this? Against a bare server, and against the stack.

use serde_json::Value;

use crate::bench::load::{self, CONNECTIONS, Mode, Turn};
use crate::bench::options::Options;
use crate::bench::stats::Sample;
use crate::bench::table;
use crate::bench::world::{Running, World};
use crate::run::say;

/// How long the exactly checked warm-up before every turn is.
const WARM_UP_SECS: u32 = 1;

/// Measures all servers in turn, several rounds.
pub(super) fn run(world: &World, options: &Options) -> Result<(), String> {
    let base = &world.base;
    let beside = world
        .weappd
        .beside(base, ("weappd, other build", "beside"))?;
    let mut servers = vec![
        tested(world, world.start_bare()?)?,
        world.weappd_quiet.start(base)?,
        world.weappd.start(base)?,
    ];
    servers.extend(beside.map(|home| home.start(base)).transpose()?);
    servers.push(world.weappd_mariadb.start(base)?);
    servers.push(world.stack.start(base)?);
    let mut turns: Vec<(&str, Vec<Turn>)> = servers.iter().map(|s| (s.name, Vec::new())).collect();
    let mut raw: Vec<Value> = Vec::new();
    for round in 1..=options.rounds {
        for (server, (name, turns)) in servers.iter().zip(&mut turns) {
            load::turn(&base.machine, server, Mode::Exact, WARM_UP_SECS)?;
            let turn = load::turn(&base.machine, server, Mode::Measured, options.seconds)?;
            say(&format!(
                "round {round}: {name}: {:.1} us a request, {:.0} requests/s, {:.1} cores busy beside",
                turn.cpu_us, turn.requests_a_second, turn.other_cores
            ));
            raw.push(turn.json(name, round));
            turns.push(turn);
        }
    }
    print(options, &turns);
    table::keep("check", &base.machine, &raw)
}

/// A check that cannot fail is none: the bare server knows one user only, so asked as a
/// thousand it must be caught.
fn tested(world: &World, mut bare: Running) -> Result<Running, String> {
    let its_own = bare.users_file.clone();
    bare.users_file.clone_from(&world.weappd.users_file);
    match load::turn(&world.base.machine, &bare, Mode::Measured, WARM_UP_SECS) {
        Err(words) if words.contains("a bad answer") => {}
        Err(words) => return Err(words),
        Ok(_) => return Err("wrong answers are not noticed".to_owned()),
    }
    bare.users_file = its_own;
    Ok(bare)
}

fn print(options: &Options, all: &[(&str, Vec<Turn>)]) {
    let sample = |turns: &[Turn], of: fn(&Turn) -> f64| turns.iter().map(of).collect::<Sample>();
    let cpu: Vec<Sample> = all
        .iter()
        .map(|(_, turns)| sample(turns, |turn| turn.cpu_us))
        .collect();
    let bare = cpu.first().map_or(0.0, Sample::median);
    let stack = cpu.last().map_or(0.0, Sample::median);
    let mut rows = Vec::new();
    for ((name, turns), cpu) in all.iter().zip(&cpu) {
        let median = |of: fn(&Turn) -> f64| sample(turns, of).median();
        rows.push([
            (*name).to_owned(),
            format!("{:.1} ({:.1}-{:.1})", cpu.median(), cpu.least(), cpu.most()),
            format!("{:.2}", cpu.median() / bare),
            format!("1/{:.1}", stack / cpu.median()),
            format!("{:.0}", median(|turn| turn.requests_a_second)),
            format!("{:.2}", median(|turn| turn.p50_ms)),
            format!("{:.2}", median(|turn| turn.p99_ms)),
            format!("{:.2}", median(|turn| turn.server_cores)),
            format!("{:.2}", median(|turn| turn.client_cores)),
            format!("{:.2}", median(|turn| turn.other_cores)),
        ]);
    }
    table::print(&format!(
        "Session check over HTTPS, TLS 1.3, HTTP/1.1, {CONNECTIONS} connections; median (least-most) \
         of {} rounds of {} s; every answer checked, 0 wrong\n",
        options.rounds, options.seconds
    ));
    let head = [
        "server",
        "CPU us/request",
        "of bare",
        "of stack",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "server cores",
        "wrk cores",
        "others' cores",
    ];
    table::print(&table::markdown(head, &rows));
    let Some((_, turns)) = all.last() else { return };
    let names = turns
        .first()
        .map(|turn| turn.split.as_slice())
        .unwrap_or_default();
    let parts = names.iter().enumerate().map(|(at, (name, _))| {
        let us = turns.iter().filter_map(|turn| turn.split.get(at));
        let us: Sample = us.map(|(_, us)| *us).collect();
        format!("{name} {:.0} us", us.median())
    });
    table::print(&format!(
        "The stack's CPU by process: {}\n",
        parts.collect::<Vec<_>>().join(", ")
    ));
}
