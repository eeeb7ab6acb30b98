//! Check: who does this request come from?
//!
//! The most used path of all. What is in memory is answered on the caller's thread,
//! without the database, without an await, without holding a lock; everything else goes
//! to the store once.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use weappd_base::causes::chain;
use weappd_base::secret::Secret;

use crate::breaker::CheckSource;
use crate::error::Error;
use crate::identity::{AuthError, UserIdentity};
use crate::session::CachedSession;
use crate::sessions::SessionService;
use crate::skey::{PresentedSkey, SkeyHash};
use crate::store::records::SessionLookup;

/// What memory alone can say.
pub(crate) enum CacheLookup {
    Answer(Result<Arc<CachedSession>, AuthError>),
    /// The store must be asked.
    AskStore(SessionQuery),
}

/// A session the store is to be asked for, freed from the request's headers.
pub(crate) struct SessionQuery {
    pub(crate) hash: SkeyHash,
    pub(crate) skey: Secret,
    pub(crate) id: Option<String>,
}

/// How long a check waits for the store to confirm what memory knows.
const RECHECK: Duration = Duration::from_secs(1);

impl SessionQuery {
    fn wanted(&self) -> SessionLookup<'_> {
        SessionLookup {
            hash: self.hash,
            skey: self.skey.expose(),
            id: self.id.as_deref(),
            patience: None,
        }
    }
}

impl SessionService {
    /// Who the request comes from, by `X-WX-Skey`, by `X-WX-Id` and `X-WX-Skey`, or by
    /// `Authorization: Bearer`.
    pub async fn check_headers(&self, headers: &HeaderMap) -> Result<Arc<UserIdentity>, AuthError> {
        let session = self.check(headers).await?;
        Ok(Arc::clone(&session.identity))
    }

    /// The same, if memory alone can tell: spares a hot path its future.
    pub fn check_headers_in_cache(
        &self,
        headers: &HeaderMap,
    ) -> Option<Result<Arc<UserIdentity>, AuthError>> {
        match self.check_cache(headers) {
            CacheLookup::Answer(answer) => {
                Some(answer.map(|session| Arc::clone(&session.identity)))
            }
            CacheLookup::AskStore(_) => None,
        }
    }

    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<Arc<CachedSession>, AuthError> {
        match self.check_cache(headers) {
            CacheLookup::Answer(answer) => answer,
            CacheLookup::AskStore(question) => self.ask(question).await,
        }
    }

    /// Checks an id and skey that came as parameters of a call.
    pub(crate) async fn check_pair(
        &self,
        id: &str,
        skey: &str,
    ) -> Result<Arc<CachedSession>, AuthError> {
        match self.check_in_cache(&PresentedSkey::pair(id, skey)?) {
            CacheLookup::Answer(answer) => answer,
            CacheLookup::AskStore(question) => self.ask(question).await,
        }
    }

    pub(crate) fn check_cache(&self, headers: &HeaderMap) -> CacheLookup {
        match PresentedSkey::read(headers) {
            Ok(presented) => self.check_in_cache(&presented),
            Err(denied) => CacheLookup::Answer(Err(denied)),
        }
    }

    fn check_in_cache(&self, presented: &PresentedSkey<'_>) -> CacheLookup {
        let hash = SkeyHash::of(presented.skey);
        match self.shared().cache.get(&hash) {
            Some(session) if self.is_fresh(&session, presented.skey) => {
                CacheLookup::Answer(self.admit(session, presented.id))
            }
            _ => CacheLookup::AskStore(SessionQuery {
                hash,
                skey: Secret::new(presented.skey),
                id: presented.id.map(str::to_owned),
            }),
        }
    }

    pub(crate) async fn ask(
        &self,
        question: SessionQuery,
    ) -> Result<Arc<CachedSession>, AuthError> {
        let id = question.id.clone();
        let session = self.look_up(question).await.map_err(AuthError::Failed)?;
        self.admit(session.ok_or(AuthError::Unknown)?, id.as_deref())
    }

    /// The session, expired or not; the database is asked where its connections are.
    pub(crate) async fn look_up(
        &self,
        question: SessionQuery,
    ) -> Result<Option<Arc<CachedSession>>, Error> {
        let sessions = self.clone();
        self.shared()
            .work
            .run(async move { sessions.cached_or_stored(&question.wanted()).await })
            .await?
    }

    /// Whether memory may answer without the store: always where nobody else writes it,
    /// and while the store fails.
    fn is_fresh(&self, session: &CachedSession, skey: &str) -> bool {
        let shared = self.shared();
        let Some(within) = shared.recheck_after() else {
            return true;
        };
        let now = shared.clock.unix_millis();
        if session.is_confirmed(now, within) {
            return true;
        }
        match shared.breaker.source(now) {
            CheckSource::Store => return false,
            CheckSource::Cache => {}
            CheckSource::CacheAndProbe => self.try_store(SessionQuery {
                hash: session.hash,
                skey: Secret::new(skey),
                id: None,
            }),
        }
        true
    }

    /// Asks a failing store for a session, beside the request.
    fn try_store(&self, question: SessionQuery) {
        let sessions = self.clone();
        self.spawn(async move {
            let known = sessions.shared().cache.get(&question.hash);
            // What it says is in memory or in the breaker afterwards.
            let _asked = sessions.ask_store(&question.wanted(), known).await;
        });
    }

    /// The session from memory or from the store, expired or not. While the store fails,
    /// memory answers.
    pub(crate) async fn cached_or_stored(
        &self,
        wanted: &SessionLookup<'_>,
    ) -> Result<Option<Arc<CachedSession>>, Error> {
        let known = self.shared().cache.get(&wanted.hash);
        match &known {
            Some(session) if self.is_fresh(session, wanted.skey) => Ok(known),
            _ => self.ask_store(wanted, known).await,
        }
    }

    /// Asks the store, whatever memory says.
    async fn ask_store(
        &self,
        wanted: &SessionLookup<'_>,
        known: Option<Arc<CachedSession>>,
    ) -> Result<Option<Arc<CachedSession>>, Error> {
        let shared = self.shared();
        let now = shared.clock.unix_millis();
        if let Some(session) = &known {
            // Whoever comes meanwhile is answered from memory.
            session.confirm(now);
        }
        let ticket = shared.cache.ticket(wanted.hash);
        let asked = SessionLookup {
            patience: known.as_ref().map(|_| RECHECK),
            ..*wanted
        };
        let found = match (shared.store.find(&asked).await, &known) {
            (Ok(found), _) => {
                if shared.breaker.record_success() {
                    tracing::info!("the session store answers again");
                }
                found
            }
            (Err(Error::Closed), Some(_)) => return Ok(known),
            (Err(err), Some(_)) => {
                if shared.breaker.record_failure(shared.clock.unix_millis()) {
                    tracing::warn!(error = chain(&err), "sessions are checked from memory");
                }
                return Ok(known);
            }
            (Err(err), None) => return Err(err),
        };
        let Some(found) = found else {
            if known.is_some() {
                shared.cache.forget(&wanted.hash);
            }
            return Ok(None);
        };
        if let Some(session) = known.as_ref().filter(|known| known.agrees(&found)) {
            session.confirm(now);
            return Ok(known);
        }
        // Sessions of a mini program that is configured no more open nothing.
        let Some(app) = shared.apps.get(&found.appid) else {
            return Ok(None);
        };
        let session = CachedSession::new(wanted.hash, found, Arc::clone(&app.terms));
        if let Some(known) = &known {
            session.follow(known);
        }
        session.confirm(now);
        let session = Arc::new(session);
        shared.cache.keep(&ticket, Arc::clone(&session));
        Ok(Some(session))
    }

    fn admit(
        &self,
        session: Arc<CachedSession>,
        id: Option<&str>,
    ) -> Result<Arc<CachedSession>, AuthError> {
        if id.is_some_and(|id| id != session.identity.id) {
            return Err(AuthError::Unknown);
        }
        let shared = self.shared();
        if session.visit(shared.clock.unix_secs())? {
            shared.visits.list(Arc::clone(&session));
        }
        Ok(session)
    }
}
