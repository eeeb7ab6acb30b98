//! Codes as pictures: a PNG, or JSON when something is wrong.

use serde_json::{Map, Value};

use super::{ApiCall, ApiReply, text};
use crate::png;
use crate::simulator::Simulator;
use crate::wechat_refusal::WechatRefusal;

/// Pictures in the pool of `getwxacode` and `createwxaqrcode`, for all time.
const CODE_POOL_SIZE: u32 = 100_000;
/// The width nobody asked for.
const DEFAULT_WIDTH_PX: u64 = 430;

impl Simulator {
    /// `POST /wxa/getwxacodeunlimit`.
    pub(super) fn unlimited_picture(call: &ApiCall) -> Result<ApiReply, WechatRefusal> {
        let fields = call.fields()?;
        let (scene, page) = (text(&fields, "scene"), text(&fields, "page"));
        if scene.is_empty() || scene.len() > 32 || !scene.bytes().all(may_be_in_scene) {
            return Err(WechatRefusal::CodeScene);
        }
        if page.starts_with('/') || page.contains('?') {
            return Err(WechatRefusal::Page);
        }
        let png = png::draw(&format!("{page}?scene={scene}"), width(&fields)?);
        Ok(ApiReply::Picture { png, used: None })
    }

    /// `POST /wxa/getwxacode` and `POST /cgi-bin/wxaapp/createwxaqrcode`.
    pub(super) fn counted_picture(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<ApiReply, WechatRefusal> {
        let fields = call.fields()?;
        let path = text(&fields, "path");
        let longest = if call.path == "/wxa/getwxacode" {
            1024
        } else {
            128
        };
        if path.is_empty() || path.len() > longest {
            return Err(WechatRefusal::PathLength);
        }
        let width = width(&fields)?;
        let used = self.with_state(|state| {
            let used = state.pictures.entry(appid.to_owned()).or_default();
            if *used >= CODE_POOL_SIZE {
                return Err(WechatRefusal::CodesUsedUp);
            }
            *used += 1;
            Ok(*used)
        })?;
        let png = png::draw(path, width);
        Ok(ApiReply::Picture {
            png,
            used: Some(used),
        })
    }
}

/// The width asked for; `env_version` is looked at on the way.
fn width(fields: &Map<String, Value>) -> Result<u32, WechatRefusal> {
    let version = text(fields, "env_version");
    if !matches!(version, "" | "release" | "trial" | "develop") {
        return Err(WechatRefusal::Args);
    }
    let width = match fields.get("width") {
        None => Some(DEFAULT_WIDTH_PX),
        Some(width) => width.as_u64(),
    };
    width
        .filter(|width| (280..=1280).contains(width))
        .and_then(|width| u32::try_from(width).ok())
        .ok_or(WechatRefusal::Args)
}

fn may_be_in_scene(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'()*+,/:;=?@-._~".contains(&byte)
}
