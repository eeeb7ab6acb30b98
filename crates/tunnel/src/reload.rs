//! A reload: settings that were read anew take the place of those that hold.
//!
//! Business servers are known by their host. One whose host stays keeps its counts, its pauses
//! after failures, its callbacks that wait and its open tunnels; its tunnels' next callback (the
//! next try of one that waits, too) is signed with its new key and goes where its new settings
//! lead, and a push with its new key reaches them. A tunnel whose URL the new settings would not
//! allow keeps it. One that is no longer named gets no further tunnel; its tunnels are closed,
//! and what waits for it, the `close` of each last, is told with the key it had.
//!
//! What counts from when:
//! - for tunnels opened (`heartbeat_secs`) or issued (`connect_ttl_secs`, `max_tunnels`,
//!   `public_url`) from then on: a phone keeps to the heartbeat that it was told;
//! - for what comes from then on, on all tunnels: `max_message_bytes`, `max_queue_bytes`,
//!   `push_body_bytes`, `callback_timeout_ms`, `callback_concurrency`, `allow_http_receive`,
//!   `drain_secs`;
//! - `token_key` signs new URLs; those that were given out open as long as they may wait, and for
//!   as long as their tunnel lives;
//! - `node` counts after a restart: it stands in the ids of all tunnels that live.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::business::BusinessServer;
use crate::callback::CallbackLine;
use crate::config::Config;
use crate::error::Error;
use crate::id::SHARDS;
use crate::tunnel::CloseReason;
use crate::tunnels::TunnelServer;
use crate::waker::WakeBatch;

/// How many tunnels are closed before others may use the thread.
const YIELD_EVERY: usize = 256;

/// Settings that were checked and can take the place of those that hold.
pub struct StagedTunnels {
    config: Config,
    /// If callbacks are to go by another one.
    line: Option<CallbackLine>,
}

impl fmt::Debug for StagedTunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedTunnels").finish_non_exhaustive()
    }
}

impl TunnelServer {
    /// Checks new settings. Changes nothing; to be committed or dropped before the next.
    pub fn prepare(&self, config: Config) -> Result<StagedTunnels, Error> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(Error::Setting {
                field: problem.field.into_owned(),
                message: problem.message,
            });
        }
        let is_same = CallbackLine::is_same(&self.table().config, &config);
        let line = if is_same {
            None
        } else {
            Some(CallbackLine::build(&config)?)
        };
        Ok(StagedTunnels { config, line })
    }

    /// Puts them in place.
    pub fn commit(&self, staged: StagedTunnels) {
        let StagedTunnels { config, line } = staged;
        self.hub().set_most(config.max_tunnels);
        if let Some(line) = line {
            self.sender().set_line(line);
        }
        let (before, after) = self.change_table(|table, random| table.followed_by(config, random));
        let stay: HashSet<&str> = (after.businesses.all())
            .map(|business| business.host.as_str())
            .collect();
        let removed: Vec<Arc<BusinessServer>> = (before.businesses.all())
            .filter(|business| !stay.contains(business.host.as_str()))
            .cloned()
            .collect();
        if removed.is_empty() {
            return;
        }
        for business in &removed {
            business.remove();
        }
        let closing = close_removed(self.clone());
        self.tasks().spawn_on(self.work(), closing);
    }
}

/// Closes the tunnels of business servers that are named no more.
async fn close_removed(tunnels: TunnelServer) {
    for shard in 0..SHARDS {
        let orphans = tunnels
            .hub()
            .sweep(shard, |tunnel| tunnel.route.business.is_removed());
        for some in orphans.chunks(YIELD_EVERY) {
            let mut wakes = WakeBatch::default();
            for tunnel in some {
                tunnels.close(tunnel, None, Some(CloseReason::Removed), &mut wakes);
            }
            drop(wakes);
            tokio::task::yield_now().await;
        }
    }
}
