//! Memory of the processes: after their start, and some time after a load.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::load::{self, Mode};
use crate::bench::options::Options;
use crate::bench::stats::{Sample, float};
use crate::bench::table;
use crate::bench::world::{Running, World};
use crate::run::say;

/// How long a server is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// The same after a load: allocators give memory back late.
const SETTLE_AFTER_LOAD: Duration = Duration::from_secs(12);

/// What one server held, in bytes by process.
type Held = Vec<(&'static str, u64)>;

/// Starts each server anew in every round.
pub(super) fn run(world: &World, options: &Options) -> Result<(), String> {
    let base = &world.base;
    let mut raw: Vec<Value> = Vec::new();
    let mut weappd: Vec<[Held; 2]> = Vec::new();
    let mut stack: Vec<[Held; 2]> = Vec::new();
    for round in 1..=options.rounds {
        say(&format!("round {round}: memory"));
        for (all, running) in [
            (&mut weappd, world.weappd.start(base)?),
            (&mut stack, world.stack.start(base)?),
        ] {
            let held = measure(world, options, &running)?;
            raw.push(row(running.name, round, &held));
            all.push(held);
        }
    }
    let mut rows = Vec::new();
    for (name, all) in [("weappd", &weappd), ("nginx + Koa + MariaDB", &stack)] {
        rows.push(line(name, all, |_| true));
        let parts = all.first().map(|[fresh, _]| fresh.as_slice());
        for (part, _) in parts.filter(|parts| parts.len() > 1).unwrap_or_default() {
            rows.push(line(&format!("- {part}"), all, |name| name == *part));
        }
    }
    table::print(&format!(
        "Memory in MB (10^6 bytes, PSS), median of {} rounds: fresh, and {} s after {} s of load\n",
        options.rounds,
        SETTLE_AFTER_LOAD.as_secs(),
        options.seconds
    ));
    table::print(&table::markdown(["server", "fresh", "after load"], &rows));
    table::keep("memory", &base.machine, &raw)
}

fn measure(world: &World, options: &Options, running: &Running) -> Result<[Held; 2], String> {
    sleep(SETTLE);
    let fresh = running.pss()?;
    load::turn(
        &world.base.machine,
        running,
        Mode::Measured,
        options.seconds,
    )?;
    sleep(SETTLE_AFTER_LOAD);
    Ok([fresh, running.pss()?])
}

fn row(server: &str, round: u32, [fresh, after]: &[Held; 2]) -> Value {
    let object = |held: &Held| {
        let all = held
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), json!(bytes)));
        Value::Object(all.collect())
    };
    json!({
        "server": server,
        "round": round,
        "fresh_bytes": object(fresh),
        "after_load_bytes": object(after),
    })
}

/// A line of the table: the processes that are `wanted`, together.
fn line(name: &str, all: &[[Held; 2]], wanted: impl Fn(&str) -> bool) -> [String; 3] {
    let median = |when: usize| {
        let sums = all.iter().filter_map(|held| held.get(when)).map(|held| {
            let some = held.iter().filter(|(name, _)| wanted(name));
            float(some.map(|(_, bytes)| bytes).sum()) / 1e6
        });
        format!("{:.1}", sums.collect::<Sample>().median())
    };
    [name.to_owned(), median(0), median(1)]
}
