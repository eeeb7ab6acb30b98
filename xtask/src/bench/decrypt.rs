//! Opening data that WeChat encrypted: a call of `POST /weapp/session/decrypt`, and the pure
//! function beside the SDK's.

use std::fs;

use serde_json::{Value, json};

use crate::bench::load::{CONNECTIONS, Turn};
use crate::bench::login::held;
use crate::bench::options::Options;
use crate::bench::process::{Process, pinned};
use crate::bench::replay::{List, Order, Pace};
use crate::bench::stats::Sample;
use crate::bench::weappd::APPID;
use crate::bench::wechat::{self, Login, USERS, Wechat, named};
use crate::bench::world::{Base, World};
use crate::bench::{stack, table, weappd};
use crate::run::say;

const SCRIPT: &str = include_str!("decrypt.js");

/// How often each program goes through all data in a round; the first time warms it up.
const PASSES: u32 = 3;

/// Measures the calls on both stores, and the two functions.
pub(super) fn run(world: &World, options: &Options) -> Result<(), String> {
    let base = &world.base;
    let wechat = Wechat::start(base, false)?;
    let logins = wechat::logins(base)?;
    let logins = logins.get(..USERS).unwrap_or_default();
    let list = wechat::login_list(base, "decrypt-login.list", logins)?;
    let at = format!("http://127.0.0.1:{}", wechat.port);
    let sqlite = world.weappd.elsewhere(base, "decrypt-sqlite", &at)?;
    let mariadb = world
        .weappd_mariadb
        .elsewhere(base, "decrypt-mariadb", &at)?;
    let mut servers = Vec::new();
    for home in [sqlite, mariadb] {
        servers.push(prepare(base, &home, &list, logins)?);
    }
    let mut raw: Vec<Value> = Vec::new();
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); servers.len()];
    let mut pure: [Vec<f64>; 2] = Default::default();
    for round in 1..=options.rounds {
        for ((running, list), turns) in servers.iter().zip(&mut turns) {
            list.send(base, running, None, pace(1))?;
            let turn = list.send(base, running, None, pace(options.seconds))?;
            say(&format!(
                "round {round}: {}: {:.1} us a call, {:.0} calls/s",
                running.name, turn.cpu_us, turn.requests_a_second
            ));
            raw.push(turn.json(running.name, round));
            turns.push(turn);
        }
        let both = [ours(base)?, theirs(base)?];
        raw.push(json!({"round": round, "weappd_ns": both[0], "wafer_node_sdk_ns": both[1]}));
        for (all, ns) in pure.iter_mut().zip(both) {
            all.push(ns);
        }
    }
    let names = servers.iter().map(|(running, _)| running.name);
    print_calls(options, &names.zip(&turns).collect::<Vec<_>>());
    print_pure(&pure);
    table::keep("decrypt", &base.machine, &raw)
}

type Server = (crate::bench::world::Running, List);

/// Logs everybody in once; the list of everybody's data.
fn prepare(
    base: &Base,
    home: &weappd::Home,
    list: &List,
    logins: &[Login],
) -> Result<Server, String> {
    let running = home.start(base)?;
    let kept = running.dir.join("kept.tsv");
    let once = Pace {
        seconds: None,
        keep: Some(&kept),
        ..pace(0)
    };
    list.send(base, &running, None, once)?;
    let text = fs::read_to_string(&kept).map_err(|error| format!("the kept skeys: {error}"))?;
    let mut orders = Vec::with_capacity(logins.len());
    for user in text.lines().filter_map(held) {
        let login = logins.iter().find(|login| login.openid == user.openid);
        let login = login.ok_or("somebody logged in as nobody")?;
        let body = json!({"encryptedData": login.data, "iv": login.iv}).to_string();
        let order = Order {
            asks: ("POST", "/weapp/session/decrypt"),
            headers: &[
                ("X-WX-Skey", &user.skey),
                ("Content-Type", "application/json"),
            ],
            body: &body,
            expected: &[&named(&user.openid)],
        };
        orders.push(order.line());
    }
    let list = List::write(running.dir.join("decrypt.list"), orders.into_iter())?;
    Ok((running, list))
}

fn pace(seconds: u32) -> Pace<'static> {
    Pace {
        connections: CONNECTIONS,
        seconds: Some(seconds),
        tls: true,
        keep: None,
    }
}

/// Nanoseconds of weappd's function, which also checks whose the data are.
fn ours(base: &Base) -> Result<f64, String> {
    let mut command = pinned(base.machine.server_cores, &base.programs.wechat);
    command
        .args(["decrypt", APPID])
        .arg(wechat::logins_file(base))
        .arg(PASSES.to_string());
    last(&Process::start("decrypt", &mut command, &base.dir)?.finish()?)
}

/// Nanoseconds of the SDK's.
fn theirs(base: &Base) -> Result<f64, String> {
    let script = base.dir.join("decrypt.js");
    fs::write(&script, SCRIPT).map_err(|error| format!("{}: {error}", script.display()))?;
    let mut command = pinned(base.machine.server_cores, "node");
    command
        .arg("--no-deprecation")
        .arg(&script)
        .arg(wechat::logins_file(base))
        .arg(PASSES.to_string())
        .env("NODE_PATH", stack::npm().join("node_modules"));
    last(&Process::start("decrypt-node", &mut command, &base.dir)?.finish()?)
}

fn last(said: &str) -> Result<f64, String> {
    let line = said.lines().last().unwrap_or_default();
    line.parse().map_err(|_| format!("no number: {said}"))
}

fn print_calls(options: &Options, all: &[(&str, &Vec<Turn>)]) {
    table::print(&format!(
        "POST /weapp/session/decrypt over HTTPS, a user's 500 bytes each, {CONNECTIONS} connections; \
         median (least-most) of {} rounds of {} s; every answer checked, 0 wrong\n",
        options.rounds, options.seconds
    ));
    let rows = all.iter().map(|(name, turns)| {
        let of = |of: fn(&Turn) -> f64| turns.iter().map(of).collect::<Sample>();
        let cpu = of(|turn| turn.cpu_us);
        [
            (*name).to_owned(),
            format!("{:.1} ({:.1}-{:.1})", cpu.median(), cpu.least(), cpu.most()),
            format!("{:.0}", of(|turn| turn.requests_a_second).median()),
            format!("{:.2}", of(|turn| turn.p50_ms).median()),
            format!("{:.2}", of(|turn| turn.p99_ms).median()),
            format!("{:.2}", of(|turn| turn.other_cores).median()),
        ]
    });
    let head = [
        "server",
        "CPU us/call",
        "calls/s",
        "p50 ms",
        "p99 ms",
        "others' cores",
    ];
    table::print(&table::markdown(head, &rows.collect::<Vec<_>>()));
}

fn print_pure(pure: &[Vec<f64>; 2]) {
    let [ours, theirs] = pure;
    let line = |name: &str, ns: &[f64]| {
        let ns: Sample = ns.iter().copied().collect();
        [
            name.to_owned(),
            format!("{:.0} ({:.0}-{:.0})", ns.median(), ns.least(), ns.most()),
        ]
    };
    let rows = [
        line("weappd (open, with its watermark's AppID checked)", ours),
        line("wafer-node-sdk (aesDecrypt, JSON.parse)", theirs),
    ];
    table::print("The function alone, one thread\n");
    table::print(&table::markdown(["function", "ns/call"], &rows));
    let ratios: Sample = theirs.iter().zip(ours).map(|(a, b)| a / b).collect();
    table::print(&format!(
        "The SDK's time, in times weappd's: least {:.1}, median {:.1}, most {:.1}\n",
        ratios.least(),
        ratios.median(),
        ratios.most()
    ));
}
