//! Why the front door cannot be opened or reloaded.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

/// Why the front door cannot be opened or reloaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key file cannot be used.
    #[error(transparent)]
    Certificate(#[from] weappd_certs::Error),
    /// A site's host name is not one, or two sites claim it.
    #[error("site {host:?}: {what}")]
    Host {
        /// The name.
        host: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A route cannot work.
    #[error("site {host:?}, route {path:?}: {what}")]
    Route {
        /// The first name of the site.
        host: String,
        /// The route's path.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A service cannot work.
    #[error("site {host:?}, service {name:?}: {what}")]
    Service {
        /// The first name of the site.
        host: String,
        /// The service.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// An entry of `trusted_proxies` or `wechat_gateways` is no network.
    #[error("{key}: {what}")]
    Nets {
        /// Which list it is in.
        key: &'static str,
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// A setting cannot work.
    #[error("{key} {what}")]
    Setting {
        /// The setting, as weappd.toml has it under `[edge]`.
        key: Cow<'static, str>,
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: Cow<'static, str>,
    },
    /// A listener that is to end or to change is none.
    #[error("nobody listens at {at}")]
    NotListening {
        /// The local address.
        at: SocketAddr,
    },
    /// A listener that is to begin is there already.
    #[error("{at} is listened at already")]
    AlreadyListening {
        /// The local address.
        at: SocketAddr,
    },
    /// Listeners can only be added to an edge that runs.
    #[error("the edge does not run")]
    NotRunning,
    /// The TLS library refused its settings.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// A thread of the edge could not be started.
    #[error("cannot start an edge thread")]
    Thread(#[source] io::Error),
    /// A listening socket could not be used.
    #[error("cannot use a listening socket")]
    Listener(#[source] io::Error),
}

impl Error {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Certificate(error) => error.hint(),
            Self::Nets { hint, .. } => Some(hint),
            Self::Setting { hint, .. } => Some(hint),
            Self::Host { .. }
            | Self::Route { .. }
            | Self::Service { .. }
            | Self::NotListening { .. }
            | Self::AlreadyListening { .. }
            | Self::NotRunning
            | Self::Tls(_)
            | Self::Thread(_)
            | Self::Listener(_) => None,
        }
    }
}
