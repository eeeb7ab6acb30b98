//! The stand-in for `https://api.weixin.qq.com`, WeChat's other names and plain HTTP, for
//! programs that know WeChat's API by no other address.
//!
//! One loopback port takes what a caller may say to WeChat or to a proxy (`opening`); the
//! caller then speaks with an edge that has a certificate for WeChat's names and leads to the
//! API proxy. Every other place is refused: this is no way out.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use weappd_apps::EnvVariables;
use weappd_certs::CertFiles;
use weappd_edge::{BoundListener, ListenerKind};
use weappd_gateway::GatewayService;

use crate::edge_servers::EdgeServers;
use crate::exit::ExitFailure;
use crate::listen;
use crate::loopback::secure_edge;
use crate::server_context::ServerContext;
use crate::stand_in::opening::FirstBytes;

mod opening;
mod trust;
mod variables;

/// How many connections there may be at once.
const SEATS: usize = 1024;
/// How long a caller may take to say what it wants.
const GREETING: Duration = Duration::from_secs(10);
/// How long to wait when the system has no room for one more connection.
const BREATH: Duration = Duration::from_millis(100);

/// The stand-in before it is open.
#[derive(Debug)]
pub(crate) struct StandIn {
    socket: TcpListener,
    cert: CertFiles,
    /// What leads apps to it, and lets them trust it.
    pub(crate) variables: EnvVariables,
}

impl StandIn {
    /// Binds `at`, and finds or makes the certificate under `data_dir`. `environment` is
    /// weappd's own.
    pub(crate) fn bind(
        at: SocketAddr,
        data_dir: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ExitFailure> {
        let what = "the stand-in for https://api.weixin.qq.com";
        let socket = listen::bind(at, what, "set `wechat_https` under [internal]")?;
        let at = socket.local_addr().unwrap_or(at);
        let trust = trust::find_or_make(data_dir)?;
        Ok(Self {
            socket,
            variables: variables::of(&trust, at, environment)?,
            cert: trust.cert,
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Opens it: calls go out through `gateway`.
    pub(crate) fn open(
        self,
        context: &ServerContext,
        doors: &EdgeServers,
        gateway: GatewayService,
    ) -> Result<(), ExitFailure> {
        let failed = |error: io::Error| ExitFailure::new(&error, "");
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let half = |kind| {
            let what = "the inner half of the stand-in";
            let socket = listen::bind(loopback, what, "free a port")?;
            let at = socket.local_addr().map_err(failed)?;
            Ok((BoundListener { socket, kind }, at))
        };
        let ((secure, tls), (open, plain)) =
            (half(ListenerKind::Https)?, half(ListenerKind::Http)?);
        let router = weappd_gateway::http::api_router(gateway);
        let hosts = weappd_wechat::API_HOSTS.map(str::to_owned).to_vec();
        let edge = secure_edge(context, hosts, self.cert, router)?;
        doors.open_inner("the stand-in for WeChat", edge, vec![secure, open]);
        let inside = StandInState { tls, plain };
        let outside = tokio::net::TcpListener::from_std(self.socket).map_err(failed)?;
        let task = accept(outside, inside, context.clone());
        context.tasks.spawn(task);
        Ok(())
    }
}

/// Where the edge behind it listens.
#[derive(Clone, Copy, Debug)]
struct StandInState {
    tls: SocketAddr,
    plain: SocketAddr,
}

async fn accept(outside: tokio::net::TcpListener, inside: StandInState, context: ServerContext) {
    let seats = Arc::new(Semaphore::new(SEATS));
    let next = async || {
        let seat = Arc::clone(&seats).acquire_owned().await;
        (seat, outside.accept().await)
    };
    loop {
        let arrived = tokio::select! {
            () = context.front.asked() => return,
            arrived = next() => arrived,
        };
        let (Ok(seat), Ok((tcp, _))) = arrived else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let stop = context.front.clone();
        context.tasks.spawn(async move {
            tokio::select! {
                () = stop.forced() => {}
                () = serve(tcp, inside) => {}
            }
            drop(seat);
        });
    }
}

async fn serve(mut tcp: TcpStream, inside: StandInState) {
    // A caller that hangs up, here or later, is nobody's trouble but its own.
    let heard = tokio::time::timeout(GREETING, opening::hear(&mut tcp)).await;
    let Ok(Ok(Some(opening))) = heard else {
        return;
    };
    let to = match opening.speech {
        FirstBytes::Tls => inside.tls,
        FirstBytes::Plain => inside.plain,
    };
    if let Ok(inner) = TcpStream::connect(to).await {
        drop(join(tcp, inner, &opening.early).await);
    }
}

/// Passes on both ways until the inside, which knows the time limits, hangs up.
async fn join(mut tcp: TcpStream, mut inner: TcpStream, early: &[u8]) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    inner.set_nodelay(true)?;
    inner.write_all(early).await?;
    let (mut heard, mut say) = tcp.split();
    let (mut answers, mut ask) = inner.split();
    let inwards = async {
        tokio::io::copy(&mut heard, &mut ask).await?;
        ask.shutdown().await?;
        std::future::pending::<io::Result<()>>().await
    };
    tokio::select! {
        ended = inwards => ended,
        ended = tokio::io::copy(&mut answers, &mut say) => ended.map(drop),
    }
}
