//! A few values that all nodes on one database share, sealed, and changed by one node at a
//! time.
//!
//! Who wants to change a value takes hold of it first. A hold ends by itself, so that a node
//! that died holding one stops nobody for long, and what such a node writes later is refused:
//! each hold has a higher number (a fence) than the one before. All times are the database's;
//! the clocks of the nodes are never compared.

use std::time::Duration;

use weappd_base::secret::Secret;
use weappd_base::tasks::Work;
use weappd_base::unix_time::UnixMillis;

use crate::error::Error;
use crate::sessions::SessionService;
use crate::store::mysql::MysqlStore;
use crate::vault::{SecretKind, SecretOwner};

/// The longest name of a value.
const MAX_NAME: usize = 250;
/// After this time a value that does not open stands in nobody's way: the key file was
/// replaced, and no node is left that could read it.
const FOREIGN: Duration = Duration::from_hours(2);

/// The values. Cheap to clone.
#[derive(Clone)]
pub struct SharedValues {
    pub(crate) mysql: MysqlStore,
    pub(crate) work: Work,
}

/// A value as it stands.
#[derive(Clone, Debug)]
pub struct SharedValue {
    /// None if nobody has put one there yet.
    pub value: Option<Secret>,
    /// The database's time.
    pub now: UnixMillis,
}

/// What came of taking hold of a value.
#[derive(Clone, Debug)]
pub enum LeaseResult {
    /// It may be changed by whoever shows the fence.
    Granted {
        /// Higher than that of every hold before.
        fence: i64,
        /// The value, read under the hold.
        value: SharedValue,
    },
    /// Another node holds it.
    Busy,
}

/// A row of the table: the value and when it was put there, and the database's time.
pub(crate) struct SealedValue {
    pub(crate) sealed: Vec<u8>,
    pub(crate) put_at: UnixMillis,
    pub(crate) now: UnixMillis,
}

impl SessionService {
    /// The values, if the store is one that several nodes can share.
    #[must_use]
    pub fn shared_values(&self) -> Option<SharedValues> {
        let shared = self.shared();
        Some(SharedValues {
            mysql: shared.store.mysql()?.clone(),
            work: shared.work.clone(),
        })
    }
}

impl SharedValues {
    /// Reads a value.
    pub async fn read(&self, name: &str) -> Result<SharedValue, Error> {
        let (here, name) = (self.clone(), checked(name)?);
        self.work
            .run(async move {
                match here.mysql.shared_value(&name).await? {
                    Some(row) => here.open(&name, &row),
                    None => Ok(SharedValue {
                        value: None,
                        now: UnixMillis::default(),
                    }),
                }
            })
            .await?
    }

    /// Takes hold of a value for at most `time`.
    pub async fn lease(&self, name: &str, time: Duration) -> Result<LeaseResult, Error> {
        let (here, name) = (self.clone(), checked(name)?);
        self.work
            .run(async move {
                let Some((fence, row)) = here.mysql.lease_shared_value(&name, time).await? else {
                    return Ok(LeaseResult::Busy);
                };
                match here.open(&name, &row) {
                    Ok(value) => Ok(LeaseResult::Granted { fence, value }),
                    Err(err) => {
                        here.mysql.release_shared_value(&name, fence).await?;
                        Err(err)
                    }
                }
            })
            .await?
    }

    /// Puts a value there and ends the hold; says whether the hold was still good.
    pub async fn put(&self, name: &str, fence: i64, value: &Secret) -> Result<bool, Error> {
        let (here, name) = (self.clone(), checked(name)?);
        let vault = &self.mysql.rules().vault;
        let sealed = vault.seal(SecretKind::Shared, SecretOwner::app(&name), value);
        self.work
            .run(async move { here.mysql.put_shared_value(&name, fence, &sealed).await })
            .await?
    }

    /// Ends a hold and leaves the value as it is.
    pub async fn release(&self, name: &str, fence: i64) -> Result<(), Error> {
        let (here, name) = (self.clone(), checked(name)?);
        self.work
            .run(async move { here.mysql.release_shared_value(&name, fence).await })
            .await?
    }

    fn open(&self, name: &str, row: &SealedValue) -> Result<SharedValue, Error> {
        let vault = &self.mysql.rules().vault;
        let value = vault.unseal(SecretKind::Shared, SecretOwner::app(name), &row.sealed);
        let is_foreign = value.is_none() && !row.sealed.is_empty();
        if is_foreign && row.now.since(row.put_at) < FOREIGN {
            return Err(Error::OtherKeyFile {
                place: self.mysql.place().to_owned(),
            });
        }
        Ok(SharedValue {
            value,
            now: row.now,
        })
    }
}

impl std::fmt::Debug for SharedValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedValues({})", self.mysql.place())
    }
}

fn checked(name: &str) -> Result<String, Error> {
    if name.len() > MAX_NAME {
        return Err(Error::Input("the name of a shared value is too long"));
    }
    Ok(name.to_owned())
}
