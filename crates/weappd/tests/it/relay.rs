//! A wire between two programs that a test can cut: bytes that go nowhere, or nobody there.

#![expect(
    clippy::disallowed_methods,
    reason = "no part of weappd: what it spawns ends with the test's runtime"
)]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayWire {
    /// Everything goes through.
    Whole,
    /// Connections stand, new ones too, and nothing moves on them.
    Silent,
    /// Connections break, and new ones are refused.
    Gone,
    /// Connections made before this one stand, and nothing will ever move on them; new ones
    /// work. So does a firewall that has forgotten them.
    Forgotten,
}

/// A relay on loopback to one address.
pub(crate) struct FaultRelay {
    /// Where it listens.
    pub(crate) port: u16,
    wire: watch::Sender<RelayWire>,
}

impl FaultRelay {
    /// Listens, and passes on to `to`.
    pub(crate) async fn to(to: SocketAddr) -> Self {
        let listener = listen(0).await;
        let port = listener.local_addr().expect("an address").port();
        let (wire, seen) = watch::channel(RelayWire::Whole);
        tokio::spawn(serve(listener, port, to, seen));
        Self { port, wire }
    }

    /// Changes what the wire does.
    pub(crate) fn is(&self, wire: RelayWire) {
        self.wire.send_replace(wire);
    }
}

async fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    listener.expect("a port to listen on")
}

async fn serve(
    listener: TcpListener,
    port: u16,
    to: SocketAddr,
    mut wire: watch::Receiver<RelayWire>,
) {
    let mut listener = Some(listener);
    loop {
        let now = *wire.borrow_and_update();
        match (now, &listener) {
            (RelayWire::Gone, Some(_)) => listener = None,
            (RelayWire::Gone, None) => {
                if wire.changed().await.is_err() {
                    return;
                }
            }
            (_, None) => listener = Some(listen(port).await),
            (_, Some(listening)) => {
                tokio::select! {
                    came = listening.accept() => if let Ok((near, _)) = came {
                        tokio::spawn(join(near, to, wire.clone()));
                    },
                    changed = wire.changed() => if changed.is_err() {
                        return;
                    },
                }
            }
        }
    }
}

async fn join(near: TcpStream, to: SocketAddr, wire: watch::Receiver<RelayWire>) -> Option<()> {
    let far = TcpStream::connect(to).await.ok()?;
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    // Either end hangs up: so does the other.
    tokio::select! {
        ended = pass(near_in, far_out, wire.clone()) => ended,
        ended = pass(far_in, near_out, wire) => ended,
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut wire: watch::Receiver<RelayWire>,
) -> Option<()> {
    let is_new = *wire.borrow() == RelayWire::Forgotten;
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let now = *wire.borrow_and_update();
        let read = match now {
            RelayWire::Gone => return None,
            RelayWire::Forgotten if !is_new => std::future::pending().await,
            RelayWire::Silent => {
                wire.changed().await.ok()?;
                continue;
            }
            RelayWire::Whole | RelayWire::Forgotten => tokio::select! {
                read = from.read(&mut bytes) => read.ok()?,
                changed = wire.changed() => {
                    changed.ok()?;
                    continue;
                }
            },
        };
        if read == 0 {
            return None;
        }
        // What was read on a wire that was whole arrives.
        to.write_all(bytes.get(..read)?).await.ok()?;
    }
}
