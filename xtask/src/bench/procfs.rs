//! What Linux tells of processes: who is whose child, CPU used, memory held, who listens.

use std::fs;

use crate::run::output;

/// One line of `/proc/PID/stat`, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Whether only its parent has not looked yet.
    is_ended: bool,
    parent: u32,
    /// User and system time of the process and of its children that ended.
    ticks: u64,
}

/// How many ticks a second has.
pub(super) fn ticks_a_second() -> u64 {
    output("getconf", &["CLK_TCK"])
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(100)
}

/// CPU used so far by `root` and everything below it.
pub(super) fn ticks(root: u32) -> u64 {
    let used = |pid: &u32| stat(*pid).map_or(0, |stat| stat.ticks);
    tree(root).iter().map(used).sum()
}

/// CPU used so far by this process and the children it waited for.
pub(super) fn own_ticks() -> u64 {
    stat(std::process::id()).map_or(0, |stat| stat.ticks)
}

/// CPU the whole machine has used, soft interrupts (the loopback's work) included: a process
/// is billed for those that hit it, unless the kernel accounts interrupts apart.
pub(super) fn busy_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    busy_of(first)
}

/// All but idle, iowait and steal.
fn busy_of(line: &str) -> u64 {
    // cpu user nice system idle iowait irq softirq steal
    let numbers: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let at = |n: usize| numbers.get(n).copied().unwrap_or_default();
    [0, 1, 2, 5, 6].map(at).iter().sum()
}

/// Memory of `root` and everything below it in bytes: each page shared with others counts
/// by its share (PSS).
pub(super) fn pss(root: u32) -> Result<u64, String> {
    let mut sum = 0;
    for pid in tree(root) {
        let file = format!("/proc/{pid}/smaps_rollup");
        let read = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"));
        let pss = read.and_then(|text| pss_of(&text).ok_or(format!("{file} has no Pss")));
        match pss {
            Ok(pss) => sum += pss,
            // It ended after it was listed, and holds nothing any more.
            Err(_) if pid != root && stat(pid).is_none_or(|stat| stat.is_ended) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

fn pss_of(smaps: &str) -> Option<u64> {
    let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Whether `root` or something below it listens on this loopback port: the answers measured
/// must come from the process that is measured.
pub(super) fn listens(root: u32, port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let sockets: Vec<String> = listeners(&table, port)
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    tree(root).iter().any(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        files.flatten().any(|file| {
            fs::read_link(file.path())
                .is_ok_and(|to| sockets.iter().any(|s| to.as_os_str() == s.as_str()))
        })
    })
}

/// The inodes of sockets that listen on `port`, from `/proc/net/tcp`.
fn listeners(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let place = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        // 0A is LISTEN; the inode is the tenth word.
        (local.ends_with(&place) && state == "0A")
            .then(|| words.nth(5))
            .flatten()
    })
}

/// `root` and all its descendants that live.
fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.parent)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        let children = all.iter().filter(|(_, of)| *of == parent);
        tree.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    tree
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and may hold anything, so count from its end.
fn parse(line: &str) -> Option<Stat> {
    let words: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some(Stat {
        is_ended: matches!(*words.first()?, "Z" | "X"),
        parent: words.get(1)?.parse().ok()?,
        // utime, stime, cutime, cstime.
        ticks: (11..=14).map(number).sum::<Option<u64>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 9 0 5 6 7";
        let expected = Stat {
            is_ended: false,
            parent: 3,
            ticks: 100,
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("7 (a) S 3"), None);
    }

    #[test]
    fn waiting_is_not_work() {
        assert_eq!(busy_of("cpu  1 20 300 4000 50000 6 70 800 0 0"), 397);
        assert_eq!(busy_of(""), 0);
    }

    #[test]
    fn pss_is_read_in_bytes() {
        assert_eq!(
            pss_of("Rss:  9 kB\nPss:     12 kB\nPss_Dirty: 4 kB\n"),
            Some(12_288)
        );
        assert_eq!(pss_of("Rss: 9 kB"), None);
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 111 1 x\n\
             1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000 0 0 222 1 x\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 333 1 x\n";
        assert_eq!(listeners(table, 8080).collect::<Vec<_>>(), ["111"]);
    }

    #[test]
    fn this_very_process_is_found() {
        let me = std::process::id();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(listens(me, port));
        drop(socket);
        // A child that another test just forked has the socket until it becomes its program.
        let deadline = Instant::now() + Duration::from_secs(30);
        while listens(me, port) {
            assert!(Instant::now() < deadline, "port {port} is not given back");
        }
        assert!(pss(me).unwrap() > 100_000);
        assert!(tree(me).contains(&me));
    }
}
