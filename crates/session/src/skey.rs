//! Skeys as they are made, as they are presented, and as they are kept: never in clear.
//!
//! An skey starts with the time it was made, and its hash with the same bytes. So new
//! sessions stand together in a database's index: a login changes the page that the last one
//! changed, and not one of all pages.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use http::{HeaderMap, HeaderName, header};
use sha2::{Digest, Sha256};
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixMillis;

use crate::identity::AuthError;

const X_WX_ID: HeaderName = HeaderName::from_static("x-wx-id");
const X_WX_SKEY: HeaderName = HeaderName::from_static("x-wx-skey");

/// The longest skey and id that the dialects allow.
const MAX_LEN: usize = 100;

/// How many bytes of an skey tell the time, in milliseconds since 1970: enough for 8,900
/// years.
const TIME: usize = 6;
/// An skey's hex digits: the time, and 256 random bits.
const DIGITS: usize = 2 * TIME + 64;

/// An skey nobody can guess.
pub(crate) fn new(tokens: &RandomSource, now: UnixMillis) -> Secret {
    let [_, _, time @ ..] = now.get().to_be_bytes();
    Secret::new(hex::encode(time) + &tokens.hex256())
}

/// All that the cache and the store know of an skey: its SHA-256, of which the first bytes
/// give way to the time of an skey that tells it. 208 bits are as good as 256 here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SkeyHash(pub(crate) [u8; 32]);

impl SkeyHash {
    pub(crate) fn of(skey: &str) -> Self {
        let mut hash: [u8; 32] = Sha256::digest(skey.as_bytes()).into();
        let mut time = [0; TIME];
        if skey.len() == DIGITS
            && let Some(digits) = skey.get(..2 * TIME)
            && hex::decode_to_slice(digits, &mut time).is_ok()
            && let Some(place) = hash.first_chunk_mut()
        {
            *place = time;
        }
        Self(hash)
    }

    /// Eight bytes of the hash that are random.
    pub(crate) fn word(&self) -> u64 {
        self.0
            .last_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word))
    }
}

impl Hash for SkeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word());
    }
}

/// Takes the word of a [`SkeyHash`] as it is: hashing a hash again gains nothing.
#[derive(Default)]
pub(crate) struct SkeyHasher(u64);

pub(crate) type BuildSkeyHasher = BuildHasherDefault<SkeyHasher>;

impl Hasher for SkeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// A session as the headers of a request show it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PresentedSkey<'a> {
    pub(crate) skey: &'a str,
    /// The Wafer 1 id beside the skey.
    pub(crate) id: Option<&'a str>,
}

impl<'a> PresentedSkey<'a> {
    /// An skey and the id beside it, as a call's parameters show them.
    pub(crate) fn pair(id: &'a str, skey: &'a str) -> Result<Self, AuthError> {
        if skey.is_empty() || skey.len() > MAX_LEN {
            return Err(AuthError::Unknown);
        }
        Ok(Self { skey, id: Some(id) })
    }

    /// Reads `X-WX-Skey` (with `X-WX-Id`, where it is sent) or `Authorization: Bearer`.
    pub(crate) fn read(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        if let Some(skey) = headers.get(X_WX_SKEY).filter(|value| !value.is_empty()) {
            let skey = skey.to_str().map_err(|_| AuthError::Unknown)?;
            if skey.len() > MAX_LEN {
                return Err(AuthError::Unknown);
            }
            let id = match headers.get(X_WX_ID).filter(|value| !value.is_empty()) {
                Some(id) => Some(id.to_str().map_err(|_| AuthError::Unknown)?),
                None => None,
            };
            return Ok(Self { skey, id });
        }
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .ok_or(AuthError::Missing)?
            .1;
        // A business server may have bearer tokens of its own: what is no skey of ours
        // does not cost a look into the database.
        match str::from_utf8(bearer) {
            Ok(skey) if is_ours(skey) => Ok(Self { skey, id: None }),
            _ => Err(AuthError::Unknown),
        }
    }
}

/// Whether the text has the shape of the skeys weappd gives out, or gave out before they told
/// the time.
fn is_ours(skey: &str) -> bool {
    matches!(skey.len(), 64 | DIGITS)
        && skey.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    value.parse().expect("a header value"),
                )
            })
            .collect()
    }

    #[test]
    fn skeys_and_hashes_start_with_the_time() {
        let now = 1_800_000_000_123_i64;
        let skey = new(&RandomSource::system(), UnixMillis::new(now));
        let skey = skey.expose();
        assert_eq!(skey.len(), DIGITS);
        assert!(is_ours(skey) && skey.len() <= MAX_LEN);
        assert_eq!(skey[..12], format!("{now:012x}"));
        let SkeyHash(hash) = SkeyHash::of(skey);
        assert_eq!(hash[..6], now.to_be_bytes()[2..]);
        let whole: [u8; 32] = Sha256::digest(skey).into();
        assert_eq!(hash[6..], whole[6..], "the rest is the SHA-256");
        let other = new(&RandomSource::system(), UnixMillis::new(now));
        let other = SkeyHash::of(other.expose());
        assert!(SkeyHash(hash) != other);
        assert_ne!(SkeyHash(hash).word(), other.word());
    }

    #[test]
    fn any_other_skey_is_known_by_its_whole_sha256() {
        let odd = format!("{}{}", "x".repeat(12), "0".repeat(64));
        let wide = format!("{}0", "微".repeat(25));
        for skey in ["", "s", &"0a".repeat(32), &odd, &wide] {
            let whole: [u8; 32] = Sha256::digest(skey).into();
            assert!(SkeyHash::of(skey).0 == whole, "{skey}");
        }
    }

    #[test]
    fn the_three_ways_to_show_a_session() {
        let skey = "0a".repeat(32);
        let bearer = format!("bEaReR {skey}");
        let shown = headers(&[("x-wx-skey", "s"), ("x-wx-id", "i")]);
        let both = PresentedSkey::read(&shown).expect("both");
        assert_eq!((both.skey, both.id), ("s", Some("i")));
        let shown = headers(&[("x-wx-skey", "s"), ("x-wx-id", "")]);
        assert_eq!(PresentedSkey::read(&shown).expect("alone").id, None);
        let shown = headers(&[("authorization", &bearer)]);
        assert_eq!(PresentedSkey::read(&shown).expect("bearer").skey, skey);
    }

    #[test]
    fn what_is_no_session_is_told_from_no_session_at_all() {
        let missing = [
            vec![],
            vec![("x-wx-skey", "")],
            vec![("x-wx-id", "1")],
            vec![("authorization", "Basic Zm9v")],
        ];
        for shown in missing {
            let denied = PresentedSkey::read(&headers(&shown)).expect_err("no session");
            assert!(matches!(denied, AuthError::Missing), "{shown:?}");
        }
        let long = "k".repeat(101);
        let foreign = format!("Bearer {}", "Z".repeat(64));
        for shown in [
            [("x-wx-skey", long.as_str())],
            [("authorization", "Bearer eyJhbGciOi.J9.x")],
            [("authorization", foreign.as_str())],
        ] {
            let denied = PresentedSkey::read(&headers(&shown)).expect_err("no session of ours");
            assert!(matches!(denied, AuthError::Unknown), "{shown:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_value_panics(name in 0..3usize, value in prop::collection::vec(any::<u8>(), 0..300)) {
            let name = ["x-wx-skey", "x-wx-id", "authorization"][name];
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                let mut map = headers(&[("x-wx-skey", "s")]);
                map.insert(name, value);
                drop(PresentedSkey::read(&map));
            }
        }
    }
}
