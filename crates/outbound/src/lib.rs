//! The one way out: calls over HTTP and HTTPS to WeChat, to business servers and to weappd's own
//! listeners.
//!
//! # Map
//!
//! - [`client`]: the client with its pooled connections, as its [`client_settings`] say; `connector`:
//!   how it connects.
//! - [`trust`]: whose certificates it believes.
//! - [`answer`]: an answer read whole, with a limit; [`exchange_error`]: why there is none.
//! - [`retry_backoff`]: how long to wait before the next try.
//! - [`shared_flight`]: one call that many wait for.
//!
//! # Invariants
//!
//! No address, header or body stands in an error, so errors may be logged as they are. Nothing is
//! read of an answer beyond the caller's limit. No connection to a host is made that the trust
//! does not allow. Whoever gives up waiting ends its call and leaves the connections of others alone.

pub mod answer;
pub mod client;
pub mod client_settings;
mod connector;
pub mod exchange_error;
pub mod retry_backoff;
pub mod shared_flight;
pub mod trust;

pub use answer::read_limited;
pub use client::OutboundClient;
pub use client_settings::ClientSettings;
pub use exchange_error::{ExchangeError, SendError};
pub use retry_backoff::{JitterRange, RetryBackoff};
pub use shared_flight::SharedFlight;
pub use trust::{OutboundTrust, TrustRootsError};
