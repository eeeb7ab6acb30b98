//! How each mini program's messages come and where they go.

use std::collections::BTreeMap;

use weappd_base::secret::Secret;

use crate::config::desk::Desk;
use crate::config::document::Step;
use crate::config::raw::Raw;
use crate::plan::PushPlan;

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
        let plan = PushPlan {
            token: mini.message_token.clone(),
            encoding_aes_key: mini.encoding_aes_key.clone(),
            path: mini.message_path.clone(),
        };
        pushes.insert(appid.to_owned(), plan);
    }
    pushes
}
