//! The picture a user chose for themselves (头像昵称填写): somebody else keeps the file, the
//! profile holds its address.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::data::{OpenDataError, ProfileUpdate};
use crate::error::Error;
use crate::identity::UserIdentity;
use crate::session::CachedSession;
use crate::sessions::SessionService;

/// Where users' pictures are kept; weappd hands it in.
pub trait PictureStore: Send + Sync {
    /// Keeps the one picture of a form (`multipart/form-data`), and gives the address that
    /// phones fetch it from.
    fn keep<'a>(
        &'a self,
        whose: &'a UserIdentity,
        parts: &'a Parts,
        body: Body,
    ) -> BoxFuture<'a, Result<String, PictureError>>;

    /// Removes the picture at `url` if it was kept for this user. Any other stays.
    fn remove<'a>(&'a self, whose: &'a UserIdentity, url: &'a str) -> BoxFuture<'a, ()>;

    /// Removes what else was kept for this user and nobody shows any more, but for the
    /// picture at `shown` and those that came just now.
    fn tidy<'a>(&'a self, whose: &'a UserIdentity, shown: Option<&'a str>) -> BoxFuture<'a, ()>;
}

/// How many users change their profiles at once without waiting for each other.
const LANES: usize = 64;

/// One change of a user's profile after the other: each begins with what the one before
/// left, so that none is lost, and of two pictures one goes.
pub(crate) struct ProfileLocks([Arc<Mutex<()>>; LANES]);

impl Default for ProfileLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl ProfileLocks {
    pub(crate) async fn take(&self, user: i64) -> Option<OwnedMutexGuard<()>> {
        // The low bits of the user's number, which grows by one.
        let lane = usize::from(user.to_le_bytes()[0]) % LANES;
        let lane = self.0.get(lane)?;
        Some(Arc::clone(lane).lock_owned().await)
    }
}

/// Why a picture is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// It is larger than this many bytes.
    #[error("the picture is larger than {limit} bytes")]
    TooLarge {
        /// The configured limit.
        limit: u64,
    },
    /// The first bytes are of no picture, or of none that is taken.
    #[error("the file is no picture of a type that is taken ({found})")]
    NotOne {
        /// What it is.
        found: String,
    },
    /// The request is not a form with one file.
    #[error("{0}")]
    Form(String),
    /// The body sent nothing for too long.
    #[error("the picture did not arrive in time")]
    TooSlow,
    /// No space is left.
    #[error("the server has no space left for pictures")]
    Full,
    /// It could not be written; whoever keeps pictures has logged why.
    #[error("the picture could not be kept, try again")]
    Internal,
}

impl SessionService {
    /// Where pictures are kept from now on, for changes of a profile that leave one behind.
    pub(crate) fn keep_pictures(&self, pictures: &Arc<dyn PictureStore>) {
        // Every site gives the same; the first one's will do.
        drop(self.shared().pictures.set(Arc::clone(pictures)));
    }

    /// Makes the picture at `url` the user's own; if that fails, it is removed. Goes on
    /// when the phone hangs up.
    pub(crate) async fn put_avatar(
        &self,
        (session, headers): (&Arc<CachedSession>, &HeaderMap),
        url: String,
        pictures: &Arc<dyn PictureStore>,
    ) -> Result<(), OpenDataError> {
        let fields = Map::from_iter([("avatarUrl".to_owned(), Value::from(url.as_str()))]);
        let change = self.change_profile((session, headers), ProfileUpdate::Chosen(fields));
        let (session, pictures) = (Arc::clone(session), Arc::clone(pictures));
        let put = async move {
            let outcome = change.await;
            if outcome.is_err() {
                pictures.remove(&session.identity, &url).await;
            }
            outcome
        };
        let done = self.shared().work.run(put).await;
        done.map_err(|lost| OpenDataError::Internal(Error::from(lost)))?
    }

    /// Changes a profile in its turn, and removes the picture that it does not show any
    /// more, if it is one of ours.
    pub(crate) fn change_profile(
        &self,
        (session, headers): (&Arc<CachedSession>, &HeaderMap),
        profile: ProfileUpdate,
    ) -> impl Future<Output = Result<(), OpenDataError>> + Send + 'static {
        let (sessions, session) = (self.clone(), Arc::clone(session));
        let headers = headers.clone();
        async move {
            let shared = sessions.shared();
            let _turn = shared.turns.take(session.user).await;
            // What the change before left; whose session ended meanwhile changed it first.
            let session = match sessions.check(&headers).await {
                Ok(now) if now.user == session.user => now,
                _ => session,
            };
            let before = avatar_of(&session.identity.user_info_json);
            let after = sessions.put_profile(&session, profile).await?;
            let after = avatar_of(&after);
            let Some(pictures) = shared.pictures.get() else {
                return Ok(());
            };
            let (before, after) = (before.as_deref(), after.as_deref());
            if file_of(before) != file_of(after) {
                if let Some(before) = before {
                    pictures.remove(&session.identity, before).await;
                }
                pictures.tidy(&session.identity, after).await;
            }
            Ok(())
        }
    }
}

/// The picture's address in a user object.
pub(crate) fn avatar_of(user_info: &str) -> Option<String> {
    let info: Value = serde_json::from_str(user_info).ok()?;
    info.get("avatarUrl")?.as_str().map(str::to_owned)
}

/// The name at an address's end: the same file may be told by its path, and by more.
fn file_of(url: Option<&str>) -> Option<&str> {
    let path = url?.split(['?', '#']).next()?;
    path.rsplit('/').next()
}
