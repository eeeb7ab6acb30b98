//! The WeChat app on a user's phone: what `wx.*` calls of a mini program get.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Value, json};
use weappd_base::secret::{Secret, mask_json};
use weappd_base::tap::{TapPeer, TapReport};
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::open_data;

use crate::call_log::{CallKind, CallRecord};
use crate::code_table::CodeGrant;
use crate::error::Error;
use crate::simulator::{PhoneLogin, SimulatedApp, Simulator};
use crate::user_name::UserName;

/// How long a login lives that nothing uses. WeChat does not tell its number; activity
/// extends it there as here.
pub const LOGIN_LIFE: Duration = Duration::from_hours(3 * 24);

/// One user's phone, running one mini program.
#[derive(Clone, Debug)]
pub struct Phone {
    pub(crate) simulator: Simulator,
    pub(crate) user: UserName,
    mini_app: Arc<SimulatedApp>,
}

/// What `wx.getUserInfo` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhoneUserData {
    /// The user as the page may show them.
    pub user_info: Value,
    /// The same as text, exactly as it was signed.
    pub raw_data: String,
    /// SHA-1 of `raw_data` and the session key.
    pub signature: String,
    /// The user with openid and watermark, readable by the server only.
    pub encrypted_data: String,
    /// Goes with `encrypted_data`.
    pub iv: String,
    /// The user in the oldest form, which phones gave before there was an `iv`: the key is
    /// the initial vector, and there is no watermark.
    pub encrypt_data: String,
}

/// What the phone-number button gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedPhoneNumber {
    /// A code for the server. It is not a code of `wx.login`.
    pub code: String,
    /// The number, readable by the server only.
    pub encrypted_data: String,
    /// Goes with `encrypted_data`.
    pub iv: String,
}

/// Who holds the phone, for pages and tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhoneProfile {
    /// The user's id in the phone's mini program.
    pub openid: String,
    /// The user's id in the Open Platform account, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unionid: Option<String>,
    /// The name people see.
    pub nick_name: String,
    /// The picture people see.
    pub avatar_url: String,
    /// The mini program the phone runs.
    pub appid: String,
    /// Whether the user gives data to mini programs.
    pub allows: bool,
    /// Whether `wx.checkSession` would succeed.
    pub logged_in: bool,
    /// Whether WeChat takes the user for a danger, and blocks the login with 40226.
    pub risky: bool,
}

impl Simulator {
    /// The phone of `user`, running the mini program `appid`, or the first one.
    pub fn phone(&self, user: &str, appid: Option<&str>) -> Result<Phone, Error> {
        let user = UserName::parse(user)?;
        let mini_app = match appid {
            Some(appid) => self.mini_app(appid),
            None => self.first_mini_app(),
        };
        Ok(Phone {
            simulator: self.clone(),
            user,
            mini_app: Arc::clone(mini_app.ok_or(Error::UnknownApp)?),
        })
    }
}

impl Phone {
    /// `wx.login`: a code for the server, and a new session key, as WeChat may make one.
    pub fn login(&self) -> Result<String, Error> {
        let code = hex::encode(self.simulator.random().bytes::<16>());
        let session_key = open_data::session_key_text(self.simulator.random().bytes());
        let now = self.simulator.now();
        let grant = CodeGrant {
            appid: self.appid().to_owned(),
            user: self.user.clone(),
            session_key: session_key.clone(),
        };
        let login = PhoneLogin {
            session_key,
            used_at: now,
        };
        self.simulator.with_state(|state| {
            let user = state.user(&self.user)?;
            user.logins.insert(self.appid().to_owned(), login);
            user.active_at.insert(self.appid().to_owned(), now);
            state.codes.add(code.clone(), grant, now);
            Ok::<(), Error>(())
        })?;
        self.tell("wx.login", || json!({ "code": code }));
        Ok(code)
    }

    /// `wx.checkSession`: whether the login still lives; asking keeps it alive.
    pub fn check_session(&self) -> Result<bool, Error> {
        let valid = self.session_key()?.is_some();
        self.tell("wx.checkSession", || json!({ "valid": valid }));
        Ok(valid)
    }

    /// Ends the login, as WeChat does when it sees fit.
    pub fn expire_session(&self) -> Result<(), Error> {
        self.simulator.with_state(|state| {
            state.user(&self.user)?.logins.remove(self.appid());
            Ok(())
        })
    }

    /// The user allows or refuses to give data to mini programs.
    pub fn authorize(&self, allow: bool) -> Result<(), Error> {
        self.simulator.with_state(|state| {
            state.user(&self.user)?.refuses = !allow;
            Ok(())
        })
    }

    /// `wx.getUserInfo`, with its encrypted and signed forms.
    pub fn user_info(&self) -> Result<PhoneUserData, Error> {
        let given = self.give_user_info();
        self.tell("wx.getUserInfo", || told(&given));
        given
    }

    fn give_user_info(&self) -> Result<PhoneUserData, Error> {
        let session_key = self.key_for("getUserInfo")?;
        let user_info = self.user.user_info(&self.simulator.avatar_url(&self.user));
        let raw_data = user_info.to_string();
        let mut open = json!({ "openId": self.openid() });
        for (name, value) in user_info.as_object().into_iter().flatten() {
            open[name] = value.clone();
        }
        if let Some(unionid) = self.unionid() {
            open["unionId"] = unionid.into();
        }
        let encrypt_data = oldest_form(&session_key, &open)?;
        let (encrypted_data, iv) = self.encrypt(&session_key, open)?;
        Ok(PhoneUserData {
            signature: open_data::raw_data_signature(&raw_data, &session_key),
            user_info,
            raw_data,
            encrypted_data,
            iv,
            encrypt_data,
        })
    }

    /// The phone-number button.
    pub fn phone_number(&self) -> Result<SealedPhoneNumber, Error> {
        let given = self.give_phone_number();
        self.tell("getPhoneNumber", || told(&given));
        given
    }

    fn give_phone_number(&self) -> Result<SealedPhoneNumber, Error> {
        let session_key = self.key_for("getPhoneNumber")?;
        let number = self.user.phone_number();
        let open = json!({
            "phoneNumber": number,
            "purePhoneNumber": number,
            "countryCode": "86",
        });
        let (encrypted_data, iv) = self.encrypt(&session_key, open)?;
        let code = hex::encode(self.simulator.random().bytes::<16>());
        let grant = CodeGrant {
            appid: self.appid().to_owned(),
            user: self.user.clone(),
            session_key,
        };
        let now = self.simulator.now();
        self.simulator.with_state(|state| {
            state.phone_codes.add(code.clone(), grant, now);
            state.encrypted.add(self.appid(), &encrypted_data, now);
        });
        Ok(SealedPhoneNumber {
            code,
            encrypted_data,
            iv,
        })
    }

    /// Who holds the phone.
    pub fn profile(&self) -> Result<PhoneProfile, Error> {
        let now = self.simulator.now();
        let (allows, logged_in, risky) = self.simulator.with_state(|state| {
            let user = state.user(&self.user)?;
            let login = user.logins.get(self.appid());
            let logged_in = login.is_some_and(|login| login.lives(now));
            Ok::<_, Error>((!user.refuses, logged_in, user.risky))
        })?;
        Ok(PhoneProfile {
            openid: self.openid(),
            unionid: self.unionid(),
            nick_name: self.user.nick_name(),
            avatar_url: self.simulator.avatar_url(&self.user),
            appid: self.appid().to_owned(),
            allows,
            logged_in,
            risky,
        })
    }

    pub(crate) fn appid(&self) -> &str {
        &self.mini_app.credential.appid
    }

    pub(crate) fn openid(&self) -> String {
        self.user.openid(self.appid())
    }

    pub(crate) fn unionid(&self) -> Option<String> {
        self.mini_app.has_unionid.then(|| self.user.unionid())
    }

    /// The key of the login, if that lives; its use keeps it alive.
    fn session_key(&self) -> Result<Option<Secret>, Error> {
        let now = self.simulator.now();
        self.simulator.with_state(|state| {
            let user = state.user(&self.user)?;
            user.active_at.insert(self.appid().to_owned(), now);
            let login = user.logins.get_mut(self.appid());
            Ok(login.filter(|login| login.lives(now)).map(|login| {
                login.used_at = now;
                login.session_key.clone()
            }))
        })
    }

    /// The session key, if the user gives data and is logged in.
    pub(crate) fn key_for(&self, api: &'static str) -> Result<Secret, Error> {
        let refuses = self
            .simulator
            .with_state(|state| Ok::<_, Error>(state.user(&self.user)?.refuses))?;
        if refuses {
            return Err(Error::Denied { api });
        }
        self.session_key()?.ok_or(Error::NotLoggedIn { api })
    }

    /// Puts the watermark under `data` and encrypts it: `encryptedData` and `iv`.
    pub(crate) fn encrypt(
        &self,
        session_key: &Secret,
        mut data: Value,
    ) -> Result<(String, String), Error> {
        data["watermark"] = json!({
            "timestamp": self.simulator.now(),
            "appid": self.appid(),
        });
        let iv = self.simulator.random().bytes();
        let encrypted =
            open_data::encrypt(session_key, &data.to_string(), iv).map_err(Error::Encrypt)?;
        Ok((encrypted, open_data::iv_text(iv)))
    }

    /// Reports the call and its answer.
    pub(crate) fn tell(&self, api: &str, answer: impl FnOnce() -> Value) {
        let tap = self.simulator.tap();
        let report = |answer, detail| TapReport {
            from: if answer {
                TapPeer::Wechat
            } else {
                TapPeer::Phone
            },
            to: if answer {
                TapPeer::Phone
            } else {
                TapPeer::Wechat
            },
            name: api.to_owned(),
            answer,
            who: Some(self.openid()),
            detail,
        };
        tap.record(|| report(false, json!({ "user": self.user.as_str() })));
        let mut detail = answer();
        mask_json(&mut detail);
        self.simulator.log(CallRecord {
            seq: 0,
            at: self.simulator.now_millis(),
            kind: CallKind::Phone,
            method: String::new(),
            path: api.to_owned(),
            appid: Some(self.appid().to_owned()),
            asked: json!({ "user": self.user.as_str() }),
            status: 200,
            errcode: 0,
            answer: detail.clone(),
            note: None,
            took_ms: 0,
        });
        tap.record(|| report(true, detail));
    }
}

impl PhoneLogin {
    pub(crate) fn lives(&self, now: UnixSecs) -> bool {
        now < self.used_at + LOGIN_LIFE
    }
}

/// An answer as the diagram shows it.
fn told<T: Serialize>(given: &Result<T, Error>) -> Value {
    match given {
        Ok(data) => serde_json::to_value(data).unwrap_or_default(),
        Err(error) => json!({ "errMsg": error.to_string() }),
    }
}

/// Encrypted with the key as initial vector.
fn oldest_form(session_key: &Secret, data: &Value) -> Result<String, Error> {
    let mut iv = [0; 16];
    let key = BASE64.decode(session_key.expose()).unwrap_or_default();
    for (to, from) in iv.iter_mut().zip(key) {
        *to = from;
    }
    open_data::encrypt(session_key, &data.to_string(), iv).map_err(Error::Encrypt)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weappd_base::clock::{Clock, ManualClock};
    use weappd_base::random::RandomSource;
    use weappd_base::tap::TrafficTap;
    use weappd_base::tasks::Tasks;
    use weappd_wechat::{AppCredential, Error as WechatError};

    use super::*;
    use crate::platform::CodeToSessionQuery;
    use crate::simulator::SimulatorParts;
    use crate::wechat_refusal::WechatRefusal;

    const NOW: i64 = 1_800_000_000;

    fn mini_app(appid: &str, has_unionid: bool) -> SimulatedApp {
        SimulatedApp {
            credential: AppCredential {
                appid: appid.to_owned(),
                secret: Secret::new("the secret"),
            },
            has_unionid,
        }
    }

    fn simulator_with(tap: TrafficTap) -> (Simulator, ManualClock) {
        let (clock, hand) = Clock::manual(NOW);
        let simulator = Simulator::new(SimulatorParts {
            mini_apps: vec![mini_app("wx1", false), mini_app("wx2", true)],
            public_url: "http://127.0.0.1:8082/".to_owned(),
            clock,
            random: RandomSource::system(),
            tap,
            tasks: Tasks::new(),
        });
        (simulator.expect("a simulator"), hand)
    }

    fn simulator() -> (Simulator, ManualClock) {
        simulator_with(TrafficTap::off())
    }

    /// What a server does with a code.
    fn redeem(simulator: &Simulator, appid: &str, code: &str) -> Result<Value, WechatRefusal> {
        simulator.code_to_session(&CodeToSessionQuery {
            appid: appid.to_owned(),
            secret: "the secret".to_owned(),
            js_code: code.to_owned(),
            grant_type: "authorization_code".to_owned(),
        })
    }

    fn log_in(simulator: &Simulator, phone: &Phone) -> Secret {
        let code = phone.login().expect("a code");
        let answer = redeem(simulator, phone.appid(), &code).expect("a session");
        Secret::new(answer["session_key"].as_str().expect("a session key"))
    }

    #[test]
    fn a_server_can_read_and_check_what_the_phone_gives() {
        let (simulator, _) = simulator();
        let alice = simulator.phone("alice", None).expect("alice");
        let key = log_in(&simulator, &alice);
        let data = alice.user_info().expect("she allows");
        assert!(open_data::is_raw_data_signed(
            &data.raw_data,
            &key,
            &data.signature
        ));
        assert_eq!(
            serde_json::from_str::<Value>(&data.raw_data).ok(),
            Some(data.user_info.clone())
        );
        let open = open_data::open("wx1", &key, &data.encrypted_data, Some(&data.iv));
        let open = open.expect("it opens");
        let profile = alice.profile().expect("a profile");
        assert_eq!(open["openId"], profile.openid.as_str());
        assert_eq!(open["nickName"], "Alice 爱丽丝");
        assert_eq!(open["avatarUrl"], "http://127.0.0.1:8082/avatar/alice.svg");
        assert_eq!(open.get("unionId"), None);
        assert_eq!(open_data::made_at(&open), Some(UnixSecs::new(NOW)));
    }

    #[test]
    fn a_bound_mini_program_learns_the_same_unionid_both_ways() {
        let (simulator, _) = simulator();
        let bob = simulator.phone("bob", Some("wx2")).expect("bob");
        let code = bob.login().expect("a code");
        let answer = redeem(&simulator, "wx2", &code).expect("a session");
        let key = Secret::new(answer["session_key"].as_str().expect("a key"));
        let data = bob.user_info().expect("he allows");
        let open = open_data::open("wx2", &key, &data.encrypted_data, Some(&data.iv));
        assert_eq!(open.expect("it opens")["unionId"], answer["unionid"]);
        assert_eq!(
            answer["unionid"].as_str(),
            bob.profile().expect("bob").unionid.as_deref()
        );
        let elsewhere = simulator.phone("bob", Some("wx1")).expect("bob");
        assert_ne!(elsewhere.openid(), bob.openid());
    }

    #[test]
    fn data_taken_before_the_next_login_is_lost_to_its_key() {
        let (simulator, _) = simulator();
        let alice = simulator.phone("alice", None).expect("alice");
        let first = log_in(&simulator, &alice);
        let early = alice.user_info().expect("she allows");
        let second = log_in(&simulator, &alice);
        assert_ne!(first, second);
        let opened = open_data::open("wx1", &second, &early.encrypted_data, Some(&early.iv));
        assert!(matches!(opened, Err(WechatError::Decrypt)));
    }

    #[test]
    fn a_phone_number_is_no_login_code() {
        let (simulator, _) = simulator();
        let alice = simulator.phone("alice", None).expect("alice");
        let key = log_in(&simulator, &alice);
        let given = alice.phone_number().expect("she allows");
        let open = open_data::open("wx1", &key, &given.encrypted_data, Some(&given.iv));
        let open = open.expect("it opens");
        assert_eq!(open["purePhoneNumber"], open["phoneNumber"]);
        assert_eq!(open["countryCode"], "86");
        assert_eq!(
            redeem(&simulator, "wx1", &given.code),
            Err(WechatRefusal::Code)
        );
    }

    #[test]
    fn a_refusal_reaches_the_phone_in_its_words_and_can_be_taken_back() {
        let (simulator, _) = simulator();
        let alice = simulator.phone("alice", None).expect("alice");
        alice.login().expect("a code");
        alice.authorize(false).expect("she may");
        let refused = alice.user_info().expect_err("she refused");
        assert_eq!(refused.to_string(), "getUserInfo:fail auth deny");
        assert!(matches!(alice.phone_number(), Err(Error::Denied { .. })));
        assert!(!alice.profile().expect("alice").allows);
        alice.authorize(true).expect("she may");
        assert!(alice.user_info().is_ok());
    }

    #[test]
    fn a_login_lives_while_it_is_used() {
        let (simulator, hand) = simulator();
        let alice = simulator.phone("alice", None).expect("alice");
        assert_eq!(alice.check_session().ok(), Some(false));
        assert!(matches!(alice.user_info(), Err(Error::NotLoggedIn { .. })));
        alice.login().expect("a code");
        let life = 3 * 86_400;
        hand.advance(life - 1);
        assert_eq!(alice.check_session().ok(), Some(true));
        hand.advance(life - 1);
        assert!(alice.user_info().is_ok(), "asking kept it alive");
        hand.advance(life);
        assert_eq!(alice.check_session().ok(), Some(false));

        alice.login().expect("a code");
        assert!(alice.profile().expect("alice").logged_in);
        alice.expire_session().expect("it ends");
        assert_eq!(alice.check_session().ok(), Some(false));
    }

    #[test]
    fn logins_of_two_mini_programs_are_apart() {
        let (simulator, _) = simulator();
        let first = simulator.phone("alice", Some("wx1")).expect("alice");
        let second = simulator.phone("alice", Some("wx2")).expect("alice");
        first.login().expect("a code");
        second.login().expect("a code");
        first.expire_session().expect("it ends");
        assert_eq!(second.check_session().ok(), Some(true));
    }

    #[test]
    fn a_code_names_who_logged_in() {
        let (simulator, _) = simulator();
        let alice = simulator.phone("alice", None).expect("alice");
        let bob = simulator.phone("bob", None).expect("bob");
        let (hers, his) = (alice.login().expect("a code"), bob.login().expect("a code"));
        let openid = |code| redeem(&simulator, "wx1", code).expect("a session")["openid"].clone();
        assert_eq!(openid(&his), bob.openid().as_str());
        assert_eq!(openid(&hers), alice.openid().as_str());
    }

    #[test]
    fn strangers_and_strange_apps_have_no_phone() {
        let (simulator, _) = simulator();
        assert!(matches!(
            simulator.phone("../x", None),
            Err(Error::UserName)
        ));
        let unknown = simulator.phone("alice", Some("wx3"));
        assert!(matches!(unknown, Err(Error::UnknownApp)));
        let empty = Simulator::new(SimulatorParts {
            mini_apps: Vec::new(),
            public_url: String::new(),
            clock: Clock::system(),
            random: RandomSource::system(),
            tap: TrafficTap::off(),
            tasks: Tasks::new(),
        });
        assert!(matches!(empty, Err(Error::NoMiniApp)));
    }

    #[tokio::test]
    async fn the_tap_hears_calls_and_answers_without_codes() {
        let tap = TrafficTap::on(Clock::manual(0).0);
        let mut heard = tap.subscribe().expect("a tap that is on");
        let (simulator, _) = simulator_with(tap);
        let alice = simulator.phone("alice", None).expect("alice");
        let code = alice.login().expect("a code");
        alice.authorize(false).expect("she may");
        drop(alice.user_info());
        let asked = heard.recv().await.expect("wx.login");
        assert_eq!(
            (asked.name.as_str(), asked.from, asked.to),
            ("wx.login", TapPeer::Phone, TapPeer::Wechat)
        );
        assert_eq!(asked.who, Some(alice.openid()));
        let answered = heard.recv().await.expect("its answer");
        assert!(answered.answer && answered.from == TapPeer::Wechat);
        assert!(!answered.detail.to_string().contains(&code));
        drop(heard.recv().await.expect("wx.getUserInfo"));
        let refused = heard.recv().await.expect("its answer");
        assert_eq!(refused.detail["errMsg"], "getUserInfo:fail auth deny");
    }

    proptest! {
        #[test]
        fn whoever_it_is_the_server_can_read_it(name in "[a-z0-9_-]{1,32}") {
            let (simulator, _) = simulator();
            let phone = simulator.phone(&name, Some("wx2")).expect("a user");
            let key = log_in(&simulator, &phone);
            let data = phone.user_info().expect("allowed");
            let open = open_data::open("wx2", &key, &data.encrypted_data, Some(&data.iv));
            let open = open.expect("it opens");
            prop_assert_eq!(&open["openId"], &Value::from(phone.openid()));
            prop_assert_eq!(&open["nickName"], &data.user_info["nickName"]);
        }

        #[test]
        fn no_name_panics(name: String) {
            let (simulator, _) = simulator();
            drop(simulator.phone(&name, None));
        }
    }
}
