//! A user's session keys as they stand in the user's row: sealed, the newest first.

use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;

use crate::store::rules::WriteRules;
use crate::vault::{SecretKind, SecretOwner};

/// The bytes before a sealed key: its fingerprint, when it was given, and its length.
const HEAD: usize = 16 + 8 + 2;

/// The keys as one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyList(Vec<u8>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedKey<'a> {
    /// Names the key without telling it.
    pub(crate) fingerprint: &'a [u8; 16],
    /// When.
    pub(crate) given: UnixSecs,
    pub(crate) sealed: &'a [u8],
}

impl KeyList {
    /// As the row has it.
    pub(crate) fn of(stored: Option<Vec<u8>>) -> Self {
        Self(stored.unwrap_or_default())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The keys, the newest first. What cannot be read ends the list.
    pub(crate) fn keys(&self) -> impl Iterator<Item = ListedKey<'_>> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (fingerprint, after) = rest.split_first_chunk()?;
            let (given, after) = after.split_first_chunk()?;
            let (length, after) = after.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (sealed, after) = after.split_at_checked(length)?;
            rest = after;
            Some(ListedKey {
                fingerprint,
                given: UnixSecs::new(i64::from_be_bytes(*given)),
                sealed,
            })
        })
    }

    /// Adds a key as the newest, once, and drops the oldest beyond what is kept.
    pub(crate) fn put(
        &mut self,
        (key, now): (&Secret, UnixSecs),
        owner: SecretOwner<'_>,
        rules: &WriteRules,
    ) {
        let fingerprint = rules.vault.fingerprint(key);
        let sealed = rules.vault.seal(SecretKind::SessionKey, owner, key);
        let newest = ListedKey {
            fingerprint: &fingerprint,
            given: now,
            sealed: &sealed,
        };
        let others = self.keys().filter(|key| *key.fingerprint != fingerprint);
        let others = others.take(rules.keys_kept().saturating_sub(1));
        let mut list = Vec::with_capacity(self.0.len() + HEAD + sealed.len());
        for key in std::iter::once(newest).chain(others) {
            // WeChat's keys have 24 characters; one of 64 KiB is none.
            let Ok(length) = u16::try_from(key.sealed.len()) else {
                continue;
            };
            list.extend_from_slice(key.fingerprint);
            list.extend_from_slice(&key.given.get().to_be_bytes());
            list.extend_from_slice(&length.to_be_bytes());
            list.extend_from_slice(key.sealed);
        }
        self.0 = list;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    const OWNER: SecretOwner<'_> = SecretOwner {
        appid: "wx1",
        openid: "o1",
    };

    fn rules(kept: u32) -> WriteRules {
        let config = Config {
            session_keys_kept: kept,
            ..Config::default()
        };
        WriteRules::new(&config, crate::vault::tests::vault())
    }

    fn opened(list: &KeyList, rules: &WriteRules) -> Vec<(String, i64)> {
        let keys = list.keys().map(|key| {
            let opened = rules
                .vault
                .unseal(SecretKind::SessionKey, OWNER, key.sealed);
            (opened.expect("opens").expose().to_owned(), key.given.get())
        });
        keys.collect()
    }

    #[test]
    fn the_newest_come_first_each_once_and_no_more_than_are_kept() {
        let rules = rules(3);
        let mut list = KeyList::default();
        for (now, key) in (1..).zip(["a", "b", "a", "c", "d"]) {
            list.put((&Secret::new(key), UnixSecs::new(now)), OWNER, &rules);
        }
        let of = |key: &str, given| (key.to_owned(), given);
        assert_eq!(opened(&list, &rules), [of("d", 5), of("c", 4), of("a", 3)]);
        let again = KeyList::of(Some(list.bytes().to_vec()));
        assert_eq!(again, list);
    }

    proptest! {
        #[test]
        fn whatever_a_row_holds_a_new_key_comes_first(
            stored in prop::collection::vec(any::<u8>(), 0..200), kept in 1_u32..5,
        ) {
            let rules = rules(kept);
            let mut list = KeyList::of(Some(stored));
            list.put((&Secret::new("k"), UnixSecs::new(9)), OWNER, &rules);
            let first = list.keys().next().expect("a key");
            let key = rules.vault.unseal(SecretKind::SessionKey, OWNER, first.sealed);
            prop_assert!(key.is_some_and(|key| key.is("k")) && first.given.get() == 9);
            prop_assert!(list.keys().count() <= kept as usize);
        }
    }
}
