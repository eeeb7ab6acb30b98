//! Calls about a user: phone number, session key, risk.

use serde_json::{Value, json};
use weappd_base::secret::{Secret, same_bytes};
use weappd_wechat::open_data;

use super::{ApiCall, fine, text};
use crate::code_table::CodeError;
use crate::simulator::Simulator;
use crate::wechat_refusal::WechatRefusal;

impl Simulator {
    /// `POST /wxa/business/getuserphonenumber`: a code of the phone-number button, once,
    /// within 5 minutes.
    pub(super) fn user_phone_number(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let code = text(&fields, "code");
        let openid = text(&fields, "openid");
        let now = self.now();
        let grant = self.with_state(|state| {
            // An openid that does not fit must not spend the code.
            if let Some(grant) = state.phone_codes.look(code)
                && !openid.is_empty()
                && grant.appid == appid
                && grant.user.openid(appid) != openid
            {
                return Err(WechatRefusal::Openid);
            }
            let redeemed = state.phone_codes.redeem(appid, code, now);
            redeemed.map_err(|bad| match bad {
                CodeError::Invalid | CodeError::Used => WechatRefusal::Code,
                CodeError::OtherApp => WechatRefusal::Appid,
            })
        })?;
        let number = grant.user.phone_number();
        Ok(json!({
            "errcode": 0,
            "errmsg": "ok",
            "phone_info": {
                "phoneNumber": number,
                "purePhoneNumber": number,
                "countryCode": "86",
                "watermark": { "timestamp": now, "appid": appid },
            },
        }))
    }

    /// `GET /wxa/checksession`.
    pub(super) fn check_session_key(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<Value, WechatRefusal> {
        if call.field("sig_method") != "hmac_sha256" {
            return Err(WechatRefusal::Signature);
        }
        let key = self.session_key_of(call, appid)?;
        // Here, too, no key is a signature that is wrong.
        if !is_signed(key.as_ref(), call.field("signature")) {
            return Err(WechatRefusal::Signature);
        }
        Ok(fine())
    }

    /// `GET /wxa/resetusersessionkey`: a new key, with what is left of the old one's time.
    pub(super) fn reset_session_key(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<Value, WechatRefusal> {
        if call.field("sig_method") != "hmac_sha256" {
            return Err(WechatRefusal::SignatureMethod);
        }
        let key = self.session_key_of(call, appid)?;
        let key = key.ok_or(WechatRefusal::SessionGone)?;
        if !is_signed(Some(&key), call.field("signature")) {
            return Err(WechatRefusal::Signature);
        }
        let openid = call.field("openid");
        let new = open_data::session_key_text(self.random().bytes());
        self.with_state(|state| {
            let (_, user) = state.user_of(appid, openid)?;
            let login = user
                .logins
                .get_mut(appid)
                .ok_or(WechatRefusal::SessionGone)?;
            login.session_key = new.clone();
            Ok(())
        })?;
        Ok(json!({
            "errcode": 0,
            "errmsg": "ok",
            "openid": openid,
            "session_key": new.expose(),
        }))
    }

    /// `GET /wxa/business/getuserencryptkey`: the newest keys the phone asked for.
    pub(super) fn user_keys(&self, call: &ApiCall, appid: &str) -> Result<Value, WechatRefusal> {
        if call.field("sig_method") != "hmac_sha256" {
            return Err(WechatRefusal::SignatureMethod);
        }
        let key = self.session_key_of(call, appid)?;
        let key = key.ok_or(WechatRefusal::SessionGone)?;
        if !is_signed(Some(&key), call.field("signature")) {
            return Err(WechatRefusal::Signature);
        }
        let now = self.now();
        let list = self.with_state(|state| {
            let (_, user) = state.user_of(appid, call.field("openid"))?;
            Ok(user.keys.get(appid).map(|keys| keys.list(now)))
        })?;
        Ok(json!({
            "errcode": 0,
            "errmsg": "ok",
            "key_info_list": list.unwrap_or_default(),
        }))
    }

    /// `POST /wxa/business/checkencryptedmsg`. `vaild` is WeChat's spelling.
    pub(super) fn check_encrypted(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let hash = text(&fields, "encrypted_msg_hash");
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WechatRefusal::Args);
        }
        let now = self.now();
        let made_at = self.with_state(|state| state.encrypted.made_at(appid, hash, now));
        let made_at = made_at.ok_or(WechatRefusal::NotOurs)?;
        Ok(json!({ "errcode": 0, "errmsg": "ok", "vaild": true, "create_time": made_at }))
    }

    /// The living session key of the user the query names.
    fn session_key_of(&self, call: &ApiCall, appid: &str) -> Result<Option<Secret>, WechatRefusal> {
        let now = self.now();
        self.with_state(|state| {
            let (_, user) = state
                .user_of(appid, call.field("openid"))
                .map_err(|_| WechatRefusal::Openid)?;
            let login = user.logins.get(appid).filter(|login| login.lives(now));
            Ok(login.map(|login| login.session_key.clone()))
        })
    }

    /// `POST /wxa/getuserriskrank`. `unoin_id` is WeChat's spelling.
    pub(super) fn user_risk_rank(
        &self,
        call: &ApiCall,
        appid: &str,
    ) -> Result<Value, WechatRefusal> {
        let fields = call.fields()?;
        let now = self.now();
        let risky = self.with_state(|state| {
            let (_, user) = state.user_of(appid, text(&fields, "openid"))?;
            if !user.is_active(appid, now) {
                return Err(WechatRefusal::Inactive);
            }
            Ok(user.risky)
        })?;
        Ok(json!({
            "errcode": 0,
            "errmsg": "getuserriskrank succ",
            "risk_rank": if risky { 4 } else { 0 },
            "unoin_id": now,
        }))
    }
}

/// Both calls are GET, so what is signed is the empty text.
fn is_signed(key: Option<&Secret>, given: &str) -> bool {
    key.is_some_and(|key| {
        let right = open_data::login_state_signature(key, "");
        same_bytes(right.as_bytes(), given.as_bytes())
    })
}
