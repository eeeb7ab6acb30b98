//! Where two rooms meet: the gateway shares its tokens with other nodes, the session room
//! opens the database they have in common.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use weappd_base::causes::chain;
use weappd_base::secret::Secret;
use weappd_gateway::{Kept, Shelf, Unshared};
use weappd_session::Hold;

/// The session room's shelf. The gateway is built first, and calls nobody until the house
/// stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionShelf(Arc<OnceLock<weappd_session::Shelf>>);

impl SessionShelf {
    /// The session room is there now. A house has one database.
    pub(crate) fn open(&self, opened: weappd_session::Shelf) {
        let _first = self.0.set(opened);
    }

    fn shelf(&self) -> Result<&weappd_session::Shelf, Unshared> {
        let missing = || Unshared("the session database is not open yet".to_owned());
        self.0.get().ok_or_else(missing)
    }
}

impl Shelf for SessionShelf {
    fn look<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Kept, Unshared>> {
        Box::pin(async move { self.shelf()?.look(name).await.map(kept).map_err(unshared) })
    }

    fn hold<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<Option<(i64, Kept)>, Unshared>> {
        Box::pin(async move {
            match self.shelf()?.hold(name, time).await.map_err(unshared)? {
                Hold::Mine { fence, kept: found } => Ok(Some((fence, kept(found)))),
                Hold::Busy => Ok(None),
            }
        })
    }

    fn put<'a>(
        &'a self,
        name: &'a str,
        fence: i64,
        value: &'a Secret,
    ) -> BoxFuture<'a, Result<bool, Unshared>> {
        Box::pin(async move {
            let put = self.shelf()?.put(name, fence, value).await;
            put.map_err(unshared)
        })
    }

    fn let_go<'a>(&'a self, name: &'a str, fence: i64) -> BoxFuture<'a, Result<(), Unshared>> {
        Box::pin(async move { self.shelf()?.let_go(name, fence).await.map_err(unshared) })
    }
}

fn kept(kept: weappd_session::Kept) -> Kept {
    Kept {
        value: kept.value,
        now: kept.now,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it")]
fn unshared(err: weappd_session::Error) -> Unshared {
    Unshared(chain(&err))
}
