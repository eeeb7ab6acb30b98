//! Whether a process is ready: it accepts connections on its port, or answers a path.
//!
//! A program that listens tells nobody, so it is asked: every few milliseconds at first,
//! then ten times a second.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The most one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until the process on `port` is ready; returns the loopback address it answers on.
pub(crate) async fn wait(port: u16, path: Option<&str>) -> SocketAddr {
    let mut pause = Duration::from_millis(2);
    loop {
        // Some programs listen on one of the two only.
        for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let address = SocketAddr::new(ip, port);
            if timeout(ANSWER_TIMEOUT, answers(address, path)).await == Ok(true) {
                return address;
            }
        }
        sleep(pause).await;
        pause = (pause * 5 / 4).min(Duration::from_millis(100));
    }
}

pub(crate) async fn answers(address: SocketAddr, path: Option<&str>) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return false;
    };
    // Nobody listens, but the system happened to call from the very port it called.
    if stream.local_addr().ok() == Some(address) {
        return false;
    }
    let Some(path) = path else { return true };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.is_ok() && is_good(&line)
}

/// Whether a status line begins with a status below 400.
fn is_good(line: &[u8; 12]) -> bool {
    line.starts_with(b"HTTP/1.") && line[8] == b' ' && matches!(line[9], b'2' | b'3')
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    #[test]
    fn status_lines() {
        assert!(is_good(b"HTTP/1.1 200"));
        assert!(is_good(b"HTTP/1.0 302"));
        assert!(!is_good(b"HTTP/1.1 404"));
        assert!(!is_good(b"HTTP/1.1 503"));
        assert!(!is_good(b"SSH-2.0-Open"));
    }

    fn bound(address: &str) -> TcpSocket {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        };
        let socket = socket.expect("a socket");
        socket.bind(address).expect("bound");
        socket
    }

    #[tokio::test]
    async fn a_port_is_ready_once_somebody_listens() {
        let socket = bound("127.0.0.1:0");
        let address = socket.local_addr().expect("an address");
        let early = timeout(Duration::from_millis(30), wait(address.port(), None)).await;
        assert!(early.is_err(), "bound is not listening");
        let listener = socket.listen(8).expect("listens");
        assert_eq!(wait(address.port(), None).await, address);
        drop(listener);
    }

    #[tokio::test]
    async fn a_path_must_answer_well() {
        let listener = bound("127.0.0.1:0").listen(8).expect("listens");
        let port = listener.local_addr().expect("an address").port();
        let server = async {
            for status in ["503 Busy", "200 OK"] {
                let (mut stream, _) = listener.accept().await.expect("a call");
                let mut request = [0; 256];
                let length = stream.read(&mut request).await.expect("a request");
                assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("answered");
            }
        };
        let (address, ()) = tokio::join!(wait(port, Some("/healthz")), server);
        assert_eq!(address.port(), port);
    }
}
