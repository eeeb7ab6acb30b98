//! How a mini program's calls of WeChat's API are encrypted and signed (API 安全).

use serde::Deserialize;
use weappd_base::language::pick;
use weappd_base::secret::Secret;
use weappd_base::words;
use weappd_wechat::api_sign::{KeyTexts, SealedChannel};

use crate::config::checker::ConfigChecker;
use crate::config::document::PathStep;

/// `[miniapp.api_security]`: the keys of WeChat's console, 开发管理 / 安全中心 / API 安全.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiSecuritySection {
    /// The algorithms chosen in the console: `"rsa"` (`AES256_GCM` with
    /// `RSAwithSHA256`).
    /// `"sm"` (`SM4_GCM` with `SM2withSM3`) is not supported.
    pub(crate) algorithms: AlgorithmNames,
    /// The symmetric key, 32 bytes of base64.
    pub(crate) symmetric_key: Secret,
    /// Its number (`sn`).
    pub(crate) symmetric_key_sn: String,
    /// The RSA private key, PEM; its public half stands in the console.
    pub(crate) private_key: Secret,
    /// The number the console gave its public half.
    pub(crate) private_key_sn: String,
    /// WeChat's certificate (开放平台证书) or public key, PEM.
    pub(crate) wechat_certificate: String,
    /// Its number in the console, which is not the certificate's own.
    pub(crate) wechat_certificate_sn: String,
    /// The paths whose calls are sealed; those WeChat documents, unless said.
    pub(crate) paths: Option<Vec<String>>,
}

/// A suite of algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AlgorithmNames {
    #[default]
    Rsa,
    Sm,
}

/// Settles the section at `path`; what is wrong with it is told.
pub(crate) fn settle(
    checker: &ConfigChecker<'_>,
    path: &[PathStep<'_>],
    (appid, raw): (&str, &ApiSecuritySection),
) -> Option<weappd_gateway::ApiSecurity> {
    let section = [path, &[PathStep::Key("api_security")]].concat();
    if raw.algorithms == AlgorithmNames::Sm {
        let at = [section.as_slice(), &[PathStep::Key("algorithms")]].concat();
        checker.error(
            &at,
            pick("SM4_GCM with SM2withSM3 is not supported", "不支持 SM4_GCM 与 SM2withSM3"),
            pick("choose AES256_GCM and RSAwithSHA256 in WeChat's console (API 安全), and \"rsa\" here", "在小程序后台的“API 安全”里选择 AES256_GCM 和 RSAwithSHA256，这里写 \"rsa\""),
        );
        return None;
    }
    for wrong in raw.paths.iter().flatten() {
        if !wrong.starts_with('/') || wrong.contains('?') {
            let at = [section.as_slice(), &[PathStep::Key("paths")]].concat();
            checker.error(
                &at,
                words!("{wrong:?} is not a path", "{wrong:?} 不是路径"),
                pick(
                    "write it like /wxa/msg_sec_check",
                    "写成 /wxa/msg_sec_check 这样",
                ),
            );
        }
    }
    let keys = KeyTexts {
        appid: appid.to_owned(),
        symmetric_key: raw.symmetric_key.clone(),
        symmetric_key_sn: raw.symmetric_key_sn.clone(),
        private_key: raw.private_key.clone(),
        private_key_sn: raw.private_key_sn.clone(),
        their_key: raw.wechat_certificate.clone(),
        their_key_sn: raw.wechat_certificate_sn.clone(),
    };
    let lacks = |key: &&str| {
        let at = [section.as_slice(), &[PathStep::Key(key)]].concat();
        checker.reader.is_left_out(checker.doc, &at)
    };
    if ["symmetric_key", "private_key"].iter().any(lacks) {
        return None;
    }
    if let Err(problem) = SealedChannel::new(&keys) {
        checker.error(
            &section,
            problem.to_string(),
            pick(
                "copy the keys and their numbers from WeChat's console (API 安全); a PEM text fits \
             in with { file = \"api.pem\" }",
                "从小程序后台的“API 安全”复制密钥和编号；PEM 文本可以写成 { file = \"api.pem\" }",
            ),
        );
        return None;
    }
    Some(weappd_gateway::ApiSecurity {
        keys,
        paths: raw.paths.clone(),
    })
}
