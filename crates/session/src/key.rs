//! Whether WeChat still takes the session key it gave at a login, and a new one in its
//! place.
//!
//! Both calls are signed with the key in question: whoever does not hold it learns nothing.

use std::sync::Arc;

use futures_util::FutureExt as _;
use http::Method;
use serde_json::Value;
use weappd_base::secret::Secret;
use weappd_wechat::{CallError, WechatCall, WechatCalls, open_data};

use crate::client_fingerprint::ClientFingerprint;
use crate::error::Error;
use crate::flight::CodeExchange;
use crate::identity::UserIdentity;
use crate::key_owner::KeyOwner;
use crate::open_data_error::OpenDataError;
use crate::session::CachedSession;
use crate::sessions::SessionService;
use crate::store::write::session_key::NewKey;

/// How long a session key is: 16 bytes in base64.
const KEY_LEN: usize = 24;

impl SessionService {
    /// Whether WeChat still takes the user's newest session key.
    pub(crate) async fn check_key(&self, owner: KeyOwner) -> Result<bool, OpenDataError> {
        let sessions = self.clone();
        self.shared()
            .work
            .run(async move { sessions.check_key_here(&owner).await })
            .await
            .map_err(Error::from)?
    }

    async fn check_key_here(&self, owner: &KeyOwner) -> Result<bool, OpenDataError> {
        let who = &owner.who;
        let calls = self.calls(who)?;
        let mut tried = None;
        loop {
            let key = self.newest_key(owner).await?;
            // A key that changed while WeChat was asked is asked about anew.
            if key.is_none() || key == tried {
                return Ok(false);
            }
            let signature = key.as_ref().map(signature).unwrap_or_default();
            let call = signed("/wxa/checksession", who, signature);
            match calls.call(&who.appid, call).await {
                Ok(_) => return Ok(true),
                Err(err) if is_gone(&err) => tried = key,
                Err(err) => return Err(OpenDataError::Call(err)),
            }
        }
    }

    /// Has WeChat give a new session key and keeps it beside those before. Asked again
    /// within seconds, it is the same reset. Goes on when the phone hangs up.
    pub(crate) async fn reset_key(
        &self,
        session: &Arc<CachedSession>,
    ) -> Result<(), OpenDataError> {
        let (sessions, session) = (self.clone(), Arc::clone(session));
        self.shared()
            .work
            .run(async move { sessions.reset_key_here(&session).await })
            .await
            .map_err(Error::from)?
    }

    async fn reset_key_here(&self, session: &CachedSession) -> Result<(), OpenDataError> {
        let shared = self.shared();
        let who = &session.identity;
        let (calls, owner) = (self.calls(who)?, KeyOwner::of(session));
        let mut tried = None;
        loop {
            let key = self.newest_key(&owner).await?.ok_or(OpenDataError::NoKey)?;
            if tried.as_ref() == Some(&key) {
                return Err(OpenDataError::KeyGone);
            }
            let now = shared.clock.unix_millis();
            let flight = shared.reset_flights.join(
                &who.appid,
                &who.openid,
                (ClientFingerprint::default(), now),
                || exchange(Arc::clone(&calls), Arc::clone(who), signature(&key)),
            );
            let answered = shared
                .reset_flights
                .wait(&flight, || shared.clock.unix_millis())
                .await;
            match answered {
                Ok(key) => {
                    let mut kept = flight.issued.lock().await;
                    if kept.is_none() {
                        self.keep_key(session, Secret::clone(&key)).await?;
                        *kept = Some(());
                    }
                    return Ok(());
                }
                Err(Error::Call(err)) if is_gone(&err) => tried = Some(key),
                Err(err) => return Err(err.into()),
            }
        }
    }

    /// The way to WeChat, unless this user has asked for too much.
    fn calls(&self, who: &UserIdentity) -> Result<Arc<dyn WechatCalls>, OpenDataError> {
        let shared = self.shared();
        let calls = shared.calls.as_ref().ok_or(OpenDataError::NoCalls)?;
        let now = shared.clock.unix_millis();
        shared.limits.call(&who.appid, &who.openid, now)?;
        Ok(Arc::clone(calls))
    }

    async fn newest_key(&self, owner: &KeyOwner) -> Result<Option<Secret>, Error> {
        let keys = self.keys_of(owner.clone()).await?;
        Ok(keys.into_iter().next())
    }

    async fn keep_key(&self, session: &CachedSession, session_key: Secret) -> Result<(), Error> {
        let shared = self.shared();
        let new = NewKey {
            user: session.user,
            who: Arc::clone(&session.identity),
            session_key,
            now: shared.clock.unix_secs(),
        };
        shared.store.write(new).await
    }
}

/// Of a GET, whose body is the empty text.
fn signature(key: &Secret) -> String {
    open_data::login_state_signature(key, "")
}

fn signed(path: &'static str, who: &UserIdentity, signature: String) -> WechatCall {
    WechatCall {
        method: Method::GET,
        path: path.to_owned(),
        query: vec![
            ("openid".to_owned(), who.openid.clone()),
            ("signature".to_owned(), signature),
            ("sig_method".to_owned(), "hmac_sha256".to_owned()),
        ],
        body: None,
    }
}

/// Whether WeChat says that the key is not, or no longer, the user's (the pages on
/// checkSessionKey and resetUserSessionKey).
fn is_gone(err: &CallError) -> bool {
    matches!(
        err,
        CallError::Refused {
            errcode: 87007 | 87009,
            ..
        }
    )
}

/// `GET /wxa/resetusersessionkey`.
fn exchange(
    calls: Arc<dyn WechatCalls>,
    who: Arc<UserIdentity>,
    signature: String,
) -> CodeExchange<Secret> {
    async move {
        let call = signed("/wxa/resetusersessionkey", &who, signature);
        let answer = calls.call(&who.appid, call).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let is_theirs = text("openid").is_none_or(|openid| openid == who.openid);
        match text("session_key") {
            Some(key) if is_theirs && key.len() == KEY_LEN => Ok(Arc::new(Secret::new(key))),
            _ => Err(CallError::Malformed.into()),
        }
    }
    .boxed()
}
