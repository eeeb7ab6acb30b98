//! The picture a user chose for themselves (头像昵称填写): somebody else keeps the file, the
//! profile holds its address.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::data::{DataFault, Profile};
use crate::error::Error;
use crate::identity::Identity;
use crate::session::Session;
use crate::sessions::Sessions;

/// Where users' pictures are kept; weappd hands it in.
pub trait KeepPictures: Send + Sync {
    /// Keeps the one picture of a form (`multipart/form-data`), and gives the address that
    /// phones fetch it from.
    fn keep<'a>(
        &'a self,
        whose: &'a Identity,
        parts: &'a Parts,
        body: Body,
    ) -> BoxFuture<'a, Result<String, PictureFault>>;

    /// Removes the picture at `url` if it was kept for this user. Any other stays.
    fn remove<'a>(&'a self, whose: &'a Identity, url: &'a str) -> BoxFuture<'a, ()>;
}

/// Why a picture is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureFault {
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
    House,
}

impl Sessions {
    /// Makes the picture at `url` the user's own, and has the one before removed; if that
    /// fails, the new one. Goes on when the phone hangs up.
    pub(crate) async fn put_avatar(
        &self,
        session: &Arc<Session>,
        url: String,
        pictures: &Arc<dyn KeepPictures>,
    ) -> Result<(), DataFault> {
        let (sessions, session) = (self.clone(), Arc::clone(session));
        let pictures = Arc::clone(pictures);
        let put = async move {
            let before = avatar_of(&session.identity);
            let fields = Map::from_iter([("avatarUrl".to_owned(), Value::from(url.as_str()))]);
            let outcome = sessions
                .put_profile(&session, Profile::Chosen(fields))
                .await;
            let useless = if outcome.is_ok() { before } else { Some(url) };
            if let Some(useless) = useless {
                pictures.remove(&session.identity, &useless).await;
            }
            outcome
        };
        let done = self.shared().work.run(put).await;
        done.map_err(|lost| DataFault::House(Error::from(lost)))?
    }
}

/// The picture's address in a user object.
fn avatar_of(identity: &Identity) -> Option<String> {
    let info: Value = serde_json::from_str(&identity.user_info_json).ok()?;
    info.get("avatarUrl")?.as_str().map(str::to_owned)
}
