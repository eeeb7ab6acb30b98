//! A thousand users who really log in: a code from the simulated phone, exchanged at the
//! server, an skey kept.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;

use crate::bench::http;

/// How many users there are.
pub(super) const USERS: usize = 1000;

/// How many of them log in at a time.
const PHONES: usize = 8;

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// What the phone sends.
    pub(super) skey: String,
    /// Who the server must say it is.
    pub(super) openid: String,
}

/// Logs everybody in at the Wafer 2 server on `site`, with codes of the WeChat on `wechat`.
pub(super) fn log_in(site: u16, wechat: u16) -> Result<Vec<User>, String> {
    let numbers: Vec<usize> = (0..USERS).collect();
    thread::scope(|scope| {
        let phones: Vec<_> = numbers
            .chunks(USERS.div_ceil(PHONES))
            .map(|some| {
                scope.spawn(move || {
                    some.iter()
                        .map(|n| one(site, wechat, *n))
                        .collect::<Result<Vec<User>, String>>()
                })
            })
            .collect();
        let mut users = Vec::with_capacity(USERS);
        for phone in phones {
            users.extend(phone.join().map_err(|_| "a phone broke".to_owned())??);
        }
        Ok(users)
    })
}

fn one(site: u16, wechat: u16, n: usize) -> Result<User, String> {
    let phone = |verb: &str| http::json(wechat, "POST", &format!("/phone/u{n:04}/{verb}"), &[]);
    let login = phone("login")?;
    let info = phone("user_info")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let answer = http::json(
        site,
        "GET",
        "/weapp/login",
        &[
            ("X-WX-Code", &text(&login["code"])),
            ("X-WX-Encrypted-Data", &text(&info["encryptedData"])),
            ("X-WX-IV", &text(&info["iv"])),
        ],
    )?;
    let user = User {
        skey: text(&answer["data"]["skey"]),
        openid: text(&answer["data"]["userinfo"]["openId"]),
    };
    if user.skey.is_empty() || user.openid.is_empty() {
        return Err(format!("user {n} could not log in: {answer}"));
    }
    Ok(user)
}

/// The answer of `GET /weapp/user`; an error unless it is about `user`.
pub(super) fn who_am_i(site: u16, user: &User) -> Result<String, String> {
    let answer = http::text(site, "GET", "/weapp/user", &[("X-WX-Skey", &user.skey)])?;
    let data: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    if data["data"]["openId"] == user.openid.as_str() {
        Ok(answer)
    } else {
        Err(format!("{} got {answer}", user.openid))
    }
}

/// Writes the list wrk reads: an skey and its openId a line.
pub(super) fn write(users: &[User], file: &Path) -> Result<(), String> {
    let mut text = String::new();
    for user in users {
        writeln!(text, "{}\t{}", user.skey, user.openid).map_err(|error| error.to_string())?;
    }
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
