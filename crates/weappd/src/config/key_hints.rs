//! Where a key belongs that stands in the wrong section.

use crate::config::internal::InternalSection;
use crate::config::keys::keys_of;
use crate::config::raw::{ListenSection, LogSection, MiniAppSection, RawConfig, TunnelShort};
use crate::config::spelling;
use weappd_base::language::pick;
use weappd_base::words;

/// The nearest of `known`, else the section that has the key, else all of `known`.
pub(crate) fn meant<'a>(key: &str, known: impl Iterator<Item = &'a &'a str>) -> String {
    let known: Vec<&str> = known.copied().collect();
    spelling::nearest(key, &known)
        .or_else(|| hint(key))
        .unwrap_or_else(|| spelling::hint(key, &known))
}

/// The only section that has `key`, as a hint; nothing if none has it, or several.
fn hint(key: &str) -> Option<String> {
    let sections: [(&str, &[&str]); 14] = [
        ("[session]", keys_of::<weappd_session::Config>()),
        ("[gateway]", keys_of::<weappd_gateway::Config>()),
        ("[gateway.inbox]", keys_of::<weappd_gateway::InboxConfig>()),
        ("[miniapp]", keys_of::<MiniAppSection>()),
        ("[app]", keys_of::<weappd_apps::AppConfig>()),
        ("[files]", keys_of::<weappd_files::Config>()),
        ("[edge]", keys_of::<ListenSection>()),
        ("[edge]", keys_of::<weappd_edge::Config>()),
        ("[tunnel]", keys_of::<TunnelShort>()),
        ("[tunnel]", keys_of::<weappd_tunnel::Config>()),
        ("[internal]", keys_of::<InternalSection>()),
        ("[wechat]", keys_of::<weappd_wechat::Config>()),
        ("[log]", keys_of::<LogSection>()),
        (
            "the top of the file, before the first [section]",
            keys_of::<RawConfig>(),
        ),
    ];
    let has = |(_, keys): &(&str, &[&str])| keys.contains(&key);
    let mut homes: Vec<&str> = sections
        .into_iter()
        .filter(has)
        .map(|(home, _)| home)
        .collect();
    homes.dedup();
    match homes.as_slice() {
        ["[gateway]"] if key == "inbox" => {
            Some(pick("write [gateway.inbox]", "写 [gateway.inbox]").to_owned())
        }
        [home] if home.starts_with('[') => {
            Some(words!("it belongs under {home}", "它应写在 {home} 下面"))
        }
        [home] => Some(words!(
            "it belongs at {home}",
            "它应写在文件开头、第一个 [节] 之前"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_one_section_has_is_led_there() {
        let told = |key| hint(key).unwrap_or_default();
        assert_eq!(told("max_sessions_per_user"), "it belongs under [session]");
        assert_eq!(told("wechat_gateways"), "it belongs under [edge]");
        assert_eq!(told("inbox"), "write [gateway.inbox]");
        assert_eq!(told("reply_to"), "it belongs under [gateway.inbox]");
        assert_eq!(told("message_path"), "it belongs under [miniapp]");
        assert!(told("data_dir").starts_with("it belongs at the top"));
        // [gateway] and [wechat] both have one.
        assert_eq!(told("timeout_ms"), "");
        assert_eq!(told("nothing"), "");
    }
}
