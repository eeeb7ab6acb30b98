//! Check: who does this request come from?
//!
//! The hottest path of the house. What is in memory is answered on the caller's thread,
//! without the database, without an await, without holding a lock; everything else goes
//! to the store once.

use std::sync::Arc;

use http::HeaderMap;

use crate::error::Error;
use crate::identity::{Denied, Identity};
use crate::session::{Limits, Session};
use crate::sessions::Sessions;
use crate::skey::{Presented, SkeyHash};

/// What memory alone can say.
pub(crate) enum Recall {
    Answer(Result<Arc<Session>, Denied>),
    /// The store must be asked.
    Ask(Question),
}

/// A session the store is to be asked for, freed from the request's headers.
pub(crate) struct Question {
    hash: SkeyHash,
    id: Option<String>,
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
            Some(session) => Recall::Answer(self.admit(session, presented.id)),
            None => Recall::Ask(Question {
                hash,
                id: presented.id.map(str::to_owned),
            }),
        }
    }

    pub(crate) async fn ask(&self, question: Question) -> Result<Arc<Session>, Denied> {
        let sessions = self.clone();
        let hash = question.hash;
        let session = self
            .shared()
            .work
            .run(async move { sessions.remember(hash).await })
            .await
            .map_err(Error::from)
            .flatten()
            .map_err(Denied::Failed)?
            .ok_or(Denied::Unknown)?;
        self.admit(session, question.id.as_deref())
    }

    /// The session from memory or from the store, expired or not.
    pub(crate) async fn remember(&self, hash: SkeyHash) -> Result<Option<Arc<Session>>, Error> {
        let shared = self.shared();
        if let Some(session) = shared.cache.get(&hash) {
            return Ok(Some(session));
        }
        let ticket = shared.cache.ticket(hash);
        let Some(found) = shared.store.find(hash).await? else {
            return Ok(None);
        };
        // Sessions of a mini program that is configured no more open nothing.
        let Some(app) = shared.apps.get(&found.appid) else {
            return Ok(None);
        };
        let session = Arc::new(Session::new(hash, found, Limits::from(&*app)));
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
