//! The room's HTTP face: routers for phones and for business servers, and the layer that
//! demands a session.

mod answer;
mod body;
mod control;
mod data;
mod public;
mod require;
mod rpc;

pub use answer::refusal;
pub use control::control_router;
pub use public::{SiteChoice, public_router};
pub use require::{RequireLogin, RequireLoginService, require_login};
pub use rpc::rpc_router;
