//! What the room is told to do, and a reload may change.

use weappd_wechat::WechatClient;

use crate::config::Config;

/// What the room is told to do.
pub(crate) struct SessionSettings {
    /// The `[session]` section.
    pub(crate) config: Config,
    /// The way to WeChat.
    pub(crate) wechat: WechatClient,
}
