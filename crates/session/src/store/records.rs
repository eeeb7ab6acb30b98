//! Users and sessions as they are read from the database.

use std::sync::Arc;
use std::time::Duration;

use weappd_base::unix_time::UnixSecs;

use crate::identity::UserIdentity;
use crate::skey::SkeyHash;
use crate::store::from_row::impl_from_row;

/// A session as it is looked for.
pub(crate) struct SessionLookup<'a> {
    pub(crate) hash: SkeyHash,
    /// For the old servers' tables, which keep it in clear.
    pub(crate) skey: &'a str,
    /// The id shown beside it: spares some tables a long search.
    pub(crate) id: Option<&'a str>,
    /// How long to wait for a database server, if not as long as usual.
    pub(crate) patience: Option<Duration>,
}

/// A session as the store keeps it, with its user.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub(crate) seq: i64,
    pub(crate) created: UnixSecs,
    pub(crate) last_visit: UnixSecs,
    /// The user's row.
    pub(crate) user: i64,
    pub(crate) appid: String,
    pub(crate) openid: String,
    pub(crate) unionid: Option<String>,
    pub(crate) id: String,
    pub(crate) user_info: Option<String>,
    /// The user's phone number, sealed.
    pub(crate) phone: Option<Vec<u8>>,
}

impl_from_row!(SessionRow {
    seq,
    created: UnixSecs::new,
    last_visit: UnixSecs::new,
    user,
    appid,
    openid,
    unionid,
    id,
    user_info,
    phone
});

/// A session as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    pub(crate) seq: i64,
    pub(crate) created: UnixSecs,
    pub(crate) last_visit: UnixSecs,
    pub(crate) device: Option<String>,
    pub(crate) address: Option<String>,
}

impl_from_row!(SessionRecord {
    seq,
    created: UnixSecs::new,
    last_visit: UnixSecs::new,
    device,
    address
});

/// A user as people are shown them.
#[derive(Clone, Debug)]
pub(crate) struct UserRecord {
    /// The row's number; 0 in an old server's tables.
    pub(crate) user: i64,
    pub(crate) unionid: Option<String>,
    pub(crate) id: String,
    /// When the user first logged in; the old servers do not keep it.
    pub(crate) created: Option<UnixSecs>,
    pub(crate) last_login: UnixSecs,
    /// Sealed.
    pub(crate) phone: Option<Vec<u8>>,
    /// The user object as JSON text.
    pub(crate) user_info: Option<String>,
    /// When each of the kept session keys was given, the newest first.
    pub(crate) keys: Vec<UnixSecs>,
}

/// A user's row in weappd's own tables.
pub(crate) struct UserRow {
    pub(crate) user: i64,
    unionid: Option<String>,
    id: String,
    created: UnixSecs,
    last_login: UnixSecs,
    phone: Option<Vec<u8>>,
    user_info: Option<String>,
}

impl_from_row!(UserRow {
    user,
    unionid,
    id,
    created: UnixSecs::new,
    last_login: UnixSecs::new,
    phone,
    user_info
});

impl UserRow {
    /// The record, with the times at which the user's session keys were given.
    pub(crate) fn with_keys(self, keys: Vec<UnixSecs>) -> UserRecord {
        UserRecord {
            user: self.user,
            unionid: self.unionid,
            id: self.id,
            created: Some(self.created),
            last_login: self.last_login,
            phone: self.phone,
            user_info: self.user_info,
            keys,
        }
    }
}

/// A last visit to be written.
pub(crate) struct LastVisit {
    pub(crate) seq: i64,
    pub(crate) at: UnixSecs,
    pub(crate) who: Arc<UserIdentity>,
}
