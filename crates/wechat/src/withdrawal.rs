//! Withdrawn consent (授权用户信息变更): what a user told through WeChat, and takes back.
//!
//! Source: WeChat's page on the events `user_authorization_revoke` and
//! `user_authorization_cancellation`.

use serde_json::Value;
use weappd_base::unix_time::UnixSecs;

/// What is taken back, as far as a server may hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawnData {
    /// The name, the picture and whatever else came with them (昵称和头像).
    Profile,
    /// The name that was picked at the keyboard (昵称填写).
    NickName,
    /// The picture that was chosen (头像填写).
    Avatar,
    /// The phone number (手机号).
    PhoneNumber,
    /// The user's WeChat account is closed (注销): everything.
    Account,
}

/// What one user takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentWithdrawal {
    /// The user.
    pub openid: String,
    /// What of; nothing where WeChat names only what no server of ours holds.
    pub data: Vec<WithdrawnData>,
    /// When.
    pub at: Option<UnixSecs>,
}

impl ConsentWithdrawal {
    /// Reads a pushed message; none if it is about something else.
    pub fn read(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let text = |name: &str| message.get(name).and_then(Value::as_str);
        let event = text("Event")?;
        let data = if event.eq_ignore_ascii_case("user_authorization_cancellation") {
            vec![WithdrawnData::Account]
        } else if event.eq_ignore_ascii_case("user_authorization_revoke") {
            scopes(message.get("RevokeInfo").unwrap_or(&Value::Null))
        } else {
            return None;
        };
        let openid = text("OpenID").or_else(|| text("OpenId"))?;
        let at = message.get("CreateTime");
        Some(Self {
            openid: openid.to_owned(),
            data,
            at: at
                .and_then(|at| at.as_i64().or_else(|| at.as_str()?.trim().parse().ok()))
                .map(UnixSecs::new),
        })
    }
}

/// `RevokeInfo`: a number as text; were there several, they would be listed.
fn scopes(info: &Value) -> Vec<WithdrawnData> {
    let info = match info {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(several) => return several.iter().flat_map(scopes).collect(),
        _ => return Vec::new(),
    };
    let numbers = info.split([',', ';', '|', ' ']).map(str::trim);
    let mut data = Vec::new();
    for number in numbers {
        match number {
            // 205 is the same of a page (H5), 301 all that was ever told.
            "6" | "205" => data.push(WithdrawnData::Profile),
            "8" => data.push(WithdrawnData::PhoneNumber),
            "19" => data.push(WithdrawnData::NickName),
            "20" => data.push(WithdrawnData::Avatar),
            "301" => data.extend([WithdrawnData::Profile, WithdrawnData::PhoneNumber]),
            _ => {}
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use WithdrawnData::{Account, Avatar, NickName, PhoneNumber, Profile};
    use proptest::prelude::*;
    use serde_json::json;

    fn message(event: &str, info: &Value) -> String {
        json!({
            "ToUserName": "gh_1", "FromUserName": "oPlatform", "CreateTime": 1_627_359_464,
            "MsgType": "event", "Event": event, "OpenID": "o1", "AppID": "wx1",
            "RevokeInfo": info, "PluginID": "wx2", "OpenPID": "p1",
        })
        .to_string()
    }

    #[test]
    fn what_is_taken_back_is_read() {
        for (info, data) in [
            (json!("6"), vec![Profile]),
            (json!("8"), vec![PhoneNumber]),
            (json!(8), vec![PhoneNumber]),
            (json!("19"), vec![NickName]),
            (json!("20"), vec![Avatar]),
            (json!("301"), vec![Profile, PhoneNumber]),
            (json!("8, 20"), vec![PhoneNumber, Avatar]),
            (json!(["6", 8]), vec![Profile, PhoneNumber]),
            (json!("13"), vec![]),
            (json!("86"), vec![]),
            (Value::Null, vec![]),
        ] {
            let read = ConsentWithdrawal::read(&message("user_authorization_revoke", &info));
            let read = read.expect("a withdrawal");
            assert_eq!(read.openid, "o1");
            assert_eq!(read.at, Some(UnixSecs::new(1_627_359_464)));
            assert_eq!(read.data, data, "{info}");
        }
        let closed = message("USER_authorization_cancellation", &Value::Null);
        assert_eq!(
            ConsentWithdrawal::read(&closed).map(|read| read.data),
            Some(vec![Account])
        );
        for other in ["user_info_modified", "subscribe"] {
            assert_eq!(ConsentWithdrawal::read(&message(other, &json!("8"))), None);
        }
        assert_eq!(ConsentWithdrawal::read("{}"), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(text in ".*", info in ".*") {
            drop(ConsentWithdrawal::read(&text));
            drop(ConsentWithdrawal::read(&message("user_authorization_revoke", &info.into())));
        }
    }
}
