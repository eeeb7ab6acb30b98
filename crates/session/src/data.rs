//! The open data of a user whose session is known: opened with the session keys the store
//! keeps, and what the phone may say of its user.
//!
//! A phone may encrypt or sign with a key that a login has replaced a moment ago, so the
//! last keys are tried, the newest first.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};
use weappd_base::secret::Secret;
use weappd_wechat::{lenient_json, open_data};

use crate::decryption::{DataRequirement, SealedText, UserOpenData};
use crate::error::Error;
use crate::key_owner::KeyOwner;
use crate::limits::DataSender;
use crate::open_data_error::OpenDataError;
use crate::profile::ProfileUpdate;
use crate::session::{CachedSession, name_user};
use crate::sessions::SessionService;
use crate::store::write::profile::NewProfile;

/// Fields that only WeChat may tell, over encrypted data or the login.
const NOT_THEIRS: [&str; 5] = [
    "openId",
    "unionId",
    "watermark",
    "phoneNumber",
    "purePhoneNumber",
];

impl SessionService {
    /// The keys WeChat gave at the user's last logins, the newest first.
    pub(crate) async fn session_keys(&self, session: &CachedSession) -> Result<Vec<Secret>, Error> {
        self.keys_of(KeyOwner::of(session)).await
    }

    pub(crate) async fn keys_of(&self, owner: KeyOwner) -> Result<Vec<Secret>, Error> {
        let store = self.shared().store.clone();
        self.shared()
            .work
            .run(async move { store.session_keys(owner.user, &owner.who).await })
            .await?
    }

    /// Opens data that WeChat encrypted for this user; it must be of this mini program and
    /// of now.
    pub(crate) async fn open_data(
        &self,
        session: &CachedSession,
        address: Option<IpAddr>,
        sealed: SealedText<'_>,
    ) -> Result<UserOpenData, OpenDataError> {
        let keys = self.session_keys(session).await?;
        if keys.is_empty() {
            return Err(OpenDataError::NoKey);
        }
        let who = &session.identity;
        let bringer = DataSender {
            appid: &who.appid,
            openid: &who.openid,
            address,
        };
        Ok(self
            .open_sealed(bringer, &keys, sealed, DataRequirement::New)
            .await?)
    }

    /// Keeps what the phone says of its user; gives the whole user object.
    pub(crate) async fn put_profile(
        &self,
        session: &CachedSession,
        profile: ProfileUpdate,
    ) -> Result<String, OpenDataError> {
        let told = match profile {
            ProfileUpdate::Chosen(fields) => fields,
            ProfileUpdate::Signed {
                raw_data,
                signature,
            } => self.signed(session, &raw_data, &signature).await?,
        };
        let known = &session.identity;
        let mut fields: Map<String, Value> =
            serde_json::from_str(&known.user_info_json).unwrap_or_default();
        fields.extend(told);
        name_user(&mut fields, &known.openid, known.unionid.as_deref());
        let whole = Value::Object(fields).to_string();
        let info = NewProfile {
            user: session.user,
            who: Arc::clone(known),
            user_info: whole.clone(),
        };
        let store = self.shared().store.clone();
        let put = self
            .shared()
            .work
            .run(async move { store.write(info).await });
        put.await.map_err(Error::from).flatten()?;
        Ok(whole)
    }

    async fn signed(
        &self,
        session: &CachedSession,
        raw_data: &str,
        signature: &str,
    ) -> Result<Map<String, Value>, OpenDataError> {
        let keys = self.session_keys(session).await?;
        if keys.is_empty() {
            return Err(OpenDataError::NoKey);
        }
        let mut keys = keys.iter();
        if !keys.any(|key| open_data::is_raw_data_signed(raw_data, key, signature)) {
            return Err(OpenDataError::Unsigned);
        }
        public_fields(raw_data).ok_or(OpenDataError::Input("rawData holds no JSON object"))
    }
}

/// What a phone may say of its user in `rawData`.
pub(crate) fn public_fields(raw_data: &str) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut fields)) = lenient_json(raw_data) else {
        return None;
    };
    fields.retain(|name, _| !NOT_THEIRS.contains(&name.as_str()));
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<ProfileUpdate, OpenDataError> {
        ProfileUpdate::read(text.as_bytes())
    }

    #[test]
    fn a_profile_is_chosen_or_signed() {
        let chosen = read(r#"{"nickName":"三木","avatarUrl":"/weapp/files/a.png"}"#);
        assert!(matches!(chosen, Ok(ProfileUpdate::Chosen(fields)) if fields.len() == 2));
        let signed = read(r#"{"rawData":"{}","signature":"s"}"#);
        assert!(matches!(signed, Ok(ProfileUpdate::Signed { .. })));
        for text in [
            "",
            "{}",
            "[]",
            r#"{"nickName":" "}"#,
            r#"{"nickName":"a\nb"}"#,
            r#"{"openId":"o2","nickName":"a"}"#,
            r#"{"rawData":"{}"}"#,
            r#"{"nickName":"a","rawData":"{}","signature":"s"}"#,
            r#"{"avatarUrl":"javascript:alert(1)"}"#,
            r#"{"avatarUrl":"//evil.example/a.png"}"#,
            r#"{"avatarUrl":"/\\\\evil.example/a.png"}"#,
            r#"{"avatarUrl":"https://a b/"}"#,
        ] {
            assert!(matches!(read(text), Err(OpenDataError::Input(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(text in prop::collection::vec(any::<u8>(), 0..200), nick in ".*") {
            drop(ProfileUpdate::read(&text));
            let body = serde_json::json!({"nickName": nick}).to_string();
            if let Ok(ProfileUpdate::Chosen(fields)) = read(&body) {
                prop_assert_eq!(&fields["nickName"], &nick);
            }
        }
    }
}
