//! Who is calling, and why a caller is nobody.

use weappd_base::language::pick;

use crate::error::Error;

/// A user of a mini program, as the holder of a valid session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserIdentity {
    /// The mini program.
    pub appid: String,
    /// The user's name within the mini program.
    pub openid: String,
    /// The user's name within the Open Platform account, where WeChat told it.
    pub unionid: Option<String>,
    /// The user's id in the Wafer 1 dialect: random, kept over all logins.
    pub id: String,
    /// The user object as JSON text; holds at least `openId`.
    pub user_info_json: String,
}

/// Why a request's headers name no user.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// The request carries no session.
    #[error("{}", pick("the request carries no session", "请求没有带会话"))]
    Missing,
    /// No such session: never opened, logged out, or pushed out by newer ones.
    #[error("{}", pick("no such session", "没有这个会话"))]
    Unknown,
    /// The session was too long unused, or its login is too long ago.
    #[error("{}", pick("the session has expired", "会话已过期"))]
    Expired,
    /// The store could not be asked; the session may well be valid.
    #[error("{}", pick("the session could not be checked", "暂时无法检查会话"))]
    Failed(#[source] Error),
}
