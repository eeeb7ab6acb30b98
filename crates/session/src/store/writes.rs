//! What is written into the database, whichever it is.

use std::sync::Arc;

use weappd_base::secret::Secret;

use crate::app_terms::AppTerms;
use crate::identity::UserIdentity;
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
    pub(crate) now: i64,
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

/// A session to be ended.
#[derive(Clone)]
pub(crate) struct EndedSession {
    pub(crate) hash: SkeyHash,
    pub(crate) who: Arc<UserIdentity>,
}

/// Sessions to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RevokeScope {
    /// One, by its number.
    One(i64),
    /// All of a user.
    User { appid: String, openid: String },
    /// Everybody's.
    All,
}

/// A user object to be kept in place of the known one.
#[derive(Clone)]
pub(crate) struct NewProfile {
    pub(crate) user: i64,
    pub(crate) who: Arc<UserIdentity>,
    pub(crate) user_info: String,
}

/// A phone number to be kept for a user, or forgotten.
#[derive(Clone)]
pub(crate) struct NewPhone {
    pub(crate) user: i64,
    pub(crate) who: Arc<UserIdentity>,
    /// As JSON text.
    pub(crate) phone: Option<Secret>,
}

/// A session key that WeChat gave without a login.
#[derive(Clone)]
pub(crate) struct NewKey {
    pub(crate) user: i64,
    pub(crate) who: Arc<UserIdentity>,
    pub(crate) session_key: Secret,
    pub(crate) now: i64,
}
