//! Durable logins: a code, exchanged at WeChat, and encrypted user data become a session that
//! survives a crash. On SQLite, on MariaDB, and at the stack on the same MariaDB.

use std::fs;

use serde_json::Value;

use crate::bench::load::{CONNECTIONS, Turn};
use crate::bench::options::Options;
use crate::bench::replay::{List, Pace};
use crate::bench::users::{self, User};
use crate::bench::wechat::{self, USERS, Wechat};
use crate::bench::world::{Base, Running, World};
use crate::bench::{ratio, table};
use crate::run::say;

/// How long the warm-up before every turn is.
const WARM_UP_SECS: u32 = 1;

/// How many of the last sessions of a turn are asked for after it.
const ASKED: usize = 16;

/// A server and the plain port it can be asked on.
struct Server {
    running: Running,
    plain: u16,
}

/// Measures all servers in turn, several rounds.
pub(super) fn run(world: &World, options: &Options) -> Result<(), String> {
    let base = &world.base;
    let wechat = Wechat::start(base, false)?;
    let logins = wechat::logins(base)?;
    let list = wechat::login_list(base, "login.list", &logins)?;
    let first = logins.get(..USERS).unwrap_or_default();
    let first = wechat::login_list(base, "login-first.list", first)?;
    let at = format!("http://127.0.0.1:{}", wechat.port);
    let sqlite = world.weappd.elsewhere(base, "login-sqlite", &at)?;
    let mariadb = world.weappd_mariadb.elsewhere(base, "login-mariadb", &at)?;
    let stack = world.stack.elsewhere(base, "login-stack", wechat.port)?;
    let beside = sqlite.beside(base, ("weappd, other build", "login-beside"))?;
    let mut servers = vec![
        Server {
            running: sqlite.start(base)?,
            plain: sqlite.http,
        },
        Server {
            running: mariadb.start(base)?,
            plain: mariadb.http,
        },
        Server {
            running: stack.start(base)?,
            plain: stack.koa,
        },
    ];
    let mut lists = vec![&list, &list, &first];
    if let Some(home) = beside {
        // The stack stays the last: it is what the others are held against.
        servers.insert(
            1,
            Server {
                running: home.start(base)?,
                plain: home.http,
            },
        );
        lists.insert(0, &list);
    }
    fill(base, &servers, &lists)?;
    let mut turns: Vec<(&str, Vec<Turn>)> = Vec::new();
    turns.extend(servers.iter().map(|s| (s.running.name, Vec::new())));
    let mut raw: Vec<Value> = Vec::new();
    for round in 1..=options.rounds {
        for (server, (name, turns)) in servers.iter().zip(&mut turns) {
            let turn = turn(base, server, &list, &wechat, options.seconds)?;
            say(&format!(
                "round {round}: {name}: {:.1} us a login, {:.0} logins/s, p50 {:.2} ms, p99 {:.2} \
                 ms, WeChat {:.2} cores, {:.1} cores busy beside",
                turn.cpu_us,
                turn.requests_a_second,
                turn.p50_ms,
                turn.p99_ms,
                turn.wechat_cores,
                turn.other_cores
            ));
            raw.push(turn.json(name, round));
            turns.push(turn);
        }
    }
    print(options, &turns);
    table::keep("login", &base.machine, &raw)
}

/// Every user holds as many sessions as one may before anything is measured: from then on a
/// login ends one, too. The stack holds one.
fn fill(base: &Base, servers: &[Server], lists: &[&List]) -> Result<(), String> {
    for (server, list) in servers.iter().zip(lists) {
        say(&format!("filling {}", server.running.name));
        for _ in 0..2 {
            list.send(base, &server.running, None, pace(None))?;
        }
    }
    Ok(())
}

fn pace(seconds: Option<u32>) -> Pace<'static> {
    Pace {
        connections: CONNECTIONS,
        seconds,
        tls: true,
        keep: None,
    }
}

fn turn(
    base: &Base,
    server: &Server,
    list: &List,
    wechat: &Wechat,
    seconds: u32,
) -> Result<Turn, String> {
    let running = &server.running;
    list.send(base, running, None, pace(Some(WARM_UP_SECS)))?;
    let kept = running.dir.join("kept.tsv");
    let measured = Pace {
        keep: Some(&kept),
        ..pace(Some(seconds))
    };
    let turn = list.send(base, running, Some(&wechat.process), measured)?;
    let text = fs::read_to_string(&kept).map_err(|error| format!("the kept skeys: {error}"))?;
    for line in text.lines().rev().take(ASKED) {
        let user = held(line).ok_or("a login without an skey")?;
        users::who_am_i(server.plain, &user)?;
    }
    Ok(turn)
}

/// A line of skeys kept: the session it tells of.
pub(super) fn held(line: &str) -> Option<User> {
    let (skey, named) = line.split_once('\t')?;
    Some(User {
        skey: skey.to_owned(),
        openid: named.split('"').nth(3)?.to_owned(),
    })
}

fn print(options: &Options, all: &[(&str, Vec<Turn>)]) {
    table::print(&format!(
        "Durable logins over HTTPS, code and encrypted data each, {CONNECTIONS} connections; median \
         (least-most) of {} rounds of {} s; every answer checked, 0 wrong\n",
        options.rounds, options.seconds
    ));
    ratio::print(all, "login");
}
