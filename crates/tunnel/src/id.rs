//! Names of tunnels: the `tunnelId` business servers keep, and the token in a connect URL.
//!
//! A tunnelId looks like any lower-case UUID (version 8) and says where its tunnel lives,
//! so that finding one takes no table: node (12 bits), shard (4), slot (32), and 74 random
//! bits that tell it from earlier tunnels in the same slot. A connect token is the id and
//! a signature over it: knowing a tunnelId, which reaches logs, does not open its tunnel.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::time::Instant;
use weappd_base::random::RandomSource;
use weappd_base::secret::{Secret, same_bytes};

use crate::signature::hmac_sha256;

/// How many shards a hub has.
pub(crate) const SHARDS: usize = 16;
/// How many keys that sign no more are kept for tunnels that live longer than their URLs.
const FORMER_KEYS: usize = 4;

/// What a tunnel is called on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TunnelId(u128);

/// Where a tunnel lives within its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunnelPlace {
    pub(crate) shard: usize,
    pub(crate) slot: usize,
}

const VERSION: u128 = 0x8 << 76;
const VARIANT: u128 = 0b10 << 62;
const MARKS: u128 = (0xf << 76) | (0b11 << 62);

impl TunnelId {
    /// Mints the id of a new tunnel at `place` of `node`.
    pub(crate) fn mint(node: u16, place: TunnelPlace, random: &RandomSource) -> Self {
        let home = (u128::from(node & 0xfff) << 116)
            | ((place.shard as u128 & 0xf) << 112)
            | ((place.slot as u128 & 0xffff_ffff) << 80);
        let chance = u128::from_be_bytes(random.bytes()) & ((1 << 80) - 1) & !MARKS;
        Self(home | VERSION | VARIANT | chance)
    }

    /// Reads an id; `None` if no weappd ever minted it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return None;
        }
        let mut id: u128 = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            id = (id << 4) | u128::from(digit);
        }
        (id & MARKS == VERSION | VARIANT).then_some(Self(id))
    }

    /// Which node minted it.
    pub(crate) fn node(self) -> u16 {
        (self.0 >> 116) as u16
    }

    /// Where it lives within that node.
    pub(crate) fn place(self) -> TunnelPlace {
        TunnelPlace {
            shard: (self.0 >> 112) as usize & (SHARDS - 1),
            slot: (self.0 >> 80) as usize & 0xffff_ffff,
        }
    }
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes and checks the tokens in connect URLs.
#[derive(Clone)]
pub(crate) struct ConnectTokens {
    mac: Hmac<Sha256>,
    /// The keys before, the latest first.
    former: Vec<FormerTokenKey>,
}

/// A key that signs no more.
#[derive(Clone)]
struct FormerTokenKey {
    mac: Hmac<Sha256>,
    /// Until when the last URL it signed may wait for its phone.
    until: Instant,
}

impl ConnectTokens {
    /// Signs with `key`, or with a random key if there is none.
    pub(crate) fn new(key: &Secret, random: &RandomSource) -> Self {
        let mac = if key.is_empty() {
            hmac_sha256(&random.bytes::<32>())
        } else {
            hmac_sha256(key.expose().as_bytes())
        };
        Self {
            mac,
            former: Vec::new(),
        }
    }

    /// Signs with another key from now on; URLs signed with this one open as long as they
    /// may, `ttl` at most.
    pub(crate) fn renewed(&self, key: &Secret, random: &RandomSource, ttl: Duration) -> Self {
        let now = Instant::now();
        let until = now + ttl;
        let mut former = vec![FormerTokenKey {
            mac: self.mac.clone(),
            until,
        }];
        let kept = self.former.iter().enumerate();
        let kept = kept.filter(|(at, key)| key.until > now || *at + 1 < FORMER_KEYS);
        former.extend(kept.map(|(_, key)| key.clone()));
        Self {
            former,
            ..Self::new(key, random)
        }
    }

    /// The token that opens `id`: 43 URL-safe characters, 128 bits of them unguessable.
    pub(crate) fn token(&self, id: TunnelId) -> String {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&id.0.to_be_bytes());
        bytes[16..].copy_from_slice(&tag(&self.mac, id));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The tunnel a token opens; `None` if this server never signed it. With a key of before
    /// after its time, a token opens only a tunnel that `lives`.
    pub(crate) fn check(&self, token: &str, lives: impl Fn(TunnelId) -> bool) -> Option<TunnelId> {
        if token.len() != 43 {
            return None;
        }
        let mut bytes = [0; 33];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
        let (id, given) = bytes.get(..length)?.split_first_chunk::<16>()?;
        let id = TunnelId(u128::from_be_bytes(*id));
        if same_bytes(given, &tag(&self.mac, id)) {
            return Some(id);
        }
        let key = (self.former.iter()).find(|key| same_bytes(given, &tag(&key.mac, id)))?;
        (Instant::now() < key.until || lives(id)).then_some(id)
    }
}

fn tag(mac: &Hmac<Sha256>, id: TunnelId) -> [u8; 16] {
    let mut mac = mac.clone();
    mac.update(b"weappd connect token 1\0");
    mac.update(&id.0.to_be_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut tag = [0; 16];
    tag.copy_from_slice(&full[..16]);
    tag
}

impl fmt::Debug for ConnectTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectTokens(***)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOBODY: fn(TunnelId) -> bool = |_| false;
    const PLACE: TunnelPlace = TunnelPlace {
        shard: 11,
        slot: 0xdead_beef,
    };

    #[test]
    fn an_id_is_a_lower_case_uuid_that_knows_its_place() {
        let id = TunnelId::mint(0xabc, PLACE, &RandomSource::seeded(1));
        let text = id.to_string();
        assert!(text.starts_with("abcbdead-beef-8"), "{text}");
        assert_eq!(TunnelId::parse(&text), Some(id));
        assert_eq!((id.node(), id.place()), (0xabc, PLACE));
        assert_eq!(
            uuid::Uuid::parse_str(&text).map(|u| u.get_version_num()),
            Ok(8)
        );
    }

    #[test]
    fn two_tunnels_of_one_slot_differ() {
        let random = RandomSource::system();
        assert_ne!(
            TunnelId::mint(0, PLACE, &random),
            TunnelId::mint(0, PLACE, &random)
        );
    }

    #[test]
    fn foreign_ids_are_no_ids_of_ours() {
        for text in [
            "",
            "t1",
            "02ca30d0-740a-4b02-9d74-6f5d7f78f3ec",
            "02ca30d0-740a-8b02-4d74-6f5d7f78f3ec",
            "02CA30D0-740A-8B02-9D74-6F5D7F78F3EC",
            "02ca30d0x740a-8b02-9d74-6f5d7f78f3ec",
            "信信信信信信信信信信信信",
        ] {
            assert_eq!(TunnelId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_token_signed_here_opens() {
        let random = RandomSource::system();
        let keeper = ConnectTokens::new(&Secret::default(), &random);
        let id = TunnelId::mint(3, PLACE, &random);
        let token = keeper.token(id);
        assert_eq!(token.len(), 43);
        assert_eq!(keeper.check(&token, NOBODY), Some(id));
        assert_eq!(
            ConnectTokens::new(&Secret::default(), &random).check(&token, NOBODY),
            None
        );
        for at in 0..43 {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ascii");
            assert_eq!(keeper.check(&forged, NOBODY), None, "{at}");
        }
        assert_eq!(keeper.check(&format!("{token}A"), NOBODY), None);
        assert_eq!(keeper.check("", NOBODY), None);
    }

    #[test]
    fn a_configured_key_outlives_a_restart() {
        let random = RandomSource::system();
        let key = Secret::new("kept over restarts");
        let id = TunnelId::mint(0, PLACE, &random);
        let token = ConnectTokens::new(&key, &random).token(id);
        assert_eq!(
            ConnectTokens::new(&key, &random).check(&token, NOBODY),
            Some(id)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_of_the_key_before_opens_as_long_as_its_url_may_wait() {
        let random = RandomSource::system();
        let (id, ttl) = (TunnelId::mint(0, PLACE, &random), Duration::from_mins(2));
        let first = ConnectTokens::new(&Secret::default(), &random);
        let token = first.token(id);
        let second = first.renewed(&Secret::new("a"), &random, ttl);
        let third = second.renewed(&Secret::new("b"), &random, ttl);
        assert_eq!(third.check(&token, NOBODY), Some(id));
        assert_eq!(third.check(&second.token(id), NOBODY), Some(id));
        assert_ne!(third.token(id), token);
        tokio::time::advance(ttl).await;
        assert_eq!(third.check(&token, NOBODY), None);
        assert_eq!(third.check(&token, |_| true), Some(id), "its tunnel lives");
        let mut last = third;
        for at in 0..100 {
            last = last.renewed(&Secret::new(at.to_string()), &random, Duration::ZERO);
        }
        assert_eq!(last.former.len(), FORMER_KEYS);
        assert_eq!(last.check(&token, |_| true), None);
    }

    proptest! {
        #[test]
        fn ids_and_tokens_round_trip(
            node in 0_u16..0x1000,
            shard in 0..SHARDS,
            slot in 0_usize..0x1_0000_0000,
            seed: u64,
            key in ".{1,20}",
        ) {
            let random = RandomSource::seeded(seed);
            let place = TunnelPlace { shard, slot };
            let id = TunnelId::mint(node, place, &random);
            prop_assert_eq!(TunnelId::parse(&id.to_string()), Some(id));
            prop_assert_eq!((id.node(), id.place()), (node, place));
            let keeper = ConnectTokens::new(&Secret::new(key), &random);
            prop_assert_eq!(keeper.check(&keeper.token(id), NOBODY), Some(id));
        }

        #[test]
        fn no_text_panics_and_none_opens(text in ".{0,60}") {
            let keeper = ConnectTokens::new(&Secret::default(), &RandomSource::system());
            prop_assert_eq!(keeper.check(&text, NOBODY), None);
            if let Some(id) = TunnelId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
