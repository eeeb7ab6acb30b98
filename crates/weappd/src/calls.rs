//! Where two rooms meet: the session room asks WeChat about its users, the gateway holds the
//! `access_token` for it.

use futures_util::future::BoxFuture;
use serde_json::Value;
use weappd_gateway::{Call, CallError as Failed, Gateway};
use weappd_session::{CallError, WechatCall, WechatCalls};

/// Calls WeChat through the gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayCalls(Gateway);

impl GatewayCalls {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self(gateway)
    }

    async fn make(&self, appid: &str, call: WechatCall) -> Result<Value, CallError> {
        let query = call.query.into_iter();
        let call = Call {
            method: call.method,
            path: call.path.to_owned(),
            query: query
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: call.body,
        };
        self.0.call(appid, call).await.map_err(told)
    }
}

impl WechatCalls for GatewayCalls {
    fn call<'a>(
        &'a self,
        appid: &'a str,
        call: WechatCall,
    ) -> BoxFuture<'a, Result<Value, CallError>> {
        Box::pin(self.make(appid, call))
    }
}

fn told(failed: Failed) -> CallError {
    match failed {
        Failed::Refused { errcode, errmsg } => CallError::Refused { errcode, errmsg },
        Failed::Unreachable => CallError::Unreachable,
        Failed::Timeout => CallError::Timeout,
        Failed::Malformed => CallError::Malformed,
        Failed::NoSuchApp => CallError::NoToken,
        Failed::Closed => CallError::Closed,
    }
}
