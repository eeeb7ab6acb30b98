//! The phone number a user shows: told by WeChat for a code, or encrypted by it.
//!
//! The code is the better proof: what is encrypted is AES-CBC without a signature. So each
//! number says which of the two proved it, and one that a code proved is never replaced by one
//! that was encrypted. A number is kept sealed, and stands in no log and in no drawing in
//! clear.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::{CallError, WechatCall, WechatCalls, open_data};

use crate::client_fingerprint::ClientFingerprint;
use crate::data_kind::{DataKind, is_phone};
use crate::decryption::SealedText;
use crate::error::Error;
use crate::flight::CodeExchange;
use crate::identity::UserIdentity;
use crate::open_data_error::OpenDataError;
use crate::session::CachedSession;
use crate::sessions::SessionService;
use crate::store::write::phone::NewPhone;
use crate::vault::{SecretKind, SecretOwner};

/// The longest code of the phone-number button taken: WeChat's have 64 characters.
const MAX_CODE: usize = 512;

/// What a phone number was proven by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PhoneSource {
    /// WeChat told it for a code.
    Code,
    /// It came encrypted. What was kept before weappd told them apart counts as such.
    #[default]
    EncryptedData,
}

impl PhoneSource {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::EncryptedData => "encrypted_data",
        }
    }
}

/// A phone number, as WeChat proved it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerifiedPhone {
    /// With `+` and the country code, however WeChat wrote it.
    #[serde(rename = "phone_number")]
    whole: String,
    #[serde(rename = "pure_phone_number")]
    pure: String,
    country_code: String,
    /// When WeChat told or encrypted it.
    verified_at: UnixSecs,
    #[serde(default)]
    source: PhoneSource,
}

/// What a phone brings for its number.
pub(crate) enum PhoneProof {
    Code(String),
    Sealed { encrypted: String, iv: String },
}

impl VerifiedPhone {
    /// Reads `{"phoneNumber", "purePhoneNumber", "countryCode"}`.
    pub(crate) fn read(info: &Value, verified_at: UnixSecs, source: PhoneSource) -> Option<Self> {
        if !is_phone(info) {
            return None;
        }
        let text = |name: &str| info.get(name).and_then(Value::as_str);
        let (pure, country) = (text("purePhoneNumber")?, text("countryCode")?);
        Some(Self {
            whole: format!("+{country}{pure}"),
            pure: pure.to_owned(),
            country_code: country.to_owned(),
            verified_at,
            source,
        })
    }

    /// Whether it is the same number, however and whenever it was proven.
    fn is_same(&self, other: &Self) -> bool {
        self.whole == other.whole
    }

    /// The number as people may be shown it: `+86 138****8000`.
    pub(crate) fn masked(&self) -> String {
        let pure = &self.pure;
        let (head, tail) = if pure.len() >= 10 { (3, 4) } else { (0, 2) };
        let stars = "*".repeat(pure.len().saturating_sub(head + tail));
        let head = pure.get(..head).unwrap_or_default();
        let tail = pure
            .get(pure.len().saturating_sub(tail)..)
            .unwrap_or_default();
        format!("+{} {head}{stars}{tail}", self.country_code)
    }

    pub(crate) fn verified_at(&self) -> UnixSecs {
        self.verified_at
    }

    pub(crate) fn source(&self) -> PhoneSource {
        self.source
    }
}

impl fmt::Debug for VerifiedPhone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl SessionService {
    /// The number that is kept for the session's user.
    pub(crate) fn phone(&self, session: &CachedSession) -> Option<VerifiedPhone> {
        self.unsealed_phone(
            &session.identity.appid,
            &session.identity.openid,
            session.phone.as_deref()?,
        )
    }

    pub(crate) fn unsealed_phone(
        &self,
        appid: &str,
        openid: &str,
        sealed: &[u8],
    ) -> Option<VerifiedPhone> {
        let vault = self.shared().store.vault();
        let text = vault.unseal(SecretKind::Phone, SecretOwner { appid, openid }, sealed);
        if text.is_none() {
            tracing::warn!(
                openid,
                "a phone number was sealed with another key file; see [session] key_file"
            );
        }
        serde_json::from_str(text?.expose()).ok()
    }

    /// Proves a number and keeps it for the user. Goes on when the phone hangs up.
    pub(crate) async fn put_phone(
        &self,
        session: &Arc<CachedSession>,
        address: Option<IpAddr>,
        proof: PhoneProof,
    ) -> Result<VerifiedPhone, OpenDataError> {
        let (sessions, session) = (self.clone(), Arc::clone(session));
        self.shared()
            .work
            .run(async move { sessions.put_phone_here(&session, address, proof).await })
            .await
            .map_err(Error::from)?
    }

    async fn put_phone_here(
        &self,
        session: &CachedSession,
        address: Option<IpAddr>,
        proof: PhoneProof,
    ) -> Result<VerifiedPhone, OpenDataError> {
        let shared = self.shared();
        let who = &session.identity;
        let now = shared.clock.unix_millis();
        shared.limits.call(&who.appid, &who.openid, now)?;
        let phone = match proof {
            PhoneProof::Code(code) => self.phone_of_code(who, code).await?,
            PhoneProof::Sealed { encrypted, iv } => {
                let sealed = SealedText {
                    encrypted: &encrypted,
                    iv: Some(&iv),
                };
                let opened = self.open_data(session, address, sealed).await?;
                let wrong = OpenDataError::Kind {
                    found: opened.kind,
                    wanted: DataKind::PhoneNumber,
                };
                let made_at = open_data::made_at(&opened.data).unwrap_or(now.to_secs());
                VerifiedPhone::read(&opened.data, made_at, PhoneSource::EncryptedData)
                    .ok_or(wrong)?
            }
        };
        // Of two proofs at once the better one stays, whichever comes first.
        let _turn = shared.turns.take(session.user).await;
        if phone.source == PhoneSource::EncryptedData
            && let Some(kept) = self.kept_phone(who).await?
            && kept.source == PhoneSource::Code
        {
            let same = kept.is_same(&phone).then_some(kept);
            return same.ok_or(OpenDataError::ProvenByCode);
        }
        let text = serde_json::to_string(&phone).unwrap_or_default();
        self.write_phone(session, Some(Secret::new(text))).await?;
        Ok(phone)
    }

    /// The number the store keeps, whatever memory says.
    async fn kept_phone(&self, who: &UserIdentity) -> Result<Option<VerifiedPhone>, Error> {
        let user = self.shared().store.user(&who.appid, &who.openid).await?;
        let sealed = user.and_then(|user| user.phone);
        Ok(sealed.and_then(|sealed| self.unsealed_phone(&who.appid, &who.openid, &sealed)))
    }

    /// Asks WeChat which number the code stands for. A code is good once; brought again
    /// within seconds it gives the same answer.
    async fn phone_of_code(
        &self,
        who: &Arc<UserIdentity>,
        code: String,
    ) -> Result<VerifiedPhone, OpenDataError> {
        if code.len() > MAX_CODE {
            return Err(OpenDataError::Input("the code is longer than 512 bytes"));
        }
        let shared = self.shared();
        let calls = shared.calls.as_ref().ok_or(OpenDataError::NoCalls)?;
        // The code of one user is nobody else's, not even for these seconds.
        let name = format!("{}\0{code}", who.openid);
        let now = shared.clock.unix_millis();
        let flight = shared.phone_flights.join(
            &who.appid,
            &name,
            (ClientFingerprint::default(), now),
            || exchange(Arc::clone(calls), Arc::clone(who), code),
        );
        let answered = shared
            .phone_flights
            .wait(&flight, || shared.clock.unix_millis())
            .await;
        let info = answered.map_err(|err| OpenDataError::from(err).of_code())?;
        let made_for = info.pointer("/watermark/appid").and_then(Value::as_str);
        if made_for != Some(&who.appid) {
            return Err(OpenDataError::Call(CallError::Malformed));
        }
        if !self.is_new(&info) {
            return Err(OpenDataError::Stale);
        }
        let made_at = open_data::made_at(&info).unwrap_or(now.to_secs());
        let told = with_country_text(&info);
        VerifiedPhone::read(&told, made_at, PhoneSource::Code)
            .ok_or(OpenDataError::Call(CallError::Malformed))
    }

    /// Forgets the user's number.
    pub(crate) async fn forget_phone(&self, session: &CachedSession) -> Result<(), Error> {
        self.write_phone(session, None).await
    }

    async fn write_phone(
        &self,
        session: &CachedSession,
        phone: Option<Secret>,
    ) -> Result<(), Error> {
        let store = self.shared().store.clone();
        let new = NewPhone {
            user: session.user,
            who: Arc::clone(&session.identity),
            phone,
        };
        self.shared()
            .work
            .run(async move { store.write(new).await })
            .await?
    }
}

/// WeChat's page shows the country code as a number and calls it a text.
fn with_country_text(info: &Value) -> Value {
    let mut info = info.clone();
    if let Some(country) = info.get_mut("countryCode")
        && let Some(number) = country.as_u64()
    {
        *country = number.to_string().into();
    }
    info
}

/// `POST /wxa/business/getuserphonenumber`; WeChat checks that the code is the openid's.
fn exchange(
    calls: Arc<dyn WechatCalls>,
    who: Arc<UserIdentity>,
    code: String,
) -> CodeExchange<Value> {
    async move {
        let call = WechatCall {
            method: Method::POST,
            path: "/wxa/business/getuserphonenumber".to_owned(),
            query: Vec::new(),
            body: Some(json!({"code": code, "openid": who.openid})),
        };
        let mut answer = calls.call(&who.appid, call).await?;
        match answer.get_mut("phone_info") {
            Some(info) => Ok(Arc::new(info.take())),
            None => Err(CallError::Malformed.into()),
        }
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn phone(country: &str, pure: &str) -> VerifiedPhone {
        let info = json!({
            "phoneNumber": pure, "purePhoneNumber": pure, "countryCode": country,
        });
        VerifiedPhone::read(&info, UnixSecs::new(7), PhoneSource::Code).expect("a phone number")
    }

    #[test]
    fn a_number_is_written_one_way_and_masked_for_people() {
        let mobile = phone("86", "13800138000");
        assert_eq!(
            serde_json::to_string(&mobile).expect("JSON"),
            r#"{"phone_number":"+8613800138000","pure_phone_number":"13800138000","country_code":"86","verified_at":7,"source":"code"}"#
        );
        let before = r#"{"phone_number":"+8613800138000","pure_phone_number":"13800138000","country_code":"86","verified_at":7}"#;
        let before: VerifiedPhone = serde_json::from_str(before).expect("of an older weappd");
        assert_eq!(before.source().name(), "encrypted_data");
        assert!(before.is_same(&mobile) && before != mobile);
        let told = json!({"phoneNumber": "13800138000", "purePhoneNumber": "13800138000", "countryCode": 86});
        assert!(VerifiedPhone::read(&told, UnixSecs::new(7), PhoneSource::Code).is_none());
        let told = VerifiedPhone::read(
            &with_country_text(&told),
            UnixSecs::new(7),
            PhoneSource::Code,
        );
        assert_eq!(told, Some(mobile.clone()));
        assert_eq!(mobile.masked(), "+86 138****8000");
        assert_eq!(format!("{mobile:?}"), "+86 138****8000");
        assert_eq!(phone("852", "91234567").masked(), "+852 ******67");
    }

    proptest! {
        #[test]
        fn a_number_round_trips_and_its_mask_hides_it(
            country in "[0-9]{1,4}", pure in "[0-9]{4,20}", at in any::<i64>(),
        ) {
            let mut number = phone(&country, &pure);
            number.verified_at = UnixSecs::new(at);
            let text = serde_json::to_string(&number).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<VerifiedPhone>(&text).ok(), Some(number.clone()));
            let hidden = number.masked().bytes().filter(|c| *c == b'*').count();
            prop_assert!(hidden >= 2, "{}", number.masked());
        }
    }
}
