//! The `access_token`s: two families that know nothing of each other.
//!
//! `GET /cgi-bin/token` makes a new token each time, and the one before lives 5 minutes
//! more. `POST /cgi-bin/stable_token` gives the same token until its last 5 minutes, when
//! a new one joins it; by force, at most 20 times a day and 30 seconds apart, it replaces
//! it at once. (Source: the official pages on interface credentials.)

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use weappd_base::random::RandomSource;
use weappd_base::secret::mask;
use weappd_base::unix_time::UnixSecs;

use crate::wechat_refusal::WechatRefusal;

/// How long two tokens live beside each other.
const OVERLAP: Duration = Duration::from_mins(5);
/// Forced refreshes a day.
const FORCES_A_DAY: u32 = 20;
/// What lies between two of them.
const FORCE_PAUSE: Duration = Duration::from_secs(30);
/// The most tokens remembered; the oldest are forgotten, and are then 40014.
const MAX_TOKENS: usize = 2000;
/// Days begin in Beijing.
const BEIJING_OFFSET: Duration = Duration::from_hours(8);

/// Which call made a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TokenFamily {
    /// `/cgi-bin/token`.
    Classic,
    /// `/cgi-bin/stable_token`.
    Stable,
}

#[derive(Debug)]
struct IssuedToken {
    appid: String,
    family: TokenFamily,
    ends: UnixSecs,
    /// When a newer token puts this one out of use.
    replaced: Option<UnixSecs>,
}

/// One family's account of one mini program.
#[derive(Debug, Default)]
struct TokenAccount {
    latest: Option<String>,
    /// Calls counted against the day's quota.
    asked: DailyCount,
    forced: DailyCount,
    forced_at: Option<UnixSecs>,
}

#[derive(Debug, Default)]
struct DailyCount {
    day: i64,
    count: u32,
}

impl DailyCount {
    /// Counts one more today, unless `limit` is reached.
    fn take(&mut self, now: UnixSecs, limit: u32) -> bool {
        let day = (now + BEIJING_OFFSET).get().div_euclid(86_400);
        if day != self.day {
            *self = Self { day, count: 0 };
        }
        let may = self.count < limit;
        self.count += u32::from(may);
        may
    }
}

/// All tokens handed out.
#[derive(Debug, Default)]
pub(crate) struct TokenBook {
    issued: HashMap<String, IssuedToken>,
    oldest_first: VecDeque<String>,
    accounts: HashMap<(String, TokenFamily), TokenAccount>,
}

/// What a caller gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenGrant {
    pub(crate) token: String,
    /// In seconds.
    pub(crate) expires_in: u64,
}

/// What it takes to hand one out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenMint<'a> {
    pub(crate) random: &'a RandomSource,
    pub(crate) now: UnixSecs,
    /// How long a token lives.
    pub(crate) lives: Duration,
}

impl TokenBook {
    /// `GET /cgi-bin/token`.
    pub(crate) fn classic(
        &mut self,
        appid: &str,
        mint: TokenMint<'_>,
        a_day: u32,
    ) -> Result<TokenGrant, WechatRefusal> {
        let account = self.account(appid, TokenFamily::Classic);
        if !account.asked.take(mint.now, a_day) {
            return Err(WechatRefusal::DayLimit);
        }
        let before = account.latest.clone();
        self.replace(before.as_deref(), mint.now + OVERLAP);
        Ok(self.issue(appid, TokenFamily::Classic, mint))
    }

    /// `POST /cgi-bin/stable_token`.
    pub(crate) fn stable(&mut self, appid: &str, mint: TokenMint<'_>, force: bool) -> TokenGrant {
        let now = mint.now;
        let account = self.account(appid, TokenFamily::Stable);
        let latest = account.latest.clone();
        let rested = account.forced_at.is_none_or(|at| now >= at + FORCE_PAUSE);
        if force && rested && account.forced.take(now, FORCES_A_DAY) {
            account.forced_at = Some(now);
            self.replace(latest.as_deref(), now);
            return self.issue(appid, TokenFamily::Stable, mint);
        }
        let left = latest
            .as_ref()
            .and_then(|token| self.issued.get(token))
            .map_or(Duration::ZERO, |issued| issued.ends.since(now));
        match latest {
            Some(token) if left > OVERLAP => TokenGrant {
                token,
                expires_in: left.as_secs(),
            },
            // The one before ends by itself, within the 5 minutes they share.
            _ => self.issue(appid, TokenFamily::Stable, mint),
        }
    }

    /// The mini program that `token` speaks for.
    pub(crate) fn check(&self, token: &str, now: UnixSecs) -> Result<&str, WechatRefusal> {
        if token.is_empty() {
            return Err(WechatRefusal::TokenMissing);
        }
        let issued = self.issued.get(token).ok_or(WechatRefusal::TokenInvalid)?;
        match issued.replaced {
            Some(replaced) if replaced <= now && replaced < issued.ends => {
                Err(WechatRefusal::TokenNotLatest)
            }
            _ if issued.ends <= now => Err(WechatRefusal::TokenExpired),
            _ => Ok(&issued.appid),
        }
    }

    /// The tokens that work now, newest first, masked.
    pub(crate) fn list(&self, now: UnixSecs) -> Vec<Value> {
        let alive = self.oldest_first.iter().rev().filter(|token| {
            let token: &str = token;
            self.check(token, now).is_ok()
        });
        alive
            .filter_map(|token| Some((token, self.issued.get(token)?)))
            .take(20)
            .map(|(token, issued)| {
                let ends = issued
                    .replaced
                    .map_or(issued.ends, |at| at.min(issued.ends));
                json!({
                    "token": mask(token),
                    "appid": issued.appid,
                    "family": match issued.family {
                        TokenFamily::Classic => "token",
                        TokenFamily::Stable => "stable_token",
                    },
                    "latest": issued.replaced.is_none(),
                    "left_secs": ends.since(now).as_secs(),
                })
            })
            .collect()
    }

    fn account(&mut self, appid: &str, family: TokenFamily) -> &mut TokenAccount {
        self.accounts.entry((appid.to_owned(), family)).or_default()
    }

    fn replace(&mut self, token: Option<&str>, at: UnixSecs) {
        if let Some(issued) = token.and_then(|token| self.issued.get_mut(token)) {
            issued.replaced = Some(at);
        }
    }

    fn issue(&mut self, appid: &str, family: TokenFamily, mint: TokenMint<'_>) -> TokenGrant {
        if self.oldest_first.len() >= MAX_TOKENS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.issued.remove(&oldest);
        }
        // WeChat's begin with a number and have well over a hundred characters.
        let token = format!(
            "{}_{}{}{}",
            95 + u8::from(family == TokenFamily::Stable),
            mint.random.url256(),
            mint.random.url256(),
            mint.random.url256()
        );
        let issued = IssuedToken {
            appid: appid.to_owned(),
            family,
            ends: mint.now + mint.lives,
            replaced: None,
        };
        self.issued.insert(token.clone(), issued);
        self.oldest_first.push_back(token.clone());
        self.account(appid, family).latest = Some(token.clone());
        TokenGrant {
            token,
            expires_in: mint.lives.as_secs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: Duration = Duration::from_hours(2);

    struct Desk {
        book: TokenBook,
        random: RandomSource,
    }

    impl Desk {
        fn new() -> Self {
            Self {
                book: TokenBook::default(),
                random: RandomSource::seeded(1),
            }
        }

        fn classic(&mut self, now: i64) -> String {
            let mint = TokenMint {
                random: &self.random,
                now: UnixSecs::new(now),
                lives: LIVES,
            };
            self.book.classic("wx1", mint, 2000).expect("a token").token
        }

        fn stable(&mut self, now: i64, force: bool) -> TokenGrant {
            let mint = TokenMint {
                random: &self.random,
                now: UnixSecs::new(now),
                lives: LIVES,
            };
            self.book.stable("wx1", mint, force)
        }

        fn check(&self, token: &str, now: i64) -> Result<&str, WechatRefusal> {
            self.book.check(token, UnixSecs::new(now))
        }
    }

    #[test]
    fn a_classic_token_outlives_the_next_one_by_five_minutes() {
        let mut desk = Desk::new();
        let first = desk.classic(0);
        assert!(first.len() > 100);
        let second = desk.classic(100);
        assert_ne!(first, second);
        assert_eq!(desk.check(&first, 399), Ok("wx1"));
        assert_eq!(desk.check(&first, 400), Err(WechatRefusal::TokenNotLatest));
        assert_eq!(desk.check(&second, 7299), Ok("wx1"));
        assert_eq!(desk.check(&second, 7300), Err(WechatRefusal::TokenExpired));
    }

    #[test]
    fn a_token_replaced_in_its_last_minutes_is_expired_and_no_worse() {
        let mut desk = Desk::new();
        let first = desk.classic(0);
        desk.classic(7100);
        assert_eq!(desk.check(&first, 7199), Ok("wx1"));
        assert_eq!(desk.check(&first, 7200), Err(WechatRefusal::TokenExpired));
    }

    #[test]
    fn a_stable_token_stays_and_tells_what_is_left() {
        let mut desk = Desk::new();
        let first = desk.stable(0, false);
        assert_eq!(first.expires_in, 7200);
        let again = desk.stable(6899, false);
        assert_eq!((&again.token, again.expires_in), (&first.token, 301));
        // In the last five minutes a new one joins, and both work.
        let next = desk.stable(6900, false);
        assert_ne!(next.token, first.token);
        assert_eq!(next.expires_in, 7200);
        assert_eq!(desk.check(&first.token, 7199), Ok("wx1"));
        assert_eq!(desk.check(&next.token, 7199), Ok("wx1"));
        assert_eq!(
            desk.check(&first.token, 7200),
            Err(WechatRefusal::TokenExpired)
        );
    }

    #[test]
    fn force_ends_the_token_before_and_rests_thirty_seconds() {
        let mut desk = Desk::new();
        let first = desk.stable(0, false);
        let forced = desk.stable(10, true);
        assert_ne!(first.token, forced.token);
        assert_eq!(
            desk.check(&first.token, 10),
            Err(WechatRefusal::TokenNotLatest)
        );
        let early = desk.stable(39, true);
        assert_eq!(early.token, forced.token);
        assert_ne!(desk.stable(40, true).token, forced.token);
    }

    #[test]
    fn force_works_twenty_times_a_day_of_beijing() {
        let mut desk = Desk::new();
        // Just after midnight in Beijing.
        let midnight = 16 * 3600;
        for n in 0..20 {
            let before = desk.stable(midnight + n * 30, false).token;
            assert_ne!(desk.stable(midnight + n * 30, true).token, before, "{n}");
        }
        let last = desk.stable(midnight + 601, false).token;
        assert_eq!(desk.stable(midnight + 3600, true).token, last);
        assert_ne!(desk.stable(midnight + 86_400, true).token, last);
    }

    #[test]
    fn the_families_do_not_touch_each_other() {
        let mut desk = Desk::new();
        let classic = desk.classic(0);
        let stable = desk.stable(0, false).token;
        desk.stable(1, true);
        assert_eq!(desk.check(&classic, 2), Ok("wx1"));
        let stable_now = desk.stable(2, false).token;
        desk.classic(3);
        desk.classic(4);
        assert_eq!(desk.check(&stable_now, 1000), Ok("wx1"));
        assert_eq!(desk.check(&stable, 2), Err(WechatRefusal::TokenNotLatest));
    }

    #[test]
    fn classic_tokens_have_a_daily_quota() {
        let mut desk = Desk::new();
        let tokens = desk.random.clone();
        let mint = |now| TokenMint {
            random: &tokens,
            now,
            lives: LIVES,
        };
        assert!(desk.book.classic("wx1", mint(UnixSecs::new(0)), 1).is_ok());
        assert_eq!(
            desk.book.classic("wx1", mint(UnixSecs::new(1)), 1),
            Err(WechatRefusal::DayLimit)
        );
        assert!(desk.book.classic("wx2", mint(UnixSecs::new(1)), 1).is_ok());
        assert!(
            desk.book
                .classic("wx1", mint(UnixSecs::new(86_400)), 1)
                .is_ok()
        );
    }

    #[test]
    fn tokens_are_bounded_and_strange_ones_invalid() {
        let mut desk = Desk::new();
        assert_eq!(desk.check("", 0), Err(WechatRefusal::TokenMissing));
        assert_eq!(desk.check("nobody's", 0), Err(WechatRefusal::TokenInvalid));
        let first = desk.stable(0, false).token;
        for _ in 0..MAX_TOKENS {
            let mint = TokenMint {
                random: &desk.random,
                now: UnixSecs::new(0),
                lives: LIVES,
            };
            assert!(desk.book.classic("wx1", mint, u32::MAX).is_ok());
        }
        assert_eq!(desk.book.issued.len(), MAX_TOKENS);
        assert_eq!(desk.check(&first, 0), Err(WechatRefusal::TokenInvalid));
        // A forgotten stable token is simply made anew.
        assert_ne!(desk.stable(0, false).token, first);
    }
}
