//! What WeChat encrypted: which kind of data it is, and whether it has that kind's shape.
//!
//! AES-CBC proves nothing of what it hides, so what is passed on is looked at first. The
//! shapes are those of the pages on getUserInfo, getPhoneNumber, getWeRunData,
//! getShareInfo (`openGId`) and getGroupEnterInfo (`opengid`).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A kind of open data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
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

impl Kind {
    /// The kind of `data`, by the field that no other kind has; or what is wrong with it.
    pub(crate) fn of(data: &Value) -> Result<Self, &'static str> {
        let fields = data.as_object().ok_or("it is no JSON object")?;
        let has = |name: &str| fields.contains_key(name);
        if has("phoneNumber") || has("purePhoneNumber") {
            let whole = is_number(fields, "purePhoneNumber", 4..=20)
                && is_number(fields, "countryCode", 1..=4)
                && fields.get("phoneNumber").is_some_and(Value::is_string);
            return told(whole, Self::PhoneNumber, "it is no whole phone number");
        }
        if has("stepInfoList") {
            let list = fields.get("stepInfoList").and_then(Value::as_array);
            let whole = list.is_some_and(|days| days.iter().all(is_day));
            return told(
                whole,
                Self::Werun,
                "its stepInfoList holds no steps of days",
            );
        }
        for name in ["openGId", "opengid"] {
            if let Some(group) = fields.get(name) {
                let whole = group.as_str().is_some_and(|id| !id.is_empty());
                return told(whole, Self::Group, "its group id is no text");
            }
        }
        if has("nickName") || has("openId") {
            let texts = ["nickName", "avatarUrl", "openId", "unionId"];
            let mut texts = texts.iter().filter_map(|name| fields.get(*name));
            let whole = texts.all(Value::is_string);
            return told(whole, Self::UserInfo, "its name or picture is no text");
        }
        Ok(Self::Other)
    }
}

impl fmt::Display for Kind {
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

fn told(whole: bool, kind: Kind, otherwise: &'static str) -> Result<Kind, &'static str> {
    if whole { Ok(kind) } else { Err(otherwise) }
}

fn is_day(day: &Value) -> bool {
    let number = |name: &str| day.get(name).and_then(Value::as_u64);
    number("timestamp").is_some() && number("step").is_some()
}

fn is_number(
    fields: &Map<String, Value>,
    name: &str,
    digits: std::ops::RangeInclusive<usize>,
) -> bool {
    let text = fields.get(name).and_then(Value::as_str);
    text.is_some_and(|text| {
        digits.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
    })
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
                Kind::UserInfo,
            ),
            (
                json!({"nickName": "微信用户", "avatarUrl": ""}),
                Kind::UserInfo,
            ),
            (
                json!({"phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86"}),
                Kind::PhoneNumber,
            ),
            (
                json!({"stepInfoList": [{"timestamp": 1_445_866_601, "step": 100}]}),
                Kind::Werun,
            ),
            (json!({"stepInfoList": []}), Kind::Werun),
            (json!({"openGId": "g1"}), Kind::Group),
            (json!({"opengid": "g1", "group_openid": "x"}), Kind::Group),
            (json!({"somethingNew": 1}), Kind::Other),
        ] {
            let mut marked = data.clone();
            marked["watermark"] = mark.clone();
            assert_eq!(Kind::of(&marked), Ok(kind), "{data}");
            let name = json!(kind);
            assert_eq!(name, kind.to_string());
            assert_eq!(serde_json::from_value::<Kind>(name).ok(), Some(kind));
        }
    }

    #[test]
    fn what_has_not_the_shape_of_its_kind_is_told() {
        for data in [
            json!([]),
            json!("text"),
            json!({"phoneNumber": "13580006666"}),
            json!({"phoneNumber": "1", "purePhoneNumber": "1358000666x", "countryCode": "86"}),
            json!({"phoneNumber": "1", "purePhoneNumber": "13580006666", "countryCode": 86}),
            json!({"stepInfoList": {"step": 1}}),
            json!({"stepInfoList": [{"timestamp": 1, "step": -1}]}),
            json!({"stepInfoList": [{"step": 1}]}),
            json!({"openGId": ""}),
            json!({"opengid": 7}),
            json!({"openId": "o", "nickName": 7}),
        ] {
            assert!(Kind::of(&data).is_err(), "{data}");
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
            if Kind::of(&data) == Ok(Kind::PhoneNumber) {
                prop_assert!(crate::phone::PhoneNumber::read(&data, 7).is_some());
            }
        }
    }
}
