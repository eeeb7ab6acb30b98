//! The head of the room: the mini programs, the users and what they hold.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use weappd_base::clock::Clock;
use weappd_base::secret::Secret;
use weappd_base::token::Tokens;
use weappd_base::wiretap::Wiretap;
use weappd_wechat::Credential;

use crate::codes::Codes;
use crate::error::Error;
use crate::faults::Faults;
use crate::user::UserName;

/// The most users one simulator holds.
const MAX_USERS: usize = 200_000;

/// What a simulator is made of.
#[derive(Debug)]
pub struct Parts {
    /// The mini programs WeChat knows; a phone that names none runs the first.
    pub mini_apps: Vec<MiniApp>,
    /// Where phones reach this simulator, for avatar addresses: `http://127.0.0.1:8082`.
    pub public_url: String,
    /// What time it is; tests move it to age codes and sessions.
    pub clock: Clock,
    /// Where codes and session keys come from.
    pub tokens: Tokens,
    /// Where the phone's calls to WeChat are reported.
    pub wiretap: Wiretap,
}

/// A mini program registered with the simulated WeChat.
#[derive(Clone, Debug)]
pub struct MiniApp {
    /// Its `AppID` and `AppSecret`.
    pub credential: Credential,
    /// Whether it is bound to an Open Platform account, so that users have a unionid.
    pub has_unionid: bool,
}

/// A fake WeChat with its users' phones. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mini_apps: Vec<Arc<MiniApp>>,
    public_url: String,
    clock: Clock,
    tokens: Tokens,
    wiretap: Wiretap,
    /// Held for moments only, never across an await.
    state: Mutex<State>,
}

/// Everything that changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    users: HashMap<UserName, User>,
    pub(crate) codes: Codes,
    pub(crate) faults: Faults,
}

/// What WeChat remembers of a user.
#[derive(Debug, Default)]
pub(crate) struct User {
    /// Whether the user refuses to give data to mini programs.
    pub(crate) refuses: bool,
    /// The login in each mini program, by appid.
    pub(crate) logins: HashMap<String, Login>,
}

/// A user's login in one mini program.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) session_key: Secret,
    /// When it was made or used last; use keeps it alive.
    pub(crate) used_at: i64,
}

impl Simulator {
    /// A simulator whose users appear as they are first named.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        if parts.mini_apps.is_empty() {
            return Err(Error::NoMiniApp);
        }
        Ok(Self(Arc::new(Shared {
            mini_apps: parts.mini_apps.into_iter().map(Arc::new).collect(),
            public_url: parts.public_url.trim_end_matches('/').to_owned(),
            clock: parts.clock,
            tokens: parts.tokens,
            wiretap: parts.wiretap,
            state: Mutex::default(),
        })))
    }

    /// Sets how WeChat's side misbehaves from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.with_state(|state| state.faults = faults);
    }

    /// How WeChat's side misbehaves now.
    pub fn faults(&self) -> Faults {
        self.with_state(|state| state.faults.clone())
    }

    pub(crate) fn mini_app(&self, appid: &str) -> Option<&Arc<MiniApp>> {
        self.0
            .mini_apps
            .iter()
            .find(|app| app.credential.appid == appid)
    }

    pub(crate) fn first_mini_app(&self) -> Option<&Arc<MiniApp>> {
        self.0.mini_apps.first()
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.clock.unix_secs()
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn wiretap(&self) -> &Wiretap {
        &self.0.wiretap
    }

    pub(crate) fn avatar_url(&self, user: &UserName) -> String {
        format!("{}/avatar/{}.svg", self.0.public_url, user.as_str())
    }

    pub(crate) fn with_state<T>(&self, deed: impl FnOnce(&mut State) -> T) -> T {
        deed(&mut self.0.state.lock())
    }
}

impl State {
    /// The user of that name, who appears when first named.
    pub(crate) fn user(&mut self, name: &UserName) -> Result<&mut User, Error> {
        if self.users.len() >= MAX_USERS && !self.users.contains_key(name) {
            return Err(Error::TooManyUsers { limit: MAX_USERS });
        }
        Ok(self.users.entry(name.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_bounded_but_known_ones_stay_welcome() {
        let mut state = State::default();
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
