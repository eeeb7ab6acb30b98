//! What a phone says of its user, as it is read from a request.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::body;
use crate::open_data_error::OpenDataError;
use crate::picture_url::is_picture;

/// The longest nickname, in characters: WeChat allows 32.
const MAX_NICK: usize = 64;

/// What the phone says of its user.
#[derive(Debug)]
pub(crate) enum ProfileUpdate {
    /// What the user typed and chose.
    Chosen(Map<String, Value>),
    /// What `wx.getUserInfo` gave, with its signature.
    Signed { raw_data: String, signature: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileBody {
    nick_name: Option<String>,
    avatar_url: Option<String>,
    raw_data: Option<String>,
    signature: Option<String>,
}

impl ProfileUpdate {
    /// Reads `{"nickName"?, "avatarUrl"?}` or `{"rawData", "signature"}`.
    pub(crate) fn read(text: &[u8]) -> Result<Self, OpenDataError> {
        let body: ProfileBody = body::object(text).map_err(|_| {
            OpenDataError::Input(
                "the body must be a JSON object: {\"nickName\"?, \"avatarUrl\"?} or {\"rawData\", \"signature\"}",
            )
        })?;
        let mut fields = Map::new();
        if let Some(nick) = body.nick_name {
            let whole = !nick.trim().is_empty() && !nick.chars().any(char::is_control);
            if !whole || nick.chars().count() > MAX_NICK {
                return Err(OpenDataError::Input(
                    "nickName must be 1 to 64 characters of text",
                ));
            }
            fields.insert("nickName".to_owned(), nick.into());
        }
        if let Some(avatar) = body.avatar_url {
            if !is_picture(&avatar) {
                return Err(OpenDataError::Input(
                    "avatarUrl must be an https address, or the path of an uploaded file",
                ));
            }
            fields.insert("avatarUrl".to_owned(), avatar.into());
        }
        match (body.raw_data, body.signature, fields.is_empty()) {
            (Some(raw_data), Some(signature), true) => Ok(Self::Signed {
                raw_data,
                signature,
            }),
            (None, None, false) => Ok(Self::Chosen(fields)),
            _ => Err(OpenDataError::Input(
                "bring nickName or avatarUrl, or else rawData with its signature",
            )),
        }
    }
}
