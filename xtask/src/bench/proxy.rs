//! A call of WeChat's API through weappd, which adds the token, beside the same call made
//! directly with a token: what the way costs.

use serde_json::Value;

use crate::bench::load::Turn;
use crate::bench::options::Options;
use crate::bench::process::Process;
use crate::bench::replay::{List, Order, Pace};
use crate::bench::stats::Sample;
use crate::bench::table;
use crate::bench::wechat::Wechat;
use crate::bench::world::{Base, Running, World};
use crate::run::say;

/// One after the other, and many at a time.
const CONNECTIONS: [u32; 2] = [1, 64];

/// The call: is this text fit to be shown?
const PATH: &str = "/wxa/msg_sec_check";
const BODY: &str = r#"{"version":2,"scene":1,"openid":"oBench0000000000000000000001","content":"hello, how are you today?"}"#;

/// What the stand-in takes for its token.
const WITH_TOKEN: &str = "/wxa/msg_sec_check?access_token=token-of-the-benchmark";

/// One way to WeChat.
struct Way {
    name: &'static str,
    server: Running,
    list: List,
    /// The connection of the asker: the internal API is loopback only and plain.
    tls: bool,
    /// WeChat, where it isn't `server` itself.
    wechat: Option<usize>,
}

/// Measures the two ways in turn: WeChat with plain HTTP, and with TLS.
pub(super) fn run(world: &World, options: &Options) -> Result<(), String> {
    let base = &world.base;
    let list = |name: &str, path: &str| {
        let order = Order {
            asks: ("POST", path),
            headers: &[("Content-Type", "application/json")],
            body: BODY,
            expected: &["{\"errcode\":0,"],
        };
        List::write(base.dir.join(name), std::iter::once(order.line()))
    };
    let (through, straight) = (
        list("through.list", PATH)?,
        list("direct.list", WITH_TOKEN)?,
    );
    let (ways, wechats) = ways(world, &straight, &through)?;
    let mut raw: Vec<Value> = Vec::new();
    let mut all: Vec<(String, Vec<Turn>)> = Vec::new();
    for connections in CONNECTIONS {
        let mut turns: Vec<Vec<Turn>> = ways.iter().map(|_| Vec::new()).collect();
        for round in 1..=options.rounds {
            for (way, turns) in ways.iter().zip(&mut turns) {
                let wechat = way.wechat.and_then(|at| wechats.get(at));
                let pace = Pace {
                    connections,
                    seconds: Some(1),
                    tls: way.tls,
                    keep: None,
                };
                let turn = way.list.send(base, &way.server, wechat, pace)?;
                say(&format!(
                    "round {round}: {}, {connections} at a time: {:.1} us a call, p50 {:.3} ms",
                    way.name, turn.cpu_us, turn.p50_ms
                ));
                raw.push(turn.json(&format!("{}, {connections}", way.name), round));
                turns.push(turn);
            }
        }
        let names = ways
            .iter()
            .map(|way| format!("{}, {connections} at a time", way.name));
        all.extend(names.zip(turns));
    }
    print(options, &all);
    table::keep("proxy", &base.machine, &raw)
}

/// The ways that are measured, and each simulated one behind them.
fn ways(
    world: &World,
    straight: &List,
    through: &List,
) -> Result<(Vec<Way>, Vec<Process>), String> {
    let base = &world.base;
    let mut wechats: Vec<Process> = Vec::new();
    let mut ways = Vec::new();
    for (tls, scheme, names) in [
        (
            false,
            "http",
            [
                "direct, plain",
                "through weappd, plain",
                "through other build, plain",
            ],
        ),
        (
            true,
            "https",
            [
                "direct, TLS",
                "through weappd, TLS",
                "through other build, TLS",
            ],
        ),
    ] {
        // One for the direct calls and one behind weappd, so that each is counted apart.
        let (direct, behind) = (Wechat::start(base, tls)?, Wechat::start(base, tls)?);
        let at = format!("{scheme}://localhost:{}", behind.port);
        let home = world
            .weappd
            .elsewhere(base, &format!("proxy-{scheme}"), &at)?;
        let other = home.beside(base, (names[2], &format!("proxy-{scheme}-beside")))?;
        ways.push(Way {
            name: names[0],
            server: alone(base, direct),
            list: straight.clone(),
            tls,
            wechat: None,
        });
        for (name, home) in [(names[1], Some(home)), (names[2], other)] {
            let Some(home) = home else { continue };
            let mut weappd = home.start(base)?;
            weappd.port = home.internal;
            ways.push(Way {
                name,
                server: weappd,
                list: through.clone(),
                tls: false,
                wechat: Some(wechats.len()),
            });
        }
        wechats.push(behind.process);
    }
    Ok((ways, wechats))
}

/// A WeChat that is asked directly.
fn alone(base: &Base, wechat: Wechat) -> Running {
    Running {
        name: "WeChat",
        port: wechat.port,
        users_file: base.dir.clone(),
        dir: base.dir.clone(),
        processes: vec![("WeChat", wechat.process)],
    }
}

fn print(options: &Options, all: &[(String, Vec<Turn>)]) {
    table::print(&format!(
        "POST {PATH}, without a token through weappd's internal API, and with one directly; median \
         (least-most) of {} rounds of 1 s; every answer checked, 0 wrong\n",
        options.rounds
    ));
    let mut rows = Vec::new();
    // A direct way and those through weappd stand side by side.
    let group = all.iter().filter(|(name, _)| name.starts_with("direct"));
    let group = all.len() / group.count().max(1);
    for ways in all.chunks(group) {
        let Some((_, direct)) = ways.first() else {
            continue;
        };
        for (name, turns) in ways {
            let pairs = |of: fn(&Turn) -> f64| {
                let all = turns.iter().zip(direct);
                all.map(|(a, b)| of(a) - of(b)).collect::<Sample>()
            };
            let of = |of: fn(&Turn) -> f64| turns.iter().map(of).collect::<Sample>();
            let cpu = of(|turn| turn.cpu_us);
            let is_through = name.starts_with("through");
            let added = |of: fn(&Turn) -> f64| {
                let added = pairs(of);
                let (least, most) = (added.least() * 1e3, added.most() * 1e3);
                let shown = format!("{:.0} ({least:.0}-{most:.0})", added.median() * 1e3);
                if is_through { shown } else { String::new() }
            };
            let cpu = format!("{:.1} ({:.1}-{:.1})", cpu.median(), cpu.least(), cpu.most());
            rows.push([
                name.clone(),
                if is_through { cpu } else { String::new() },
                format!("{:.0}", of(|turn| turn.requests_a_second).median()),
                format!("{:.0}", of(|turn| turn.p50_ms).median() * 1e3),
                format!("{:.0}", of(|turn| turn.p99_ms).median() * 1e3),
                added(|turn| turn.p50_ms),
                added(|turn| turn.p99_ms),
                format!("{:.2}", of(|turn| turn.other_cores).median()),
            ]);
        }
    }
    let head = [
        "way",
        "weappd's CPU us/call",
        "calls/s",
        "p50 us",
        "p99 us",
        "added to p50, us",
        "added to p99, us",
        "others' cores",
    ];
    table::print(&table::markdown(head, &rows));
}
