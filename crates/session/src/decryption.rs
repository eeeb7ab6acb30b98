//! Opens what WeChat encrypted for a user.
//!
//! An oracle would need two things: answers that differ, and many of them. So everything
//! that is wrong with the data after its base64 (padding, letters, JSON, watermark, age, user,
//! shape) is one failure, told after the same time; and failures are counted by user and by
//! address, so that after some nothing is decrypted any more. A new login changes nothing
//! of that: it is the user who is counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use weappd_base::secret::Secret;
use weappd_wechat::open_data::{self, SealedData};

use crate::data_kind::DataKind;
use crate::error::Error;
use crate::limits::DataSender;
use crate::sessions::SessionService;

/// When a failure is told, counted from the beginning of the work, which is done long before.
const TOLD_AFTER: Duration = Duration::from_millis(20);
/// How far WeChat's clock may be ahead of ours.
const AHEAD: Duration = Duration::from_mins(5);

/// `encryptedData` and its iv, as they came.
#[derive(Clone, Copy)]
pub(crate) struct SealedText<'a> {
    pub(crate) encrypted: &'a str,
    /// Missing in the oldest form, where the key is the iv.
    pub(crate) iv: Option<&'a str>,
}

/// What data must be to be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataRequirement {
    /// A user object, however old.
    UserInfo,
    /// Of any kind, but new.
    New,
    /// However old; without a watermark of a kind that is known.
    Whole,
}

/// Data that is this user's.
#[derive(Debug)]
pub(crate) struct UserOpenData {
    pub(crate) kind: DataKind,
    pub(crate) text: String,
    pub(crate) data: serde_json::Value,
}

impl SessionService {
    /// Opens data with the first of `keys` that fits.
    pub(crate) async fn open_sealed(
        &self,
        bringer: DataSender<'_>,
        keys: &[Secret],
        sealed: SealedText<'_>,
        demand: DataRequirement,
    ) -> Result<UserOpenData, Error> {
        let shared = self.shared();
        // What everybody can see of the data, without any key.
        let sealed = SealedData::parse(sealed.encrypted, sealed.iv)
            .map_err(|err| Error::Encoding(Arc::new(err)))?;
        shared.limits.open(bringer, shared.clock.unix_millis())?;
        let begun = Instant::now();
        let mut found = None;
        // All keys, whichever fits.
        for key in keys {
            let opened = sealed.open(bringer.appid, key).ok().and_then(|opened| {
                let kind = DataKind::of(&opened.data, bringer.openid)?;
                let fits = match demand {
                    DataRequirement::UserInfo => kind == DataKind::UserInfo,
                    DataRequirement::New => self.is_new(&opened.data),
                    DataRequirement::Whole => {
                        kind != DataKind::Other || opened.data.get("watermark").is_some()
                    }
                };
                fits.then_some(UserOpenData {
                    kind,
                    text: opened.text,
                    data: opened.data,
                })
            });
            found = found.or(opened);
        }
        let Some(opened) = found else {
            sleep_until(begun + TOLD_AFTER).await;
            return Err(Error::Unopened);
        };
        shared.limits.opened(bringer);
        Ok(opened)
    }

    /// Whether the data, by its watermark, is of now.
    pub(crate) fn is_new(&self, data: &serde_json::Value) -> bool {
        let shared = self.shared();
        let secs = shared.settings.load().config.open_data_max_age_secs;
        let (now, oldest) = (shared.clock.unix_secs(), Duration::from_secs(secs));
        let is_of_now = |at| at <= now + AHEAD && now.since(at) <= oldest;
        secs == 0 || open_data::made_at(data).is_some_and(is_of_now)
    }
}
