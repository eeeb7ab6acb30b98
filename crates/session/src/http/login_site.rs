//! The mini programs of one site, and what their phones are told when something fails.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use weappd_base::causes::chain;
use weappd_base::language::{english, pick};

use crate::check::CacheLookup;
use crate::dialect::{LoginFailure, native};
use crate::error::Error;
use crate::http::body::BodyError;
use crate::identity::AuthError;
use crate::login::{ClientInfo, EncryptedProfile, LoginRequest, LoginResult, SignedProfile};
use crate::login_app::{self, MiniAppReferer};
use crate::session::CachedSession;
use crate::sessions::SessionService;
use crate::tap::{self, TapArrow};

/// The mini programs whose users log in on one site.
#[derive(Clone)]
pub(crate) struct LoginSite {
    pub(crate) sessions: SessionService,
    appids: Arc<[String]>,
}

impl LoginSite {
    pub(crate) fn new(sessions: SessionService, appids: Arc<[String]>) -> Self {
        Self { sessions, appids }
    }

    /// The session of the request, if it is of one of this site's mini programs.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<Arc<CachedSession>, AuthError> {
        let session = self.sessions.check(headers).await?;
        if self.appids.contains(&session.identity.appid) {
            Ok(session)
        } else {
            Err(AuthError::Unknown)
        }
    }

    /// The same, if memory alone knows the session, and it holds.
    pub(crate) fn check_in_memory(&self, headers: &HeaderMap) -> Option<Arc<CachedSession>> {
        match self.sessions.check_cache(headers) {
            CacheLookup::Answer(Ok(session)) => {
                let is_here = self.appids.contains(&session.identity.appid);
                is_here.then_some(session)
            }
            CacheLookup::Answer(Err(_)) | CacheLookup::AskStore(_) => None,
        }
    }

    pub(crate) async fn log_in(
        &self,
        headers: &HeaderMap,
        phone: ClientInfo,
        code: String,
        data: Option<EncryptedProfile>,
    ) -> Result<LoginResult, LoginFailure> {
        self.log_in_with(headers, phone, code, (data, None)).await
    }

    pub(crate) async fn log_in_with(
        &self,
        headers: &HeaderMap,
        phone: ClientInfo,
        code: String,
        (data, signed): (Option<EncryptedProfile>, Option<SignedProfile>),
    ) -> Result<LoginResult, LoginFailure> {
        let appid = login_app::meant(&self.appids, headers).map_err(|stray| {
            let told = english(&stray);
            tracing::warn!(error = told, "a login was refused");
            LoginFailure::Stray(stray)
        })?;
        let appid = appid.ok_or(LoginFailure::NoApp)?;
        let attempt = LoginRequest {
            appid: appid.to_owned(),
            code,
            data,
            signed,
            phone,
        };
        let logged_in = self.sessions.log_in(attempt).await.map_err(|err| {
            log_failed(appid, &err);
            if let Some(page) = MiniAppReferer::of(headers).filter(|page| page.appid != appid) {
                let MiniAppReferer { appid, version } = page;
                tracing::warn!(appid, version, "the code came from another mini program");
            }
            LoginFailure::from(&err)
        })?;
        let identity = &logged_in.session.identity;
        tracing::debug!(openid = %identity.openid, appid = %identity.appid, "logged in");
        Ok(logged_in)
    }

    /// Draws an arrow between the phone and weappd.
    pub(crate) fn tell(
        &self,
        arrow: TapArrow,
        who: Option<&str>,
        detail: impl FnOnce() -> serde_json::Value,
    ) {
        tap::tell(&self.sessions.shared().tap, arrow, who, detail);
    }
}

/// Logs a failed login once: what a phone or WeChat did is a warning, what weappd did
/// is an error.
pub(crate) fn log_failed(appid: &str, err: &Error) {
    let advice = match err {
        Error::Exchange(refusal) => refusal.hint(),
        _ => None,
    };
    match LoginFailure::from(err) {
        LoginFailure::Internal | LoginFailure::NoApp => {
            tracing::error!(appid, error = chain(err), "a login failed");
        }
        LoginFailure::Input(_)
        | LoginFailure::Net { .. }
        | LoginFailure::Stray(_)
        | LoginFailure::Refused { .. }
        | LoginFailure::Answer
        | LoginFailure::TooMany { .. }
        | LoginFailure::TooManyFailures { .. }
        | LoginFailure::Signature
        | LoginFailure::Data(_) => {
            tracing::warn!(appid, error = chain(err), advice, "a login failed");
        }
    }
}

pub(crate) fn body_failed(fault: BodyError) -> (StatusCode, bytes::Bytes) {
    let (status, code, why) = match fault {
        BodyError::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            pick("the body is longer than 64 KiB", "请求内容超过 64 KiB"),
        ),
        BodyError::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            pick(
                "the body did not arrive within 10 seconds",
                "请求内容没有在 10 秒内传完",
            ),
        ),
        BodyError::Broken => (
            StatusCode::BAD_REQUEST,
            "bad_request",
            pick("the body broke off", "请求内容中途断了"),
        ),
    };
    (status, native::error(code, why))
}
