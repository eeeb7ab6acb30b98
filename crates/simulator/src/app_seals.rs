//! What the console of each mini program says about API security (API 安全).

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use weappd_base::secret::Secret;
use weappd_wechat::api_sign::SealedChannel;

/// What the console of a mini program says about API security, as `POST /api_security` sets
/// it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecuritySettings {
    /// The mini program; the first one, unless said.
    pub appid: Option<String>,
    /// The symmetric key, 32 bytes of base64.
    pub symmetric_key: Secret,
    /// Its number.
    pub symmetric_key_sn: String,
    /// The mini program's public key, PEM.
    pub public_key: String,
    /// Its number.
    pub public_key_sn: String,
    /// WeChat's private key, PEM: this one signs the answers.
    pub private_key: Secret,
    /// The number of WeChat's certificate.
    pub private_key_sn: String,
    /// Calls of these paths must be sealed; of the others they may be.
    #[serde(default)]
    pub required: Vec<String>,
}

/// Who speaks sealed, by appid.
#[derive(Debug, Default)]
pub(crate) struct AppSeals(pub(crate) HashMap<String, Arc<AppSeal>>);

/// One mini program's keys.
#[derive(Debug)]
pub(crate) struct AppSeal {
    pub(crate) channel: SealedChannel,
    pub(crate) required: Vec<String>,
}
