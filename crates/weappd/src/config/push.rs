//! How each mini program's messages come and where they go.

use std::collections::BTreeMap;

use weappd_base::secret::Secret;

use crate::config::api_security;
use crate::config::desk::Desk;
use crate::config::document::Step;
use crate::config::raw::Raw;
use crate::plan::{PushPlan, SitePlan};

/// Settles them, by AppID.
pub(crate) fn all(desk: &Desk<'_>, raw: &Raw) -> BTreeMap<String, PushPlan> {
    let short = raw.miniapp.iter().map(|mini| {
        let appid = mini.appid.as_deref().unwrap_or_default();
        (vec![Step::from("miniapp")], appid, mini)
    });
    let long = raw.miniapps.0.iter().map(|(appid, mini)| {
        let path = vec!["miniapps".into(), appid.as_str().into()];
        (path, appid.as_str(), mini)
    });
    let mut pushes = BTreeMap::new();
    for (path, appid, mini) in short.chain(long) {
        let at = |key| [path.as_slice(), &[Step::Key(key)]].concat();
        if mini.encoding_aes_key.is_some() && mini.message_token.is_none() {
            desk.error(
                &at("encoding_aes_key"),
                "an EncodingAESKey goes with a message_token, which is missing",
                "copy both from WeChat's console (消息推送)",
            );
        }
        let key = mini.encoding_aes_key.as_ref();
        if key.is_some_and(|key| key.expose().len() != 43) {
            desk.error(
                &at("encoding_aes_key"),
                "an EncodingAESKey has 43 characters",
                "copy it from WeChat's console (消息推送)",
            );
        }
        if mini.message_token.as_ref().is_some_and(Secret::is_empty) {
            desk.error(
                &at("message_token"),
                "the message Token is empty",
                "copy it from WeChat's console (消息推送), or leave the line out",
            );
        }
        if !mini.message_path.starts_with('/') {
            desk.error(
                &at("message_path"),
                "not a path",
                "begin with /, as in /weapp/message",
            );
        }
        let security = mini.api_security.as_ref();
        let plan = PushPlan {
            token: mini.message_token.clone(),
            encoding_aes_key: mini.encoding_aes_key.clone(),
            path: mini.message_path.clone(),
            api_security: security
                .and_then(|security| api_security::settle(desk, &path, (appid, security))),
        };
        pushes.insert(appid.to_owned(), plan);
    }
    pushes
}

/// Warns of mini programs of one site whose messages cannot be told apart by what signs
/// them.
pub(crate) fn same_token(desk: &Desk<'_>, raw: &Raw, sites: &[SitePlan]) {
    let of = |appid: &str| {
        let long = raw.miniapps.0.iter().find(|(id, _)| id == appid);
        let short = || raw.miniapp.as_ref();
        long.map(|(_, mini)| mini).or_else(short)
    };
    for site in sites {
        for (at, appid) in site.messages.iter().enumerate() {
            let token = |appid: &String| of(appid).and_then(|mini| mini.message_token.clone());
            let mut others = site.messages.iter().take(at);
            let Some(other) = others.find(|other| token(other) == token(appid)) else {
                continue;
            };
            let long = [
                "miniapps".into(),
                appid.as_str().into(),
                Step::Key("message_token"),
            ];
            let short = ["miniapp".into(), Step::Key("message_token")];
            let place = if desk.says(&long) { &long[..] } else { &short };
            desk.warning(
                place,
                format!("{appid} and {other} sign messages with the same Token"),
                format!(
                    "at /weapp/message they may be taken for the first one's: give each a Token \
                     of its own, or set /weapp/message/{appid} in WeChat's console"
                ),
            );
        }
    }
}
