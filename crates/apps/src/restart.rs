//! When to start again: pure policy, `(history, now) -> RestartDecision`.
//!
//! The first restart never waits: most crashes are single. Every further failure in a row
//! doubles the wait, with up to a quarter of it added by chance so that apps that fell
//! together do not rise together. An instance that was ready for `min_uptime_ms` has a
//! clean slate.

use std::time::Duration;

use crate::app::ExitReason;
use crate::config::{RestartConfig, RestartPolicy};

/// What is remembered of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RestartHistory {
    /// Endings in a row that came before `min_uptime_ms`.
    pub(crate) failures: u32,
}

/// What to do after an ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestartDecision {
    /// Start again after this time.
    Start(Duration),
    /// Stay down, for this reason.
    StayDown(String),
}

/// Decides what to do about `ending`, after `ready_for` of being ready (`None`: never was).
/// `chance` is any number; it spreads the waits.
pub(crate) fn decide(
    config: &RestartConfig,
    history: &mut RestartHistory,
    ending: &ExitReason,
    ready_for: Option<Duration>,
    chance: u16,
) -> RestartDecision {
    if let Some(why) = stays_down(config, ending) {
        return RestartDecision::StayDown(why);
    }
    if ready_for.is_some_and(|time| time >= Duration::from_millis(config.min_uptime_ms)) {
        history.failures = 0;
    }
    history.failures = history.failures.saturating_add(1);
    if config.max_tries.is_some_and(|max| history.failures > max) {
        let tries = history.failures - 1;
        return RestartDecision::StayDown(format!("gave up after {tries} tries in a row"));
    }
    RestartDecision::Start(wait(config, history.failures, chance))
}

/// The rule that keeps an instance down after `ending`, if one does.
fn stays_down(config: &RestartConfig, ending: &ExitReason) -> Option<String> {
    match ending {
        ExitReason::Exited { code } if config.stop_exit_codes.contains(code) => Some(format!(
            "exit code {code} is one of restart.stop_exit_codes"
        )),
        ExitReason::Exited { code: 0 } if config.when == RestartPolicy::OnFailure => {
            Some("it finished, and restart.when is \"on-failure\"".to_owned())
        }
        // What could not start yet is not started "again".
        ExitReason::NeverStarted { .. } => None,
        _ if config.when == RestartPolicy::Never => {
            Some(format!("it {ending}, and restart.when is \"never\""))
        }
        _ => None,
    }
}

/// The wait before the try that follows `failures` failures in a row.
fn wait(config: &RestartConfig, failures: u32, chance: u16) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else {
        return Duration::ZERO;
    };
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let plain = (config.backoff_ms.saturating_mul(factor)).min(config.max_backoff_ms);
    let spread = (plain / 4).saturating_mul(u64::from(chance)) / u64::from(u16::MAX);
    Duration::from_millis(plain.saturating_add(spread))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CRASH: ExitReason = ExitReason::Exited { code: 1 };

    fn waits(config: &RestartConfig, ready_for: &[Option<u64>]) -> Vec<u128> {
        let mut history = RestartHistory::default();
        let start = |ready: &Option<u64>| {
            let ready = ready.map(Duration::from_millis);
            match decide(config, &mut history, &CRASH, ready, 0) {
                RestartDecision::Start(wait) => wait.as_millis(),
                RestartDecision::StayDown(_) => u128::MAX,
            }
        };
        ready_for.iter().map(start).collect()
    }

    #[test]
    fn the_crash_loop_curve() {
        let curve = waits(&RestartConfig::default(), &[None; 12]);
        assert_eq!(
            curve,
            [
                0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000
            ]
        );
    }

    #[test]
    fn a_healthy_run_wipes_the_slate() {
        let runs = [None, None, Some(9_999), Some(10_000), None, Some(20_000)];
        assert_eq!(
            waits(&RestartConfig::default(), &runs),
            [0, 100, 200, 0, 100, 0]
        );
    }

    #[test]
    fn rules_that_keep_it_down() {
        let rule = |when, codes: &[i32]| RestartConfig {
            when,
            stop_exit_codes: codes.to_vec(),
            ..RestartConfig::default()
        };
        let never = ExitReason::NeverStarted {
            why: "x".to_owned(),
            hint: None,
        };
        let table = [
            (
                rule(RestartPolicy::Always, &[]),
                ExitReason::Exited { code: 0 },
                true,
            ),
            (
                rule(RestartPolicy::Always, &[0, 78]),
                ExitReason::Exited { code: 0 },
                false,
            ),
            (
                rule(RestartPolicy::Always, &[0, 78]),
                ExitReason::Exited { code: 78 },
                false,
            ),
            (
                rule(RestartPolicy::Always, &[78]),
                ExitReason::Signalled { signal: 9 },
                true,
            ),
            (
                rule(RestartPolicy::OnFailure, &[]),
                ExitReason::Exited { code: 0 },
                false,
            ),
            (rule(RestartPolicy::OnFailure, &[]), CRASH, true),
            (
                rule(RestartPolicy::OnFailure, &[]),
                ExitReason::HungAtStart { after_ms: 1 },
                true,
            ),
            (rule(RestartPolicy::Never, &[]), CRASH, false),
            (
                rule(RestartPolicy::Never, &[]),
                ExitReason::Signalled { signal: 11 },
                false,
            ),
            (rule(RestartPolicy::Never, &[]), never, true),
        ];
        for (config, ending, starts) in table {
            let decision = decide(&config, &mut RestartHistory::default(), &ending, None, 0);
            assert_eq!(
                matches!(decision, RestartDecision::Start(_)),
                starts,
                "{ending}"
            );
        }
    }

    #[test]
    fn it_gives_up_when_told_to() {
        let config = RestartConfig {
            max_tries: Some(2),
            ..RestartConfig::default()
        };
        assert_eq!(waits(&config, &[None; 3]), [0, 100, u128::MAX]);
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(
            failures in 0_u32..2_000_000_000,
            chance: u16,
            backoff_ms: u64,
            max_backoff_ms in 0_u64..1_000_000_000,
        ) {
            let config = RestartConfig { backoff_ms, max_backoff_ms, ..RestartConfig::default() };
            let mut history = RestartHistory { failures };
            let decision = decide(&config, &mut history, &CRASH, None, chance);
            let RestartDecision::Start(wait) = decision else { panic!("always starts") };
            let most = max_backoff_ms + max_backoff_ms / 4;
            prop_assert!(wait <= Duration::from_millis(most));
            prop_assert_eq!(history.failures, failures + 1);
        }

        #[test]
        fn without_chance_waits_never_shrink(failures in 0_u32..200) {
            let config = RestartConfig::default();
            prop_assert!(wait(&config, failures, 0) <= wait(&config, failures + 1, 0));
        }
    }
}
