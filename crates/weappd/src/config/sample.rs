//! The weappd.toml that `weappd init` writes.

use weappd_base::language::Language;

/// A commented weappd.toml; `tunnel_key` is the generated signature key.
pub(crate) fn text(language: Language, tunnel_key: &str) -> String {
    let sample = match language {
        Language::Chinese => include_str!("sample/zh.toml"),
        Language::English => include_str!("sample/en.toml"),
    };
    sample.replace("TUNNEL_KEY", tunnel_key)
}
