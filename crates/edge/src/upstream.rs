//! Business servers: connections to them, which of them rest, and their answers.

pub(crate) mod address;
pub(crate) mod answer_body;
pub(crate) mod app_upstreams;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod stream;
pub(crate) mod upgrade;
