//! The table of turns of several servers, the last of which is what the others are held
//! against; and how the ratios were round by round.

use crate::bench::load::Turn;
use crate::bench::stats::Sample;
use crate::bench::table;

/// Prints all of it; `unit` is what one request is.
pub(super) fn print(all: &[(&str, Vec<Turn>)], unit: &str) {
    let Some(((_, peer), _)) = all.split_last() else {
        return;
    };
    let mut rows = Vec::new();
    for (name, turns) in all {
        let of = |of: fn(&Turn) -> f64| turns.iter().map(of).collect::<Sample>();
        let cpu = of(|turn| turn.cpu_us);
        let (p50, p99) = (of(|turn| turn.p50_ms), of(|turn| turn.p99_ms));
        rows.push([
            (*name).to_owned(),
            format!("{:.1} ({:.1}-{:.1})", cpu.median(), cpu.least(), cpu.most()),
            split(turns),
            format!("{:.0}", of(|turn| turn.requests_a_second).median()),
            format!("{:.2}", p50.median()),
            format!("{:.2}", p99.median()),
            format!("{:.1}", of(|turn| turn.p99_ms / turn.p50_ms).median()),
            format!("{:.2}", of(|turn| turn.server_cores).median()),
            format!("{:.2}", of(|turn| turn.client_cores).median()),
            format!("{:.2}", of(|turn| turn.wechat_cores).median()),
            format!("{:.2}", of(|turn| turn.other_cores).median()),
        ]);
    }
    let head = [
        "server",
        &format!("CPU us/{unit}"),
        "of it",
        &format!("{unit}s/s"),
        "p50 ms",
        "p99 ms",
        "p99/p50",
        "server cores",
        "load cores",
        "WeChat cores",
        "others' cores",
    ];
    table::print(&table::markdown(head, &rows));
    for (name, turns) in all.iter().take(all.len() - 1) {
        table::print(&against(name, turns, peer));
    }
}

/// How many times the peer's CPU is this server's, round by round.
pub(super) fn against(name: &str, turns: &[Turn], peer: &[Turn]) -> String {
    let rounds = peer.iter().zip(turns);
    let ratios: Vec<f64> = rounds
        .map(|(peer, turn)| peer.cpu_us / turn.cpu_us)
        .collect();
    let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.1}")).collect();
    let all: Sample = ratios.into_iter().collect();
    format!(
        "The stack's CPU, in times {name}'s, round by round: {}; least {:.1}, median {:.1}, most {:.1}\n",
        shown.join(", "),
        all.least(),
        all.median(),
        all.most()
    )
}

/// The CPU by process, if there are several.
fn split(turns: &[Turn]) -> String {
    let names = turns.first().map(|turn| turn.split.as_slice());
    let names = names.unwrap_or_default().iter().enumerate();
    let parts = names.map(|(at, (name, _))| {
        let us = turns.iter().filter_map(|turn| turn.split.get(at));
        let us: Sample = us.map(|(_, us)| *us).collect();
        format!("{name} {:.1}", us.median())
    });
    parts.collect::<Vec<_>>().join(", ")
}
