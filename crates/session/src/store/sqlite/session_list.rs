//! Which sessions a user has, as it stands in the user's row: the newest first.
//!
//! What ended by age or with everybody's is not taken off the list. It is older than what stands,
//! and the first to be dropped.

use crate::skey::SkeyHash;

/// An entry: the session's number, and the hash of its skey.
const ENTRY: usize = 8 + 32;

/// The sessions as one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionList(Vec<u8>);

impl SessionList {
    /// As the row has it.
    pub(crate) fn of(stored: Option<Vec<u8>>) -> Self {
        let mut list = stored.unwrap_or_default();
        list.truncate(list.len() / ENTRY * ENTRY);
        Self(list)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The numbers and hashes, the newest first.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (i64, SkeyHash)> {
        self.0.as_chunks::<ENTRY>().0.iter().filter_map(|entry| {
            let (seq, hash) = entry.split_first_chunk()?;
            let hash = <[u8; 32]>::try_from(hash).ok()?;
            Some((i64::from_be_bytes(*seq), SkeyHash(hash)))
        })
    }

    /// Adds a session as the newest, unless it stands there.
    pub(crate) fn push(&mut self, seq: i64, hash: &SkeyHash) {
        if self.sessions().any(|(known, _)| known == seq) {
            return;
        }
        let entry = seq.to_be_bytes().into_iter().chain(hash.0);
        self.0.splice(0..0, entry);
    }

    /// Takes one off; says whether it stood there.
    pub(crate) fn remove(&mut self, seq: i64) -> bool {
        let Some(at) = self.sessions().position(|(known, _)| known == seq) else {
            return false;
        };
        self.0.drain(at * ENTRY..(at + 1) * ENTRY);
        true
    }

    /// Takes off the oldest beyond `most`.
    pub(crate) fn drop_beyond(&mut self, most: usize) -> Vec<(i64, SkeyHash)> {
        let dropped = self.sessions().skip(most).collect();
        self.0.truncate(most.saturating_mul(ENTRY));
        dropped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_does_as_a_plain_one(
            stored in prop::collection::vec(any::<u8>(), 0..100),
            steps in prop::collection::vec((0_i64..6, any::<bool>()), 0..30),
            most in 0_usize..5,
        ) {
            let mut list = SessionList::of(Some(stored));
            let mut plain: Vec<(i64, SkeyHash)> = list.sessions().collect();
            for (seq, adds) in steps {
                let hash = SkeyHash::of(&seq.to_string());
                if adds {
                    list.push(seq, &hash);
                    if !plain.iter().any(|(known, _)| *known == seq) {
                        plain.insert(0, (seq, hash));
                    }
                } else {
                    let at = plain.iter().position(|(known, _)| *known == seq);
                    prop_assert_eq!(list.remove(seq), at.is_some());
                    at.map(|at| plain.remove(at));
                }
                prop_assert!(list.sessions().eq(plain.iter().copied()));
                let again = SessionList::of(Some(list.bytes().to_vec()));
                prop_assert_eq!(&again, &list);
            }
            let beyond = plain.split_off(most.min(plain.len()));
            prop_assert!(list.drop_beyond(most) == beyond);
            prop_assert!(list.sessions().eq(plain.iter().copied()));
        }
    }
}
