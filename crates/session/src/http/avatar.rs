//! `POST /weapp/session/avatar`: the picture a user chose, from `wx.uploadFile`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde_json::json;

use crate::dialect::native;
use crate::http::answer::{json, log_denied};
use crate::http::login_site::LoginSite;
use crate::identity::AuthError;
use crate::picture_store::{PictureError, PictureStore};
use crate::sessions::SessionService;
use crate::tap::{self, TapArrow};
use weappd_base::causes::chain;
use weappd_base::language::english;

/// `POST /weapp/session/avatar` of a site of these mini programs, for whoever has somewhere
/// to keep pictures.
pub fn avatar_router(
    sessions: SessionService,
    appids: &[String],
    pictures: Arc<dyn PictureStore>,
) -> Router {
    sessions.keep_pictures(&pictures);
    let site = LoginSite::new(sessions, appids.into());
    Router::new()
        .route("/weapp/session/avatar", post(put_avatar))
        .with_state(AvatarState { site, pictures })
}

#[derive(Clone)]
struct AvatarState {
    site: LoginSite,
    pictures: Arc<dyn PictureStore>,
}

async fn put_avatar(State(state): State<AvatarState>, request: Request) -> Response {
    let AvatarState { site, pictures } = &state;
    let (parts, body) = request.into_parts();
    let session = match site.check(&parts.headers).await {
        Ok(session) => session,
        Err(denied) => return refused(&denied),
    };
    let openid = &session.identity.openid;
    site.tell(
        TapArrow::request("avatar"),
        Some(openid),
        || json!({"method": "POST", "path": parts.uri.path()}),
    );
    let url = match pictures.keep(&session.identity, &parts, body).await {
        Ok(url) => url,
        Err(fault) => {
            if fault != PictureError::Internal {
                let told = english(&fault);
                tracing::warn!(%openid, error = told, "a picture was refused");
            }
            let (status, body) = native::picture_refused(&fault);
            return json(status, body);
        }
    };
    let who = (&session, &parts.headers);
    if let Err(fault) = site.sessions.put_avatar(who, url, pictures).await {
        tracing::error!(%openid, error = chain(&fault), "a picture could not be made a user's");
        let (status, body) = native::data_refused(&fault);
        return json(status, body);
    }
    match site.check(&parts.headers).await {
        Ok(session) => {
            let body = native::shown(&session, site.sessions.phone(&session).as_ref());
            site.tell(TapArrow::answer("avatar"), Some(openid), || {
                tap::body(&body)
            });
            json(StatusCode::OK, body)
        }
        Err(denied) => refused(&denied),
    }
}

fn refused(denied: &AuthError) -> Response {
    log_denied(denied);
    let (status, body) = native::denied(denied);
    json(status, body)
}
