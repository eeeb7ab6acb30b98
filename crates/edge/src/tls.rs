//! TLS: how it is spoken, and a stream that holds no buffer while idle.

pub(crate) mod cert_resolver;
pub(crate) mod plain_http;
pub(crate) mod records;
pub(crate) mod settings;
pub(crate) mod stream;
