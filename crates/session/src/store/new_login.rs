//! A login on its way into the database, and what comes of it.

use std::sync::Arc;

use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;

use crate::app_terms::AppTerms;
use crate::session::CachedSession;
use crate::skey::SkeyHash;

/// A login to be written: its user as WeChat told, its session by the hash of its skey.
#[derive(Clone)]
pub(crate) struct NewLogin {
    pub(crate) appid: String,
    pub(crate) openid: String,
    pub(crate) unionid: Option<String>,
    /// The id the user gets, if this is the first login.
    pub(crate) new_id: String,
    /// The decrypted user object; without one, what is known already stays.
    pub(crate) user_info: Option<String>,
    pub(crate) session_key: Secret,
    /// For the old servers' tables, which keep it in clear.
    pub(crate) skey: Secret,
    pub(crate) hash: SkeyHash,
    /// What the phone says it is.
    pub(crate) device: Option<String>,
    /// Where it calls from.
    pub(crate) address: Option<String>,
    pub(crate) now: UnixSecs,
    pub(crate) terms: Arc<AppTerms>,
}

/// A login that is written: it survives a crash from here on.
#[derive(Clone)]
pub(crate) struct OpenedSession {
    pub(crate) session: Arc<CachedSession>,
    pub(crate) is_new_user: bool,
    /// Whether the session still stands: as many newer ones may have come in the same
    /// transaction as a user may hold.
    pub(crate) is_kept: bool,
}
