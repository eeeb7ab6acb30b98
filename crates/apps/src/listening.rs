//! What a process and everything it started listen on, as the kernel tells it.
//!
//! Elsewhere than on Linux `/proc` does not exist: nothing is found.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::procfs::{self, ProcessEntry};

/// The sockets on which a process tree waits for connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenSockets {
    pub(crate) tcp: BTreeSet<SocketAddr>,
    /// Paths; one that begins with `@` is in no directory.
    pub(crate) unix: BTreeSet<String>,
}

/// Ports on which debuggers and their like listen beside the server itself.
const DEBUGGER_PORTS: [u16; 5] = [5005, 5678, 5858, 9229, 35729];

impl ListenSockets {
    /// Looks at `leader`, its group and all that descend from it. Blocks.
    pub(crate) fn of(leader: u32) -> Self {
        let Ok(leader) = i32::try_from(leader) else {
            return Self::default();
        };
        let inodes: HashSet<u64> = (tree(leader, &procfs::table()).into_iter())
            .flat_map(sockets)
            .collect();
        let mut found = Self::default();
        if inodes.is_empty() {
            return found;
        }
        let read = |file: &str| {
            let path = format!("/proc/{leader}/net/{file}");
            fs::read_to_string(path).unwrap_or_default()
        };
        for file in ["tcp", "tcp6"] {
            let rows = read(file);
            let ours = tcp_rows(&rows).filter(|(_, inode)| inodes.contains(inode));
            found.tcp.extend(ours.map(|(address, _)| address));
        }
        let rows = read("unix");
        let ours = unix_rows(&rows).filter(|(_, inode)| inodes.contains(inode));
        found.unix.extend(ours.map(|(path, _)| path.to_owned()));
        found
    }

    /// The ports it serves on. Those of debuggers count only if there is no other.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let all: BTreeSet<u16> = self.tcp.iter().map(SocketAddr::port).collect();
        let own: BTreeSet<u16> = (all.iter().copied())
            .filter(|port| !DEBUGGER_PORTS.contains(port))
            .collect();
        if own.is_empty() { all } else { own }
    }

    /// Where a port can be called from this machine, the likeliest first.
    pub(crate) fn ways_to(&self, port: u16) -> Vec<SocketAddr> {
        let mut ways = BTreeSet::new();
        for address in self.tcp.iter().filter(|address| address.port() == port) {
            match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => {
                    ways.insert(IpAddr::from(Ipv4Addr::LOCALHOST));
                }
                IpAddr::V6(ip) if ip.is_unspecified() => {
                    ways.insert(Ipv4Addr::LOCALHOST.into());
                    ways.insert(Ipv6Addr::LOCALHOST.into());
                }
                ip => {
                    ways.insert(ip);
                }
            }
        }
        let mut ways: Vec<_> = (ways.into_iter())
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        ways.sort_by_key(|way| !way.ip().is_loopback());
        ways
    }
}

/// The processes of the leader's group, and all that descend from it.
fn tree(leader: i32, table: &[ProcessEntry]) -> Vec<i32> {
    let mut members: Vec<i32> = (table.iter())
        .filter(|entry| entry.group == leader || entry.identity.pid == leader)
        .map(|entry| entry.identity.pid)
        .collect();
    let mut known: HashSet<i32> = members.iter().copied().collect();
    let mut at = 0;
    while let Some(parent) = members.get(at).copied() {
        at += 1;
        for child in table.iter().filter(|entry| entry.parent == parent) {
            if known.insert(child.identity.pid) {
                members.push(child.identity.pid);
            }
        }
    }
    members
}

/// The inodes of a process's sockets.
fn sockets(pid: i32) -> Vec<u64> {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    (folder.flatten())
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// The listening rows of `/proc/net/tcp` or `tcp6`: address and inode.
pub(crate) fn tcp_rows(text: &str) -> impl Iterator<Item = (SocketAddr, u64)> {
    const LISTENS: &str = "0A";
    text.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (fields.get(1)?, fields.get(3)?);
        if *state != LISTENS {
            return None;
        }
        Some((address(local)?, fields.get(9)?.parse().ok()?))
    })
}

/// `0100007F:1F90` is 127.0.0.1:8080: words of four bytes, each in the machine's own order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            // What is mapped is IPv4 under another name.
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The listening rows of `/proc/net/unix`: path and inode.
pub(crate) fn unix_rows(text: &str) -> impl Iterator<Item = (&str, u64)> {
    const ACCEPTS: u32 = 0x1_0000;
    text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        if flags & ACCEPTS == 0 {
            return None;
        }
        let inode = fields.nth(2)?.parse().ok()?;
        Some((fields.next().unwrap_or("(unnamed)"), inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0 0 10 0\n\
        1: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0 100 0 0 10 0\n\
        2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4244 1 0 100 0 0 10 0\n\
        broken\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_are_read() {
        let rows: Vec<_> = tcp_rows(TCP)
            .map(|(address, inode)| (address.to_string(), inode))
            .collect();
        let wanted = [("127.0.0.1:8080", 4242), ("0.0.0.0:3000", 4243)];
        assert_eq!(rows, wanted.map(|(text, inode)| (text.to_owned(), inode)));
        for (text, wanted) in [
            ("00000000000000000000000000000000:0050", "[::]:80"),
            ("00000000000000000000000001000000:0050", "[::1]:80"),
            ("0000000000000000FFFF00000100007F:0050", "127.0.0.1:80"),
        ] {
            let read = address(text).expect("an address");
            assert_eq!(read.to_string(), wanted);
        }
        for broken in [
            "",
            ":",
            "0:0",
            "zzzzzzzz:0050",
            "0100007F:zz",
            "0100007é:0050",
        ] {
            assert_eq!(address(broken), None, "{broken}");
        }
        let unix = "Num RefCount Protocol Flags Type St Inode Path\n\
            0: 00000002 00000000 00010000 0001 01 77 /run/app.sock\n\
            0: 00000002 00000000 00000000 0001 03 78 /run/other.sock\n\
            0: 00000002 00000000 00010000 0001 01 79\n";
        let rows: Vec<_> = unix_rows(unix).collect();
        assert_eq!(rows, [("/run/app.sock", 77), ("(unnamed)", 79)]);
    }

    #[test]
    fn a_debugger_beside_the_server_does_not_count() {
        let of = |list: &[&str]| ListenSockets {
            tcp: list.iter().map(|text| text.parse().unwrap()).collect(),
            ..ListenSockets::default()
        };
        let ports = |list: &[&str]| of(list).ports().into_iter().collect::<Vec<_>>();
        assert_eq!(ports(&["127.0.0.1:9229", "0.0.0.0:3000"]), [3000]);
        assert_eq!(ports(&["127.0.0.1:9229"]), [9229]);
        assert_eq!(ports(&["0.0.0.0:3000", "[::]:3000"]), [3000]);
        assert_eq!(ports(&["0.0.0.0:3000", "[::]:3001"]), [3000, 3001]);
        let ways = |list: &[&str]| of(list).ways_to(80);
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(ways(&["0.0.0.0:80"]), [at("127.0.0.1:80")]);
        assert_eq!(ways(&["[::]:80"]), [at("127.0.0.1:80"), at("[::1]:80")]);
        assert_eq!(ways(&["[::1]:80", "0.0.0.0:81"]), [at("[::1]:80")]);
        let both = ways(&["10.0.0.7:80", "127.0.0.1:80"]);
        assert_eq!(both, [at("127.0.0.1:80"), at("10.0.0.7:80")]);
    }

    #[test]
    fn this_very_process_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let path = dir.path().join("a.sock");
        let _unix = UnixListener::bind(&path).unwrap();
        let found = ListenSockets::of(std::process::id());
        assert!(found.tcp.contains(&tcp.local_addr().unwrap()), "{found:?}");
        assert!(found.unix.contains(path.to_str().unwrap()), "{found:?}");
        let at = tcp.local_addr().unwrap();
        drop(tcp);
        assert!(!ListenSockets::of(std::process::id()).tcp.contains(&at));
    }
}
