//! Where two rooms meet: a user's picture belongs to the profile in the session room, its
//! bytes to the files room.

use axum::body::Body;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use weappd_files::http::{PublicBase, take_picture};
use weappd_files::{Error, Files, PictureOwner};
use weappd_session::{PictureError, PictureStore, UserIdentity};

use crate::builtin::is_https;

/// Keeps users' pictures among the files.
pub(crate) struct FilePictures {
    files: Files,
    base: PublicBase,
}

impl FilePictures {
    pub(crate) fn new(files: Files) -> Self {
        Self {
            files,
            base: PublicBase::of_request(is_https),
        }
    }
}

/// One user of one mini program: an openid alone says nothing across them.
fn owner(whose: &UserIdentity) -> String {
    format!("{} {}", whose.appid, whose.openid)
}

impl PictureStore for FilePictures {
    fn keep<'a>(
        &'a self,
        whose: &'a UserIdentity,
        parts: &'a Parts,
        body: Body,
    ) -> BoxFuture<'a, Result<String, PictureError>> {
        Box::pin(async move {
            let owner = owner(whose);
            take_picture((&self.files, &self.base), PictureOwner(&owner), parts, body)
                .await
                .map_err(|error| fault(&error))
        })
    }

    fn remove<'a>(&'a self, whose: &'a UserIdentity, url: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let owner = owner(whose);
            match self.files.remove_picture(PictureOwner(&owner), url).await {
                Ok(true) => tracing::debug!(openid = whose.openid, "an old picture was removed"),
                Ok(false) => {}
                // It only takes up room: the user has the new one.
                Err(error) => {
                    tracing::warn!(openid = whose.openid, %error, "an old picture stays");
                }
            }
        })
    }

    fn tidy<'a>(&'a self, whose: &'a UserIdentity, shown: Option<&'a str>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let owner = owner(whose);
            match self.files.tidy_pictures(PictureOwner(&owner), shown).await {
                Ok(0) => {}
                Ok(count) => {
                    tracing::info!(
                        openid = whose.openid,
                        count,
                        "pictures left over were removed"
                    );
                }
                Err(error) => {
                    tracing::warn!(openid = whose.openid, %error, "old pictures were not looked for");
                }
            }
        })
    }
}

/// What the phone is told. What went wrong inside is logged here, once.
fn fault(error: &Error) -> PictureError {
    match error {
        Error::TooLarge { limit } => PictureError::TooLarge { limit: *limit },
        Error::TypeRefused { found } => PictureError::NotOne {
            found: (*found).to_owned(),
        },
        Error::NotMultipart
        | Error::NoHost
        | Error::Malformed(_)
        | Error::Interrupted(_)
        | Error::TooMuchForm
        | Error::NoFile
        | Error::SecondFile => PictureError::Form(error.to_string()),
        Error::Stalled { .. } => PictureError::TooSlow,
        inside => {
            let cause = std::error::Error::source(inside).map(ToString::to_string);
            tracing::error!(error = %inside, cause, "a picture could not be kept");
            match inside {
                Error::DiskFull(_) | Error::TotalReached { .. } => PictureError::Full,
                _ => PictureError::Internal,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_phone_did_is_told_and_what_the_house_did_is_not() {
        let form = fault(&Error::SecondFile);
        assert!(matches!(form, PictureError::Form(why) if why.contains("more than one file")));
        let disk = || std::io::Error::other("/srv/secret/path");
        assert_eq!(fault(&Error::DiskFull(disk())), PictureError::Full);
        assert_eq!(fault(&Error::KeepUpload(disk())), PictureError::Internal);
        let limit = PictureError::TooLarge { limit: 7 };
        assert_eq!(fault(&Error::TooLarge { limit: 7 }), limit);
    }

    #[test]
    fn the_same_openid_in_two_mini_programs_is_two_owners() {
        let who = |appid: &str| UserIdentity {
            appid: appid.to_owned(),
            openid: "o1".to_owned(),
            unionid: None,
            id: "i".to_owned(),
            user_info_json: "{}".to_owned(),
        };
        assert_ne!(owner(&who("wx1")), owner(&who("wx2")));
    }
}
