//! Calls encrypted and signed on their way to WeChat, where a mini program asks for it, and
//! answers proven and decrypted on their way back. The app sends and gets plain JSON.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_wechat::api_sign::SealedChannel;

use crate::config::{ApiSecurity, GatewayApp};
use crate::error::Error;
use crate::query::CallQuery;

/// The calls whose page says 支持加密请求, as of the reference of July 2026, but for those
/// by GET and those that answer with a picture: how these are sealed is not documented.
const SEALED: [&str; 28] = [
    "/cgi-bin/clear_quota",
    "/cgi-bin/message/custom/send",
    "/cgi-bin/openapi/quota/get",
    "/cgi-bin/openapi/rid/get",
    "/datacube/getweanalysisappiddailyretaininfo",
    "/datacube/getweanalysisappiddailysummarytrend",
    "/datacube/getweanalysisappiddailyvisittrend",
    "/datacube/getweanalysisappidmonthlyretaininfo",
    "/datacube/getweanalysisappidmonthlyvisittrend",
    "/datacube/getweanalysisappiduserportrait",
    "/datacube/getweanalysisappidvisitdistribution",
    "/datacube/getweanalysisappidvisitpage",
    "/datacube/getweanalysisappidweeklyretaininfo",
    "/datacube/getweanalysisappidweeklyvisittrend",
    "/wxa/business/checkencryptedmsg",
    "/wxa/business/getuserphonenumber",
    "/wxa/business/performance/boot",
    "/wxa/devplugin",
    "/wxa/getpluginopenpid",
    "/wxa/getuserriskrank",
    "/wxa/getwxadevinfo",
    "/wxa/media_check_async",
    "/wxa/msg_sec_check",
    "/wxa/plugin",
    "/wxa/servicemarket",
    "/wxaapi/log/get_performance",
    "/wxaapi/log/jserr_detail",
    "/wxaapi/log/jserr_list",
];

/// Who seals for which mini program.
#[derive(Debug)]
pub(crate) struct ApiSealers {
    pub(crate) by_appid: HashMap<String, Arc<ApiSealer>>,
    pub(crate) clock: Clock,
    pub(crate) tokens: RandomSource,
}

/// One mini program's.
#[derive(Debug)]
pub(crate) struct ApiSealer {
    pub(crate) channel: SealedChannel,
    paths: Option<Vec<String>>,
}

/// What an app asked, in plain.
pub(crate) struct PlainCall<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: &'a CallQuery,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    pub(crate) token: Option<&'a str>,
}

impl ApiSealers {
    pub(crate) fn build(
        apps: &[GatewayApp],
        clock: Clock,
        tokens: RandomSource,
    ) -> Result<Self, Error> {
        let sealing = apps.iter().filter_map(|app| {
            let security = app.api_security.as_ref()?;
            let appid = &app.credential.appid;
            Some(ApiSealer::new(security).map(|sealer| (appid.clone(), Arc::new(sealer))))
        });
        Ok(Self {
            by_appid: sealing.collect::<Result<_, _>>()?,
            clock,
            tokens,
        })
    }
}

impl ApiSealer {
    fn new(security: &ApiSecurity) -> Result<Self, Error> {
        let channel = SealedChannel::new(&security.keys).map_err(|source| Error::ApiSecurity {
            appid: security.keys.appid.clone(),
            source: Arc::new(source),
        })?;
        Ok(Self {
            channel,
            paths: security.paths.clone(),
        })
    }

    pub(crate) fn seals(&self, path: &str) -> bool {
        match &self.paths {
            Some(paths) => paths.iter().any(|sealed| sealed == path),
            None => SEALED.contains(&path),
        }
    }
}
