//! Login: a code becomes a user, a session, and an skey that only the phone knows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use futures_util::FutureExt as _;
use http::{Extensions, HeaderMap};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tracing::Instrument as _;
use weappd_base::request_id::RequestId;
use weappd_base::secret::Secret;
use weappd_wechat::{AppCredential, WechatLogin, open_data};

use crate::check::SessionQuery;
use crate::client_fingerprint::ClientFingerprint;
use crate::data::public_fields;
use crate::decryption::{DataRequirement, SealedText};
use crate::device::describe;
use crate::error::Error;
use crate::flight::{CodeExchange, CodeFlight, IssuedSession};
use crate::limits::DataSender;
use crate::mini_apps::ServedApp;
use crate::session::{CachedSession, name_user};
use crate::sessions::SessionService;
use crate::skey::{self, SkeyHash};
use crate::store::new_login::NewLogin;
use crate::store::write::log_out::EndedSession;

/// WeChat's codes have 32 characters; this leaves room for any to come.
const MAX_CODE: usize = 512;
/// The longest encrypted user data taken: a user object is about 400 bytes.
const MAX_DATA: usize = 32 * 1024;

/// How long WeChat's answer is waited for, though the phone is told sooner that there is none:
/// the code may be used up by then.
const LATEST: Duration = Duration::from_mins(1);

/// What a phone brings to log in.
pub(crate) struct LoginRequest {
    /// The mini program, as the site chose it.
    pub(crate) appid: String,
    pub(crate) code: String,
    pub(crate) data: Option<EncryptedProfile>,
    /// The user object as it may be shown, with WeChat's signature.
    pub(crate) signed: Option<SignedProfile>,
    pub(crate) phone: ClientInfo,
}

/// What is known of the phone besides.
#[derive(Default)]
pub(crate) struct ClientInfo {
    /// Its `User-Agent` in few words: for people who look at a list of sessions.
    pub(crate) device: Option<String>,
    /// Where it calls from.
    pub(crate) address: Option<IpAddr>,
    /// What it is told apart by.
    pub(crate) client: ClientFingerprint,
}

impl ClientInfo {
    pub(crate) fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let agent = headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map(|peer| peer.0.ip());
        Self {
            device: agent.and_then(describe),
            client: ClientFingerprint::of(headers, address),
            address,
        }
    }
}

/// The encrypted user object.
pub(crate) struct EncryptedProfile {
    pub(crate) encrypted: String,
    /// Missing in the oldest form, where the key is the iv.
    pub(crate) iv: Option<String>,
}

/// `rawData` and `signature` of `wx.getUserInfo`.
pub(crate) struct SignedProfile {
    pub(crate) raw_data: String,
    pub(crate) signature: String,
}

/// What the phone gets.
#[derive(Clone)]
pub(crate) struct LoginResult {
    pub(crate) skey: Secret,
    pub(crate) session: Arc<CachedSession>,
    pub(crate) is_new_user: bool,
}

impl LoginRequest {
    fn check(&self) -> Result<(), Error> {
        if self.code.is_empty() {
            return Err(Error::Input("the login brings no code"));
        }
        if self.code.len() > MAX_CODE {
            return Err(Error::Input("the code is longer than 512 bytes"));
        }
        let signed = self.signed.as_ref();
        let signed_too_long = signed.is_some_and(|signed| signed.raw_data.len() > MAX_DATA);
        match &self.data {
            Some(data) if data.encrypted.len() > MAX_DATA => {
                Err(Error::Input("the encrypted data is longer than 32 KiB"))
            }
            _ if signed_too_long => Err(Error::Input("rawData is longer than 32 KiB")),
            _ => Ok(()),
        }
    }

    /// Names the user data the code came with.
    fn digest(&self) -> Option<[u8; 32]> {
        let texts = [
            self.data.as_ref().map(|data| data.encrypted.as_str()),
            self.data.as_ref().and_then(|data| data.iv.as_deref()),
            self.signed.as_ref().map(|signed| signed.raw_data.as_str()),
            self.signed.as_ref().map(|signed| signed.signature.as_str()),
        ];
        if texts.iter().all(Option::is_none) {
            return None;
        }
        let mut sha = Sha256::new();
        for text in texts {
            sha.update(text.unwrap_or_default().as_bytes());
            sha.update([0]);
        }
        Some(sha.finalize().into())
    }
}

/// WeChat's word for a code that was redeemed before.
fn code_used() -> Error {
    Error::Exchange(Arc::new(weappd_wechat::Error::Refused {
        errcode: 40163,
        errmsg: "code been used".to_owned(),
    }))
}

impl SignedProfile {
    /// Makes sure that WeChat signed it with the session key of this login.
    fn open(&self, login: &WechatLogin) -> Result<VerifiedProfile, Error> {
        let key = &login.session_key;
        if !open_data::is_raw_data_signed(&self.raw_data, key, &self.signature) {
            return Err(Error::Unsigned);
        }
        let fields =
            public_fields(&self.raw_data).ok_or(Error::Input("rawData holds no JSON object"))?;
        Ok(VerifiedProfile::of(fields, login))
    }
}

/// A user object, proven to be of the user who logs in.
struct VerifiedProfile {
    /// JSON text with the user's names in it.
    text: String,
    unionid: Option<String>,
}

impl VerifiedProfile {
    fn of(mut fields: Map<String, Value>, login: &WechatLogin) -> Self {
        name_user(&mut fields, &login.openid, login.unionid.as_deref());
        let unionid = fields.get("unionId").and_then(Value::as_str);
        Self {
            unionid: unionid.filter(|id| !id.is_empty()).map(str::to_owned),
            text: Value::Object(fields).to_string(),
        }
    }
}

impl SessionService {
    /// Logs a phone in. Goes on when the phone hangs up: its repetition finds the session.
    pub(crate) async fn log_in(&self, attempt: LoginRequest) -> Result<LoginResult, Error> {
        attempt.check()?;
        let sessions = self.clone();
        let span = tracing::debug_span!(
            "login",
            request.id = RequestId::current().map(tracing::field::display),
            appid = attempt.appid,
        );
        self.shared()
            .work
            .run_here(async move { sessions.log_in_here(attempt).await }.instrument(span))
            .await?
    }

    async fn log_in_here(&self, attempt: LoginRequest) -> Result<LoginResult, Error> {
        let shared = self.shared();
        let app = shared
            .apps
            .get(&attempt.appid)
            // An old server's tables have room for the users of one mini program only.
            .filter(|app| shared.store.cauth_appid().is_none_or(|id| id == app.appid))
            .ok_or_else(|| Error::UnknownApp {
                appid: attempt.appid.clone(),
            })?;
        let now = shared.clock.unix_millis();
        shared.limits.try_from(attempt.phone.address, now)?;
        let client = &attempt.phone.client;
        let who = (client.clone(), now);
        let flight = shared.flights.join(&app.appid, &attempt.code, who, || {
            self.exchange(&app, &attempt.code)
        });
        if !flight.is_of(client) {
            tracing::info!(
                appid = app.appid,
                "a login code came a second time, from elsewhere: it is refused as used"
            );
            return Err(code_used());
        }
        let login = self.wait_for_wechat(&flight).await?;
        flight.deliver(shared.clock.unix_millis());
        let mut issued = flight.issued.lock().await;
        let standing = self.still_standing(issued.as_ref()).await?;
        let digest = attempt.digest();
        if let Some((issued, session)) = &standing
            && (digest.is_none() || digest == issued.data)
        {
            return Ok(LoginResult {
                skey: issued.skey.clone(),
                session: Arc::clone(session),
                is_new_user: issued.is_new_user,
            });
        }
        let user_info = self.user_info(&attempt, &login).await?;
        let before = standing.map(|(issued, _)| issued);
        if before.is_none() {
            shared.limits.log_in(&app.appid, &login.openid, now)?;
        }
        let logged_in = self
            .write(&app, &login, user_info, attempt.phone, before)
            .await?;
        *issued = Some(IssuedSession {
            skey: logged_in.skey.clone(),
            hash: logged_in.session.hash,
            is_new_user: logged_in.is_new_user,
            data: digest,
        });
        Ok(logged_in)
    }

    /// The user object that came with the code, proven to be this user's. What was
    /// encrypted tells more than what was signed.
    async fn user_info(
        &self,
        attempt: &LoginRequest,
        login: &WechatLogin,
    ) -> Result<Option<VerifiedProfile>, Error> {
        let signed = match &attempt.signed {
            Some(signed) => Some(signed.open(login)?),
            None => None,
        };
        let Some(data) = &attempt.data else {
            return Ok(signed);
        };
        let bringer = DataSender {
            appid: &attempt.appid,
            openid: &login.openid,
            address: attempt.phone.address,
        };
        let sealed = SealedText {
            encrypted: &data.encrypted,
            iv: data.iv.as_deref(),
        };
        let keys = std::slice::from_ref(&login.session_key);
        let opened = self.open_sealed(bringer, keys, sealed, DataRequirement::UserInfo);
        match opened.await?.data {
            Value::Object(fields) => Ok(Some(VerifiedProfile::of(fields, login))),
            _ => Err(Error::Unopened),
        }
    }

    /// Waits for WeChat's answer as long as a phone waits. What comes later is kept.
    async fn wait_for_wechat(&self, flight: &Arc<CodeFlight>) -> Result<Arc<WechatLogin>, Error> {
        let shared = self.shared();
        let now = || shared.clock.unix_millis();
        let waiting = shared.flights.wait(flight, now);
        let wechat = shared.settings.load().wechat.clone();
        if let Ok(answered) = tokio::time::timeout(wechat.timeout(), waiting).await {
            return answered;
        }
        if !flight.abandon() {
            self.wait_on(flight);
        }
        Err(Error::Exchange(Arc::new(wechat.timed_out())))
    }

    /// Waits for the late answer of an exchange, where its connection is.
    fn wait_on(&self, flight: &Arc<CodeFlight>) {
        let Ok(place) = Arc::clone(&self.shared().late).try_acquire_owned() else {
            self.shared().flights.forget(flight);
            return;
        };
        let (sessions, flight) = (self.clone(), Arc::clone(flight));
        self.spawn_here(async move {
            let shared = sessions.shared();
            let answered = shared
                .flights
                .wait(&flight, || shared.clock.unix_millis())
                .await;
            if answered.is_ok() {
                tracing::info!("WeChat's late answer to a login is kept for the next try");
            }
            drop(place);
        });
    }

    fn exchange(&self, app: &ServedApp, code: &str) -> CodeExchange {
        let wechat = self.shared().settings.load().wechat.clone();
        let longest = self.shared().store.longest_openid();
        let credential = AppCredential {
            appid: app.appid.clone(),
            secret: app.secret.clone(),
        };
        let code = Secret::new(code);
        async move {
            // Whoever waits for the exchange goes on when the phone hangs up.
            let login = wechat
                .code_to_session_within(&credential, code.expose(), LATEST)
                .await
                .map_err(|err| Error::Exchange(Arc::new(err)))?;
            // A name goes into headers, logs and the database.
            if login.openid.len() > longest || !login.openid.bytes().all(|c| c.is_ascii_graphic()) {
                return Err(Error::Exchange(Arc::new(weappd_wechat::Error::Malformed {
                    status: 200,
                    what: "has an openid that is no name",
                })));
            }
            Ok(Arc::new(login))
        }
        .boxed()
    }

    /// The session this code has led to, unless it was logged out or pushed out since.
    async fn still_standing(
        &self,
        issued: Option<&IssuedSession>,
    ) -> Result<Option<(IssuedSession, Arc<CachedSession>)>, Error> {
        let Some(issued) = issued else {
            return Ok(None);
        };
        let question = SessionQuery {
            hash: issued.hash,
            skey: issued.skey.clone(),
            id: None,
        };
        let session = self.look_up(question).await?;
        Ok(session.map(|session| (issued.clone(), session)))
    }

    /// Writes the login: a new session, or new user data for the one `before`.
    async fn write(
        &self,
        app: &ServedApp,
        login: &WechatLogin,
        told: Option<VerifiedProfile>,
        phone: ClientInfo,
        before: Option<IssuedSession>,
    ) -> Result<LoginResult, Error> {
        let shared = self.shared();
        // WeChat's answer tells it, or the user object.
        let (user_info, unionid) = told.map(|told| (told.text, told.unionid)).unzip();
        let unionid = login.unionid.clone().or(unionid.flatten());
        let skey = match &before {
            Some(issued) => issued.skey.clone(),
            None => skey::new(&shared.tokens, shared.clock.unix_millis()),
        };
        let opened = shared
            .store
            .log_in(NewLogin {
                appid: app.appid.clone(),
                openid: login.openid.clone(),
                unionid,
                new_id: shared.tokens.hex256(),
                user_info,
                session_key: login.session_key.clone(),
                hash: SkeyHash::of(skey.expose()),
                skey: skey.clone(),
                device: phone.device,
                address: phone
                    .address
                    .map(|address| address.to_canonical().to_string()),
                now: shared.clock.unix_secs(),
                terms: Arc::clone(&app.terms),
            })
            .await?;
        Ok(LoginResult {
            skey,
            session: opened.session,
            is_new_user: before.map_or(opened.is_new_user, |issued| issued.is_new_user),
        })
    }

    /// Ends a session.
    pub(crate) async fn log_out(&self, session: &CachedSession) -> Result<bool, Error> {
        let store = self.shared().store.clone();
        let ended = EndedSession {
            hash: session.hash,
            who: Arc::clone(&session.identity),
        };
        self.shared()
            .work
            .run(async move { store.write(ended).await })
            .await?
    }
}
