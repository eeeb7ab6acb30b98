//! One session in memory: who, until when, and the answers it gets most often.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use weappd_base::unix_time::{UnixMillis, UnixSecs};
use weappd_wechat::lenient_json;

use crate::app_terms::AppTerms;
use crate::dialect::{wafer1, wafer2};
use crate::identity::{AuthError, UserIdentity};
use crate::skey::SkeyHash;
use crate::store::records::{LastVisit, SessionRow};

/// A session in memory. Shared by the cache, the requests that use it and the list of
/// visits to be written.
pub(crate) struct CachedSession {
    pub(crate) hash: SkeyHash,
    pub(crate) seq: i64,
    pub(crate) user: i64,
    pub(crate) identity: Arc<UserIdentity>,
    /// The user's phone number, sealed: nothing of it stands in memory in clear.
    pub(crate) phone: Option<Vec<u8>>,
    created: UnixSecs,
    terms: Arc<AppTerms>,
    /// In seconds since 1970.
    last_visit: AtomicI64,
    /// Whether the last visit stands in the list of visits to be written.
    listed: AtomicBool,
    /// When the store last confirmed the session, in milliseconds since 1970; long ago until then.
    confirmed: AtomicI64,
    wafer2_user: Bytes,
    wafer1_user: OnceLock<Bytes>,
}

impl CachedSession {
    pub(crate) fn new(hash: SkeyHash, found: SessionRow, terms: Arc<AppTerms>) -> Self {
        let user_info_json = user_info(&found);
        Self::told(hash, found, terms, user_info_json)
    }

    /// A session whose user object was made here a moment ago and needs no look.
    pub(crate) fn told(
        hash: SkeyHash,
        found: SessionRow,
        terms: Arc<AppTerms>,
        user_info_json: String,
    ) -> Self {
        Self {
            hash,
            seq: found.seq,
            user: found.user,
            phone: found.phone,
            created: found.created,
            terms,
            last_visit: AtomicI64::new(found.last_visit.get()),
            listed: AtomicBool::new(false),
            confirmed: AtomicI64::new(i64::MIN),
            wafer2_user: wafer2::user(&user_info_json),
            wafer1_user: OnceLock::new(),
            identity: Arc::new(UserIdentity {
                appid: found.appid,
                openid: found.openid,
                unionid: found.unionid,
                id: found.id,
                user_info_json,
            }),
        }
    }

    /// Marks a visit at `now`, unless the session has expired or its mini program is served no
    /// more. Says whether the visit is to be listed for writing.
    pub(crate) fn visit(&self, now: UnixSecs) -> Result<bool, AuthError> {
        if !self.terms.is_served() {
            return Err(AuthError::Unknown);
        }
        let last = UnixSecs::new(self.last_visit.load(Ordering::Relaxed));
        if self.is_expired(now, last) {
            return Err(AuthError::Expired);
        }
        if now <= last {
            return Ok(false);
        }
        self.last_visit.fetch_max(now.get(), Ordering::Relaxed);
        Ok(!self.listed.swap(true, Ordering::AcqRel))
    }

    fn is_expired(&self, now: UnixSecs, last_visit: UnixSecs) -> bool {
        let lifetime = self.terms.lifetime();
        now.since(self.created) > lifetime.login || now.since(last_visit) > lifetime.idle
    }

    /// The last visit, about to be written: the next one is listed anew.
    pub(crate) fn take_visit(&self) -> LastVisit {
        self.listed.store(false, Ordering::Release);
        LastVisit {
            seq: self.seq,
            at: UnixSecs::new(self.last_visit.load(Ordering::Acquire)),
            who: Arc::clone(&self.identity),
        }
    }

    /// Whether the store has confirmed the session within that time.
    pub(crate) fn is_confirmed(&self, now: UnixMillis, within: Duration) -> bool {
        let confirmed = UnixMillis::new(self.confirmed.load(Ordering::Acquire));
        // A clock set back confirms nothing for longer.
        (confirmed..confirmed + within).contains(&now)
    }

    /// The store confirms the session now, or is about to be asked: one asks for all.
    pub(crate) fn confirm(&self, now: UnixMillis) {
        self.confirmed.store(now.get(), Ordering::Release);
    }

    /// Whether the store still says the same of the session; takes over its last visit.
    pub(crate) fn agrees(&self, found: &SessionRow) -> bool {
        let known = &self.identity;
        let same = self.seq == found.seq
            && self.created == found.created
            && known.openid == found.openid
            && known.id == found.id
            && known.unionid == found.unionid
            && self.phone == found.phone
            && known.user_info_json == user_info(found);
        if same {
            self.last_visit
                .fetch_max(found.last_visit.get(), Ordering::AcqRel);
        }
        same
    }

    /// Takes over the visits of what was known of the session before.
    pub(crate) fn follow(&self, before: &Self) {
        let visited = before.last_visit.load(Ordering::Acquire);
        if self.created == before.created {
            self.last_visit.fetch_max(visited, Ordering::AcqRel);
        }
    }

    /// The last visit could not be written and is listed again.
    pub(crate) fn relist(&self) -> bool {
        !self.listed.swap(true, Ordering::AcqRel)
    }

    /// When the session ends if nobody visits again.
    pub(crate) fn expires_at(&self) -> UnixSecs {
        let last_visit = UnixSecs::new(self.last_visit.load(Ordering::Relaxed));
        self.terms.lifetime().end(self.created, last_visit)
    }

    /// How long the session lives without a visit.
    pub(crate) fn idle(&self) -> Duration {
        self.terms.lifetime().idle
    }

    /// The ready answer of `GET /weapp/user`.
    pub(crate) fn wafer2_user(&self) -> Bytes {
        self.wafer2_user.clone()
    }

    /// The ready answer of Wafer 1's `GET /user`.
    pub(crate) fn wafer1_user(&self) -> Bytes {
        self.wafer1_user
            .get_or_init(|| wafer1::user(&self.identity.user_info_json))
            .clone()
    }

    /// About how many bytes of memory the session holds.
    pub(crate) fn weight(&self) -> u64 {
        // The user object stands in the identity and in up to two ready answers.
        (512 + 3 * self.identity.user_info_json.len()) as u64
    }
}

/// The user object: what was decrypted, or what a code alone tells.
fn user_info(found: &SessionRow) -> String {
    if let Some(text) = &found.user_info {
        if serde_json::from_str::<Map<String, Value>>(text).is_ok() {
            return text.clone();
        }
        // An old server keeps what WeChat wrote as it was.
        if let Ok(whole @ Value::Object(_)) = lenient_json(text) {
            return whole.to_string();
        }
    }
    let mut fields = Map::new();
    name_user(&mut fields, &found.openid, found.unionid.as_deref());
    Value::Object(fields).to_string()
}

/// Adds `openId` and `unionId` where WeChat left them out.
pub(crate) fn name_user(fields: &mut Map<String, Value>, openid: &str, unionid: Option<&str>) {
    fields
        .entry("openId")
        .or_insert_with(|| Value::from(openid));
    if let Some(unionid) = unionid {
        fields
            .entry("unionId")
            .or_insert_with(|| Value::from(unionid));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::session_lifetime::SessionLifetime;

    const fn at(secs: i64) -> UnixSecs {
        UnixSecs::new(secs)
    }

    pub(crate) fn found() -> SessionRow {
        SessionRow {
            seq: 1,
            created: at(1000),
            last_visit: at(1000),
            user: 1,
            appid: "wx1".to_owned(),
            openid: "o1".to_owned(),
            unionid: None,
            id: "id1".to_owned(),
            user_info: Some(r#"{"openId":"o1","nickName":"Band"}"#.to_owned()),
            phone: None,
        }
    }

    pub(crate) fn session(hash: SkeyHash) -> CachedSession {
        let terms = AppTerms::of(SessionLifetime {
            login: Duration::from_secs(100),
            idle: Duration::from_secs(30),
        });
        CachedSession::new(hash, found(), terms)
    }

    #[test]
    fn a_session_slides_with_its_visits_and_ends_with_its_login() {
        let session = session(SkeyHash([0; 32]));
        assert_eq!(session.expires_at(), at(1030));
        assert!(session.visit(at(1030)).expect("the last second"));
        assert_eq!(session.expires_at(), at(1060));
        assert!(matches!(session.visit(at(1061)), Err(AuthError::Expired)));
        assert!(!session.visit(at(1060)).expect("slid, and already listed"));
        assert!(!session.visit(at(1085)).expect("slid"));
        assert_eq!(session.expires_at(), at(1100));
        assert!(
            !session
                .visit(at(1100))
                .expect("the last second of the login")
        );
        assert!(matches!(session.visit(at(1101)), Err(AuthError::Expired)));
    }

    #[test]
    fn a_visit_is_listed_once_until_it_is_taken() {
        let session = session(SkeyHash([0; 32]));
        assert!(!session.visit(at(1000)).expect("no later than the login"));
        assert!(session.visit(at(1001)).expect("a visit"));
        assert!(!session.visit(at(1002)).expect("a visit"));
        let visit = session.take_visit();
        assert_eq!((visit.seq, visit.at), (1, at(1002)));
        assert!(session.visit(at(1003)).expect("a visit"));
    }

    #[test]
    fn a_clock_set_back_expires_nobody() {
        let session = session(SkeyHash([0; 32]));
        assert!(!session.visit(at(0)).expect("long before the login"));
        assert_eq!(session.expires_at(), at(1030));
    }

    #[test]
    fn a_user_known_by_code_alone_is_named() {
        let mut found = found();
        found.unionid = Some("u1".to_owned());
        for broken in [None, Some("nonsense".to_owned()), Some("[]".to_owned())] {
            found.user_info = broken;
            assert_eq!(user_info(&found), r#"{"openId":"o1","unionId":"u1"}"#);
        }
        found.user_info = Some("{\"nickName\":\"\u{14}a\tb\\ud83d\"}".to_owned());
        assert_eq!(user_info(&found), "{\"nickName\":\"\\u0014a\\tb\u{fffd}\"}");
    }
}
