//! A session check that no memory helps: a server that has just started is asked about every
//! session once.

use std::fs;

use serde_json::Value;

use crate::bench::load::{CONNECTIONS, Turn};
use crate::bench::login::held;
use crate::bench::options::Options;
use crate::bench::replay::{List, Order, Pace};
use crate::bench::wechat::{self, Wechat, named};
use crate::bench::world::{Base, Running, World};
use crate::bench::{ratio, table, weappd};
use crate::run::say;

/// How often everybody logs in with each key: all sessions a user may hold are then held.
const PASSES: usize = 2;

/// Measures both stores in turn, and the stack, which asks its database every time.
pub(super) fn run(world: &World, options: &Options) -> Result<(), String> {
    let base = &world.base;
    let wechat = Wechat::start(base, false)?;
    let logins = wechat::logins(base)?;
    let logins = wechat::login_list(base, "cold-login.list", &logins)?;
    let at = format!("http://127.0.0.1:{}", wechat.port);
    let sqlite = world.weappd.elsewhere(base, "cold-sqlite", &at)?;
    let mariadb = world.weappd_mariadb.elsewhere(base, "cold-mariadb", &at)?;
    let homes = [sqlite, mariadb];
    let lists = [
        log_in(base, &homes[0], &logins)?,
        log_in(base, &homes[1], &logins)?,
    ];
    let stack = world.stack.start(base)?;
    let stack_list = everybody(&stack)?;
    let mut turns = [
        ("weappd, cold", Vec::new()),
        ("weappd on MariaDB, cold", Vec::new()),
        (stack.name, Vec::new()),
    ];
    let mut raw: Vec<Value> = Vec::new();
    for round in 1..=options.rounds {
        for ((home, list), (name, turns)) in homes.iter().zip(&lists).zip(&mut turns) {
            let running = home.start(base)?;
            let turn = list.send(base, &running, None, pace(None))?;
            note(&mut raw, turns, (name, round), turn);
        }
        if let Some((name, turns)) = turns.last_mut() {
            let turn = stack_list.send(base, &stack, None, pace(Some(options.seconds)))?;
            note(&mut raw, turns, (name, round), turn);
        }
    }
    table::print(&format!(
        "Session check over HTTPS with a cold cache: after a start, each of {} sessions once, \
         {CONNECTIONS} connections; {} rounds; every answer checked, 0 wrong\n",
        wechat::USERS * wechat::KEYS * PASSES,
        options.rounds
    ));
    ratio::print(&turns, "check");
    table::keep("cold", &base.machine, &raw)
}

fn note(raw: &mut Vec<Value>, turns: &mut Vec<Turn>, (name, round): (&str, u32), turn: Turn) {
    say(&format!(
        "round {round}: {name}: {:.1} us a check, {:.0} checks/s, {:.1} cores busy beside",
        turn.cpu_us, turn.requests_a_second, turn.other_cores
    ));
    raw.push(turn.json(name, round));
    turns.push(turn);
}

fn pace(seconds: Option<u32>) -> Pace<'static> {
    Pace {
        connections: CONNECTIONS,
        seconds,
        tls: true,
        keep: None,
    }
}

/// Fills a server with sessions; the list of all checks.
fn log_in(base: &Base, home: &weappd::Home, logins: &List) -> Result<List, String> {
    let running = home.start(base)?;
    say(&format!("filling {}", running.name));
    let mut lines = String::new();
    for _ in 0..PASSES {
        let kept = running.dir.join("kept.tsv");
        let keeping = Pace {
            keep: Some(&kept),
            ..pace(None)
        };
        logins.send(base, &running, None, keeping)?;
        lines += &fs::read_to_string(&kept).map_err(|error| format!("the kept skeys: {error}"))?;
    }
    let users = lines.lines().filter_map(held);
    let checks = users.map(|user| check(&user.skey, &user.openid));
    List::write(running.dir.join("check.list"), checks)
}

/// Everybody who is logged in there.
fn everybody(server: &Running) -> Result<List, String> {
    let file = &server.users_file;
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let users = text.lines().filter_map(|line| line.split_once('\t'));
    let checks = users.map(|(skey, openid)| check(skey, openid));
    List::write(server.dir.join("check.list"), checks)
}

fn check(skey: &str, openid: &str) -> String {
    Order {
        asks: ("GET", "/weapp/user"),
        headers: &[("X-WX-Skey", skey)],
        body: "",
        expected: &["{\"code\":0,", &named(openid)],
    }
    .line()
}
