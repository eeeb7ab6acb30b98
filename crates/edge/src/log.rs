//! Where requests are reported: the access log, warnings, and the traffic tap.

pub(crate) mod access_log;
pub(crate) mod access_sink;
pub(crate) mod log_format;
pub(crate) mod log_switch;
pub(crate) mod request_tap;
pub(crate) mod throttled_log;
