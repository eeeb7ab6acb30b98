//! What the room needs of whoever keeps pictures.

use axum::body::Body;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use weappd_base::language::pick;
use weappd_base::words;

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
    #[error("{}", words!("the picture is larger than {} bytes", "图片超过 {} 字节", .limit))]
    TooLarge {
        /// The configured limit.
        limit: u64,
    },
    /// The first bytes are of no picture, or of none that is taken.
    #[error("{}", words!("the file is no picture of a type that is taken ({})", "文件不是可以接受的图片类型（{}）", .found))]
    NotOne {
        /// What it is.
        found: String,
    },
    /// The request is not a form with one file.
    #[error("{0}")]
    Form(String),
    /// The body sent nothing for too long.
    #[error("{}", pick("the picture did not arrive in time", "图片没有及时传完"))]
    TooSlow,
    /// No space is left.
    #[error(
        "{}",
        pick(
            "the server has no space left for pictures",
            "服务器没有空间存放图片了"
        )
    )]
    Full,
    /// It could not be written; whoever keeps pictures has logged why.
    #[error(
        "{}",
        pick(
            "the picture could not be kept, try again",
            "图片没有保存成功，请再试一次"
        )
    )]
    Internal,
}
