//! The open data of a user whose session is known: opened with the session keys the store
//! keeps, and what the phone may say of its user.
//!
//! A phone may encrypt or sign with a key that a login has replaced a moment ago, so the
//! last keys are tried, the newest first.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use weappd_base::secret::Secret;
use weappd_wechat::{CallError, lenient_json, open_data};

use crate::data_kind::DataKind;
use crate::decryption::{DataRequirement, SealedText, UserOpenData};
use crate::error::{Error, UNOPENED};
use crate::http::body;
use crate::key::KeyOwner;
use crate::limits::DataSender;
use crate::session::{CachedSession, name_user};
use crate::sessions::SessionService;
use crate::store::writes::NewProfile;

/// The longest nickname, in characters: WeChat allows 32.
const MAX_NICK: usize = 64;
/// The longest picture address, in bytes.
const MAX_AVATAR: usize = 1024;
/// Fields that only WeChat may tell, over encrypted data or the login.
const NOT_THEIRS: [&str; 5] = [
    "openId",
    "unionId",
    "watermark",
    "phoneNumber",
    "purePhoneNumber",
];

/// Why what a phone brought is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenDataError {
    #[error("{0}")]
    Input(&'static str),
    /// The user has no session key that this weappd can read.
    #[error("no session key of this user is kept: log in again")]
    NoKey,
    /// WeChat has another session key by now, or encrypted with one it gave to nobody here.
    #[error(
        "WeChat no longer uses the session keys kept of this user: log in again, then ask the phone for the data anew"
    )]
    KeyGone,
    /// One word for whatever is wrong with encrypted data.
    #[error("{UNOPENED}")]
    Unopened,
    /// It is not even encoded as it must be.
    #[error("{0}")]
    Encoding(Arc<weappd_wechat::Error>),
    /// A number that was proven better is kept.
    #[error(
        "the user's number was proven by a code: prove another one by a code too, or DELETE it first"
    )]
    ProvenByCode,
    #[error("the data is of the kind {found}, not {wanted}")]
    Kind { found: DataKind, wanted: DataKind },
    #[error("the data is older than the configuration allows")]
    Stale,
    #[error("the signature does not fit: rawData is not WeChat's, or of an older login")]
    Unsigned,
    /// WeChat does not take the code.
    #[error(
        "WeChat does not take the code: it was used, is older than 5 minutes, or is not of the phone-number button"
    )]
    BadCode { errcode: i64 },
    #[error("the code is of another user or another mini program")]
    ForeignCode { errcode: i64 },
    #[error("too many calls for this user, try again in {retry_secs} s")]
    TooMany { retry_secs: u64 },
    #[error("too much data of this user did not open: nothing is opened for {retry_secs} s")]
    TooManyFailures { retry_secs: u64 },
    #[error("this weappd has no access_token to ask WeChat with")]
    NoCalls,
    #[error(transparent)]
    Call(CallError),
    #[error(transparent)]
    Internal(Error),
}

impl From<Error> for OpenDataError {
    fn from(err: Error) -> Self {
        match err {
            Error::Call(err) => Self::Call(err),
            Error::TooManyLogins { retry_secs } => Self::TooMany { retry_secs },
            Error::TooManyFailures { retry_secs } => Self::TooManyFailures { retry_secs },
            Error::Unopened => Self::Unopened,
            Error::Encoding(err) => Self::Encoding(err),
            err => Self::Internal(err),
        }
    }
}

impl OpenDataError {
    /// The same where WeChat's numbers speak of a code.
    pub(crate) fn of_code(self) -> Self {
        match self {
            Self::Call(CallError::Refused { errcode, .. }) if is_bad_code(errcode) => {
                Self::BadCode { errcode }
            }
            Self::Call(CallError::Refused { errcode, .. }) if is_foreign(errcode) => {
                Self::ForeignCode { errcode }
            }
            other => other,
        }
    }

    /// WeChat's number, if it gave one.
    pub(crate) fn errcode(&self) -> Option<i64> {
        match self {
            Self::BadCode { errcode }
            | Self::ForeignCode { errcode }
            | Self::Call(CallError::Refused { errcode, .. }) => Some(*errcode),
            _ => None,
        }
    }
}

/// Invalid, used, missing.
fn is_bad_code(errcode: i64) -> bool {
    matches!(errcode, 40029 | 40163 | 41008)
}

/// The wrong openid, the wrong mini program.
fn is_foreign(errcode: i64) -> bool {
    matches!(errcode, 40003 | 40013 | 43104)
}

/// What the phone says of its user.
#[derive(Debug)]
pub(crate) enum ProfileUpdate {
    /// What the user typed and chose.
    Chosen(Map<String, Value>),
    /// What `wx.getUserInfo` gave, with its signature.
    Signed { raw_data: String, signature: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileBody {
    nick_name: Option<String>,
    avatar_url: Option<String>,
    raw_data: Option<String>,
    signature: Option<String>,
}

impl ProfileUpdate {
    /// Reads `{"nickName"?, "avatarUrl"?}` or `{"rawData", "signature"}`.
    pub(crate) fn read(text: &[u8]) -> Result<Self, OpenDataError> {
        let body: ProfileBody = body::object(text).map_err(|_| {
            OpenDataError::Input(
                "the body must be a JSON object: {\"nickName\"?, \"avatarUrl\"?} or {\"rawData\", \"signature\"}",
            )
        })?;
        let mut fields = Map::new();
        if let Some(nick) = body.nick_name {
            let whole = !nick.trim().is_empty() && !nick.chars().any(char::is_control);
            if !whole || nick.chars().count() > MAX_NICK {
                return Err(OpenDataError::Input(
                    "nickName must be 1 to 64 characters of text",
                ));
            }
            fields.insert("nickName".to_owned(), nick.into());
        }
        if let Some(avatar) = body.avatar_url {
            if !is_picture(&avatar) {
                return Err(OpenDataError::Input(
                    "avatarUrl must be an https address, or the path of an uploaded file",
                ));
            }
            fields.insert("avatarUrl".to_owned(), avatar.into());
        }
        match (body.raw_data, body.signature, fields.is_empty()) {
            (Some(raw_data), Some(signature), true) => Ok(Self::Signed {
                raw_data,
                signature,
            }),
            (None, None, false) => Ok(Self::Chosen(fields)),
            _ => Err(OpenDataError::Input(
                "bring nickName or avatarUrl, or else rawData with its signature",
            )),
        }
    }
}

/// An address that other users' phones may load: nothing that runs. A browser takes a
/// backslash for a slash, and two of those at the start for another host.
pub(crate) fn is_picture(url: &str) -> bool {
    let place = url.starts_with("https://")
        || url.starts_with("http://")
        || url.starts_with('/') && !url.starts_with("//");
    place && url.len() <= MAX_AVATAR && url.bytes().all(|c| c.is_ascii_graphic() && c != b'\\')
}

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
            .run(async move { store.put_info(info).await });
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
