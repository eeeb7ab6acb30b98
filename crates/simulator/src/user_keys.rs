//! Keys a phone and its server share for their own encryption (加密网络通道), and which
//! encrypted phone numbers this WeChat gave out.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;

/// How long a key lives.
pub(crate) const KEY_LIFE: Duration = Duration::from_hours(1);
/// How many keys a server is told: the newest.
const MAX_KEYS_TOLD: usize = 3;
/// How long encrypted data can be asked about.
const DATA_LIFE: Duration = Duration::from_hours(3 * 24);
/// The most encrypted data remembered; beyond it the oldest is forgotten.
const MAX_HASHES: usize = 200_000;

/// A user's keys in one mini program, newest last.
#[derive(Debug, Default)]
pub(crate) struct UserKeys {
    keys: VecDeque<EncryptKey>,
    version: u32,
}

#[derive(Debug)]
pub(crate) struct EncryptKey {
    pub(crate) key: Secret,
    pub(crate) iv: String,
    pub(crate) version: u32,
    pub(crate) made_at: UnixSecs,
}

/// What was encrypted lately: the mini program and the hash, and when.
#[derive(Debug, Default)]
pub(crate) struct EncryptedHashes {
    made: HashMap<(String, String), UnixSecs>,
    oldest: VecDeque<(String, String)>,
}

impl UserKeys {
    /// The newest key, made if there is none that lives.
    pub(crate) fn latest(
        &mut self,
        now: UnixSecs,
        fresh: impl FnOnce() -> (Secret, String),
    ) -> Option<&EncryptKey> {
        let lives = |key: &EncryptKey| now < key.made_at + KEY_LIFE;
        if !self.keys.back().is_some_and(lives) {
            let (key, iv) = fresh();
            self.version += 1;
            self.keys.push_back(EncryptKey {
                key,
                iv,
                version: self.version,
                made_at: now,
            });
            if self.keys.len() > MAX_KEYS_TOLD {
                self.keys.pop_front();
            }
        }
        self.keys.back()
    }

    /// The keys that live, as a server is told, newest first.
    pub(crate) fn list(&self, now: UnixSecs) -> Vec<Value> {
        let living = self.keys.iter().rev();
        let living = living.filter(|key| now < key.made_at + KEY_LIFE);
        let told = living.map(|key| {
            json!({
                "encrypt_key": key.key.expose(),
                "version": key.version,
                "expire_in": (key.made_at + KEY_LIFE).since(now).as_secs(),
                "iv": key.iv,
                "create_time": key.made_at,
            })
        });
        told.collect()
    }
}

impl EncryptedHashes {
    /// Remembers an `encryptedData`.
    pub(crate) fn add(&mut self, appid: &str, data: &str, now: UnixSecs) {
        if self.oldest.len() >= MAX_HASHES
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.made.remove(&oldest);
        }
        let key = (
            appid.to_owned(),
            hex::encode(Sha256::digest(data.as_bytes())),
        );
        self.oldest.push_back(key.clone());
        self.made.insert(key, now);
    }

    /// When the data with this hash was made for the mini program.
    pub(crate) fn made_at(&self, appid: &str, hash: &str, now: UnixSecs) -> Option<UnixSecs> {
        let key = (appid.to_owned(), hash.to_ascii_lowercase());
        let made = self.made.get(&key).copied();
        made.filter(|at| now < *at + DATA_LIFE)
    }
}
