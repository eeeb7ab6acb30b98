//! Where two rooms meet: the gateway shares its tokens with other nodes, the session room
//! opens the database they have in common.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use weappd_base::causes::chain;
use weappd_base::secret::Secret;
use weappd_gateway::{LeaseStore, LeaseStoreError, LeasedValue};
use weappd_session::LeaseResult;

/// The session room's shared values. The gateway is built first, and asks for them only once
/// weappd serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionLeases(Arc<OnceLock<weappd_session::SharedValues>>);

impl SessionLeases {
    /// The session room is there now. There is one database.
    pub(crate) fn open(&self, opened: weappd_session::SharedValues) {
        let _first = self.0.set(opened);
    }

    fn values(&self) -> Result<&weappd_session::SharedValues, LeaseStoreError> {
        let missing = || LeaseStoreError("the session database is not open yet".to_owned());
        self.0.get().ok_or_else(missing)
    }
}

impl LeaseStore for SessionLeases {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<LeasedValue, LeaseStoreError>> {
        Box::pin(async move {
            self.values()?
                .read(name)
                .await
                .map(leased_value)
                .map_err(lease_store_error)
        })
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<Option<(i64, LeasedValue)>, LeaseStoreError>> {
        Box::pin(async move {
            match self
                .values()?
                .lease(name, time)
                .await
                .map_err(lease_store_error)?
            {
                LeaseResult::Granted { fence, value } => Ok(Some((fence, leased_value(value)))),
                LeaseResult::Busy => Ok(None),
            }
        })
    }

    fn put<'a>(
        &'a self,
        name: &'a str,
        fence: i64,
        value: &'a Secret,
    ) -> BoxFuture<'a, Result<bool, LeaseStoreError>> {
        Box::pin(async move {
            let put = self.values()?.put(name, fence, value).await;
            put.map_err(lease_store_error)
        })
    }

    fn release<'a>(
        &'a self,
        name: &'a str,
        fence: i64,
    ) -> BoxFuture<'a, Result<(), LeaseStoreError>> {
        Box::pin(async move {
            self.values()?
                .release(name, fence)
                .await
                .map_err(lease_store_error)
        })
    }
}

fn leased_value(value: weappd_session::SharedValue) -> LeasedValue {
    LeasedValue {
        value: value.value,
        now: value.now,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it")]
fn lease_store_error(err: weappd_session::Error) -> LeaseStoreError {
    LeaseStoreError(chain(&err))
}
