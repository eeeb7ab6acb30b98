//! Withdraw: what a user takes back of what they told through WeChat is forgotten here.

use std::sync::Arc;

use serde_json::Value;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::{ConsentWithdrawal, WithdrawnData, lenient_json};

use crate::error::Error;
use crate::identity::UserIdentity;
use crate::picture::avatar_of;
use crate::session::name_user;
use crate::sessions::SessionService;
use crate::store::records::UserRecord;
use crate::store::write::phone::NewPhone;
use crate::store::write::profile::NewProfile;
use crate::store::write::revoke::RevokeScope;

impl SessionService {
    /// Forgets what the user has taken back. On return it is gone from the disk; asked again,
    /// nothing more happens. A phone number that was proven later than that stays.
    pub async fn withdraw(&self, appid: &str, withdrawal: &ConsentWithdrawal) -> Result<(), Error> {
        let (sessions, appid, withdrawal) = (self.clone(), appid.to_owned(), withdrawal.clone());
        self.shared()
            .work
            .run(async move { sessions.withdraw_here(appid, &withdrawal).await })
            .await?
    }

    async fn withdraw_here(
        &self,
        appid: String,
        withdrawal: &ConsentWithdrawal,
    ) -> Result<(), Error> {
        let (store, openid) = (&self.shared().store, &withdrawal.openid);
        let Some(known) = store.user(&appid, openid).await? else {
            return Ok(());
        };
        let _turn = self.shared().turns.take(known.user).await;
        // What the change before left.
        let Some(known) = store.user(&appid, openid).await? else {
            return Ok(());
        };
        let who = Arc::new(UserIdentity {
            appid,
            openid: openid.clone(),
            unionid: known.unionid.clone(),
            id: known.id.clone(),
            user_info_json: String::new(),
        });
        let has = |data: WithdrawnData| withdrawal.data.contains(&data);
        let is_closed = has(WithdrawnData::Account);
        if is_closed || has(WithdrawnData::PhoneNumber) {
            self.withdraw_phone(&known, &who, withdrawal.at.filter(|_| !is_closed))
                .await?;
        }
        self.withdraw_profile(&known, &who, &withdrawal.data)
            .await?;
        if is_closed {
            store
                .write(RevokeScope::User {
                    appid: who.appid.clone(),
                    openid: openid.clone(),
                })
                .await?;
        }
        tracing::info!(
            appid = who.appid,
            openid,
            data = ?withdrawal.data,
            "the user has withdrawn a consent: what it gave is deleted"
        );
        Ok(())
    }

    async fn withdraw_phone(
        &self,
        known: &UserRecord,
        who: &Arc<UserIdentity>,
        at: Option<UnixSecs>,
    ) -> Result<(), Error> {
        let Some(sealed) = &known.phone else {
            return Ok(());
        };
        let number = self.unsealed_phone(&who.appid, &who.openid, sealed);
        let is_later = number.is_some_and(|number| at.is_some_and(|at| number.verified_at() > at));
        if is_later {
            return Ok(());
        }
        let new = NewPhone {
            user: known.user,
            who: Arc::clone(who),
            phone: None,
        };
        self.shared().store.write(new).await
    }

    async fn withdraw_profile(
        &self,
        known: &UserRecord,
        who: &Arc<UserIdentity>,
        data: &[WithdrawnData],
    ) -> Result<(), Error> {
        let Some(before) = known.user_info.as_deref() else {
            return Ok(());
        };
        // An old server keeps what WeChat wrote as it was.
        let Ok(Value::Object(mut fields)) = lenient_json(before) else {
            return Ok(());
        };
        let count = fields.len();
        for data in data {
            match data {
                WithdrawnData::Profile | WithdrawnData::Account => {
                    fields.retain(|name, _| matches!(name.as_str(), "openId" | "unionId"));
                }
                WithdrawnData::NickName => drop(fields.remove("nickName")),
                WithdrawnData::Avatar => drop(fields.remove("avatarUrl")),
                WithdrawnData::PhoneNumber => {}
            }
        }
        if fields.len() == count {
            return Ok(());
        }
        name_user(&mut fields, &who.openid, who.unionid.as_deref());
        let after = Value::Object(fields).to_string();
        let info = NewProfile {
            user: known.user,
            who: Arc::clone(who),
            user_info: after.clone(),
        };
        self.shared().store.write(info).await?;
        let (before, after) = (avatar_of(before), avatar_of(&after));
        if let Some(pictures) = self.shared().pictures.get()
            && let (Some(before), None) = (&before, &after)
        {
            pictures.remove(who, before).await;
            pictures.tidy(who, None).await;
        }
        Ok(())
    }
}
