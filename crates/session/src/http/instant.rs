//! What phones ask most, who they are, answered from memory.

use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use bytes::Bytes;

use crate::dialect::native;
use crate::http::answer::json_bytes;
use crate::http::login_site::LoginSite;
use crate::http::public::SiteChoice;
use crate::sessions::SessionService;

/// Says who is calling, if memory alone knows: the same that [`public_router`] says, without
/// a future. What is not known, and every failure, is the router's.
///
/// [`public_router`]: crate::http::public_router
pub struct InstantUser {
    site: LoginSite,
    wafer1: bool,
    wafer2: bool,
}

/// In whose words.
enum UserDialect {
    Native,
    Wafer1,
    Wafer2,
}

impl InstantUser {
    /// For the site whose router was made of the same choice.
    pub fn new(sessions: SessionService, choice: &SiteChoice) -> Self {
        Self {
            site: LoginSite::new(sessions, choice.appids.clone().into()),
            wafer1: choice.wafer1,
            wafer2: choice.wafer2,
        }
    }

    /// The answer to a request without a body.
    pub fn answer(&self, head: &Parts) -> Option<Response<Bytes>> {
        let dialect = self.dialect(head)?;
        // The router draws the arrows.
        if self.site.sessions.shared().tap.is_watched() {
            return None;
        }
        let session = self.site.check_in_memory(&head.headers)?;
        let body = match dialect {
            UserDialect::Native => {
                native::shown(&session, self.site.sessions.phone(&session).as_ref())
            }
            UserDialect::Wafer1 => session.wafer1_user(),
            UserDialect::Wafer2 => session.wafer2_user(),
        };
        Some(json_bytes(StatusCode::OK, body))
    }

    fn dialect(&self, head: &Parts) -> Option<UserDialect> {
        if head.method != Method::GET {
            return None;
        }
        match head.uri.path() {
            "/weapp/session" => Some(UserDialect::Native),
            "/weapp/user" if self.wafer2 => Some(UserDialect::Wafer2),
            "/user" if self.wafer1 && head.headers.contains_key("x-wx-id") => {
                Some(UserDialect::Wafer1)
            }
            _ => None,
        }
    }
}
