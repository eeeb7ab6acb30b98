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
use crate::http::public::Site;
use crate::identity::Denied;
use crate::picture::{KeepPictures, PictureFault};
use crate::sessions::Sessions;
use crate::tap::{self, Arrow};
use weappd_base::causes::chain;

/// `POST /weapp/session/avatar` of a site of these mini programs, for whoever has somewhere
/// to keep pictures.
pub fn avatar_router(
    sessions: Sessions,
    appids: &[String],
    pictures: Arc<dyn KeepPictures>,
) -> Router {
    sessions.keep_pictures(&pictures);
    let site = Site::new(sessions, appids.into());
    Router::new()
        .route("/weapp/session/avatar", post(put_avatar))
        .with_state(Desk { site, pictures })
}

#[derive(Clone)]
struct Desk {
    site: Site,
    pictures: Arc<dyn KeepPictures>,
}

async fn put_avatar(State(desk): State<Desk>, request: Request) -> Response {
    let Desk { site, pictures } = &desk;
    let (parts, body) = request.into_parts();
    let session = match site.check(&parts.headers).await {
        Ok(session) => session,
        Err(denied) => return refused(&denied),
    };
    let openid = &session.identity.openid;
    site.tell(
        Arrow::request("avatar"),
        Some(openid),
        || json!({"method": "POST", "path": parts.uri.path()}),
    );
    let url = match pictures.keep(&session.identity, &parts, body).await {
        Ok(url) => url,
        Err(fault) => {
            if fault != PictureFault::House {
                tracing::warn!(%openid, error = %fault, "a picture was refused");
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
            site.tell(Arrow::answer("avatar"), Some(openid), || tap::body(&body));
            json(StatusCode::OK, body)
        }
        Err(denied) => refused(&denied),
    }
}

fn refused(denied: &Denied) -> Response {
    log_denied(denied);
    let (status, body) = native::denied(denied);
    json(status, body)
}
