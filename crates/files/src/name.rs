//! The names files are kept under: random, so that nobody guesses them, and of a grammar
//! that no path trick fits into.

use std::fmt;

use weappd_base::token::Tokens;

/// How many hex digits begin a name.
const DIGITS: usize = 32;
/// The longest extension.
const EXTENSION: usize = 8;

/// `0123456789abcdef0123456789abcdef.jpg`: 128 random bits and an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName(String);

impl FileName {
    /// A new name nobody can guess.
    pub(crate) fn random(tokens: &Tokens, extension: &str) -> Self {
        let digits = hex::encode(tokens.bytes::<{ DIGITS / 2 }>());
        Self(format!("{digits}.{extension}"))
    }

    /// Takes a name from a URL, if it is one that this room gives.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (digits, extension) = text.split_once('.')?;
        let fits = digits.len() == DIGITS
            && (1..=EXTENSION).contains(&extension.len())
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
        self.0.get(DIGITS + 1..).unwrap_or_default()
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
        let name = FileName::random(&Tokens::system(), "jpg");
        assert_eq!(FileName::parse(name.as_str()), Some(name.clone()));
        assert_eq!(name.extension(), "jpg");
        assert_eq!(name.shard().len(), 2);
        assert_ne!(name, FileName::random(&Tokens::system(), "jpg"));
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
