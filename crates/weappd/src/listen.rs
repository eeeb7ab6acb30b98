//! Binds every listening socket before anything runs, so that a taken port is one clear
//! sentence and nothing has to be undone.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use weappd_base::open_files;

use crate::exit::ExitFailure;

/// Connections the system holds for us while we are busy.
const BACKLOG: i32 = 4096;

/// Binds `addr`; `what` names the listener and `flag` what to change, in the error.
pub(crate) fn bind(addr: SocketAddr, what: &str, change: &str) -> Result<TcpListener, ExitFailure> {
    try_bind(addr).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ExitFailure::say(
            format_args!("{what} cannot listen on {addr}: another program already does"),
            &in_use(addr.port(), change),
        ),
        io::ErrorKind::PermissionDenied => ExitFailure::say(
            format_args!("{what} may not listen on {addr}: ports below 1024 need a privilege"),
            &format!(
                "run as root, or `sudo setcap cap_net_bind_service=+ep $(which weappd)`, or {change}"
            ),
        ),
        io::ErrorKind::AddrNotAvailable => ExitFailure::say(
            format_args!("{what} cannot listen on {addr}: this machine has no such address"),
            change,
        ),
        _ => ExitFailure::say(
            format_args!("{what} cannot listen on {addr}: {error}"),
            open_files::hint_of(&error).unwrap_or(change),
        ),
    })
}

/// What to do about a port that is taken.
fn in_use(port: u16, change: &str) -> String {
    let usual = match port {
        80 | 443 => {
            ". If it is nginx, `sudo systemctl disable --now nginx` ends it; or let it stay in \
             front: tls = \"off\", and under [edge] http = \"127.0.0.1:8080\" and \
             trusted_proxies = [\"loopback\"]"
        }
        _ => "",
    };
    format!("stop that program (`ss -ltnp 'sport = :{port}'` names it) or {change}{usual}")
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
