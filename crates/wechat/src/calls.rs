//! Calls of WeChat's API that need an `access_token`: one room holds the tokens, others make
//! calls through it.

use std::fmt;

use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value;
use weappd_base::language::pick;
use weappd_base::words;

/// Calls WeChat's API with the `access_token` of a mini program.
pub trait WechatCalls: fmt::Debug + Send + Sync {
    /// Makes one call for `appid`. An answer whose `errcode` is not 0 is
    /// [`CallError::Refused`]; a token that WeChat no longer takes is renewed on the way.
    fn call<'a>(
        &'a self,
        appid: &'a str,
        call: WechatCall,
    ) -> BoxFuture<'a, Result<Value, CallError>>;
}

/// One call of WeChat's API, without an access token.
#[derive(Clone)]
pub struct WechatCall {
    /// Mostly GET or POST.
    pub method: Method,
    /// As in `/wxa/checksession`.
    pub path: String,
    /// Names and values, as they mean, not as they are written in an address.
    pub query: Vec<(String, String)>,
    /// The JSON body, if there is one.
    pub body: Option<Value>,
}

impl fmt::Debug for WechatCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Codes and signatures stand in the query and in the body.
        write!(f, "Call({} {})", self.method, self.path)
    }
}

/// Why a call gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// WeChat said no, to the call or to the question for a token; or weappd's own gateway
    /// did, with a number of its own (-808001 and down).
    #[error("{}", words!("the call was refused: {} {}", "微信拒绝了这次调用：{} {}", .errcode, .errmsg))]
    Refused {
        /// WeChat's number, or the gateway's.
        errcode: i64,
        /// Why, in words.
        errmsg: String,
    },
    /// WeChat, or a token for it, could not be reached, or it broke off.
    #[error("{}", pick("WeChat could not be reached", "无法连接微信"))]
    Unreachable,
    /// It took longer than it may.
    #[error("{}", pick("WeChat did not answer in time", "微信响应超时"))]
    Timeout,
    /// The answer is no JSON object, too long, or not proven to be WeChat's.
    #[error(
        "{}",
        pick("WeChat's answer was not understood", "无法识别微信返回的内容")
    )]
    Malformed,
    /// Nobody here holds an `access_token` of this mini program.
    #[error(
        "{}",
        pick(
            "weappd holds no access_token of this mini program: add it to weappd.toml",
            "weappd 没有这个小程序的 access_token：请把它加进 weappd.toml"
        )
    )]
    NoToken,
    /// weappd is stopping.
    #[error("{}", pick("weappd is shutting down", "weappd 正在停止"))]
    Closed,
}
