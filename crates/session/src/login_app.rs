//! Which of a site's mini programs a login means.
//!
//! A phone cannot set the Referer of a request: WeChat does, and it names the mini program
//! that runs. Where it says nothing, a header may. Neither is a proof, and none is needed:
//! the code that comes along can be exchanged with the secret of its own mini program only.
//! Behind WeChat's gateway (微信网关), whose Referer may be inexact, its own word counts.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use weappd_base::language::pick;
use weappd_base::words;

/// What a phone may name its mini program in. Not one of the `X-WX-*` headers: those are
/// the server's word towards apps, and WeChat's gateway drops a phone's.
const NAMED: HeaderName = HeaderName::from_static("x-weappd-appid");

/// The gateway's word: the edge lets this header of nobody else come here.
const TOLD: HeaderName = HeaderName::from_static("x-wx-appid");

/// The longest AppID taken; WeChat's have 18 characters.
const MAX_APPID: usize = 64;
/// The longest version taken: WeChat counts releases, or says `devtools`.
const MAX_VERSION: usize = 16;

/// The Referer of a running mini program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MiniAppReferer<'a> {
    pub(crate) appid: &'a str,
    /// `devtools`, or a number: 0 of one that is not released.
    pub(crate) version: &'a str,
}

impl<'a> MiniAppReferer<'a> {
    /// Reads `https://servicewechat.com/{appid}/{version}/page-frame.html`, and nothing else.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("https://servicewechat.com/")?;
        let (appid, rest) = rest.split_once('/')?;
        let version = rest.strip_suffix("/page-frame.html")?;
        let counted = version.bytes().all(|c| c.is_ascii_digit());
        let version_fits =
            version == "devtools" || counted && !version.is_empty() && version.len() <= MAX_VERSION;
        (is_appid(appid) && version_fits).then_some(Self { appid, version })
    }

    /// The Referer of a request, if it has one, and one that can be read.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        Self::parse(headers.get(header::REFERER)?.to_str().ok()?)
    }
}

/// Whether this can be an AppID: letters and digits, which may be repeated to anybody.
fn is_appid(text: &str) -> bool {
    (1..=MAX_APPID).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// Why a login cannot be taken for any of the site's mini programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppChoiceError {
    /// The Referer, or the gateway, is of a mini program that the site does not serve.
    Referer(String),
    /// The header names one that the site does not serve.
    Named(String),
    /// The header is there and no AppID.
    Unreadable,
    /// The Referer and the header name different ones.
    Torn,
}

impl fmt::Display for AppChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Referer(appid) => f.write_str(&words!(
                "the Referer names the mini program {appid}, which this site does not serve",
                "Referer 里的小程序 {appid} 不属于这个站点"
            )),
            Self::Named(appid) => f.write_str(&words!(
                "X-Weappd-AppID names the mini program {appid}, which this site does not serve",
                "X-Weappd-AppID 里的小程序 {appid} 不属于这个站点"
            )),
            Self::Unreadable => f.write_str(pick(
                "X-Weappd-AppID must be one AppID",
                "X-Weappd-AppID 必须是一个 AppID",
            )),
            Self::Torn => f.write_str(pick(
                "the Referer and X-Weappd-AppID name different mini programs",
                "Referer 和 X-Weappd-AppID 写的是不同的小程序",
            )),
        }
    }
}

/// Which of `appids`, the site's own, a login with these headers means; `None` if the site
/// has none. Where there is nothing to choose the Referer does not count.
pub(crate) fn meant<'a>(
    appids: &'a [String],
    headers: &HeaderMap,
) -> Result<Option<&'a str>, AppChoiceError> {
    let own = |appid: &str| appids.iter().find(|own| *own == appid).map(String::as_str);
    let named = match named(headers)? {
        Some(name) => Some(own(name).ok_or_else(|| AppChoiceError::Named(name.to_owned()))?),
        None => None,
    };
    let referer = match (appids, referred(headers)) {
        ([_, _, ..], Some(appid)) => {
            Some(own(appid).ok_or_else(|| AppChoiceError::Referer(appid.to_owned()))?)
        }
        _ => None,
    };
    match (referer, named) {
        (Some(referer), Some(named)) if referer != named => Err(AppChoiceError::Torn),
        (Some(appid), _) | (None, Some(appid)) => Ok(Some(appid)),
        (None, None) => Ok(appids.first().map(String::as_str)),
    }
}

/// WeChat's word, the gateway's before the runtime's.
fn referred(headers: &HeaderMap) -> Option<&str> {
    let told = headers.get(TOLD).and_then(|told| told.to_str().ok());
    told.filter(|appid| is_appid(appid))
        .or_else(|| Some(MiniAppReferer::of(headers)?.appid))
}

/// The header's word; written twice, it is none.
fn named(headers: &HeaderMap) -> Result<Option<&str>, AppChoiceError> {
    let mut values = headers.get_all(NAMED).iter().map(HeaderValue::to_str);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(name)), None) if is_appid(name) => Ok(Some(name)),
        _ => Err(AppChoiceError::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(referer: Option<&str>, named: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(referer) = referer {
            headers.insert(header::REFERER, referer.parse().expect("a header"));
        }
        for name in named {
            headers.append(NAMED, name.parse().expect("a header"));
        }
        headers
    }

    fn page(appid: &str) -> String {
        format!("https://servicewechat.com/{appid}/3/page-frame.html")
    }

    #[test]
    fn only_wechats_own_form_is_a_referer() {
        for (text, version) in [
            ("https://servicewechat.com/wx1/0/page-frame.html", "0"),
            ("https://servicewechat.com/wx1/128/page-frame.html", "128"),
            (
                "https://servicewechat.com/wx1/devtools/page-frame.html",
                "devtools",
            ),
        ] {
            let appid = "wx1";
            assert_eq!(
                MiniAppReferer::parse(text),
                Some(MiniAppReferer { appid, version })
            );
        }
        for text in [
            "",
            "https://servicewechat.com",
            "https://servicewechat.com/",
            "https://servicewechat.com/wx1",
            "https://servicewechat.com/wx1/1",
            "https://servicewechat.com/wx1//page-frame.html",
            "https://servicewechat.com//1/page-frame.html",
            "https://servicewechat.com/wx1/1/page-frame.html?a=b",
            "https://servicewechat.com/wx1/1/page-frame.html#a",
            "https://servicewechat.com/wx1/1/more/page-frame.html",
            "https://servicewechat.com/wx1/-1/page-frame.html",
            "https://servicewechat.com/wx1/DevTools/page-frame.html",
            "https://servicewechat.com/wx1/12345678901234567/page-frame.html",
            "https://servicewechat.com/w%781/1/page-frame.html",
            "https://servicewechat.com/wx1 /1/page-frame.html",
            "https://servicewechat.com:443/wx1/1/page-frame.html",
            "https://servicewechat.com.evil.example/wx1/1/page-frame.html",
            "https://evil@servicewechat.com/wx1/1/page-frame.html",
            "https://evil.example/https://servicewechat.com/wx1/1/page-frame.html",
            "http://servicewechat.com/wx1/1/page-frame.html",
            " https://servicewechat.com/wx1/1/page-frame.html",
        ] {
            assert_eq!(MiniAppReferer::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_sites_own_list_is_all_there_is_to_choose_from() {
        let appids = ["wx1", "wx2"].map(str::to_owned);
        let meant = |referer: Option<&str>, named: &[&str]| {
            super::meant(&appids, &headers(referer, named)).map(Option::unwrap_or_default)
        };
        let (one, two, three) = (page("wx1"), page("wx2"), page("wx3"));
        assert_eq!(meant(None, &[]), Ok("wx1"), "the first is the default");
        assert_eq!(meant(Some(&two), &[]), Ok("wx2"));
        assert_eq!(meant(None, &["wx2"]), Ok("wx2"));
        assert_eq!(meant(Some(&two), &["wx2"]), Ok("wx2"));
        assert_eq!(meant(Some("https://example.com/"), &["wx2"]), Ok("wx2"));
        assert_eq!(meant(Some(&one), &["wx2"]), Err(AppChoiceError::Torn));
        let (by_referer, by_name) = (
            AppChoiceError::Referer("wx3".into()),
            AppChoiceError::Named("wx3".into()),
        );
        assert_eq!(meant(Some(&three), &[]), Err(by_referer.clone()));
        assert_eq!(meant(Some(&three), &["wx2"]), Err(by_referer));
        assert_eq!(meant(None, &["wx3"]), Err(by_name.clone()));
        assert_eq!(meant(Some(&one), &["wx3"]), Err(by_name));
        let mut behind_gateway = headers(Some(&one), &[]);
        behind_gateway.insert(TOLD, HeaderValue::from_static("wx2"));
        assert_eq!(super::meant(&appids, &behind_gateway), Ok(Some("wx2")));
        for unreadable in [&["wx1", "wx1"][..], &[""], &["wx1,wx2"], &["wx 1"]] {
            assert_eq!(meant(None, unreadable), Err(AppChoiceError::Unreadable));
        }
    }

    #[test]
    fn where_there_is_nothing_to_choose_only_the_header_can_be_wrong() {
        let one = ["wx1".to_owned()];
        let strange = headers(Some(&page("wx3")), &[]);
        assert_eq!(meant(&one, &strange), Ok(Some("wx1")));
        let named = headers(None, &["wx3"]);
        assert_eq!(
            meant(&one, &named),
            Err(AppChoiceError::Named("wx3".to_owned()))
        );
        assert_eq!(meant(&[], &strange), Ok(None));
    }

    proptest! {
        #[test]
        fn a_referer_round_trips(appid in "[A-Za-z0-9]{1,64}", version in "devtools|[0-9]{1,16}") {
            let text = format!("https://servicewechat.com/{appid}/{version}/page-frame.html");
            let read = MiniAppReferer::parse(&text);
            prop_assert_eq!(read, Some(MiniAppReferer { appid: &appid, version: &version }));
        }

        #[test]
        fn what_is_read_is_written_back_the_same(
            text in "(https?://)?(servicewechat\\.com)?(/?[a-z0-9.%:@ -]{0,12}){0,5}(/page-frame\\.html)?.{0,3}"
        ) {
            if let Some(MiniAppReferer { appid, version }) = MiniAppReferer::parse(&text) {
                let again = format!("https://servicewechat.com/{appid}/{version}/page-frame.html");
                prop_assert_eq!(&again, &text);
                prop_assert!(is_appid(appid));
            }
        }

        #[test]
        fn nothing_chosen_is_ever_foreign(
            referer in prop::collection::vec(any::<u8>(), 0..80),
            site in prop::collection::vec("wx[0-3]", 0..4),
            (of, named) in ("wx[0-5]", prop::option::of("wx[0-5]")),
        ) {
            let mut headers = headers(Some(&page(&of)), &[]);
            if let Some(named) = &named {
                headers.insert(NAMED, named.parse().expect("a header"));
            }
            let check = |headers: &HeaderMap| match meant(&site, headers) {
                Ok(Some(appid)) => site.iter().any(|own| own == appid),
                Ok(None) => site.is_empty(),
                Err(_) => true,
            };
            prop_assert!(check(&headers));
            if let Ok(referer) = HeaderValue::from_bytes(&referer) {
                headers.insert(header::REFERER, referer);
                prop_assert!(check(&headers));
            }
        }
    }
}
