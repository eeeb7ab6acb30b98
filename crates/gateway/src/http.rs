//! The room's HTTP faces: what apps call, what WeChat calls, what the operator calls.

mod api;
mod control;
mod push;

pub use api::{api_router, in_front_of};
pub use control::control_router;
pub use push::inbox_router;
