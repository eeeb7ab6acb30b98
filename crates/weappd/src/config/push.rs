//! How each mini program's messages come and where they go.

use std::collections::BTreeMap;
use weappd_base::language::pick;
use weappd_base::words;

use weappd_base::secret::Secret;
use weappd_gateway::PushChannel;

use crate::config::api_security;
use crate::config::checker::ConfigChecker;
use crate::config::document::PathStep;
use crate::config::raw::{FurtherPush, RawConfig};
use crate::plan::{PushPlan, SitePlan};
use crate::site_rooms::INBOX;

/// Settles them, by AppID.
pub(crate) fn all(checker: &ConfigChecker<'_>, raw: &RawConfig) -> BTreeMap<String, PushPlan> {
    let short = raw.miniapp.iter().map(|mini| {
        let appid = mini.appid.as_deref().unwrap_or_default();
        (vec![PathStep::from("miniapp")], appid, mini)
    });
    let long = raw.miniapps.0.iter().map(|(appid, mini)| {
        let path = vec!["miniapps".into(), appid.as_str().into()];
        (path, appid.as_str(), mini)
    });
    let mut pushes = BTreeMap::new();
    for (path, appid, mini) in short.chain(long) {
        let at = |key| [path.as_slice(), &[PathStep::Key(key)]].concat();
        let has_token = checker.says(&at("message_token"));
        if mini.encoding_aes_key.is_some() && !has_token {
            checker.error(
                &at("encoding_aes_key"),
                pick(
                    "an EncodingAESKey goes with a message_token, which is missing",
                    "EncodingAESKey 要与 message_token 一起设置，现在缺少 message_token",
                ),
                pick(
                    "copy both from WeChat's console (消息推送)",
                    "两个都从小程序后台的“消息推送”复制",
                ),
            );
        }
        let key = mini.encoding_aes_key.as_ref();
        if key.is_some_and(|key| key.expose().len() != 43) {
            checker.error(
                &at("encoding_aes_key"),
                pick(
                    "an EncodingAESKey has 43 characters",
                    "EncodingAESKey 应为 43 个字符",
                ),
                pick(
                    "copy it from WeChat's console (消息推送)",
                    "从小程序后台的“消息推送”复制",
                ),
            );
        }
        if mini.message_token.as_ref().is_some_and(Secret::is_empty) {
            checker.error(
                &at("message_token"),
                pick("the message Token is empty", "消息推送的 Token 为空"),
                pick(
                    "copy it from WeChat's console (消息推送), or leave the line out",
                    "从小程序后台的“消息推送”复制，或删掉这一行",
                ),
            );
        }
        if !mini.message_path.starts_with('/') {
            checker.error(
                &at("message_path"),
                pick("not a path", "不是路径"),
                pick(
                    "begin with /, as in /weapp/message",
                    "以 / 开头，例如 /weapp/message",
                ),
            );
        }
        let security = mini.api_security.as_ref();
        let plan = PushPlan {
            token: mini.message_token.clone(),
            encoding_aes_key: mini.encoding_aes_key.clone(),
            path: mini.message_path.clone(),
            answer: mini.message_answer,
            further: further(checker, &path, &mini.pushes),
            api_security: security
                .and_then(|security| api_security::settle(checker, &path, (appid, security))),
        };
        pushes.insert(appid.to_owned(), plan);
    }
    pushes
}

/// Settles `[[miniapp.pushes]]`.
fn further(
    checker: &ConfigChecker<'_>,
    mini: &[PathStep<'_>],
    pushes: &[FurtherPush],
) -> Vec<PushChannel> {
    let copy = pick(
        "copy it from WeChat's console, where this push configuration stands",
        "从小程序后台的这一项推送配置里复制",
    );
    for (number, push) in pushes.iter().enumerate() {
        let at = |key| [mini, &["pushes".into(), number.into(), PathStep::Key(key)]].concat();
        let path = push.path.as_str();
        let is_own = path == INBOX || path.starts_with("/weapp/message/wx");
        let is_plain = path.starts_with('/')
            && path.len() > 1
            && !path.ends_with('/')
            && !path.contains(['?', '#', '{', '}', '%', '*', ' ', '\\', ';'])
            && !path.contains("//");
        if !is_plain || is_own {
            checker.error(
                &at("path"),
                words!("{path:?} cannot be the path of a further push configuration", "{path:?} 不能作为另一项推送配置的路径"),
                pick("write it like /weapp/message/delivery, and set the URL with it in WeChat's console", "写成 /weapp/message/delivery 这样，并在小程序后台把 URL 设成同样的路径"),
            );
        }
        if pushes
            .iter()
            .take(number)
            .any(|other| other.path == push.path)
        {
            checker.error(
                &at("path"),
                words!(
                    "two push configurations have the path {path}",
                    "两项推送配置用了同一个路径 {path}"
                ),
                pick("give each a path of its own", "请给每项配置不同的路径"),
            );
        }
        if push.token.is_empty() {
            checker.error(
                &at("token"),
                pick(
                    "the Token is missing or empty",
                    "没有写 Token，或 Token 为空",
                ),
                copy,
            );
        }
        let key = push.encoding_aes_key.as_ref();
        if key.is_some_and(|key| key.expose().len() != 43) {
            checker.error(
                &at("encoding_aes_key"),
                pick(
                    "an EncodingAESKey has 43 characters",
                    "EncodingAESKey 应为 43 个字符",
                ),
                copy,
            );
        }
    }
    let channels = pushes.iter().map(|push| PushChannel {
        path: push.path.clone(),
        token: push.token.clone(),
        encoding_aes_key: push.encoding_aes_key.clone(),
    });
    channels.collect()
}

/// The further paths at which a site with these mini programs takes messages.
pub(crate) fn further_paths(appids: &[String], pushes: &BTreeMap<String, PushPlan>) -> Vec<String> {
    let theirs = appids.iter().filter_map(|appid| pushes.get(appid));
    let mut paths: Vec<String> = theirs
        .flat_map(|push| push.further.iter().map(|further| further.path.clone()))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Says what to paste into WeChat's console.
pub(crate) fn tell_addresses(checker: &ConfigChecker<'_>, raw: &RawConfig, sites: &[SitePlan]) {
    let mut told = Vec::new();
    for site in sites {
        let named = site.hosts.iter().find(|host| !host.contains('*'));
        let Some(host) = named else { continue };
        for appid in &site.messages {
            if told.contains(&appid) {
                continue;
            }
            told.push(appid);
            let long = ["miniapps".into(), PathStep::Key(appid)];
            let short = [PathStep::Key("miniapp")];
            let is_long = raw.miniapps.0.iter().any(|(id, _)| id == appid);
            let mini = if is_long { &long[..] } else { &short[..] };
            let token = [mini, &["message_token".into()]].concat();
            let own = if site.appids.len() > 1 {
                format!("{INBOX}/{appid}")
            } else {
                INBOX.to_owned()
            };
            let pushes = [mini, &["pushes".into()]].concat();
            for (place, paths) in [(token, &[own][..]), (pushes, &site.push_paths)] {
                for path in paths.iter().filter(|_| checker.says(&place)) {
                    checker.note(
                        &place,
                        words!(
                            "the URL for WeChat's console (消息推送) is https://{host}{path}",
                            "小程序后台“消息推送”的 URL（服务器地址）请填 https://{host}{path}"
                        ),
                    );
                }
            }
        }
    }
}

/// Warns of mini programs of one site whose messages cannot be told apart by what signs
/// them.
pub(crate) fn same_token(checker: &ConfigChecker<'_>, raw: &RawConfig, sites: &[SitePlan]) {
    let of = |appid: &str| {
        let long = raw.miniapps.0.iter().find(|(id, _)| id == appid);
        let short = || raw.miniapp.as_ref();
        long.map(|(_, mini)| mini).or_else(short)
    };
    for site in sites {
        for (at, appid) in site.messages.iter().enumerate() {
            let token = |appid: &String| of(appid).and_then(|mini| mini.message_token.clone());
            let mut others = site.messages.iter().take(at);
            let same = |other: &&String| token(other).is_some() && token(other) == token(appid);
            let Some(other) = others.find(same) else {
                continue;
            };
            let long = [
                "miniapps".into(),
                appid.as_str().into(),
                PathStep::Key("message_token"),
            ];
            let short = ["miniapp".into(), PathStep::Key("message_token")];
            let place = if checker.says(&long) {
                &long[..]
            } else {
                &short
            };
            checker.warning(
                place,
                words!("{appid} and {other} sign messages with the same Token", "{appid} 和 {other} 用同一个 Token 给消息签名"),
                words!(
                    "at /weapp/message they may be taken for the first one's: give each a Token \
                     of its own, or set /weapp/message/{appid} in WeChat's console", "发到 /weapp/message 的消息可能都被当成前一个小程序的：请给它们设不同的 Token，或在小程序后台把路径设为 /weapp/message/{appid}"
                ),
            );
        }
    }
}
