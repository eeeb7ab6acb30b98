//! Everything at a glance, for the operator's page and for tests: `GET /state`.

use serde_json::{Value, json};
use weappd_base::unix_time::UnixSecs;

use crate::phone::LOGIN_LIFE;
use crate::simulator::{SimulatedUser, Simulator, SimulatorState};
use crate::user_name::UserName;

/// The most users shown.
const MAX_USERS: usize = 100;

impl Simulator {
    /// Users, codes, tokens, faults, settings and push, without secrets.
    pub(crate) fn overview(&self) -> Value {
        let now = self.now();
        let push = self.push_shown();
        let mini_apps: Vec<_> = self
            .mini_apps()
            .iter()
            .map(|app| json!({ "appid": app.credential.appid, "has_unionid": app.has_unionid }))
            .collect();
        let first = self
            .first_mini_app()
            .map(|app| app.credential.appid.clone());
        let appid = first.unwrap_or_default();
        let offset = self.offset_secs();
        self.with_state(|state| {
            let users = state.last_users(MAX_USERS).into_iter();
            let users: Vec<_> = users
                .map(|(name, user)| shown(name, user, &appid, now))
                .collect();
            json!({
                "now": now,
                "offset_secs": offset,
                "mini_apps": mini_apps,
                "user_count": state.user_count(),
                "users": users,
                "codes": codes(state, now),
                "tokens": state.token_book.list(now),
                "faults": state.faults,
                "settings": state.settings,
                "push": push,
                "phone_page": state.phone_page,
                "last_call": state.calls.last(),
            })
        })
    }
}

fn codes(state: &SimulatorState, now: UnixSecs) -> Vec<Value> {
    let mut codes = state.codes.list("login", now);
    codes.extend(state.phone_codes.list("phone_number", now));
    codes.sort_by_key(|code| -code["left_secs"].as_i64().unwrap_or(0));
    codes
}

fn shown(name: &UserName, user: &SimulatedUser, appid: &str, now: UnixSecs) -> Value {
    let login = user.logins.get(appid).filter(|login| login.lives(now));
    let subscriptions = user
        .subscriptions
        .iter()
        .filter(|((app, _), _)| app == appid)
        .take(20)
        .map(|((_, template), left)| json!({ "template_id": template, "left": left }));
    json!({
        "name": name.as_str(),
        "nick_name": name.nick_name(),
        "openid": name.openid(appid),
        "logged_in": login.is_some(),
        "session_left_secs": login.map(|login| (login.used_at + LOGIN_LIFE).since(now).as_secs()),
        "allows": !user.refuses,
        "risky": user.risky,
        "active_at": user.active_at.get(appid),
        "subscriptions": subscriptions.collect::<Vec<_>>(),
        "replies_left": user.windows.get(appid).map_or(0, |windows| windows.left(now)),
        "inbox": user.inbox.len(),
    })
}
