//! Which certificate answers which name.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

/// Which certificate answers which name. Replaced as a whole by a reload.
#[derive(Debug, Default)]
pub struct CertTable {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wild: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host, or one that no site has: the first site's.
    first: Option<Arc<CertifiedKey>>,
}

impl CertTable {
    /// From now on `host` (lower case, or `*.` and what follows) is answered with `key`; an
    /// unknown name with the first one.
    pub fn add(&mut self, host: &str, key: &Arc<CertifiedKey>) {
        if self.first.is_none() {
            self.first = Some(Arc::clone(key));
        }
        let key = Arc::clone(key);
        if let Some(parent) = host.strip_prefix("*.") {
            drop(self.wild.insert(parent.to_owned(), key));
        } else {
            drop(self.exact.insert(host.to_owned(), key));
        }
    }

    /// Whether there is no certificate.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The certificate for a name (lower case), or the first site's.
    pub fn find(&self, host: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        host.and_then(|host| {
            self.exact
                .get(host)
                .or_else(|| self.wild.get(host.split_once('.')?.1))
        })
        .or(self.first.as_ref())
    }
}
