//! A simulated WeChat user: made from the name alone, so the same after every restart.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use crate::error::Error;

/// The longest name.
const MAX_NAME: usize = 32;

/// A user's name: 1 to 32 of `a-z`, `0-9`, `_`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UserName(String);

impl UserName {
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(Error::UserName)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The user's id in one mini program: 28 characters, as WeChat's are.
    pub(crate) fn openid(&self, appid: &str) -> String {
        self.id("openid", appid)
    }

    /// The user's id across the mini programs of one Open Platform account.
    pub(crate) fn unionid(&self) -> String {
        self.id("unionid", "")
    }

    /// The id of a group of this name in one mini program.
    pub(crate) fn group_id(&self, appid: &str) -> String {
        format!("tG{}", URL_SAFE_NO_PAD.encode(self.digest("group", appid)))
    }

    /// The steps of one day.
    pub(crate) fn steps(&self, day: i64) -> u32 {
        let [high, low, ..] = self.digest("steps", &day.to_string());
        2000 + u32::from(u16::from_be_bytes([high, low])) % 12_000
    }

    fn id(&self, kind: &str, appid: &str) -> String {
        // WeChat's ids begin with an o; the 20 bytes of SHA-1 are the other 27 characters.
        format!("o{}", URL_SAFE_NO_PAD.encode(self.digest(kind, appid)))
    }

    /// A mobile number that is always the same, in the range of China Mobile's 138.
    pub(crate) fn phone_number(&self) -> String {
        let digits: String = self
            .digest("phone", "")
            .iter()
            .take(8)
            .map(|byte| char::from(b'0' + byte % 10))
            .collect();
        format!("138{digits}")
    }

    /// The name people see.
    pub(crate) fn nick_name(&self) -> String {
        match self.as_str() {
            "alice" => "Alice 爱丽丝".to_owned(),
            "bob" => "Bob 小波".to_owned(),
            other => {
                let mut letters = other.chars();
                letters
                    .next()
                    .map(|first| first.to_ascii_uppercase())
                    .into_iter()
                    .chain(letters)
                    .collect()
            }
        }
    }

    /// What `wx.getUserInfo` shows: the `userInfo` object, in WeChat's order.
    pub(crate) fn user_info(&self, avatar_url: &str) -> Value {
        let (gender, city, province, country) = match self.as_str() {
            "alice" => (2, "Guangzhou", "Guangdong", "CN"),
            "bob" => (1, "Shenzhen", "Guangdong", "CN"),
            _ => (0, "", "", ""),
        };
        json!({
            "nickName": self.nick_name(),
            "gender": gender,
            "language": "zh_CN",
            "city": city,
            "province": province,
            "country": country,
            "avatarUrl": avatar_url,
        })
    }

    /// A hue of the colour circle, 0 to 359, for the avatar.
    pub(crate) fn hue(&self) -> u16 {
        match self.as_str() {
            // The two phones of the page stand side by side: warm and cool.
            "alice" => 338,
            "bob" => 206,
            _ => {
                let [high, low, ..] = self.digest("hue", "");
                u16::from_be_bytes([high, low]) % 360
            }
        }
    }

    fn digest(&self, kind: &str, appid: &str) -> [u8; 20] {
        let mut sha = Sha1::new();
        for part in ["weappd-simulator", kind, appid, &self.0] {
            sha.update(part.as_bytes());
            sha.update([0]);
        }
        sha.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::parse(name).expect(name)
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "alice", "u-1_2", &"x".repeat(32)] {
            assert!(UserName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Alice", "a b", "微信", "a/b", &"x".repeat(33)] {
            assert!(UserName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_depend_on_the_name_and_the_app_and_on_nothing_else() {
        let (alice, bob) = (user("alice"), user("bob"));
        assert_eq!(alice.openid("wx1"), user("alice").openid("wx1"));
        assert_ne!(alice.openid("wx1"), alice.openid("wx2"));
        assert_ne!(alice.openid("wx1"), bob.openid("wx1"));
        assert_ne!(alice.unionid(), bob.unionid());
        assert_eq!(alice.openid("wx1").len(), 28);
        assert!(alice.openid("wx1").starts_with('o'));
    }

    #[test]
    fn names_are_shown_as_people_write_them() {
        assert_eq!(user("alice").nick_name(), "Alice 爱丽丝");
        assert_eq!(user("bob").nick_name(), "Bob 小波");
        assert_eq!(user("carol").nick_name(), "Carol");
        assert_eq!(user("_x").nick_name(), "_x");
    }

    #[test]
    fn phone_numbers_have_eleven_digits() {
        let number = user("alice").phone_number();
        assert_eq!(number.len(), 11);
        assert!(number.bytes().all(|c| c.is_ascii_digit()));
    }
}
