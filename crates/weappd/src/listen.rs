//! Binds every listening socket before anything runs, so that a taken port is one clear
//! sentence and nothing has to be undone.

use std::io;
use std::net::{SocketAddr, TcpListener};
use weappd_base::language::pick;
use weappd_base::words;

use socket2::{Domain, Protocol, Socket, Type};
use weappd_base::open_files;

use crate::exit::ExitFailure;

/// Connections the system holds for us while we are busy.
const BACKLOG: i32 = 4096;

/// Binds `addr`; `what` names the listener and `flag` what to change, in the error.
pub(crate) fn bind(addr: SocketAddr, what: &str, change: &str) -> Result<TcpListener, ExitFailure> {
    try_bind(addr).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ExitFailure::say(
            words!("{what} cannot listen on {addr}: another program already does", "{what}无法监听 {addr}：已有别的程序在监听"),
            &in_use(addr.port(), change),
        ),
        io::ErrorKind::PermissionDenied => ExitFailure::say(
            words!("{what} may not listen on {addr}: ports below 1024 need a privilege", "{what}没有权限监听 {addr}：1024 以下的端口需要特权"),
            &words!(
                "run as root, or `sudo setcap cap_net_bind_service=+ep $(which weappd)`, or {change}", "请用 root 运行，或执行 `sudo setcap cap_net_bind_service=+ep $(which weappd)`，或{change}"
            ),
        ),
        io::ErrorKind::AddrNotAvailable => ExitFailure::say(
            words!("{what} cannot listen on {addr}: this machine has no such address", "{what}无法监听 {addr}：这台机器没有这个地址"),
            change,
        ),
        _ => ExitFailure::say(
            words!("{what} cannot listen on {addr}: {error}", "{what}无法监听 {addr}：{error}"),
            open_files::hint_of(&error).unwrap_or(change),
        ),
    })
}

/// What to do about a port that is taken.
fn in_use(port: u16, change: &str) -> String {
    let usual = match port {
        80 | 443 => pick(
            ". If it is nginx, `sudo systemctl disable --now nginx` ends it; or let it stay in \
             front: tls = \"off\", and under [edge] http = \"127.0.0.1:8080\" and \
             trusted_proxies = [\"loopback\"]",
            "。如果是 nginx，`sudo systemctl disable --now nginx` 可以停掉它；或让它留在前面：写 tls = \"off\"，并在 [edge] 里写 http = \"127.0.0.1:8080\" 和 trusted_proxies = [\"loopback\"]",
        ),
        _ => "",
    };
    words!(
        "stop that program (`ss -ltnp 'sport = :{port}'` names it) or {change}{usual}",
        "请停掉那个程序（`ss -ltnp 'sport = :{port}'` 能查到它），或{change}{usual}"
    )
}

/// Binds `addr`, without words.
pub(crate) fn try_bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run may linger in TIME_WAIT; they must not keep us out.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // `[::]` alone serves IPv4 as well.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let first = try_bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = first.local_addr().unwrap();
        let failure = bind(addr, "the phone page", "give --http another port").unwrap_err();
        let words = format!("{failure:?}");
        assert!(words.contains("another program already does"), "{words}");
        assert!(words.contains("give --http another port"), "{words}");
    }

    #[test]
    fn the_ports_of_web_servers_have_a_mend_of_their_own() {
        for (port, named) in [(80, true), (443, true), (8080, false)] {
            assert_eq!(in_use(port, "change it").contains("nginx"), named, "{port}");
        }
    }
}
