//! Revoke: who is logged in, and ending it, for the people who run the server.

use weappd_base::unix_time::UnixSecs;

use crate::error::Error;
use crate::phone::VerifiedPhone;
use crate::sessions::SessionService;
use crate::store::write::revoke::RevokeScope;

/// A session as it is shown to people: without its skey, which nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SessionView {
    /// Its number, for [`SessionService::revoke_one`]. In a database of Wafer 2, which numbers
    /// nothing, 0.
    pub session: i64,
    /// The mini program.
    pub appid: String,
    /// The user.
    pub openid: String,
    /// When it was opened.
    pub created: UnixSecs,
    /// When it was last used, as far as it is written.
    pub last_visit: UnixSecs,
    /// When it ends if nobody uses it again.
    pub expires_at: UnixSecs,
    /// What the phone that opened it said it is, in few words.
    pub device: Option<String>,
    /// Where that phone called from.
    pub address: Option<String>,
}

/// A user as people are shown them: without a session key, and with the phone number masked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct UserView {
    /// The mini program.
    pub appid: String,
    /// The user's name within it.
    pub openid: String,
    /// The user's name within the Open Platform account, where WeChat told it.
    pub unionid: Option<String>,
    /// The Wafer 1 id.
    pub id: String,
    /// When the user first logged in. An old server's tables do not say.
    pub first_login: Option<UnixSecs>,
    /// When the user last logged in.
    pub last_login: UnixSecs,
    /// The phone number that is kept, masked: `+86 138****8000`.
    pub phone: Option<String>,
    /// What proved that number: `code` or `encrypted_data`.
    pub phone_source: Option<&'static str>,
    /// When WeChat proved that number.
    pub phone_verified_at: Option<UnixSecs>,
    /// When WeChat gave each of the session keys that are kept, the newest first.
    pub keys_given: Vec<UnixSecs>,
    /// The user's sessions, the newest first.
    pub sessions: Vec<SessionView>,
}

impl SessionService {
    /// A user's sessions, the newest first; of all mini programs if none is named.
    pub async fn list(&self, appid: Option<&str>, openid: &str) -> Result<Vec<SessionView>, Error> {
        let (sessions, openid) = (self.clone(), openid.to_owned());
        let appids = self.shared().apps.named(appid);
        self.shared()
            .work
            .run(async move {
                let mut views = Vec::new();
                for appid in appids {
                    views.extend(sessions.views(&appid, &openid).await?);
                }
                Ok(views)
            })
            .await?
    }

    async fn views(&self, appid: &str, openid: &str) -> Result<Vec<SessionView>, Error> {
        let Some(app) = self.shared().apps.get(appid) else {
            return Ok(Vec::new());
        };
        let limits = app.terms.lifetime();
        let listed = self.shared().store.list(appid, openid).await?;
        let views = listed.into_iter().map(|listed| SessionView {
            session: listed.seq,
            appid: appid.to_owned(),
            openid: openid.to_owned(),
            created: listed.created,
            last_visit: listed.last_visit,
            expires_at: limits.end(listed.created, listed.last_visit),
            device: listed.device,
            address: listed.address,
        });
        Ok(views.collect())
    }

    /// What is known of a user: one view for each mini program that knows the openid.
    pub async fn show(&self, appid: Option<&str>, openid: &str) -> Result<Vec<UserView>, Error> {
        let (sessions, openid) = (self.clone(), openid.to_owned());
        let appids = self.shared().apps.named(appid);
        self.shared()
            .work
            .run(async move {
                let mut views = Vec::new();
                for appid in appids {
                    views.extend(sessions.user_view(&appid, &openid).await?);
                }
                Ok(views)
            })
            .await?
    }

    /// The same of the user of a session, by its number.
    pub async fn show_session(&self, session: i64) -> Result<Option<UserView>, Error> {
        let sessions = self.clone();
        self.shared()
            .work
            .run(async move {
                match sessions.shared().store.owner(session).await? {
                    Some((appid, openid)) => sessions.user_view(&appid, &openid).await,
                    None => Ok(None),
                }
            })
            .await?
    }

    async fn user_view(&self, appid: &str, openid: &str) -> Result<Option<UserView>, Error> {
        let Some(user) = self.shared().store.user(appid, openid).await? else {
            return Ok(None);
        };
        let phone = user.phone.as_deref();
        let phone = phone.and_then(|sealed| self.unsealed_phone(appid, openid, sealed));
        Ok(Some(UserView {
            appid: appid.to_owned(),
            openid: openid.to_owned(),
            unionid: user.unionid,
            id: user.id,
            first_login: user.created,
            last_login: user.last_login,
            phone: phone.as_ref().map(VerifiedPhone::masked),
            phone_source: phone.as_ref().map(|phone| phone.source().name()),
            phone_verified_at: phone.as_ref().map(VerifiedPhone::verified_at),
            keys_given: user.keys,
            sessions: self.views(appid, openid).await?,
        }))
    }

    /// Ends one session by its number; says how many ended.
    pub async fn revoke_one(&self, session: i64) -> Result<u64, Error> {
        self.revoke(vec![RevokeScope::One(session)]).await
    }

    /// Ends a user's sessions, in all mini programs if none is named; says how many.
    pub async fn revoke_user(&self, appid: Option<&str>, openid: &str) -> Result<u64, Error> {
        let appids = self.shared().apps.named(appid).into_iter();
        let users = appids.map(|appid| RevokeScope::User {
            appid,
            openid: openid.to_owned(),
        });
        self.revoke(users.collect()).await
    }

    /// Ends everybody's sessions; says how many.
    pub async fn revoke_all(&self) -> Result<u64, Error> {
        self.revoke(vec![RevokeScope::All]).await
    }

    async fn revoke(&self, which: Vec<RevokeScope>) -> Result<u64, Error> {
        let store = self.shared().store.clone();
        self.shared()
            .work
            .run(async move {
                let mut ended = 0;
                for which in which {
                    ended += store.write(which).await?;
                }
                Ok(ended)
            })
            .await?
    }
}
