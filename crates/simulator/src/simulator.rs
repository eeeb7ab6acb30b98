//! The head of the room: the mini programs, the users and what they hold.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Tasks;
use weappd_base::unix_time::{UnixMillis, UnixSecs};
use weappd_wechat::AppCredential;

use crate::app_seals::AppSeals;
use crate::call_log::{CallLog, CallRecord};
use crate::call_quota::CallQuota;
use crate::code_table::CodeTable;
use crate::error::Error;
use crate::faults::FaultSettings;
use crate::minute_meter::MinuteMeter;
use crate::push_target::PushBook;
use crate::reply_windows::ReplyWindows;
use crate::settings::SimulatorSettings;
use crate::token_book::TokenBook;
use crate::user_keys::{EncryptedHashes, UserKeys};
use crate::user_name::UserName;
use crate::wechat_refusal::WechatRefusal;

/// The most users one simulator holds.
const MAX_USERS: usize = 200_000;
/// The most messages a user's phone keeps.
const MAX_INBOX: usize = 100;
/// How far the time can be moved in all: ten years either way.
const MAX_OFFSET_SECS: i64 = 10 * 366 * 86_400;

/// What a simulator is made of.
#[derive(Debug)]
pub struct SimulatorParts {
    /// The mini programs WeChat knows; a phone that names none runs the first.
    pub mini_apps: Vec<SimulatedApp>,
    /// Where phones reach this simulator, for avatar addresses: `http://127.0.0.1:8082`.
    pub public_url: String,
    /// What time it is; tests move it to age codes and sessions.
    pub clock: Clock,
    /// Where codes and session keys come from.
    pub random: RandomSource,
    /// Where the phone's calls to WeChat are reported.
    pub tap: TrafficTap,
    /// What owns the messages on their way to the server.
    pub tasks: Tasks,
}

/// A mini program registered with the simulated WeChat.
#[derive(Clone, Debug)]
pub struct SimulatedApp {
    /// Its `AppID` and `AppSecret`.
    pub credential: AppCredential,
    /// Whether it is bound to an Open Platform account, so that users have a unionid.
    pub has_unionid: bool,
}

/// A fake WeChat with its users' phones. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mini_apps: Vec<Arc<SimulatedApp>>,
    public_url: String,
    clock: Clock,
    random: RandomSource,
    tap: TrafficTap,
    tasks: Tasks,
    /// Seconds by which the simulator's time is ahead of the clock.
    offset_secs: AtomicI64,
    next_message: AtomicU64,
    /// Held for moments only, never across an await.
    state: Mutex<SimulatorState>,
}

/// Everything that changes.
#[derive(Debug, Default)]
pub(crate) struct SimulatorState {
    appids: Vec<String>,
    users: HashMap<UserName, SimulatedUser>,
    /// Whose an openid is, and in which mini program.
    openids: HashMap<String, (String, UserName)>,
    pub(crate) codes: CodeTable,
    pub(crate) phone_codes: CodeTable,
    pub(crate) token_book: TokenBook,
    pub(crate) meter: MinuteMeter,
    /// Pictures of codes made of the pool that has an end, by appid.
    pub(crate) pictures: HashMap<String, u32>,
    pub(crate) faults: FaultSettings,
    pub(crate) settings: SimulatorSettings,
    pub(crate) push: PushBook,
    pub(crate) calls: CallLog,
    pub(crate) seals: AppSeals,
    pub(crate) quota: CallQuota,
    /// Phone numbers given out encrypted.
    pub(crate) encrypted: EncryptedHashes,
    /// Where the phone page stands, if there is one.
    pub(crate) phone_page: Option<String>,
}

/// What WeChat remembers of a user.
#[derive(Debug, Default)]
pub(crate) struct SimulatedUser {
    /// Whether the user refuses to give data to mini programs.
    pub(crate) refuses: bool,
    /// The login in each mini program, by appid.
    pub(crate) logins: HashMap<String, PhoneLogin>,
    /// Whether WeChat takes the user for a danger and blocks the login.
    pub(crate) risky: bool,
    /// When the user was last in each mini program.
    pub(crate) active_at: HashMap<String, UnixSecs>,
    /// How many messages may be sent, by appid and template.
    pub(crate) subscriptions: HashMap<(String, String), u32>,
    /// How many customer messages may be answered, by appid.
    pub(crate) windows: HashMap<String, ReplyWindows>,
    /// Keys shared with the server, by appid.
    pub(crate) keys: HashMap<String, UserKeys>,
    /// What the phone received, oldest first.
    pub(crate) inbox: VecDeque<Value>,
}

/// A user's login in one mini program.
#[derive(Debug)]
pub(crate) struct PhoneLogin {
    pub(crate) session_key: Secret,
    /// When it was made or used last; use keeps it alive.
    pub(crate) used_at: UnixSecs,
}

impl Simulator {
    /// A simulator whose users appear as they are first named.
    pub fn new(parts: SimulatorParts) -> Result<Self, Error> {
        if parts.mini_apps.is_empty() {
            return Err(Error::NoMiniApp);
        }
        let appids = parts.mini_apps.iter();
        let state = SimulatorState {
            appids: appids.map(|app| app.credential.appid.clone()).collect(),
            ..SimulatorState::default()
        };
        Ok(Self(Arc::new(Shared {
            mini_apps: parts.mini_apps.into_iter().map(Arc::new).collect(),
            public_url: parts.public_url.trim_end_matches('/').to_owned(),
            clock: parts.clock,
            random: parts.random,
            tap: parts.tap,
            tasks: parts.tasks,
            offset_secs: AtomicI64::new(0),
            next_message: AtomicU64::new(1),
            state: Mutex::new(state),
        })))
    }

    /// The operator's page leads to the phone page at `url`.
    pub fn set_phone_page(&self, url: &str) {
        self.with_state(|state| state.phone_page = Some(url.to_owned()));
    }

    /// Sets how WeChat's side misbehaves from now on.
    pub fn set_faults(&self, faults: FaultSettings) {
        self.with_state(|state| state.faults = faults);
    }

    /// How WeChat's side misbehaves now.
    pub fn faults(&self) -> FaultSettings {
        self.with_state(|state| state.faults.clone())
    }

    /// Changes what can be set.
    pub fn set_settings(&self, settings: SimulatorSettings) {
        self.with_state(|state| state.settings = settings);
    }

    /// What is set.
    pub fn settings(&self) -> SimulatorSettings {
        self.with_state(|state| state.settings.clone())
    }

    /// Moves the simulator's time, and nobody else's, by `secs` (negative: back). Tells
    /// how far it is from the clock now.
    pub fn advance(&self, secs: i64) -> Result<i64, Error> {
        let moved = |offset: i64| {
            let offset = offset.checked_add(secs)?;
            (offset.abs() <= MAX_OFFSET_SECS).then_some(offset)
        };
        self.0
            .offset_secs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved)
            .map(|before| before + secs)
            .map_err(|_| Error::Advance)
    }

    pub(crate) fn offset_secs(&self) -> i64 {
        self.0.offset_secs.load(Ordering::Relaxed)
    }

    pub(crate) fn mini_apps(&self) -> &[Arc<SimulatedApp>] {
        &self.0.mini_apps
    }

    pub(crate) fn mini_app(&self, appid: &str) -> Option<&Arc<SimulatedApp>> {
        self.0
            .mini_apps
            .iter()
            .find(|app| app.credential.appid == appid)
    }

    pub(crate) fn first_mini_app(&self) -> Option<&Arc<SimulatedApp>> {
        self.0.mini_apps.first()
    }

    pub(crate) fn now(&self) -> UnixSecs {
        self.now_millis().to_secs()
    }

    pub(crate) fn now_millis(&self) -> UnixMillis {
        let (now, offset) = (self.0.clock.unix_millis(), self.offset_secs());
        let span = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { now - span } else { now + span }
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// A message id as WeChat's: more than a number of JavaScript holds.
    pub(crate) fn message_id(&self) -> u64 {
        24_000_000_000_000_000 + self.0.next_message.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes a call into the log.
    pub(crate) fn log(&self, entry: CallRecord) {
        let entry = entry.tidy();
        self.with_state(|state| state.calls.add(entry));
    }

    pub(crate) fn random(&self) -> &RandomSource {
        &self.0.random
    }

    pub(crate) fn tap(&self) -> &TrafficTap {
        &self.0.tap
    }

    pub(crate) fn avatar_url(&self, user: &UserName) -> String {
        format!("{}/avatar/{}.svg", self.0.public_url, user.as_str())
    }

    pub(crate) fn with_state<T>(&self, deed: impl FnOnce(&mut SimulatorState) -> T) -> T {
        deed(&mut self.0.state.lock())
    }
}

impl SimulatorState {
    /// The user of that name, who appears when first named.
    pub(crate) fn user(&mut self, name: &UserName) -> Result<&mut SimulatedUser, Error> {
        if !self.users.contains_key(name) {
            if self.users.len() >= MAX_USERS {
                return Err(Error::TooManyUsers { limit: MAX_USERS });
            }
            for appid in &self.appids {
                let whose = (appid.clone(), name.clone());
                self.openids.insert(name.openid(appid), whose);
            }
        }
        Ok(self.users.entry(name.clone()).or_default())
    }

    /// The user of that name, if somebody named them before.
    pub(crate) fn known(&self, name: &UserName) -> Option<&SimulatedUser> {
        self.users.get(name)
    }

    /// The user an openid of `appid` belongs to.
    pub(crate) fn user_of(
        &mut self,
        appid: &str,
        openid: &str,
    ) -> Result<(UserName, &mut SimulatedUser), WechatRefusal> {
        let (app, name) = self.openids.get(openid).ok_or(WechatRefusal::Openid)?;
        if app != appid {
            return Err(WechatRefusal::OtherApp);
        }
        let name = name.clone();
        let user = self.users.get_mut(&name).ok_or(WechatRefusal::Openid)?;
        Ok((name, user))
    }

    /// The users who were last active, newest first, at most `most`.
    pub(crate) fn last_users(&self, most: usize) -> Vec<(&UserName, &SimulatedUser)> {
        let seen = |user: &SimulatedUser| user.active_at.values().copied().max();
        let mut users: Vec<_> = self.users.iter().collect();
        let order = |a: &(&UserName, &SimulatedUser), b: &(&UserName, &SimulatedUser)| {
            (seen(b.1), a.0.as_str()).cmp(&(seen(a.1), b.0.as_str()))
        };
        if users.len() > most {
            users.select_nth_unstable_by(most, order);
            users.truncate(most);
        }
        users.sort_unstable_by(order);
        users
    }

    /// How many users there are.
    pub(crate) fn user_count(&self) -> usize {
        self.users.len()
    }
}

impl SimulatedUser {
    /// Puts a message on the phone.
    pub(crate) fn receive(&mut self, message: Value) {
        if self.inbox.len() >= MAX_INBOX {
            self.inbox.pop_front();
        }
        self.inbox.push_back(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_bounded_but_known_ones_stay_welcome() {
        let mut state = SimulatorState::default();
        for n in 0..MAX_USERS {
            let name = UserName::parse(&format!("u{n}")).expect("a name");
            state.user(&name).expect("room for a user");
        }
        let known = UserName::parse("u0").expect("a name");
        let new = UserName::parse("new").expect("a name");
        assert!(state.user(&known).is_ok());
        assert!(matches!(state.user(&new), Err(Error::TooManyUsers { .. })));
    }
}
