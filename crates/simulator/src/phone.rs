//! The WeChat app on a user's phone: what `wx.*` calls of a mini program get.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use weappd_base::secret::{Secret, mask_json};
use weappd_base::wiretap::{Party, Report};
use weappd_wechat::open_data;

use crate::codes::Grant;
use crate::error::Error;
use crate::simulator::{Login, MiniApp, Simulator};
use crate::user::UserName;

/// How long a login lives that nothing uses. WeChat does not tell its number; activity
/// extends it there as here.
pub const LOGIN_SECS: i64 = 3 * 24 * 3600;

/// One user's phone, running one mini program.
#[derive(Clone, Debug)]
pub struct Phone {
    simulator: Simulator,
    user: UserName,
    mini_app: Arc<MiniApp>,
}

/// What `wx.getUserInfo` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserData {
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
}

/// What the phone-number button gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhoneNumber {
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
pub struct Profile {
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
        let code = hex::encode(self.simulator.tokens().bytes::<16>());
        let session_key = open_data::session_key_text(self.simulator.tokens().bytes());
        let now = self.simulator.now();
        let grant = Grant {
            appid: self.appid().to_owned(),
            user: self.user.clone(),
            session_key: session_key.clone(),
        };
        let login = Login {
            session_key,
            used_at: now,
        };
        self.simulator.with_state(|state| {
            let logins = &mut state.user(&self.user)?.logins;
            logins.insert(self.appid().to_owned(), login);
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
    pub fn user_info(&self) -> Result<UserData, Error> {
        let given = self.give_user_info();
        self.tell("wx.getUserInfo", || told(&given));
        given
    }

    fn give_user_info(&self) -> Result<UserData, Error> {
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
        let (encrypted_data, iv) = self.encrypt(&session_key, open)?;
        Ok(UserData {
            signature: open_data::raw_data_signature(&raw_data, &session_key),
            user_info,
            raw_data,
            encrypted_data,
            iv,
        })
    }

    /// The phone-number button.
    pub fn phone_number(&self) -> Result<PhoneNumber, Error> {
        let given = self.give_phone_number();
        self.tell("getPhoneNumber", || told(&given));
        given
    }

    fn give_phone_number(&self) -> Result<PhoneNumber, Error> {
        let session_key = self.key_for("getPhoneNumber")?;
        let number = self.user.phone_number();
        let open = json!({
            "phoneNumber": number,
            "purePhoneNumber": number,
            "countryCode": "86",
        });
        let (encrypted_data, iv) = self.encrypt(&session_key, open)?;
        Ok(PhoneNumber {
            code: hex::encode(self.simulator.tokens().bytes::<16>()),
            encrypted_data,
            iv,
        })
    }

    /// Who holds the phone.
    pub fn profile(&self) -> Result<Profile, Error> {
        let now = self.simulator.now();
        let (allows, logged_in) = self.simulator.with_state(|state| {
            let user = state.user(&self.user)?;
            let login = user.logins.get(self.appid());
            Ok::<_, Error>((!user.refuses, login.is_some_and(|login| login.lives(now))))
        })?;
        Ok(Profile {
            openid: self.openid(),
            unionid: self.unionid(),
            nick_name: self.user.nick_name(),
            avatar_url: self.simulator.avatar_url(&self.user),
            appid: self.appid().to_owned(),
            allows,
            logged_in,
        })
    }

    fn appid(&self) -> &str {
        &self.mini_app.credential.appid
    }

    fn openid(&self) -> String {
        self.user.openid(self.appid())
    }

    fn unionid(&self) -> Option<String> {
        self.mini_app.has_unionid.then(|| self.user.unionid())
    }

    /// The key of the login, if that lives; its use keeps it alive.
    fn session_key(&self) -> Result<Option<Secret>, Error> {
        let now = self.simulator.now();
        self.simulator.with_state(|state| {
            let login = state.user(&self.user)?.logins.get_mut(self.appid());
            Ok(login.filter(|login| login.lives(now)).map(|login| {
                login.used_at = now;
                login.session_key.clone()
            }))
        })
    }

    /// The session key, if the user gives data and is logged in.
    fn key_for(&self, api: &'static str) -> Result<Secret, Error> {
        let refuses = self
            .simulator
            .with_state(|state| Ok::<_, Error>(state.user(&self.user)?.refuses))?;
        if refuses {
            return Err(Error::Denied { api });
        }
        self.session_key()?.ok_or(Error::NotLoggedIn { api })
    }

    /// Puts the watermark under `data` and encrypts it: `encryptedData` and `iv`.
    fn encrypt(&self, session_key: &Secret, mut data: Value) -> Result<(String, String), Error> {
        data["watermark"] = json!({
            "timestamp": self.simulator.now(),
            "appid": self.appid(),
        });
        let iv = self.simulator.tokens().bytes();
        let encrypted =
            open_data::encrypt(session_key, &data.to_string(), iv).map_err(Error::Encrypt)?;
        Ok((encrypted, open_data::iv_text(iv)))
    }

    /// Reports the call and its answer.
    fn tell(&self, api: &str, answer: impl FnOnce() -> Value) {
        let wiretap = self.simulator.wiretap();
        let report = |answer, detail| Report {
            from: if answer { Party::Wechat } else { Party::Phone },
            to: if answer { Party::Phone } else { Party::Wechat },
            name: api.to_owned(),
            answer,
            who: Some(self.openid()),
            detail,
        };
        wiretap.hop(|| report(false, json!({ "user": self.user.as_str() })));
        wiretap.hop(|| {
            let mut detail = answer();
            mask_json(&mut detail);
            report(true, detail)
        });
    }
}

impl Login {
    fn lives(&self, now: i64) -> bool {
        now < self.used_at + LOGIN_SECS
    }
}

/// An answer as the diagram shows it.
fn told<T: Serialize>(given: &Result<T, Error>) -> Value {
    match given {
        Ok(data) => serde_json::to_value(data).unwrap_or_default(),
        Err(error) => json!({ "errMsg": error.to_string() }),
    }
}
