//! What business servers of Wafer 1 call: the session server's RPC.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use serde_json::Value;
use weappd_base::causes::chain;
use weappd_base::secret::Secret;

use crate::config::MiniApp;
use crate::decryption::{DataRequirement, SealedText};
use crate::dialect::rpc::{self, RpcCall, RpcError};
use crate::http::answer::{log_denied, ok};
use crate::http::body::{self, BodyError};
use crate::http::login_site::log_failed;
use crate::identity::AuthError;
use crate::limits::DataSender;
use crate::login::{ClientInfo, EncryptedProfile, LoginRequest};
use crate::mini_apps::ServedApp;
use crate::session::CachedSession;
use crate::sessions::SessionService;
use crate::store::write::registered_app::RegisteredApp;
use crate::tap::{self, TapArrow};

/// The session server's RPC at `/mina_auth/`. A business server of one mini program among
/// several names it in its `authServerUrl`: `/mina_auth/{appid}/`, or in its calls. Some
/// servers ask for `index.php`, the original's file. For the internal listener only: whoever
/// reaches it can log anybody in.
pub fn rpc_router(sessions: SessionService) -> Router {
    Router::new()
        .route("/mina_auth", any(unnamed))
        .route("/mina_auth/", any(unnamed))
        .route("/mina_auth/index.php", any(unnamed))
        .route("/mina_auth/{appid}", any(named))
        .route("/mina_auth/{appid}/", any(named))
        .route("/mina_auth/{appid}/index.php", any(named))
        .with_state(sessions)
}

async fn unnamed(State(sessions): State<SessionService>, request: Request) -> Response {
    let app = sessions.shared().apps.unnamed();
    RpcState {
        sessions,
        app,
        is_named: false,
    }
    .serve(request)
    .await
}

async fn named(
    State(sessions): State<SessionService>,
    Path(appid): Path<String>,
    request: Request,
) -> Response {
    let app = sessions.shared().apps.get(&appid);
    RpcState {
        sessions,
        app,
        is_named: true,
    }
    .serve(request)
    .await
}

/// Where one call is served.
struct RpcState {
    sessions: SessionService,
    /// The mini program the call is about, where that is known.
    app: Option<Arc<ServedApp>>,
    /// Whether the path or the call named it.
    is_named: bool,
}

/// An answer, and whom it was about.
struct RpcOutcome {
    body: Bytes,
    openid: Option<String>,
}

impl From<RpcError> for RpcOutcome {
    fn from(refusal: RpcError) -> Self {
        Self {
            body: rpc::refused(refusal),
            openid: None,
        }
    }
}

impl RpcState {
    async fn serve(mut self, request: Request) -> Response {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let is_near = peer.is_none_or(|peer| peer.0.ip().is_loopback());
        let tap = self.sessions.shared().tap.clone();
        let served = match body::read(request.into_body()).await {
            Ok(text) => {
                let arrow = TapArrow::request("mina_auth").of_app();
                tap::tell(&tap, arrow, None, || told(&text));
                self.heed(&text);
                match rpc::read(&text) {
                    Ok(call) => self.answer(call, is_near).await,
                    Err(refusal) => Err(refusal),
                }
            }
            Err(BodyError::TooLarge) => Err(rpc::REQUEST_TOO_LARGE),
            Err(BodyError::TooSlow) => Err(rpc::REQUEST_TOO_SLOW),
            Err(BodyError::Broken) => Err(rpc::REQUEST_IS_NOT_JSON),
        };
        let served = served.unwrap_or_else(RpcOutcome::from);
        let arrow = TapArrow::answer("mina_auth").of_app();
        tap::tell(&tap, arrow, served.openid.as_deref(), || {
            tap::body(&served.body)
        });
        ok(served.body)
    }

    /// Among several mini programs, a call that has no name in its path may bring one.
    fn heed(&mut self, text: &[u8]) {
        if self.is_named || self.app.is_some() {
            return;
        }
        if let Some(appid) = rpc::named_app(text) {
            self.app = self.sessions.shared().apps.get(&appid);
            self.is_named = true;
        }
    }

    async fn answer(&self, call: RpcCall, is_near: bool) -> Result<RpcOutcome, RpcError> {
        match call {
            RpcCall::LogIn {
                code,
                encrypt_data,
                iv,
            } => {
                let data = EncryptedProfile {
                    encrypted: encrypt_data,
                    iv,
                };
                self.log_in(code, data).await
            }
            RpcCall::Check { id, skey } => {
                if self.is_named && self.app.is_none() || self.sessions.shared().apps.is_empty() {
                    return Err(rpc::NO_APPID);
                }
                let session = self.check(&id, &skey).await.map_err(|denied| {
                    log_denied(&denied);
                    RpcError::from(&denied)
                })?;
                Ok(RpcOutcome {
                    body: rpc::checked(&session.identity.user_info_json),
                    openid: Some(session.identity.openid.clone()),
                })
            }
            RpcCall::Decrypt {
                id,
                skey,
                encrypt_data,
                iv,
            } => {
                let session = self.check(&id, &skey).await.map_err(|denied| {
                    log_denied(&denied);
                    rpc::GET_SESSION_KEY_FAIL
                })?;
                self.decrypt(&session, &encrypt_data, iv.as_deref()).await
            }
            RpcCall::Register { appid, secret } => {
                if !is_near {
                    tracing::warn!(appid, "initdata from afar was refused");
                    return Err(rpc::INIT_APPINFO_FAIL);
                }
                self.register(appid, secret).await
            }
        }
    }

    async fn log_in(&self, code: String, data: EncryptedProfile) -> Result<RpcOutcome, RpcError> {
        let app = self.app.as_ref().ok_or(rpc::NO_APPID)?;
        if code.is_empty() {
            // The original asked WeChat, which says the same (41008).
            return Err(rpc::WEIXIN_CODE_ERR);
        }
        let attempt = LoginRequest {
            appid: app.appid.clone(),
            code,
            data: Some(data),
            signed: None,
            // The phone stands behind the business server.
            phone: ClientInfo::default(),
        };
        let done = self.sessions.log_in(attempt).await.map_err(|err| {
            log_failed(&app.appid, &err);
            RpcError::from(&err)
        })?;
        let identity = &done.session.identity;
        Ok(RpcOutcome {
            body: rpc::logged_in(
                done.is_new_user,
                (&identity.id, done.skey.expose()),
                &identity.user_info_json,
                done.session.idle(),
            ),
            openid: Some(identity.openid.clone()),
        })
    }

    /// The session, if it is of the mini program that was named.
    async fn check(&self, id: &str, skey: &str) -> Result<Arc<CachedSession>, AuthError> {
        let session = self.sessions.check_pair(id, skey).await?;
        let named = self.app.as_ref().filter(|_| self.is_named);
        match named {
            Some(app) if app.appid != session.identity.appid => Err(AuthError::Unknown),
            None if self.is_named => Err(AuthError::Unknown),
            _ => Ok(session),
        }
    }

    async fn decrypt(
        &self,
        session: &CachedSession,
        encrypt_data: &str,
        iv: Option<&str>,
    ) -> Result<RpcOutcome, RpcError> {
        let keys = self.sessions.session_keys(session).await.map_err(|err| {
            tracing::error!(error = chain(&err), "the session keys could not be read");
            rpc::GET_SESSION_KEY_FAIL
        })?;
        if keys.is_empty() {
            return Err(rpc::GET_SESSION_KEY_FAIL);
        }
        let identity = &session.identity;
        let bringer = DataSender {
            appid: &identity.appid,
            openid: &identity.openid,
            // The phone stands behind the business server.
            address: None,
        };
        let sealed = SealedText {
            encrypted: encrypt_data,
            iv,
        };
        let outcome = self
            .sessions
            .open_sealed(bringer, &keys, sealed, DataRequirement::Whole);
        let text = outcome.await.map_err(|err| {
            let openid = &identity.openid;
            tracing::warn!(%openid, error = chain(&err), "user data was refused");
            rpc::STILL_NOT_DECRYPTED
        });
        let text = text?.text;
        Ok(RpcOutcome {
            body: rpc::decrypted(&text),
            openid: Some(session.identity.openid.clone()),
        })
    }

    async fn register(&self, appid: String, secret: String) -> Result<RpcOutcome, RpcError> {
        let shared = self.sessions.shared();
        let is_name = !appid.is_empty() && appid.len() <= 200;
        // An old server's database has its mini program registered with that server.
        let is_open =
            shared.settings.load().config.rpc_initdata && shared.store.cauth_appid().is_none();
        if !is_open || !is_name || secret.is_empty() || secret.len() > 300 {
            tracing::warn!(appid, "initdata was refused; see [session] rpc_initdata");
            return Err(rpc::INIT_APPINFO_FAIL);
        }
        let app = MiniApp::new(appid, Secret::new(secret));
        let (store, now) = (shared.store.clone(), shared.clock.unix_secs());
        let kept = RegisteredApp {
            app: app.clone(),
            now,
        };
        let put = shared.work.run(async move { store.write(kept).await });
        put.await.map_err(Into::into).flatten().map_err(|err| {
            tracing::error!(error = chain(&err), "a mini program could not be kept");
            rpc::MYSQL_ERR
        })?;
        tracing::info!(appid = app.appid, "a mini program was registered");
        shared.apps.register(app);
        Ok(RpcOutcome {
            body: rpc::registered(),
            openid: None,
        })
    }
}

/// A call as the sequence diagram shows it: its name and parameters, secrets masked; not
/// the database password that `initdata` carries.
fn told(text: &[u8]) -> Value {
    let mut call = tap::body(text);
    if let Some(Value::Object(para)) = call.pointer_mut("/interface/para") {
        para.retain(|name, _| !name.starts_with("cdb_"));
    }
    call.pointer("/interface").cloned().unwrap_or(call)
}
