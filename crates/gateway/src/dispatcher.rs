//! Brings messages to the app: each user's in their order, several users' at once, as often
//! as it takes.
//!
//! The queue's file is the truth; the dispatcher only remembers which deliveries are under way. A message
//! is delivered at least once: if weappd dies between the app's answer and the note of it,
//! it goes again, under the same id.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;
use weappd_base::causes::chain;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::rate_limit::LogLimit;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_base::unix_time::UnixMillis;
use weappd_outbound::{JitterRange, RetryBackoff};

use crate::config::InboxConfig;
use crate::event_rule::{AnswerForm, EventRule};
use crate::gateway_counters::{DeliveryResult, GatewayCounters};
use crate::inbox_core::{DeliverySettings, InboxCore};
use crate::message_records::{DeliveryOutcome, DueMessage, HastenScope, PruneLimits};
use crate::tap;
use crate::verdict::AppVerdict;

/// How long the dispatcher rests when the queue's file cannot be used.
const QUEUE_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long it sleeps at most; old ends are cleared away then.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);
/// What is due goes after this at the earliest: times are written in milliseconds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// A clock that went back by more was set back.
const DISORDER: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
/// WeChat's longest schedule of repeats ends after 46 days; so long they hear the same answer.
const DEED_KEEP: Duration = Duration::from_hours(60 * 24);
/// Apple decides alone when three questions of 3 seconds each had no answer.
const REFUND_QUERY: Duration = Duration::from_mins(1);
/// After how many refusals a message no longer holds up its user's later ones.
const ASIDE_REFUSALS: u32 = 10;
/// How often a mini program whose messages do not get through is warned of.
pub(crate) const WARN_INTERVAL: Duration = Duration::from_mins(10);
/// More of them are not told apart.
pub(crate) const WARN_SUBJECTS: usize = 1024;

/// Warned of as often as a mini program, whose name this cannot be.
const QUEUE: &str = "the message queue";

/// How many deliveries that ended may wait to be heard of.
const ENDS: usize = 64;

/// The task that delivers.
pub(crate) struct MessageDispatcher {
    pub(crate) core: Arc<InboxCore>,
    pub(crate) clock: Clock,
    pub(crate) tokens: RandomSource,
    pub(crate) work: Work,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
    pub(crate) tap: TrafficTap,
    pub(crate) counters: GatewayCounters,
    /// By mini program, and whether it is about messages given up.
    pub(crate) warnings: LogLimit,
}

/// What one delivery told the dispatcher at its end.
struct DeliveryEnd {
    seq: i64,
    appid: String,
    /// Whether the app answered at all.
    reached: bool,
}

/// Why the app did not take a message.
struct DeliveryFailure {
    rule: Option<EventRule>,
    /// Whether the app answered at all.
    reached: bool,
    why: String,
}

/// What the dispatcher remembers.
#[derive(Default)]
struct DispatchState {
    under_way: HashSet<i64>,
    /// Apps that did not answer the last time.
    away: HashSet<String>,
    pruned_at: Option<UnixMillis>,
    /// When the queue was last looked at.
    looked_at: Option<UnixMillis>,
    /// By what deliveries went then.
    delivery: Option<Arc<DeliverySettings>>,
    /// Mini programs that are not there and have messages, as the log was told.
    stranded: HashSet<String>,
}

impl MessageDispatcher {
    /// Delivers until weappd closes; deliveries under way then are waited for.
    pub(crate) async fn run(self) {
        let dispatcher = Arc::new(self);
        let (tell, mut told) = mpsc::channel(ENDS);
        let mut state = DispatchState::default();
        while !dispatcher.stop.is_asked() {
            let pause = dispatcher.start_due(&mut state, &tell).await;
            tokio::select! {
                () = dispatcher.stop.asked() => break,
                () = dispatcher.core.wake.notified() => {}
                Some(end) = told.recv() => dispatcher.finish(&mut state, end).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
        while !state.under_way.is_empty() {
            let Some(end) = told.recv().await else {
                return;
            };
            state.under_way.remove(&end.seq);
        }
    }

    /// Starts what is due, as far as hands are free; tells how long to sleep.
    async fn start_due(
        self: &Arc<Self>,
        state: &mut DispatchState,
        tell: &mpsc::Sender<DeliveryEnd>,
    ) -> Duration {
        let now = self.clock.unix_millis();
        let delivery = self.core.delivery.load_full();
        self.tell_stranded(state, &delivery).await;
        self.hasten_if_clock_went_back(state, &delivery, now).await;
        self.prune(state, &delivery, now).await;
        let at_once = delivery.config.at_once;
        let free = at_once.saturating_sub(state.under_way.len());
        if free == 0 {
            return LONGEST_SLEEP;
        }
        let queue = &self.core.queue;
        let due = match queue.due(now, at_once * 2, &delivery.appids).await {
            Ok(due) => due,
            Err(error) => {
                // It is tried every second, maybe for days.
                if let Some(untold) = self.warnings.permit(QUEUE) {
                    let error = chain(&error);
                    tracing::error!(error, untold, "the message queue cannot be read");
                }
                return QUEUE_RETRY_PAUSE;
            }
        };
        let fresh: Vec<DueMessage> = due
            .into_iter()
            .filter(|due| !state.under_way.contains(&due.seq))
            .take(free)
            .collect();
        for due in fresh {
            state.under_way.insert(due.seq);
            let (dispatcher, tell) = (Arc::clone(self), tell.clone());
            let delivery = Arc::clone(&delivery);
            self.tasks.spawn_on(&self.work, async move {
                let span = tracing::debug_span!(
                    "delivery",
                    request.id = due.message.request_id(),
                    message.id = due.seq,
                    appid = due.message.appid,
                    kind = due.message.kind,
                );
                let delivering = dispatcher.deliver_once(due, &delivery);
                let end = delivering.instrument(span).await;
                // The dispatcher waits for all deliveries under way, unless it is cut short.
                drop(tell.send(end).await);
            });
        }
        match queue.next_due(now, &delivery.appids).await {
            Ok(Some(due)) => due.since(now).clamp(SHORTEST_PAUSE, LONGEST_SLEEP),
            Ok(None) => LONGEST_SLEEP,
            Err(_) => QUEUE_RETRY_PAUSE,
        }
    }

    /// A delivery is over. An app that was away and is back gets what waits at once.
    async fn finish(&self, state: &mut DispatchState, end: DeliveryEnd) {
        state.under_way.remove(&end.seq);
        if !end.reached {
            state.away.insert(end.appid);
        } else if state.away.remove(&end.appid) {
            let now = self.clock.unix_millis();
            let hasten = HastenScope {
                appid: Some(end.appid),
                now,
                after: now,
            };
            if let Err(error) = self.core.queue.hasten(hasten).await {
                tracing::warn!(error = chain(&error), "messages wait longer than they must");
            }
        }
    }

    /// One try of one message.
    async fn deliver_once(&self, due: DueMessage, delivery: &DeliverySettings) -> DeliveryEnd {
        let config = &delivery.config;
        let message = &due.message;
        tap::delivering(&self.tap, message);
        let patience = Duration::from_millis(config.deliver_timeout_ms);
        let begun = Instant::now();
        let answer = tokio::time::timeout(patience, delivery.deliver.deliver(message)).await;
        self.counters.delivery_time.observe(begun.elapsed());
        let rule = EventRule::of_kind(&message.kind);
        let (verdict, shown) = match answer {
            Ok(Ok(answer)) => {
                let verdict = AppVerdict::of(rule.as_ref(), &answer, &message.body);
                let status = answer.status.as_u16();
                let plain = || format!("the app answered HTTP {status}");
                let shown = verdict.why().map_or_else(plain, str::to_owned);
                (verdict, shown)
            }
            Ok(Err(undelivered)) => (
                AppVerdict::Absent(undelivered.to_string()),
                undelivered.to_string(),
            ),
            Err(_) => {
                let why = "the app did not answer in time".to_owned();
                (AppVerdict::Absent(why.clone()), why)
            }
        };
        tap::delivered(&self.tap, message, &shown);
        self.counters.deliveries.inc(result_of(&verdict));
        let end = DeliveryEnd {
            seq: due.seq,
            appid: message.appid.clone(),
            reached: !matches!(verdict, AppVerdict::Absent(_)),
        };
        let now = self.clock.unix_millis();
        let outcome = match verdict.why() {
            None => DeliveryOutcome::Delivered(kept_answer(config, &message.kind, rule, &verdict)),
            Some(why) => {
                let failure = DeliveryFailure {
                    rule,
                    reached: end.reached,
                    why: why.to_owned(),
                };
                self.outcome_of_failure(&due, failure, config, now)
            }
        };
        // On the disk before WeChat hears of it: what it was told is known after a restart.
        let settled = self.core.queue.settle(due.seq, outcome, now).await;
        self.core.replies.give(&message.appid, &due.key, &verdict);
        if let Err(error) = settled {
            tracing::error!(
                error = chain(&error),
                message.id = due.seq,
                "what became of a message could not be written; it may be delivered again"
            );
            tokio::time::sleep(QUEUE_RETRY_PAUSE).await;
        }
        end
    }

    /// Messages of a mini program that is not there wait for its return; the log is told once.
    async fn tell_stranded(&self, state: &mut DispatchState, delivery: &Arc<DeliverySettings>) {
        let known = state.delivery.as_ref();
        if known.is_some_and(|known| Arc::ptr_eq(known, delivery)) {
            return;
        }
        // What cannot be read now is told of by whoever reads what is due.
        let Ok(stranded) = self.core.queue.stranded(&delivery.appids).await else {
            return;
        };
        state.delivery = Some(Arc::clone(delivery));
        let mut names = HashSet::new();
        for (appid, waiting) in stranded {
            if !state.stranded.contains(&appid) {
                tracing::warn!(
                    appid,
                    waiting,
                    "messages wait for a mini program that is configured no more; they are kept \
                     and go when it is there again"
                );
            }
            names.insert(appid);
        }
        state.stranded = names;
    }

    /// What becomes of a message the app did not take.
    fn outcome_of_failure(
        &self,
        due: &DueMessage,
        DeliveryFailure { rule, reached, why }: DeliveryFailure,
        config: &InboxConfig,
        now: UnixMillis,
    ) -> DeliveryOutcome {
        let refusals = due.refusals.saturating_add(u32::from(reached));
        let is_deed = rule.is_some_and(|rule| rule.is_deed());
        let age = now.since(due.came);
        let most = match rule {
            Some(rule) if rule.answer == AnswerForm::RefundQuery => REFUND_QUERY,
            _ => HOUR * config.max_age_hours,
        };
        let most_refusals = config.max_refusals;
        let is_over = age >= most || (most_refusals > 0 && refusals >= most_refusals);
        let message = &due.message;
        let what = format!("{} {is_over}", message.appid);
        if let Some(others) = self.warnings.permit(&what) {
            let words = if is_over {
                "a message was given up: it is a dead letter now; `weappd inbox list` shows all"
            } else {
                "a message was not taken; it goes again, at growing intervals, as do others that \
                 are not: `weappd inbox status`"
            };
            tracing::warn!(
                message.id = due.seq,
                appid = message.appid,
                openid = message.openid,
                kind = message.kind,
                tries = message.tries.saturating_add(1),
                others,
                why,
                "{words}"
            );
        }
        if is_over {
            self.counters.given_up.inc();
            return DeliveryOutcome::Dead { why };
        }
        DeliveryOutcome::Again {
            due: now + self.pause(message.tries, config),
            refused: reached,
            aside: reached && (is_deed || refusals >= ASIDE_REFUSALS),
            why,
        }
    }

    /// The pause after the try number `tries`: it doubles, and is drawn from its longer
    /// half, so that not all come back at once.
    fn pause(&self, tries: u32, config: &InboxConfig) -> Duration {
        let backoff = RetryBackoff {
            first: Duration::from_millis(config.first_pause_ms.max(1)),
            longest: Duration::from_millis(config.longest_pause_ms),
            jitter: JitterRange::UpperHalf,
        };
        backoff.pause(tries, &self.tokens).max(SHORTEST_PAUSE)
    }

    /// What was to wait by a clock that was fast goes now: nothing waits longer than the longest
    /// pause, and nothing for a time that was told before the clock was set back.
    async fn hasten_if_clock_went_back(
        &self,
        state: &mut DispatchState,
        delivery: &DeliverySettings,
        now: UnixMillis,
    ) {
        let longest = Duration::from_millis(delivery.config.longest_pause_ms);
        let after = match state.looked_at.replace(now) {
            None => now + longest,
            Some(before) if now < before - DISORDER => now,
            Some(_) => return,
        };
        let hasten = HastenScope {
            appid: None,
            now,
            after,
        };
        if let Err(error) = self.core.queue.hasten(hasten).await {
            state.looked_at = None;
            tracing::warn!(error = chain(&error), "messages wait longer than they must");
        }
    }

    async fn prune(&self, state: &mut DispatchState, delivery: &DeliverySettings, now: UnixMillis) {
        if state
            .pruned_at
            .is_some_and(|at| now >= at && now.since(at) < HOUR)
        {
            return;
        }
        state.pruned_at = Some(now);
        let keep = HOUR * delivery.config.keep_hours;
        let before = PruneLimits {
            delivered: now - keep,
            deeds: now - keep.max(DEED_KEEP),
            dead: now - HOUR * 24 * delivery.config.dead_days,
        };
        if let Err(error) = self.core.queue.prune(before).await {
            tracing::warn!(
                error = chain(&error),
                "old messages could not be cleared away"
            );
        }
    }
}

fn result_of(verdict: &AppVerdict) -> DeliveryResult {
    match verdict {
        AppVerdict::Taken(_) => DeliveryResult::Taken,
        AppVerdict::Refused { .. } => DeliveryResult::Refused,
        AppVerdict::Absent(_) => DeliveryResult::Absent,
    }
}

/// The answer that a repeated push hears.
fn kept_answer(
    config: &InboxConfig,
    kind: &String,
    rule: Option<EventRule>,
    verdict: &AppVerdict,
) -> Option<String> {
    let AppVerdict::Taken(words) = verdict else {
        return None;
    };
    let is_kept = rule.is_some_and(|rule| rule.is_deed()) || config.reply_to.contains(kind);
    is_kept.then(|| words.clone())
}
