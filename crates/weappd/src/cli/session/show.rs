//! `weappd session show`: one session or one user, for people and for programs.

use std::path::Path;
use weappd_base::language::pick;
use weappd_base::words;

use hyper::Method;
use serde_json::{Value, json};
use weappd_base::clock::Clock;
use weappd_base::unix_time::UnixSecs;

use super::{named, session_hint};
use crate::cli::running::{self, good, moment, read, secs, text};
use crate::cli::say;
use crate::control;
use crate::exit::ExitFailure;

pub(super) async fn run(
    data_dir: &Path,
    which: &str,
    appid: Option<&str>,
    as_json: bool,
) -> Result<(), ExitFailure> {
    // Numbers are sessions: openids begin with a letter.
    let session = which.parse::<i64>().ok();
    let path = match session {
        Some(number) => format!("/sessions/{number}"),
        None => format!("/users?{}", named(which, appid)),
    };
    let answer = control::ask(data_dir, Method::GET, &path).await?;
    let mut users = read(&good(answer, session_hint()).await?)?["users"].take();
    if let Some(list) = users.as_array_mut() {
        list.retain(|user| appid.is_none_or(|appid| user["appid"] == appid));
        for user in list {
            only(user, session);
        }
    }
    let list = users.as_array().map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        return Err(match session {
            Some(number) => ExitFailure::say(
                words!(
                    "no session has the number {number}",
                    "没有编号为 {number} 的会话"
                ),
                pick(
                    "`weappd session list --openid …` shows a user's sessions",
                    "`weappd session list --openid …` 列出一个用户的会话",
                ),
            ),
            None => ExitFailure::say(
                words!(
                    "no user has the openid {}",
                    "没有 openid 为 {} 的用户",
                    text(&Value::from(which))
                ),
                pick(
                    "openids differ from one mini program to the next; is it of this one?",
                    "同一个用户在不同小程序里的 openid 不同；这个 openid 属于该小程序吗？",
                ),
            ),
        });
    }
    if as_json {
        say(json!({"users": list}));
    } else {
        let now = Clock::system().unix_secs();
        let shown: Vec<_> = list.iter().map(|user| described(user, now)).collect();
        say(shown.join("\n\n"));
    }
    Ok(())
}

/// Leaves a user no session but the one that was asked for.
fn only(user: &mut Value, session: Option<i64>) {
    if let (Some(number), Some(sessions)) = (session, user["sessions"].as_array_mut()) {
        sessions.retain(|session| session["session"] == number);
    }
}

/// A user and their sessions, for people.
fn described(user: &Value, now: UnixSecs) -> String {
    let at = |name: &str| moment(secs(&user[name]), now);
    let phone = match &user["phone"] {
        Value::Null => "none".to_owned(),
        phone => {
            let by = match user["phone_source"].as_str() {
                Some("code") => "by a code",
                _ => "by encrypted data",
            };
            format!("{}, proven {by} {}", text(phone), at("phone_verified_at"))
        }
    };
    let keys = user["keys_given"].as_array().map_or(&[][..], Vec::as_slice);
    let keys = match keys {
        [] => "none".to_owned(),
        [newest, ..] => {
            let newest = moment(secs(newest), now);
            format!("{} kept, the newest given {newest}", keys.len())
        }
    };
    let facts = [
        ["openid", &text(&user["openid"])],
        ["appid", &text(&user["appid"])],
        ["unionid", &text(&user["unionid"])],
        ["id", &text(&user["id"])],
        ["first login", &at("first_login")],
        ["last login", &at("last_login")],
        ["phone", &phone],
        ["session keys", &keys],
    ]
    .map(|fact| fact.map(str::to_owned));
    let sessions = user["sessions"].as_array().map_or(&[][..], Vec::as_slice);
    format!("{}\n\n{}", running::table(&facts), table(sessions, now))
}

fn table(sessions: &[Value], now: UnixSecs) -> String {
    if sessions.is_empty() {
        return pick("no sessions", "没有会话").to_owned();
    }
    let head = ["id", "opened", "last visit", "ends", "device", "address"];
    let mut rows = vec![head.map(str::to_owned)];
    for session in sessions {
        rows.push([
            text(&session["session"]),
            moment(secs(&session["created"]), now),
            moment(secs(&session["last_visit"]), now),
            moment(secs(&session["expires_at"]), now),
            text(&session["device"]),
            text(&session["address"]),
        ]);
    }
    running::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Value {
        json!({
            "appid": "wx1", "openid": "o1", "unionid": null, "id": "i1",
            "first_login": 1000, "last_login": 90_995,
            "phone": "+86 138****8000", "phone_source": "code", "phone_verified_at": 90_940,
            "keys_given": [90_995, 1000],
            "sessions": [
                {"session": 12, "created": 90_940, "last_visit": 90_995, "expires_at": 98_200,
                 "device": "iPhone, iOS 17.5, WeChat 8.0.49", "address": "192.0.2.1"},
                {"session": 7, "created": 1000, "last_visit": 1000, "expires_at": 98_200,
                 "device": null, "address": null},
            ],
        })
    }

    #[test]
    fn a_user_is_described_in_a_few_lines() {
        assert_eq!(
            described(&user(), UnixSecs::new(91_000)),
            "openid        o1\n\
             appid         wx1\n\
             unionid       -\n\
             id            i1\n\
             first login   1d1h ago\n\
             last login    5s ago\n\
             phone         +86 138****8000, proven by a code 1m0s ago\n\
             session keys  2 kept, the newest given 5s ago\n\
             \n\
             id  opened    last visit  ends     device                           address\n\
             12  1m0s ago  5s ago      in 2h0m  iPhone, iOS 17.5, WeChat 8.0.49  192.0.2.1\n\
             7   1d1h ago  1d1h ago    in 2h0m  -                                -"
        );
    }

    #[test]
    fn one_session_is_shown_alone_and_nothing_known_is_said() {
        let mut one = user();
        only(&mut one, Some(7));
        assert_eq!(one["sessions"].as_array().map(Vec::len), Some(1));
        one["phone_source"] = json!("encrypted_data");
        assert!(
            described(&one, UnixSecs::new(91_000)).contains("proven by encrypted data 1m0s ago")
        );
        one["phone"] = Value::Null;
        one["keys_given"] = json!([]);
        one["sessions"] = json!([]);
        let said = described(&one, UnixSecs::new(91_000));
        assert!(said.contains("phone         none\n"), "{said}");
        assert!(said.contains("session keys  none\n"), "{said}");
        assert!(said.ends_with("\n\nno sessions"), "{said}");
    }
}
