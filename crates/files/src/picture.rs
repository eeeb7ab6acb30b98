//! The picture a user shows of themselves: kept under a name that tells whose it is, so
//! that only its owner's next picture removes it.

use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    name::{FileName, SEAL},
    store::Files,
};

/// Whose a picture is: any text that names one user and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a>(pub &'a str);

impl Owner<'_> {
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
        let name = url.rsplit_once("/weapp/files/").map(|(_, name)| name);
        let name = name.and_then(FileName::parse);
        match name.filter(|name| name.is_of(owner)) {
            Some(name) => self.remove(name).await,
            None => Ok(false),
        }
    }
}
