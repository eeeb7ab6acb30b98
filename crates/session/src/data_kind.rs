//! What WeChat encrypted: which kind of data it is, and whether it has that kind's shape.
//!
//! AES-CBC proves nothing of what it hides: whoever changes a bit of the iv changes that bit
//! of the first block, and nobody notices. So data is taken only if every field of it is
//! what WeChat writes: user data names its user, the other kinds have no field too many, and
//! no name is nearly a known one. The shapes are those of the pages on getUserInfo,
//! getUserProfile (which names no user), getPhoneNumber, getWeRunData, getShareInfo
//! (`openGId`) and getGroupEnterInfo (`opengid`).

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::picture_url::is_picture;

/// The longest name of a field, in bytes.
const MAX_NAME: usize = 64;
/// The longest nickname, place or the like, in bytes: WeChat's have 96, old databases more.
const MAX_TEXT: usize = 8192;
/// How many letters of a name are so few that it is a known one with damage.
const NEARLY: usize = 2;

/// What `wx.getUserInfo` tells of a user besides names.
const PROFILE: [&str; 8] = [
    "nickName",
    "avatarUrl",
    "gender",
    "language",
    "city",
    "province",
    "country",
    "is_demote",
];
const PHONE: [&str; 3] = ["phoneNumber", "purePhoneNumber", "countryCode"];
const WERUN: [&str; 1] = ["stepInfoList"];
const GROUP: [&str; 5] = [
    "openGId",
    "opengid",
    "group_openid",
    "open_single_roomid",
    "chat_type",
];
/// The names that only WeChat gives, and its mark.
const NAMES: [&str; 3] = ["openId", "unionId", "watermark"];

/// A kind of open data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataKind {
    /// Name and picture.
    UserInfo,
    PhoneNumber,
    /// The steps of the last 31 days.
    Werun,
    /// The chat group the mini program was opened in or shared to.
    Group,
    /// Whatever WeChat will think of next.
    Other,
}

impl DataKind {
    /// The kind of `data`, if it is whole and nobody else's than the user's.
    pub(crate) fn of(data: &Value, openid: &str) -> Option<Self> {
        let fields = data.as_object()?;
        if !fields.keys().all(|name| is_name(name)) {
            return None;
        }
        let owner = fields.get("openId");
        if owner.is_some_and(|owner| owner != openid) {
            return None;
        }
        let has = |name: &&str| fields.contains_key(*name);
        let kind = if PHONE.iter().any(has) {
            Self::PhoneNumber
        } else if WERUN.iter().any(has) {
            Self::Werun
        } else if GROUP.iter().any(has) {
            Self::Group
        } else if owner.is_some() || has(&"nickName") {
            Self::UserInfo
        } else {
            Self::Other
        };
        let only = |known: &[&str]| {
            let mut names = fields.keys().map(String::as_str);
            names.all(|name| known.contains(&name) || name == "watermark")
        };
        let whole = match kind {
            // WeChat may come to tell more of a user it names.
            Self::UserInfo => is_profile(fields) && (owner.is_some() || only(&PROFILE)),
            Self::PhoneNumber => only(&PHONE) && is_phone(data),
            Self::Werun => only(&WERUN) && is_werun(fields),
            Self::Group => only(&GROUP) && is_group(fields),
            Self::Other => true,
        };
        whole.then_some(kind)
    }
}

/// Whether it is a phone number, whoever told it.
pub(crate) fn is_phone(data: &Value) -> bool {
    let digits = |name: &str, count: RangeInclusive<usize>| {
        let text = data.get(name).and_then(Value::as_str).unwrap_or_default();
        count.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
    };
    digits("purePhoneNumber", 4..=20)
        && digits("countryCode", 1..=4)
        && data.get("phoneNumber").is_some_and(is_number_text)
}

fn is_number_text(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    (4..=32).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b' ' | b'(' | b')'))
}

fn is_profile(fields: &Map<String, Value>) -> bool {
    let fits = |name: &str, test: fn(&Value) -> bool| fields.get(name).is_none_or(test);
    let places = ["language", "city", "province", "country"];
    fits("nickName", is_text)
        && fits("avatarUrl", |url| {
            url.is_null()
                || url
                    .as_str()
                    .is_some_and(|url| url.is_empty() || is_picture(url))
        })
        && fits("gender", |gender| gender.as_u64().is_some_and(|n| n <= 2))
        && fits("is_demote", Value::is_boolean)
        && fits("unionId", is_id)
        && places.iter().all(|name| fits(name, is_text))
}

fn is_werun(fields: &Map<String, Value>) -> bool {
    let days = fields.get("stepInfoList").and_then(Value::as_array);
    days.is_some_and(|days| days.iter().all(is_day))
}

fn is_day(day: &Value) -> bool {
    let number = |name: &str| day.get(name).is_some_and(Value::is_u64);
    number("timestamp") && number("step") && day.as_object().is_some_and(|day| day.len() == 2)
}

fn is_group(fields: &Map<String, Value>) -> bool {
    let has_id = ["openGId", "opengid"]
        .iter()
        .any(|name| fields.contains_key(*name));
    let mut told = fields.iter().filter(|(name, _)| *name != "watermark");
    has_id && told.all(|(name, value)| is_id(value) || name == "chat_type" && value.is_u64())
}

fn is_text(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.len() <= MAX_TEXT)
}

/// A name WeChat gives to somebody: `oGZUI0egBJY1zhBYw2KhdUfwVJJE`.
fn is_id(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'=' | b'@' | b'.'))
}

/// Whether a field can be called so: an identifier, and no known name with a few letters
/// changed.
fn is_name(name: &str) -> bool {
    let known = [&PROFILE[..], &PHONE, &WERUN, &GROUP, &NAMES].concat();
    if known.contains(&name) {
        return true;
    }
    let is_identifier = name.len() <= MAX_NAME
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    is_identifier && !known.iter().any(|known| is_nearly(known, name))
}

fn is_nearly(known: &str, name: &str) -> bool {
    let pairs = known.bytes().zip(name.bytes());
    known.len() == name.len() && pairs.filter(|(a, b)| a != b).count() <= NEARLY
}

impl fmt::Display for DataKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserInfo => "user_info",
            Self::PhoneNumber => "phone_number",
            Self::Werun => "werun",
            Self::Group => "group",
            Self::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn every_kind_is_known_by_its_own_field() {
        let mark = json!({"timestamp": 1, "appid": "wx1"});
        for (data, kind) in [
            (
                json!({"openId": "o", "nickName": "Band", "gender": 1}),
                DataKind::UserInfo,
            ),
            (
                json!({
                    "openId": "o", "nickName": "\u{14}\"木", "avatarUrl": "https://a.example/1",
                    "unionId": "u-_1", "language": "zh_CN", "city": "", "is_demote": true,
                    "somethingNew": {"of": 1},
                }),
                DataKind::UserInfo,
            ),
            // wx.getUserProfile names nobody.
            (
                json!({"nickName": "微信用户", "avatarUrl": "", "gender": 0, "is_demote": true}),
                DataKind::UserInfo,
            ),
            (
                json!({"phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86"}),
                DataKind::PhoneNumber,
            ),
            (
                json!({"phoneNumber": "+852 9123-4567", "purePhoneNumber": "91234567", "countryCode": "852"}),
                DataKind::PhoneNumber,
            ),
            (
                json!({"stepInfoList": [{"timestamp": 1_445_866_601, "step": 100}]}),
                DataKind::Werun,
            ),
            (json!({"stepInfoList": []}), DataKind::Werun),
            (json!({"openGId": "tGg1_-"}), DataKind::Group),
            (
                json!({"opengid": "g1", "group_openid": "x", "chat_type": 3}),
                DataKind::Group,
            ),
            (json!({"somethingNew": 1}), DataKind::Other),
        ] {
            let mut marked = data.clone();
            marked["watermark"] = mark.clone();
            assert_eq!(DataKind::of(&marked, "o"), Some(kind), "{data}");
            let name = json!(kind);
            assert_eq!(name, kind.to_string());
            assert_eq!(serde_json::from_value::<DataKind>(name).ok(), Some(kind));
        }
    }

    #[test]
    fn what_has_not_the_shape_of_its_kind_is_no_data() {
        for data in [
            json!([]),
            json!("text"),
            // What a changed iv makes of a name in the first block.
            json!({"ope.Id": "o", "nickName": "Band"}),
            json!({"opemId": "o", "nickName": "Band"}),
            json!({"openId": "o2", "nickName": "Band"}),
            json!({"openId": 7, "nickName": "Band"}),
            json!({"unionId": "u", "nickName": "Band"}),
            json!({"somethingNew": "o", "nickName": "Band"}),
            json!({"openId": "o", "nickNam%": "Band"}),
            json!({"openId": "o", "nickNamf": "Band"}),
            json!({"openId": "o", "nickName": "Band", "": 1}),
            json!({"openId": "o", "avatarUrl": "https://a\u{1}\u{fffd}"}),
            json!({"openId": "o", "gender": 9}),
            json!({"phoneNumber": "13580006666"}),
            json!({"phoneNumber": "1\"", "purePhoneNumber": "13580006666", "countryCode": "86"}),
            json!({"phoneNumber": "13580006666", "purePhoneNumber": "1358000666x", "countryCode": "86"}),
            json!({"phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": 86}),
            json!({"phoneNumbes": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86"}),
            json!({"phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86", "more": 1}),
            json!({"stepInfoList": {"step": 1}}),
            json!({"stepInfoLisu": []}),
            json!({"stepInfoList": [{"timestamp": 1, "step": -1}]}),
            json!({"stepInfoList": [{"timestamp": 1, "step": 1, "x": 1}]}),
            json!({"stepInfoList": [{"step": 1}]}),
            json!({"openGId": ""}),
            json!({"openGIe": "g1"}),
            json!({"openGId": "g\u{fffd}"}),
            json!({"opengid": 7}),
            json!({"group_openid": "g"}),
            json!({"openId": "o", "nickName": 7}),
        ] {
            assert_eq!(DataKind::of(&data, "o"), None, "{data}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[0-9a-z]{0,12}".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("stepInfoList"),
            Just("timestamp"),
            Just("step"),
            Just("openGId"),
            Just("opengid"),
            Just("phoneNumber"),
            Just("purePhoneNumber"),
            Just("countryCode"),
            Just("nickName"),
            Just("openId"),
            Just("watermark"),
        ];
        leaf.prop_recursive(3, 24, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_data_panics_and_a_phone_number_is_always_whole(data in any_json()) {
            if DataKind::of(&data, "o") == Some(DataKind::PhoneNumber) {
                let told = crate::phone::PhoneSource::EncryptedData;
                prop_assert!(crate::phone::VerifiedPhone::read(&data, weappd_base::unix_time::UnixSecs::new(7), told).is_some());
            }
        }
    }
}
