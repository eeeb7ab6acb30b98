//! The names files are kept under: random, so that nobody guesses them, and of a grammar
//! that no path trick fits into. A picture's name also tells whose it is.

use std::fmt;

use weappd_base::random::RandomSource;

use crate::picture_owner::{PictureOwner, SEAL_DIGITS};

/// How many random hex digits begin a name.
const RANDOM_DIGITS: usize = 32;
/// How many a picture's name has in all.
const OWNED_DIGITS: usize = RANDOM_DIGITS + SEAL_DIGITS;
/// The longest extension.
const MAX_EXTENSION_LEN: usize = 8;

/// `0123456789abcdef0123456789abcdef.jpg`: 128 random bits and an extension; if somebody
/// owns it, 8 of them tell where to look for the owner's, and 64 more whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName(String);

impl FileName {
    /// A new name nobody can guess.
    pub(crate) fn random(random: &RandomSource, extension: &str) -> Self {
        let digits = hex::encode(random.bytes::<{ RANDOM_DIGITS / 2 }>());
        Self(format!("{digits}.{extension}"))
    }

    /// A new name nobody can guess, for a file that is `owner`'s.
    pub(crate) fn owned(random: &RandomSource, extension: &str, owner: PictureOwner<'_>) -> Self {
        let digits = hex::encode(random.bytes::<{ RANDOM_DIGITS / 2 }>());
        // All of an owner's are in one subdirectory, where they can be found.
        let digits = format!("{}{}", owner.shard(), digits.get(2..).unwrap_or_default());
        let seal = owner.seal(&digits);
        Self(format!("{digits}{seal}.{extension}"))
    }

    /// Whether somebody owns it.
    pub(crate) fn is_owned(&self) -> bool {
        self.0.find('.') == Some(OWNED_DIGITS)
    }

    /// Whether this is the name of a file of `owner`.
    pub(crate) fn is_of(&self, owner: PictureOwner<'_>) -> bool {
        let (stem, _) = self.0.split_once('.').unwrap_or_default();
        let sealed = stem
            .split_at_checked(RANDOM_DIGITS)
            .filter(|(_, seal)| !seal.is_empty());
        sealed.is_some_and(|(digits, seal)| owner.seal(digits) == seal)
    }

    /// Takes a name from a URL, if it is one that this room gives.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (digits, extension) = text.split_once('.')?;
        let fits = matches!(digits.len(), RANDOM_DIGITS | OWNED_DIGITS)
            && (1..=MAX_EXTENSION_LEN).contains(&extension.len())
            && digits
                .bytes()
                .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
            && extension
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        fits.then(|| Self(text.to_owned()))
    }

    /// The subdirectory it is kept in: 256 of them, so that none grows long.
    pub(crate) fn shard(&self) -> &str {
        self.0.get(..2).unwrap_or_default()
    }

    /// The extension, without a dot.
    pub(crate) fn extension(&self) -> &str {
        self.0.split_once('.').unwrap_or_default().1
    }

    /// The whole name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_name_parses_and_knows_its_parts() {
        let name = FileName::random(&RandomSource::system(), "jpg");
        assert_eq!(FileName::parse(name.as_str()), Some(name.clone()));
        assert_eq!(name.extension(), "jpg");
        assert_eq!(name.shard().len(), 2);
        assert_ne!(name, FileName::random(&RandomSource::system(), "jpg"));
    }

    #[test]
    fn a_pictures_name_tells_whose_it_is() {
        let random = RandomSource::system();
        let (alice, bob) = (PictureOwner("wx1 alice"), PictureOwner("wx1 bob"));
        let name = FileName::owned(&random, "png", alice);
        assert_eq!(FileName::parse(name.as_str()), Some(name.clone()));
        assert_eq!(
            (name.as_str().len(), name.extension()),
            (OWNED_DIGITS + 4, "png")
        );
        assert!(name.is_of(alice) && !name.is_of(bob));
        let another = FileName::owned(&random, "png", alice);
        let mixed = format!(
            "{}{}",
            &name.as_str()[..RANDOM_DIGITS],
            &another.as_str()[RANDOM_DIGITS..]
        );
        let mixed = FileName::parse(&mixed).expect("it looks like a name");
        assert!(!mixed.is_of(alice), "a seal fits its own digits only");
        assert!(!FileName::random(&random, "png").is_of(alice));
    }

    #[test]
    fn no_trick_is_a_name() {
        let good = "0123456789abcdef0123456789abcdef";
        assert!(FileName::parse(&format!("{good}.jpg")).is_some());
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "../../etc/passwd".to_owned(),
            good.to_owned(),
            format!("{good}."),
            format!("{good}.jpg/.."),
            format!("{good}.jpg\0"),
            format!("{good}.tar.gz"),
            format!("{good}0.jpg"),
            format!("{good}{good}.jpg"),
            format!("{good}.JPG"),
            format!("{good}.123456789"),
            format!("{}.jpg", good.to_uppercase()),
            format!("{}.jpg", &good[1..]),
            format!("/{}.jpg", &good[1..]),
            format!("..%2f{}.jpg", &good[5..]),
            format!("..\\{}.jpg", &good[3..]),
            format!("{}\u{ff0e}.jpg", &good[3..]),
            format!(".incoming/{good}.jpg"),
            "con.jpg".to_owned(),
        ] {
            assert_eq!(FileName::parse(&bad), None, "{bad:?}");
        }
    }
}
