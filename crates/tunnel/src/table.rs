//! What a reload changes as one: settings, limits, keys of connect URLs, business servers.

use std::sync::Arc;
use std::time::Duration;

use weappd_base::random::RandomSource;

use crate::business::BusinessRegistry;
use crate::config::Config;
use crate::id::ConnectTokens;
use crate::tunnel::TunnelLimits;

/// How long a phone may take no bytes, in milliseconds.
const STALL_MS: u32 = 10_000;

/// What requests, sockets and the keeper read.
#[derive(Debug)]
pub(crate) struct TunnelTable {
    pub(crate) config: Config,
    pub(crate) limits: TunnelLimits,
    pub(crate) tokens: Arc<ConnectTokens>,
    pub(crate) businesses: BusinessRegistry,
}

impl TunnelTable {
    /// The first one, from settings that have no problem.
    pub(crate) fn new(config: Config, random: &RandomSource) -> Self {
        Self {
            limits: limits(&config),
            tokens: Arc::new(ConnectTokens::new(&config.token_key, random)),
            businesses: BusinessRegistry::new(&config, &BusinessRegistry::default()),
            config,
        }
    }

    /// The one that follows this one: business servers whose host stays are the same, and
    /// set anew by this.
    pub(crate) fn followed_by(&self, config: Config, random: &RandomSource) -> Self {
        let tokens = if config.token_key == self.config.token_key {
            Arc::clone(&self.tokens)
        } else {
            let ttl = Duration::from_secs(self.config.connect_ttl_secs.into());
            Arc::new(self.tokens.renewed(&config.token_key, random, ttl))
        };
        Self {
            limits: limits(&config),
            tokens,
            businesses: BusinessRegistry::new(&config, &self.businesses),
            config,
        }
    }
}

fn limits(config: &Config) -> TunnelLimits {
    TunnelLimits {
        ttl: config.connect_ttl_secs.saturating_mul(1000),
        // The keeper comes by every tenth of a heartbeat: 2.4 here is at most 2.5 there.
        silence: config.heartbeat_secs.saturating_mul(2400),
        stall: STALL_MS,
        queue: config.max_queue_bytes,
    }
}
