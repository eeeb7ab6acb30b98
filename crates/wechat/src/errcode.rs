//! WeChat's error numbers and what a person can do about them.
//!
//! Numbers and meanings are those of the error tables in the official mini-program
//! documentation; 40163 is missing there but is what WeChat answers in practice.

/// One of WeChat's error numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrcodeInfo {
    /// The number.
    pub code: i64,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// What `code` means, if it is known here.
pub fn explain(code: i64) -> Option<&'static ErrcodeInfo> {
    ERRCODES
        .binary_search_by_key(&code, |known| known.code)
        .ok()
        .and_then(|at| ERRCODES.get(at))
}

/// Every number known here, in rising order.
pub fn all() -> &'static [ErrcodeInfo] {
    &ERRCODES
}

const fn known(code: i64, meaning: &'static str, advice: &'static str) -> ErrcodeInfo {
    ErrcodeInfo {
        code,
        meaning,
        advice,
    }
}

const ERRCODES: [ErrcodeInfo; 47] = [
    known(-1, "WeChat is busy", "try again in a moment"),
    known(
        40001,
        "the AppSecret or access_token is wrong or no longer the latest",
        "let only one place fetch tokens; compare the AppSecret with WeChat's console",
    ),
    known(
        40002,
        "grant_type is wrong",
        "this is a fault of the caller: see the API's page",
    ),
    known(
        40003,
        "the openid is wrong",
        "the openid must be of this mini program",
    ),
    known(
        40013,
        "the AppID is wrong",
        "compare the AppID with WeChat's console, letter case included",
    ),
    known(
        40014,
        "the access_token is wrong",
        "fetch a new access_token",
    ),
    known(
        40029,
        "the code is wrong, older than five minutes, or of another AppID",
        "send a fresh wx.login code at once; the phone's project must use the AppID set here",
    ),
    known(
        40066,
        "there is no such API",
        "compare the path with the API's page",
    ),
    known(
        40097,
        "a parameter is wrong",
        "compare the parameters with the API's page",
    ),
    known(
        40125,
        "the AppSecret is wrong",
        "copy the AppSecret from WeChat's console again; a reset there makes the old one useless",
    ),
    known(
        40163,
        "the code was used before",
        "each wx.login code works once: do not send a request twice with the same code",
    ),
    known(
        40164,
        "this server's address is not in the IP allow-list",
        "add the address named in the message in WeChat's console, or turn the list off",
    ),
    known(
        40226,
        "WeChat holds this user for a high risk",
        "refuse the login; trying again does not help",
    ),
    known(
        40234,
        "the API signature is wrong",
        "compare the API keys with WeChat's console",
    ),
    known(
        40243,
        "the AppSecret is frozen",
        "unfreeze it in WeChat's console",
    ),
    known(
        41001,
        "the access_token is missing",
        "this is a fault of the caller: see the API's page",
    ),
    known(
        41002,
        "the AppID is missing",
        "set the mini program's appid; WeChat also says this when a GET call is sent as POST",
    ),
    known(
        41004,
        "the AppSecret is missing",
        "set the mini program's secret",
    ),
    known(
        41008,
        "the code is missing",
        "the phone must send the code of wx.login",
    ),
    known(42001, "the access_token is over", "fetch a new one"),
    known(43001, "GET is needed", "send this call with GET"),
    known(43002, "POST is needed", "send this call with POST"),
    known(
        43101,
        "the user did not subscribe to this message",
        "ask with wx.requestSubscribeMessage first",
    ),
    known(
        43104,
        "the openid is not of this AppID",
        "use the openid this mini program got",
    ),
    known(44002, "the body is empty", "send a JSON body"),
    known(
        44990,
        "too many calls in this second",
        "slow down and try again",
    ),
    known(
        44991,
        "too many calls in this minute",
        "slow down and try again",
    ),
    known(44993, "too many calls today", "wait until tomorrow"),
    known(
        45009,
        "the day's quota is used up",
        "wait until tomorrow, or clear the quota in WeChat's console",
    ),
    known(
        45011,
        "too many calls in this minute",
        "wait a minute; look for a phone that logs in over and over",
    ),
    known(47001, "the body is not JSON", "send the body as UTF-8 JSON"),
    known(
        48001,
        "this mini program may not use this API",
        "see in WeChat's console which APIs it was granted",
    ),
    known(
        48006,
        "the quota was cleared too often",
        "wait until next month",
    ),
    known(
        50004,
        "this API is forbidden for this account",
        "see the notices in WeChat's console",
    ),
    known(
        50007,
        "the account is frozen",
        "see the notices in WeChat's console",
    ),
    known(
        61010,
        "the user was not active in the last two hours",
        "ask again while the user is there",
    ),
    known(
        76022,
        "this rid cannot be asked about",
        "only calls with an access_token have a rid to ask about",
    ),
    known(
        85079,
        "the mini program is not released",
        "release it first",
    ),
    known(
        87007,
        "the user has no session key, or it is over",
        "let the user log in again",
    ),
    known(
        87008,
        "sig_method is wrong",
        "sig_method must be hmac_sha256",
    ),
    known(
        87009,
        "the session-key signature is wrong",
        "the session key changed: let the user log in again",
    ),
    known(
        89002,
        "the mini program is bound to no Open Platform account",
        "bind it there to get union ids",
    ),
    known(
        89300,
        "the order is wrong",
        "ask within five minutes after the payment, with its own ids",
    ),
    known(
        89503,
        "an administrator must confirm this server's address",
        "let the administrator answer the message WeChat sent, then try again",
    ),
    known(
        89506,
        "an administrator refused this server's address",
        "wait a day, then ask again",
    ),
    known(
        89507,
        "an administrator refused this server's address a moment ago",
        "wait an hour, then ask again",
    ),
    known(
        1_400_001,
        "the phone-number quota is used up",
        "buy more in WeChat's console",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_rises_so_that_every_number_is_found() {
        assert!(ERRCODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        for entry in all() {
            assert_eq!(explain(entry.code), Some(entry));
            assert!(!entry.meaning.is_empty() && !entry.advice.is_empty());
        }
    }

    #[test]
    fn an_unknown_number_is_not_invented() {
        assert_eq!(explain(0), None);
        assert_eq!(explain(40030), None);
    }
}
