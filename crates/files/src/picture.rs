//! The picture a user shows of themselves: kept under a name that tells whose it is, so
//! that only its owner's next picture removes it.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    name::{FileName, SEAL},
    store::Files,
};

/// Whose a picture is: any text that names one user and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a>(pub &'a str);

/// A picture younger than this may be on its way into a profile.
const SETTLED: Duration = Duration::from_mins(10);

impl Owner<'_> {
    /// Which of the subdirectories the owner's pictures are in.
    pub(crate) fn shard(self) -> String {
        let mut shard = self.seal("");
        shard.truncate(2);
        shard
    }

    /// Ties random digits to the owner. No secret is needed: nobody but this room gives
    /// names, so nobody can make one that fits a stranger.
    pub(crate) fn seal(self, digits: &str) -> String {
        let mut sha = Sha256::new();
        sha.update(digits);
        sha.update([0]);
        sha.update(self.0);
        let mut seal = hex::encode(sha.finalize());
        seal.truncate(SEAL);
        seal
    }
}

impl Files {
    /// Removes the picture at `url`, if it is one that was kept for `owner`; says whether
    /// it was. Any other address is somebody else's, and stays.
    pub async fn remove_picture(&self, owner: Owner<'_>, url: &str) -> Result<bool, Error> {
        match name_at(url).filter(|name| name.is_of(owner)) {
            Some(name) => self.remove(name).await,
            None => Ok(false),
        }
    }

    /// Removes the pictures that were kept for `owner` some time ago, but for the one at
    /// `shown`; says how many. A crash, a phone that hung up or a neighbour leaves them.
    pub async fn tidy_pictures(
        &self,
        owner: Owner<'_>,
        shown: Option<&str>,
    ) -> Result<usize, Error> {
        let shown = shown.and_then(name_at);
        let mut removed = 0;
        for (name, age) in self.names_in(owner.shard()).await? {
            if age >= SETTLED && name.is_of(owner) && shown.as_ref() != Some(&name) {
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
