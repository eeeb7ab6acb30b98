//! Calls of WeChat's API that need an `access_token`: somebody else holds it, and hands this
//! room the way there.

use std::fmt;

use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value;

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

/// One call.
#[derive(Clone)]
pub struct WechatCall {
    /// GET or POST.
    pub method: Method,
    /// As in `/wxa/checksession`.
    pub path: &'static str,
    /// The query without the `access_token`.
    pub query: Vec<(&'static str, String)>,
    /// The JSON body, if there is one.
    pub body: Option<Value>,
}

impl fmt::Debug for WechatCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Codes and signatures stand in the query and in the body.
        write!(f, "WechatCall({} {})", self.method, self.path)
    }
}

/// Why a call gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// WeChat said no.
    #[error("WeChat refused: {errcode} {errmsg}")]
    Refused {
        /// WeChat's number.
        errcode: i64,
        /// WeChat's words.
        errmsg: String,
    },
    /// WeChat, or a token for it, could not be reached.
    #[error("WeChat could not be reached")]
    Unreachable,
    /// WeChat did not answer in time.
    #[error("WeChat did not answer in time")]
    Timeout,
    /// WeChat's answer makes no sense.
    #[error("WeChat's answer was not understood")]
    Malformed,
    /// Nobody here holds an `access_token` of this mini program.
    #[error("weappd holds no access_token of this mini program: add it to weappd.toml")]
    NoToken,
    /// The house is shutting down.
    #[error("weappd is shutting down")]
    Closed,
}
