//! Keeps the tunnels' time: lets go of silent, stuck and never opened ones, and of all when
//! weappd goes down. One task; no tunnel owns a timer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::id::SHARDS;
use crate::tunnel::{ClockCheck, CloseReason, Tunnel};
use crate::tunnels::TunnelServer;
use crate::waker::WakeBatch;

/// How often tunnels are let go while weappd goes down.
const DRAIN_STEP: Duration = Duration::from_millis(100);

/// How many tunnels go in a step in any case: so few need not be spread.
const DRAIN_STEP_TUNNELS: usize = 100;
/// How long business servers may hear nothing, at the end, before callbacks are given up.
const CALLBACK_SILENCE_MAX: Duration = Duration::from_secs(3);

/// Runs until weappd goes down, the last tunnel is let go and its business server knows.
pub(crate) async fn keep(tunnels: TunnelServer) {
    let mut last = Instant::now();
    let hub = tunnels.hub();
    let mut heartbeat_secs = tunnels.table().config.heartbeat_secs;
    let mut ticks = ticks(heartbeat_secs);
    for shard in (0..SHARDS).cycle() {
        tokio::select! {
            _ = ticks.tick() => {}
            () = tunnels.stop().asked() => break,
        }
        let passed = last.elapsed();
        // The part below a millisecond counts next time.
        last += passed.saturating_sub(Duration::from_nanos(u64::from(
            passed.subsec_nanos() % 1_000_000,
        )));
        hub.set_now(later(hub.now(), passed, heartbeat_secs));
        sweep(&tunnels, shard);
        let set = tunnels.table().config.heartbeat_secs;
        if set != heartbeat_secs {
            heartbeat_secs = set;
            ticks = self::ticks(set);
        }
    }
    drain(&tunnels).await;
    tunnels.last_callbacks(CALLBACK_SILENCE_MAX).await;
}

fn ticks(heartbeat_secs: u32) -> Interval {
    let mut ticks = tokio::time::interval(pace(heartbeat_secs));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One shard a tick, all shards within a tenth of a heartbeat.
fn pace(heartbeat_secs: u32) -> Duration {
    Duration::from_millis(u64::from(heartbeat_secs) * 1000 / 10 / SHARDS as u64)
        .clamp(Duration::from_millis(5), Duration::from_millis(250))
}

/// The keeper's clock after `passed`. Sockets date what they hear by this clock: had it stood
/// still while the work runtime was stuck, a leap now would make every phone look silent.
/// So one step is at most half a heartbeat.
fn later(now: u32, passed: Duration, heartbeat_secs: u32) -> u32 {
    let most = heartbeat_secs.saturating_mul(500);
    let step = u32::try_from(passed.as_millis()).map_or(most, |step| step.min(most));
    // Wraps after 49 days; ages are told by wrapping subtraction.
    now.wrapping_add(step)
}

/// Lets go of the tunnels of one shard whose time is over.
fn sweep(tunnels: &TunnelServer, shard: usize) {
    let (hub, stall) = (tunnels.hub(), tunnels.table().limits.stall);
    let now = hub.now();
    let over = hub.sweep(shard, |tunnel| tunnel.check(now, stall) != ClockCheck::Fine);
    let mut wakes = WakeBatch::default();
    for tunnel in over {
        if let ClockCheck::End(close_reason) = tunnel.check(now, stall) {
            tracing::debug!(tunnel.id = %tunnel.id, ?close_reason, "tunnel let go");
            tunnels.close(&tunnel, None, Some(close_reason), &mut wakes);
        }
    }
}

/// Lets go of all tunnels, spread over `drain_secs`, or at once when time is up.
async fn drain(tunnels: &TunnelServer) {
    let all: Vec<Arc<Tunnel>> = (0..SHARDS)
        .flat_map(|shard| tunnels.hub().sweep(shard, |_| true))
        .collect();
    let steps = usize::try_from(tunnels.table().config.drain_secs)
        .unwrap_or(1)
        .saturating_mul(10)
        .max(1);
    let share = all.len().div_ceil(steps).max(DRAIN_STEP_TUNNELS);
    let mut hurry = false;
    for (at, some) in all.chunks(share).enumerate() {
        if at > 0 && !hurry {
            tokio::select! {
                () = tokio::time::sleep(DRAIN_STEP) => {}
                () = tunnels.stop().forced() => hurry = true,
            }
        }
        let mut wakes = WakeBatch::default();
        for tunnel in some {
            tunnels.close(tunnel, None, Some(CloseReason::Draining), &mut wakes);
        }
    }
    // One that was being issued while the others were gathered.
    let mut wakes = WakeBatch::default();
    for shard in 0..SHARDS {
        for tunnel in tunnels.hub().sweep(shard, |_| true) {
            tunnels.close(&tunnel, None, Some(CloseReason::Draining), &mut wakes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_keeper_does_not_leap() {
        assert_eq!(later(7, Duration::from_millis(93), 15), 100);
        assert_eq!(later(7, Duration::from_hours(24 * 60), 15), 7507);
        assert_eq!(later(u32::MAX, Duration::from_millis(2), 15), 1);
    }

    #[test]
    fn a_round_takes_a_tenth_of_a_heartbeat() {
        assert_eq!(SHARDS, 16);
        for secs in [1, 2, 15, 30] {
            let round = pace(secs) * 16;
            assert!(
                round <= Duration::from_millis(u64::from(secs) * 100),
                "{secs}"
            );
        }
    }
}
