//! What the room needs of a place that several nodes share, handed in by whoever builds it.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixMillis;

/// A few values that all nodes see, each changed by one node at a time.
pub trait LeaseStore: fmt::Debug + Send + Sync {
    /// Reads a value.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<LeasedValue, LeaseStoreError>>;

    /// Takes a lease of a value for at most `time`, and reads it under the lease. None if
    /// another node has it.
    fn lease<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<Option<(i64, LeasedValue)>, LeaseStoreError>>;

    /// Puts a value there and ends the lease that `fence` proves.
    fn put<'a>(
        &'a self,
        name: &'a str,
        fence: i64,
        value: &'a Secret,
    ) -> BoxFuture<'a, Result<bool, LeaseStoreError>>;

    /// Ends a lease and leaves the value as it is.
    fn release<'a>(
        &'a self,
        name: &'a str,
        fence: i64,
    ) -> BoxFuture<'a, Result<(), LeaseStoreError>>;
}

/// A value as it stands.
#[derive(Clone, Debug)]
pub struct LeasedValue {
    /// None if nobody has put one there yet.
    pub value: Option<Secret>,
    /// The time there: nodes' own clocks differ.
    pub now: UnixMillis,
}

/// The shared place cannot be used now. Holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LeaseStoreError(pub String);
