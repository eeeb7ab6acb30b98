//! The picture a user chose for themselves (头像昵称填写): somebody else keeps the file, the
//! profile holds its address.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::open_data_error::OpenDataError;
use crate::picture_store::PictureStore;
use crate::profile::ProfileUpdate;
use crate::session::CachedSession;
use crate::sessions::SessionService;

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
