//! What the room needs of whoever keeps pictures.

use axum::body::Body;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;

use crate::identity::UserIdentity;

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
