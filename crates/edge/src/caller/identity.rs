//! Who is calling: asked of the session service, told to the app in `X-WX-*` headers.

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use weappd_base::language::Language;
use weappd_base::request_id::RequestId;

use crate::refusal::EdgeRefusal;
use crate::site::SessionRule;

pub(crate) const X_WX_APPID: HeaderName = HeaderName::from_static("x-wx-appid");
pub(crate) const X_WX_CALL_ID: HeaderName = HeaderName::from_static("x-wx-call-id");
const X_WX_ENV: HeaderName = HeaderName::from_static("x-wx-env");
pub(crate) const X_WX_OPENID: HeaderName = HeaderName::from_static("x-wx-openid");
const X_WX_EXCLUDE_CREDENTIALS: HeaderName = HeaderName::from_static("x-wx-exclude-credentials");
const X_WX_SOURCE: HeaderName = HeaderName::from_static("x-wx-source");
pub(crate) const X_WX_UNIONID: HeaderName = HeaderName::from_static("x-wx-unionid");

/// What `X-WX-EXCLUDE-CREDENTIALS` may name, and the header that goes.
const CREDENTIALS: [(&str, HeaderName); 7] = [
    ("openid", X_WX_OPENID),
    ("unionid", X_WX_UNIONID),
    ("from-openid", HeaderName::from_static("x-wx-from-openid")),
    ("from-appid", HeaderName::from_static("x-wx-from-appid")),
    ("from-unionid", HeaderName::from_static("x-wx-from-unionid")),
    (
        "cloudbase-access-token",
        HeaderName::from_static("x-wx-cloudbase-access-token"),
    ),
    (
        "from-cloudbase-access-token",
        HeaderName::from_static("x-wx-from-cloudbase-access-token"),
    ),
];

/// Answers who is calling, by a request's session headers. weappd passes the question on to the
/// session service.
pub trait Identify: Send + Sync {
    /// Looks at the session headers of one request to a site of the mini programs `appids`
    /// (none: of any); users of other mini programs are unknown there.
    fn identify<'a>(
        &'a self,
        appids: &'a [String],
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Caller>;

    /// The same where memory alone can tell, and who has no session may be [`Caller::Nobody`]:
    /// spares most requests a future. `None`: ask.
    fn identify_in_memory(&self, _appids: &[String], _headers: &HeaderMap) -> Option<Caller> {
        None
    }
}

/// Who is calling.
#[derive(Debug)]
pub enum Caller {
    /// A user with a valid session.
    Known {
        /// The user's openid.
        openid: String,
        /// The user's unionid, where WeChat told it.
        unionid: Option<String>,
        /// The mini program.
        appid: String,
    },
    /// The request carries no session.
    Nobody,
    /// The request's session is not valid; the answer for a route that demands one.
    Refused(Response),
}

/// The name of the environment, as the configuration has it, for headers.
pub(crate) fn env_header(env: &str) -> HeaderValue {
    HeaderValue::try_from(env).unwrap_or(HeaderValue::from_static("weappd"))
}

/// What headers tell apps of a call, beside who makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallHeaders<'a> {
    /// What the request is called, for `X-WX-CALL-ID`.
    pub(crate) id: &'a HeaderValue,
    pub(crate) env: &'a HeaderValue,
}

/// Whom a request must come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerRule {
    pub(crate) session: SessionRule,
    /// A gateway of WeChat's sent it: the identities among its headers are true.
    pub(crate) trusted: bool,
    /// In which a refusal is told.
    pub(crate) language: Language,
}

/// A user with a valid session.
struct SessionUser {
    openid: String,
    unionid: Option<String>,
    appid: String,
}

/// Asks who is calling and writes it into `headers`, from which every claim of the client
/// was dropped before. The names are those of WeChat's own cloud hosting, so that apps
/// written for it find them.
///
/// Headers of WeChat's gateway stay; a session adds what they leave open. A session of another
/// user than the gateway's counts as none.
pub(crate) async fn establish(
    identify: &dyn Identify,
    (request, call_headers): (&RequestId, CallHeaders<'_>),
    appids: &[String],
    rule: CallerRule,
    headers: &mut HeaderMap,
) -> Result<(), EdgeRefusal> {
    let caller = match identify.identify_in_memory(appids, headers) {
        Some(known @ Caller::Known { .. }) => known,
        Some(_) if rule.session != SessionRule::Require => Caller::Nobody,
        // A refusal has its dialect's words.
        _ => {
            let asking = identify.identify(appids, headers);
            let asking = rule.language.scope(asking);
            request.clone().scope(asking).await
        }
    };
    let refusal = match caller {
        Caller::Known {
            openid,
            unionid,
            appid,
        } => {
            let user = SessionUser {
                openid,
                unionid,
                appid,
            };
            if !rule.trusted || !contradicts(headers, &user) {
                write_identity(call_headers, user, rule.trusted, headers);
                exclude_credentials(headers);
                return Ok(());
            }
            EdgeRefusal::LoginRequired
        }
        Caller::Nobody => EdgeRefusal::LoginRequired,
        Caller::Refused(_) if rule.session == SessionRule::Pass => EdgeRefusal::LoginRequired,
        Caller::Refused(answer) => EdgeRefusal::Said(Box::new(answer)),
    };
    let known = rule.trusted && headers.contains_key(X_WX_OPENID);
    if !known && rule.session == SessionRule::Require {
        return Err(refusal);
    }
    if rule.trusted && has_claims(headers) {
        if let (false, [appid]) = (headers.contains_key(X_WX_APPID), appids)
            && known
        {
            set(headers, X_WX_APPID, appid);
        }
        write_call_headers(call_headers, true, headers);
        exclude_credentials(headers);
    }
    Ok(())
}

/// Whether WeChat's gateway named another user than the session's.
fn contradicts(headers: &HeaderMap, user: &SessionUser) -> bool {
    let other = |name, ours: &str| {
        let said: Option<&HeaderValue> = headers.get(name);
        said.is_some_and(|said| said != ours)
    };
    let unionid = user.unionid.as_deref();
    other(X_WX_OPENID, &user.openid)
        || other(X_WX_APPID, &user.appid)
        || unionid.is_some_and(|unionid| other(X_WX_UNIONID, unionid))
}

/// Whether the gateway set any header about the call.
fn has_claims(headers: &HeaderMap) -> bool {
    [X_WX_OPENID, X_WX_APPID, X_WX_SOURCE, X_WX_CALL_ID]
        .iter()
        .any(|name| headers.contains_key(name))
}

fn write_identity(
    call_headers: CallHeaders<'_>,
    user: SessionUser,
    trusted: bool,
    headers: &mut HeaderMap,
) {
    set(headers, X_WX_OPENID, user.openid);
    set(headers, X_WX_APPID, user.appid);
    if let Some(unionid) = user.unionid {
        set(headers, X_WX_UNIONID, unionid);
    }
    write_call_headers(call_headers, trusted, headers);
}

fn set<T>(headers: &mut HeaderMap, name: HeaderName, text: T)
where
    HeaderValue: TryFrom<T>,
{
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

/// The call's own headers, where the gateway did not set them.
fn write_call_headers(call_headers: CallHeaders<'_>, trusted: bool, headers: &mut HeaderMap) {
    let said = |headers: &HeaderMap, name| trusted && headers.contains_key(name);
    let given = headers.get(X_WX_CALL_ID).filter(|_| trusted);
    let plain = |id: &HeaderValue| (1..=128).contains(&id.len()) && id.to_str().is_ok();
    if !given.is_some_and(plain) {
        headers.insert(X_WX_CALL_ID, call_headers.id.clone());
    }
    if !said(headers, X_WX_ENV) {
        headers.insert(X_WX_ENV, call_headers.env.clone());
    }
    if !said(headers, X_WX_SOURCE) {
        let source = source(headers);
        headers.insert(X_WX_SOURCE, HeaderValue::from_static(source));
    }
}

/// Removes what the client does not want its app to be told.
fn exclude_credentials(headers: &mut HeaderMap) {
    if !headers.contains_key(X_WX_EXCLUDE_CREDENTIALS) {
        return;
    }
    let lists = headers.get_all(X_WX_EXCLUDE_CREDENTIALS).iter();
    let doomed: Vec<HeaderName> = lists
        .flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
        .filter_map(|word| {
            let word = word.trim_ascii();
            let known =
                |(name, _): &&(&str, HeaderName)| word.eq_ignore_ascii_case(name.as_bytes());
            CREDENTIALS.iter().find(known).map(|(_, name)| name.clone())
        })
        .collect();
    for name in doomed {
        drop(headers.remove(name));
    }
}

/// Where the mini program runs. Its runtime sets the Referer, `https://servicewechat.com/`,
/// AppID, version, `/page-frame.html`; in the developer tools the version is `devtools`.
fn source(headers: &HeaderMap) -> &'static str {
    let referer = headers.get(header::REFERER).map(HeaderValue::as_bytes);
    let pages = referer.and_then(|text| text.strip_prefix(b"https://servicewechat.com/"));
    match pages.and_then(|rest| rest.split(|byte| *byte == b'/').nth(1)) {
        Some(b"devtools") => "wx_devtools",
        _ => "wx_client",
    }
}

/// The id that [`establish`] gave the call.
pub(crate) fn call_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(X_WX_CALL_ID).cloned()
}

/// Tells the client the id of its call, whatever the app said.
pub(crate) fn echo_call_id(headers: &mut HeaderMap, id: Option<HeaderValue>) {
    if let Some(id) = id {
        headers.insert(X_WX_CALL_ID, id);
    }
}

/// The openid that [`establish`] wrote.
pub(crate) fn openid(headers: &HeaderMap) -> Option<&str> {
    headers.get(X_WX_OPENID)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_developer_tools_are_known_by_the_referer() {
        for (referer, from) in [
            (
                "https://servicewechat.com/wx1/devtools/page-frame.html",
                "wx_devtools",
            ),
            (
                "https://servicewechat.com/wx1/12/page-frame.html",
                "wx_client",
            ),
            ("https://servicewechat.com/devtools", "wx_client"),
            (
                "https://example.com/wx1/devtools/page-frame.html",
                "wx_client",
            ),
            ("", "wx_client"),
        ] {
            let headers =
                HeaderMap::from_iter([(header::REFERER, HeaderValue::from_static(referer))]);
            assert_eq!(source(&headers), from, "{referer}");
        }
        assert_eq!(source(&HeaderMap::new()), "wx_client");
    }

    #[test]
    fn an_environment_that_no_header_can_hold_has_a_plain_name() {
        assert_eq!(env_header("line\nbreak"), "weappd");
    }
}
