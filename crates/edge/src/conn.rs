//! Client connections: accepted, read and written under deadlines.

pub(crate) mod client_wire;
pub(crate) mod conn_count;
pub(crate) mod conn_info;
pub(crate) mod connection;
pub(crate) mod framing;
pub(crate) mod head_answer;
pub(crate) mod linger;
pub(crate) mod listener;
pub(crate) mod listener_changes;
pub(crate) mod listener_registry;
pub(crate) mod pace;
pub(crate) mod stream_tasks;
pub(crate) mod traffic;
pub(crate) mod upload;
