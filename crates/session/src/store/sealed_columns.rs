//! What a database keeps sealed, opened as it is read.

use weappd_base::secret::Secret;

use crate::config::MiniApp;
use crate::identity::UserIdentity;
use crate::vault::{SecretKind, SecretOwner, SecretVault};

/// The keys that open; one that does not was sealed with another key file.
pub(crate) fn unsealed(vault: &SecretVault, who: &UserIdentity, keys: &[Vec<u8>]) -> Vec<Secret> {
    let owner = SecretOwner {
        appid: &who.appid,
        openid: &who.openid,
    };
    let open: Vec<_> = keys
        .iter()
        .filter_map(|key| vault.unseal(SecretKind::SessionKey, owner, key))
        .collect();
    if open.len() < keys.len() {
        tracing::warn!(openid = %who.openid, "a session key was sealed with another key file; see [session] key_file");
    }
    open
}

/// The mini programs whose AppSecret opens.
pub(crate) fn registered(vault: &SecretVault, rows: Vec<(String, Vec<u8>)>) -> Vec<MiniApp> {
    let apps = rows.into_iter().filter_map(|(appid, sealed)| {
        let secret = vault.unseal(SecretKind::AppSecret, SecretOwner::app(&appid), &sealed);
        if secret.is_none() {
            tracing::warn!(appid, "the AppSecret of a registered mini program was sealed with another key file; register it again, or see [session] key_file");
        }
        Some(MiniApp::new(appid, secret?))
    });
    apps.collect()
}
