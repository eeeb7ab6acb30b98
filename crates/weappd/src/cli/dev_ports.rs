//! The ports of `weappd dev`: the usual ones, or the next that are free.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use weappd_base::language::pick;
use weappd_base::words;

use crate::exit::ExitFailure;
use crate::listen;

/// How many ports after the usual one are tried.
const TRIES: u16 = 200;

/// A port that is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortWish {
    /// What listens there.
    pub(super) what: &'static str,
    /// The option that names another one.
    pub(super) option: &'static str,
    /// What the option said.
    pub(super) asked: Option<u16>,
    /// The port without the option.
    pub(super) usual: u16,
}

/// The sockets in the order of the wishes, and a line for each that is not at its usual port.
#[derive(Debug)]
pub(super) struct DevSockets {
    pub(super) sockets: Vec<(TcpListener, SocketAddr)>,
    pub(super) moved: Vec<String>,
}

/// Binds all of them on loopback; every one that cannot be had is told at once.
pub(super) fn bind(wishes: &[PortWish]) -> Result<DevSockets, ExitFailure> {
    let mut bound = DevSockets {
        sockets: Vec::new(),
        moved: Vec::new(),
    };
    let (mut problems, mut hints) = (Vec::new(), Vec::new());
    for wish in wishes {
        match one(wish, wishes) {
            Ok((socket, addr)) => {
                let port = addr.port();
                if wish.asked.is_none() && port != wish.usual {
                    let (usual, what) = (wish.usual, wish.what);
                    bound.moved.push(words!(
                        "port {usual} is taken: {what} is at {port}",
                        "端口 {usual} 已被占用：{what}改用 {port}"
                    ));
                }
                bound.sockets.push((socket, addr));
            }
            Err((addr, error)) => {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        pick("another program already does", "已被别的程序占用").to_owned()
                    }
                    io::ErrorKind::PermissionDenied => pick(
                        "ports below 1024 need a privilege",
                        "1024 以下的端口需要特权",
                    )
                    .to_owned(),
                    _ => error.to_string(),
                };
                problems.push(words!(
                    "{} cannot listen on {addr}: {why}",
                    "{}无法监听 {addr}：{why}",
                    wish.what
                ));
                hints.push(words!(
                    "give {} another port",
                    "用 {} 换一个端口",
                    wish.option
                ));
            }
        }
    }
    if problems.is_empty() {
        return Ok(bound);
    }
    let hint = words!(
        "{}; without the option the next free one is taken",
        "{}；不写这个选项时会用下一个空闲端口",
        hints.join(pick(", ", "，"))
    );
    let problems = problems.join(pick("\nerror: ", "\n错误："));
    Err(ExitFailure::say(problems, &hint))
}

fn one(
    wish: &PortWish,
    all: &[PortWish],
) -> Result<(TcpListener, SocketAddr), (SocketAddr, io::Error)> {
    let at = |port| {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = listen::try_bind(addr).map_err(|error| (addr, error))?;
        let addr = socket.local_addr().unwrap_or(addr);
        Ok((socket, addr))
    };
    if let Some(port) = wish.asked {
        return at(port);
    }
    let wanted = |port: &u16| {
        !all.iter()
            .any(|other| other.asked.unwrap_or(other.usual) == *port)
    };
    let next = (wish.usual..=u16::MAX).skip(1).filter(wanted);
    let mut last = None;
    for port in std::iter::once(wish.usual).chain(next.take(TRIES.into())) {
        match at(port) {
            Ok(bound) => return Ok(bound),
            Err(failed) => {
                let is_taken = failed.1.kind() == io::ErrorKind::AddrInUse;
                last = Some(failed);
                if !is_taken {
                    break;
                }
            }
        }
    }
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, wish.usual));
    Err(last.unwrap_or((usual, io::ErrorKind::AddrInUse.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(asked: Option<u16>, usual: u16) -> PortWish {
        PortWish {
            what: "the phone page",
            option: "--http",
            asked,
            usual,
        }
    }

    fn taken() -> (TcpListener, u16) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    }

    #[test]
    fn the_next_free_ports_are_taken_and_told() {
        let ((_one, first), (_two, second)) = (taken(), taken());
        let bound = bind(&[wish(None, first), wish(None, second), wish(Some(0), 1)]).unwrap();
        let ports: Vec<_> = bound.sockets.iter().map(|(_, at)| at.port()).collect();
        assert!(ports[0] != first && ports[1] != second && ports[2] != 0);
        assert_eq!(
            bound.moved,
            [
                format!("port {first} is taken: the phone page is at {}", ports[0]),
                format!("port {second} is taken: the phone page is at {}", ports[1]),
            ]
        );
    }

    #[test]
    fn all_that_was_asked_for_and_is_taken_is_told_at_once() {
        let ((_one, first), (_two, second)) = (taken(), taken());
        let failure = bind(&[wish(Some(first), 1), wish(Some(second), 1)]).unwrap_err();
        let words = format!("{failure:?}");
        for port in [first, second] {
            let told = format!("127.0.0.1:{port}: another program already does");
            assert!(words.contains(&told), "{words}");
        }
        assert!(words.contains("give --http another port"), "{words}");
    }
}
