//! Whose a picture is, in the digits of its name.

use sha2::{Digest as _, Sha256};

/// How many digits of a picture's name tie it to its owner.
pub(crate) const SEAL_DIGITS: usize = 16;

/// Whose a picture is: any text that names one user and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureOwner<'a>(pub &'a str);

impl PictureOwner<'_> {
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
        seal.truncate(SEAL_DIGITS);
        seal
    }
}
