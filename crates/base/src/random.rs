//! Ids and keys nobody can guess.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The source of random bytes: the operating system, or a seeded one in tests.
#[derive(Clone, Debug, Default)]
pub struct RandomSource(Option<Arc<AtomicU64>>);

impl RandomSource {
    /// The operating system's random source.
    pub fn system() -> Self {
        Self(None)
    }

    /// The same bytes for the same seed, for tests that compare texts. Never for keys.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seed))))
    }

    /// `N` random bytes.
    ///
    /// # Panics
    ///
    /// Panics if the operating system has no randomness to give: going on would hand out
    /// guessable keys.
    #[expect(
        clippy::expect_used,
        reason = "a server without randomness must not hand out keys"
    )]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            None => getrandom::fill(&mut bytes).expect("the operating system gives randomness"),
            Some(state) => {
                for byte in &mut bytes {
                    *byte = split_mix(state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed));
                }
            }
        }
        bytes
    }

    /// 256 random bits as 64 lower-case hex digits: the alphabet of the original skeys.
    pub fn hex256(&self) -> String {
        hex::encode(self.bytes::<32>())
    }

    /// 256 random bits, URL-safe: 43 characters of `A-Za-z0-9_-`.
    pub fn url256(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }
}

/// One byte of the `SplitMix64` sequence at `state`.
fn split_mix(state: u64) -> u8 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_differ_and_have_the_documented_shape() {
        let tokens = RandomSource::system();
        let (a, b) = (tokens.hex256(), tokens.hex256());
        assert_ne!(a, b);
        assert_eq!(a.len(), 64);
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_eq!(tokens.url256().len(), 43);
    }

    #[test]
    fn a_seed_gives_the_same_bytes_again() {
        assert_eq!(
            RandomSource::seeded(7).hex256(),
            RandomSource::seeded(7).hex256()
        );
        assert_ne!(
            RandomSource::seeded(7).hex256(),
            RandomSource::seeded(8).hex256()
        );
    }
}
