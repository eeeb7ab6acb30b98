//! How the business server is, for the phone page. Whoever keeps it alive tells.

use serde::Serialize;
use serde_json::Value;

/// One look at the business server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerNews {
    /// Whether it takes requests.
    pub ready: bool,
    /// Whether it is not started again by itself.
    pub rests: bool,
    /// How its last process ended, if one has: `{"kind": "exited", "code": 1}`.
    pub ended: Option<Value>,
    /// What it printed last, oldest first.
    pub lines: Vec<String>,
}
