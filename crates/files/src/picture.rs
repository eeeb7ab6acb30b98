//! The picture a user shows of themselves: kept under a name that tells whose it is, so
//! that only its owner's next picture removes it.

use std::time::Duration;

use crate::{error::Error, file_name::FileName, files::Files, picture_owner::PictureOwner};

/// A picture younger than this may be on its way into a profile.
const SETTLED_AGE: Duration = Duration::from_mins(10);

impl Files {
    /// Removes the picture at `url`, if it is one that was kept for `owner`; says whether
    /// it was. Any other address is somebody else's, and stays.
    pub async fn remove_picture(&self, owner: PictureOwner<'_>, url: &str) -> Result<bool, Error> {
        match name_at(url).filter(|name| name.is_of(owner)) {
            Some(name) => self.remove(name).await,
            None => Ok(false),
        }
    }

    /// Removes the pictures that were kept for `owner` some time ago, but for the one at
    /// `shown`; says how many. A crash, a phone that hung up or a neighbour leaves them.
    pub async fn tidy_pictures(
        &self,
        owner: PictureOwner<'_>,
        shown: Option<&str>,
    ) -> Result<usize, Error> {
        let shown = shown.and_then(name_at);
        let mut removed = 0;
        for (name, age) in self.names_in(owner.shard()).await? {
            if age >= SETTLED_AGE && name.is_of(owner) && shown.as_ref() != Some(&name) {
                removed += usize::from(self.remove(name).await?);
            }
        }
        Ok(removed)
    }
}

/// The name of a file of ours in an address.
fn name_at(url: &str) -> Option<FileName> {
    let path = url.split(['?', '#']).next()?;
    let (_, name) = path.rsplit_once("/weapp/files/")?;
    FileName::parse(name)
}
