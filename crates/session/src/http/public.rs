//! What phones call: the Wafer dialects and weappd's own, under a site.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post, put};
use serde_json::json;

use crate::dialect::{LoginFailure, native, wafer1, wafer2};
use crate::http::answer::{json, log_denied, ok};
use crate::http::body;
use crate::http::login_site::{LoginSite, body_failed};
use crate::http::{data, key, phone};
use crate::identity::AuthError;
use crate::login::{ClientInfo, EncryptedProfile, LoginResult};
use crate::session::CachedSession;
use crate::sessions::SessionService;
use crate::tap::{self, TapArrow};
use weappd_base::causes::chain;
use weappd_base::language::pick;

/// Which mini programs a site is of, and which dialects it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteChoice {
    /// The mini programs whose users log in here, by `AppID`; the first is meant by a
    /// login that names none.
    pub appids: Vec<String>,
    /// Whether `/login` and `/user` are answered.
    pub wafer1: bool,
    /// Whether `/weapp/login` and `/weapp/user` are answered.
    pub wafer2: bool,
}

/// What phones call on a site: `/weapp/session` always, the Wafer paths as chosen.
pub fn public_router(sessions: SessionService, choice: SiteChoice) -> Router {
    let mut router = Router::new()
        .route(
            "/weapp/session",
            get(who_am_i).post(native_login).delete(log_out),
        )
        .route("/weapp/session/profile", put(data::put_profile))
        .route("/weapp/session/decrypt", post(data::decrypt))
        .route(
            "/weapp/session/phone",
            post(phone::put_phone).delete(phone::forget_phone),
        )
        .route("/weapp/session/key", get(key::check_key))
        .route("/weapp/session/key/reset", post(key::reset_key));
    if choice.wafer2 {
        router = router
            .route("/weapp/login", get(wafer2_login).post(wafer2_login))
            .route("/weapp/user", get(wafer2_user).post(wafer2_user));
    }
    if choice.wafer1 {
        router = router
            .route("/login", get(wafer1_login).post(wafer1_login))
            .route("/user", get(wafer1_user).post(wafer1_user));
    }
    router.with_state(LoginSite::new(sessions, choice.appids.into()))
}

/// What the login headers bring; nothing in their place is the empty text.
struct LoginHeaders {
    code: String,
    data: Result<Option<EncryptedProfile>, &'static str>,
}

impl LoginHeaders {
    fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or("").to_owned()
        };
        let (encrypted, iv) = (text("x-wx-encrypted-data"), text("x-wx-iv"));
        let data = match (encrypted.is_empty(), iv.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(EncryptedProfile {
                encrypted,
                iv: Some(iv),
            })),
            _ => Err("X-WX-Encrypted-Data and X-WX-IV belong together"),
        };
        Self {
            code: text("x-wx-code"),
            data,
        }
    }
}

async fn wafer1_login(State(site): State<LoginSite>, request: Request) -> Response {
    tell_login(&site, &request);
    let login = LoginHeaders::read(request.headers());
    let phone = ClientInfo::of(request.headers(), request.extensions());
    let outcome = if login.code.is_empty() {
        Err(LoginFailure::Input("the request lacks X-WX-Code"))
    } else {
        match login.data {
            Ok(data) => {
                site.log_in(request.headers(), phone, login.code, data)
                    .await
            }
            Err(why) => Err(LoginFailure::Input(why)),
        }
    };
    let body = match &outcome {
        Ok(done) => wafer1::logged_in(&done.session.identity.id, done.skey.expose()),
        Err(fault) => wafer1::login_failed(fault),
    };
    site.tell(TapArrow::answer("skey"), openid(&outcome), || {
        tap::body(&body)
    });
    ok(body)
}

async fn wafer2_login(State(site): State<LoginSite>, request: Request) -> Response {
    tell_login(&site, &request);
    let login = LoginHeaders::read(request.headers());
    let phone = ClientInfo::of(request.headers(), request.extensions());
    if login.code.is_empty() {
        let body = wafer2::header_missed();
        site.tell(TapArrow::answer("skey"), None, || tap::body(&body));
        return ok(body);
    }
    let outcome = match login.data {
        Ok(data) => {
            site.log_in(request.headers(), phone, login.code, data)
                .await
        }
        Err(why) => Err(LoginFailure::Data(why.to_owned())),
    };
    let body = match &outcome {
        Ok(done) => {
            let user_info = &done.session.identity.user_info_json;
            wafer2::logged_in(done.skey.expose(), user_info)
        }
        Err(fault) => wafer2::login_failed(fault),
    };
    site.tell(TapArrow::answer("skey"), openid(&outcome), || {
        tap::body(&body)
    });
    ok(body)
}

async fn wafer1_user(State(site): State<LoginSite>, request: Request) -> Response {
    // Wafer 1 shows its sessions by id and skey; an skey alone is not its way.
    let checked = if request.headers().contains_key("x-wx-id") {
        site.check(request.headers()).await
    } else {
        Err(AuthError::Missing)
    };
    let body = match &checked {
        Ok(session) => session.wafer1_user(),
        Err(denied) => {
            log_denied(denied);
            wafer1::denied(denied)
        }
    };
    tell_user(&site, &request, &checked, || tap::body(&body));
    ok(body)
}

async fn wafer2_user(State(site): State<LoginSite>, request: Request) -> Response {
    let checked = site.check(request.headers()).await;
    let (status, body) = match &checked {
        Ok(session) => (StatusCode::OK, session.wafer2_user()),
        Err(denied @ AuthError::Failed(_)) => {
            log_denied(denied);
            (StatusCode::SERVICE_UNAVAILABLE, wafer2::user_denied(denied))
        }
        Err(denied) => (StatusCode::OK, wafer2::user_denied(denied)),
    };
    tell_user(&site, &request, &checked, || tap::body(&body));
    json(status, body)
}

async fn native_login(State(site): State<LoginSite>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let read = body::read(body).await;
    let phone = ClientInfo::of(&parts.headers, &parts.extensions);
    site.tell(TapArrow::request("code"), None, || {
        let text = read.as_deref().unwrap_or_default();
        json!({"method": parts.method.as_str(), "path": parts.uri.path(), "body": tap::body(text)})
    });
    let outcome = match read {
        Ok(text) => native_log_in(&site, (&parts.headers, phone), &text).await,
        Err(fault) => Err((None, body_failed(fault))),
    };
    let (openid, retry_secs, (status, body)) = match outcome {
        Ok((openid, body)) => (Some(openid), None, (StatusCode::OK, body)),
        Err((retry_secs, answer)) => (None, retry_secs, answer),
    };
    site.tell(TapArrow::answer("skey"), openid.as_deref(), || {
        tap::body(&body)
    });
    let mut response = json(status, body);
    if let Some(secs) = retry_secs {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

/// The openid and the answer.
type LoginAttempt = (String, bytes::Bytes);
/// After how many seconds to try again, where that is known, and the answer.
type LoginRefusal = (Option<u64>, (StatusCode, bytes::Bytes));

/// Logs in by a JSON body.
async fn native_log_in(
    site: &LoginSite,
    (headers, phone): (&HeaderMap, ClientInfo),
    text: &[u8],
) -> Result<LoginAttempt, LoginRefusal> {
    let body: native::LoginBody = body::object(text).map_err(|_| {
        let why = pick("the body must be a JSON object: {\"code\", \"encryptedData\"?, \"iv\"?, \"rawData\"?, \"signature\"?}", "请求内容必须是 JSON 对象：{\"code\", \"encryptedData\"?, \"iv\"?, \"rawData\"?, \"signature\"?}");
        let body = native::error("bad_request", why);
        (None, (StatusCode::BAD_REQUEST, body))
    })?;
    let code = body.code.clone();
    let outcome = match body.brought() {
        Ok(brought) => site.log_in_with(headers, phone, code, brought).await,
        Err(why) => Err(LoginFailure::Input(why)),
    };
    let done = outcome.map_err(|fault| {
        let retry_secs = match fault {
            LoginFailure::TooMany { retry_secs } | LoginFailure::TooManyFailures { retry_secs } => {
                Some(retry_secs)
            }
            _ => None,
        };
        (retry_secs, native::login_failed(&fault))
    })?;
    let session = &done.session;
    let phone = site.sessions.phone(session);
    let body = native::logged_in(done.skey.expose(), session, phone.as_ref());
    Ok((session.identity.openid.clone(), body))
}

async fn who_am_i(State(site): State<LoginSite>, request: Request) -> Response {
    let checked = site.check(request.headers()).await;
    let (status, body) = match &checked {
        Ok(session) => {
            let phone = site.sessions.phone(session);
            let body = native::shown(session, phone.as_ref());
            (StatusCode::OK, body)
        }
        Err(denied) => {
            log_denied(denied);
            native::denied(denied)
        }
    };
    tell_user(&site, &request, &checked, || tap::body(&body));
    json(status, body)
}

async fn log_out(State(site): State<LoginSite>, request: Request) -> Response {
    let session = match site.check(request.headers()).await {
        Ok(session) => session,
        Err(denied) => {
            log_denied(&denied);
            let (status, body) = native::denied(&denied);
            return json(status, body);
        }
    };
    if let Err(err) = site.sessions.log_out(&session).await {
        let openid = &session.identity.openid;
        tracing::error!(%openid, error = chain(&err), "a logout failed");
        let (status, body) = native::login_failed(&LoginFailure::Internal);
        return json(status, body);
    }
    let who = Some(session.identity.openid.as_str());
    site.tell(TapArrow::request("log out"), who, || {
        tap::request(request.method(), request.uri(), request.headers())
    });
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn tell_login(site: &LoginSite, request: &Request) {
    site.tell(TapArrow::request("code"), None, || {
        tap::request(request.method(), request.uri(), request.headers())
    });
}

fn tell_user(
    site: &LoginSite,
    request: &Request,
    checked: &Result<Arc<CachedSession>, AuthError>,
    body: impl FnOnce() -> serde_json::Value,
) {
    let who = checked.as_ref().ok();
    let who = who.map(|session| session.identity.openid.as_str());
    site.tell(TapArrow::request("who am I?"), who, || {
        tap::request(request.method(), request.uri(), request.headers())
    });
    site.tell(TapArrow::answer("userInfo"), who, body);
}

fn openid(outcome: &Result<LoginResult, LoginFailure>) -> Option<&str> {
    let done = outcome.as_ref().ok()?;
    Some(done.session.identity.openid.as_str())
}
