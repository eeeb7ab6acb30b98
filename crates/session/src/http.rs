//! The room's HTTP face: routers for phones and for business servers, and the layer that
//! demands a session.

mod answer;
mod avatar;
pub(crate) mod body;
mod control;
mod data;
mod instant;
mod key;
mod login_site;
mod phone;
mod public;
mod require;
mod rpc;
mod sign;

pub use answer::refusal;
pub use avatar::avatar_router;
pub use control::control_router;
pub use instant::InstantUser;
pub use public::{SiteChoice, public_router};
pub use require::{RequireLogin, RequireLoginService, require_login};
pub use rpc::rpc_router;
pub use sign::sign_router;
