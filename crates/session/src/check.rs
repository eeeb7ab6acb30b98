//! Check: who does this request come from?
//!
//! The hottest path of the house. What is in memory is answered on the caller's thread,
//! without the database, without an await, without holding a lock; everything else goes
//! to the store once.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use weappd_base::causes::chain;
use weappd_base::secret::Secret;

use crate::error::Error;
use crate::identity::{Denied, Identity};
use crate::pulse::Ask;
use crate::session::{Limits, Session};
use crate::sessions::Sessions;
use crate::skey::{Presented, SkeyHash};
use crate::store::Wanted;

/// What memory alone can say.
pub(crate) enum Recall {
    Answer(Result<Arc<Session>, Denied>),
    /// The store must be asked.
    Ask(Question),
}

/// A session the store is to be asked for, freed from the request's headers.
pub(crate) struct Question {
    pub(crate) hash: SkeyHash,
    pub(crate) skey: Secret,
    pub(crate) id: Option<String>,
}

/// How long a check waits for the store to confirm what memory knows.
const RECHECK: Duration = Duration::from_secs(1);

impl Question {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            hash: self.hash,
            skey: self.skey.expose(),
            id: self.id.as_deref(),
            patience: None,
        }
    }
}

impl Sessions {
    /// Who the request comes from, by `X-WX-Skey`, by `X-WX-Id` and `X-WX-Skey`, or by
    /// `Authorization: Bearer`.
    pub async fn check_headers(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Denied> {
        let session = self.check(headers).await?;
        Ok(Arc::clone(&session.identity))
    }

    /// The same, if memory alone can tell: spares a hot path its future.
    pub fn recall_headers(&self, headers: &HeaderMap) -> Option<Result<Arc<Identity>, Denied>> {
        match self.recall(headers) {
            Recall::Answer(answer) => Some(answer.map(|session| Arc::clone(&session.identity))),
            Recall::Ask(_) => None,
        }
    }

    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<Arc<Session>, Denied> {
        match self.recall(headers) {
            Recall::Answer(answer) => answer,
            Recall::Ask(question) => self.ask(question).await,
        }
    }

    /// Checks an id and skey that came as parameters of a call.
    pub(crate) async fn check_pair(&self, id: &str, skey: &str) -> Result<Arc<Session>, Denied> {
        match self.recall_presented(&Presented::pair(id, skey)?) {
            Recall::Answer(answer) => answer,
            Recall::Ask(question) => self.ask(question).await,
        }
    }

    pub(crate) fn recall(&self, headers: &HeaderMap) -> Recall {
        match Presented::read(headers) {
            Ok(presented) => self.recall_presented(&presented),
            Err(denied) => Recall::Answer(Err(denied)),
        }
    }

    fn recall_presented(&self, presented: &Presented<'_>) -> Recall {
        let hash = SkeyHash::of(presented.skey);
        match self.shared().cache.get(&hash) {
            Some(session) if self.is_fresh(&session, presented.skey) => {
                Recall::Answer(self.admit(session, presented.id))
            }
            _ => Recall::Ask(Question {
                hash,
                skey: Secret::new(presented.skey),
                id: presented.id.map(str::to_owned),
            }),
        }
    }

    pub(crate) async fn ask(&self, question: Question) -> Result<Arc<Session>, Denied> {
        let id = question.id.clone();
        let session = self.look_up(question).await.map_err(Denied::Failed)?;
        self.admit(session.ok_or(Denied::Unknown)?, id.as_deref())
    }

    /// The session, expired or not; the database is asked where its connections are.
    pub(crate) async fn look_up(&self, question: Question) -> Result<Option<Arc<Session>>, Error> {
        let sessions = self.clone();
        self.shared()
            .work
            .run(async move { sessions.remember(&question.wanted()).await })
            .await?
    }

    /// Whether memory may answer without the store: always where nobody else writes it,
    /// and while the store fails.
    fn is_fresh(&self, session: &Session, skey: &str) -> bool {
        let shared = self.shared();
        let Some(millis) = shared.recheck_millis else {
            return true;
        };
        let now = shared.clock.unix_millis();
        if session.is_confirmed(now, millis) {
            return true;
        }
        match shared.pulse.ask(now) {
            Ask::Store => return false,
            Ask::Memory => {}
            Ask::MemoryAndTry => self.try_store(Question {
                hash: session.hash,
                skey: Secret::new(skey),
                id: None,
            }),
        }
        true
    }

    /// Asks a failing store for a session, beside the request.
    fn try_store(&self, question: Question) {
        let sessions = self.clone();
        self.spawn(async move {
            let known = sessions.shared().cache.get(&question.hash);
            // What it says is in memory or in the pulse afterwards.
            let _asked = sessions.compare(&question.wanted(), known).await;
        });
    }

    /// The session from memory or from the store, expired or not. While the store fails,
    /// memory answers.
    pub(crate) async fn remember(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Arc<Session>>, Error> {
        let known = self.shared().cache.get(&wanted.hash);
        match &known {
            Some(session) if self.is_fresh(session, wanted.skey) => Ok(known),
            _ => self.compare(wanted, known).await,
        }
    }

    /// Asks the store, whatever memory says.
    async fn compare(
        &self,
        wanted: &Wanted<'_>,
        known: Option<Arc<Session>>,
    ) -> Result<Option<Arc<Session>>, Error> {
        let shared = self.shared();
        let now = shared.clock.unix_millis();
        if let Some(session) = &known {
            // Whoever comes meanwhile is answered from memory.
            session.confirm(now);
        }
        let ticket = shared.cache.ticket(wanted.hash);
        let asked = Wanted {
            patience: known.as_ref().map(|_| RECHECK),
            ..*wanted
        };
        let found = match (shared.store.find(&asked).await, &known) {
            (Ok(found), _) => {
                if shared.pulse.answers() {
                    tracing::info!("the session store answers again");
                }
                found
            }
            (Err(Error::Closed), Some(_)) => return Ok(known),
            (Err(err), Some(_)) => {
                if shared.pulse.fails(shared.clock.unix_millis()) {
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
        let session = Session::new(wanted.hash, found, Limits::from(&*app));
        if let Some(known) = &known {
            session.follow(known);
        }
        session.confirm(now);
        let session = Arc::new(session);
        shared.cache.keep(&ticket, Arc::clone(&session));
        Ok(Some(session))
    }

    fn admit(&self, session: Arc<Session>, id: Option<&str>) -> Result<Arc<Session>, Denied> {
        if id.is_some_and(|id| id != session.identity.id) {
            return Err(Denied::Unknown);
        }
        let shared = self.shared();
        if session.visit(shared.clock.unix_secs())? {
            shared.visits.list(Arc::clone(&session));
        }
        Ok(session)
    }
}
