//! Signs for the app what WeChat wants signed with a user's session key (用户态签名): virtual
//! payments, B2b payments, user storage. The app never sees the key.
//!
//! The signature is hex HMAC-SHA-256, keyed by the key's base64 text. Nothing that weappd
//! itself believes is signed so: `rawData` is signed with SHA-1 of the text and the key, data
//! with AES, messages with another key. The empty text is not signed: with its signature
//! WeChat would hand out another session key (resetUserSessionKey).

use std::sync::Arc;

use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::open_data;

use crate::error::Error;
use crate::identity::UserIdentity;
use crate::key_owner::KeyOwner;
use crate::sessions::SessionService;

/// A text, signed.
pub(crate) struct TextSignature {
    pub(crate) signature: String,
    /// When WeChat gave the key.
    pub(crate) key_given_at: Option<UnixSecs>,
}

impl SessionService {
    /// The user of this mini program, whether or not a session is open.
    pub(crate) async fn key_owner(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Option<KeyOwner>, Error> {
        let (store, appid, openid) = (
            self.shared().store.clone(),
            appid.to_owned(),
            openid.to_owned(),
        );
        self.shared()
            .work
            .run(async move {
                let user = store.user(&appid, &openid).await?;
                Ok(user.map(|user| KeyOwner {
                    user: user.user,
                    who: Arc::new(UserIdentity {
                        appid,
                        openid,
                        unionid: user.unionid,
                        id: user.id,
                        user_info_json: String::new(),
                    }),
                }))
            })
            .await?
    }

    /// Signs a text with the user's newest session key; nothing if none is kept.
    pub(crate) async fn sign_text(
        &self,
        owner: &KeyOwner,
        text: &[u8],
    ) -> Result<Option<TextSignature>, Error> {
        let (store, owner) = (self.shared().store.clone(), owner.clone());
        let (key, given) = self
            .shared()
            .work
            .run(async move {
                let KeyOwner { user, who } = &owner;
                let keys = store.session_keys(*user, who).await?;
                let known = store.user(&who.appid, &who.openid).await?;
                let given = known.and_then(|known| known.keys.first().copied());
                Ok::<_, Error>((keys.into_iter().next(), given))
            })
            .await??;
        let sign = |key: Secret| TextSignature {
            signature: open_data::user_signature(&key, text),
            key_given_at: given,
        };
        Ok(key.map(sign))
    }
}
