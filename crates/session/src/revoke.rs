//! Revoke: who is logged in, and ending it, for the people who run the house.

use crate::error::Error;
use crate::session::Limits;
use crate::sessions::Sessions;
use crate::store::Revoke;

/// A session as it is shown to people: without its skey, which nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SessionView {
    /// Its number, for [`Sessions::revoke_one`]. In a database of Wafer 2, which numbers
    /// nothing, 0.
    pub session: i64,
    /// The mini program.
    pub appid: String,
    /// The user.
    pub openid: String,
    /// When it was opened: seconds since 1970.
    pub created: i64,
    /// When it was last used, as far as it is written: seconds since 1970.
    pub last_visit: i64,
    /// When it ends if nobody uses it again: seconds since 1970.
    pub expires_at: i64,
    /// The user agent of the phone that opened it, shortened.
    pub device: Option<String>,
}

impl Sessions {
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
        let limits = Limits::from(&*app);
        let listed = self.shared().store.list(appid, openid).await?;
        let views = listed.into_iter().map(|listed| SessionView {
            session: listed.seq,
            appid: appid.to_owned(),
            openid: openid.to_owned(),
            created: listed.created,
            last_visit: listed.last_visit,
            expires_at: limits.end(listed.created, listed.last_visit),
            device: listed.device,
        });
        Ok(views.collect())
    }

    /// Ends one session by its number; says how many ended.
    pub async fn revoke_one(&self, session: i64) -> Result<u64, Error> {
        self.revoke(vec![Revoke::One(session)]).await
    }

    /// Ends a user's sessions, in all mini programs if none is named; says how many.
    pub async fn revoke_user(&self, appid: Option<&str>, openid: &str) -> Result<u64, Error> {
        let appids = self.shared().apps.named(appid).into_iter();
        let users = appids.map(|appid| Revoke::User {
            appid,
            openid: openid.to_owned(),
        });
        self.revoke(users.collect()).await
    }

    /// Ends everybody's sessions; says how many.
    pub async fn revoke_all(&self) -> Result<u64, Error> {
        self.revoke(vec![Revoke::All]).await
    }

    async fn revoke(&self, which: Vec<Revoke>) -> Result<u64, Error> {
        let store = self.shared().store.clone();
        self.shared()
            .work
            .run(async move {
                let mut ended = 0;
                for which in which {
                    ended += store.revoke(which).await?;
                }
                Ok(ended)
            })
            .await?
    }
}
