//! The mini programs whose users may log in.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::MiniApp;

/// The mini programs, by AppID.
pub(crate) struct MiniApps(RwLock<AppRegistry>);

struct AppRegistry {
    apps: Vec<Arc<MiniApp>>,
    /// The one registered last over the RPC, as the original kept a single row.
    registered: Option<Arc<MiniApp>>,
}

impl MiniApps {
    pub(crate) fn new(configured: Vec<MiniApp>) -> Self {
        Self(RwLock::new(AppRegistry {
            apps: configured.into_iter().map(Arc::new).collect(),
            registered: None,
        }))
    }

    pub(crate) fn get(&self, appid: &str) -> Option<Arc<MiniApp>> {
        let registry = self.0.read();
        let mut apps = registry.apps.iter();
        apps.find(|app| app.appid == appid).cloned()
    }

    /// The mini programs a call means: the one it names, or all.
    pub(crate) fn named(&self, appid: Option<&str>) -> Vec<String> {
        if let Some(appid) = appid {
            return vec![appid.to_owned()];
        }
        let registry = self.0.read();
        let apps = registry.apps.iter();
        apps.map(|app| app.appid.clone()).collect()
    }

    /// The one an RPC without a name means: registered over it, or the only one there is.
    pub(crate) fn unnamed(&self) -> Option<Arc<MiniApp>> {
        let registry = self.0.read();
        match (&registry.registered, registry.apps.as_slice()) {
            (Some(app), _) => Some(Arc::clone(app)),
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().apps.is_empty()
    }

    /// Adds one registered over the RPC. What the configuration says of the same AppID is
    /// kept, but for the secret.
    pub(crate) fn register(&self, app: MiniApp) {
        let mut registry = self.0.write();
        let known = registry.apps.iter().position(|old| old.appid == app.appid);
        let app = match known.and_then(|at| registry.apps.get(at)) {
            Some(old) => Arc::new(MiniApp {
                secret: app.secret,
                ..MiniApp::clone(old)
            }),
            None => Arc::new(app),
        };
        match known.and_then(|at| registry.apps.get_mut(at)) {
            Some(old) => *old = Arc::clone(&app),
            None => registry.apps.push(Arc::clone(&app)),
        }
        registry.registered = Some(app);
    }

    /// Takes over the durations of an old server's mini program, and the whole of it if it
    /// is not configured.
    pub(crate) fn adopt(&self, app: MiniApp) {
        let mut registry = self.0.write();
        let mut apps = registry.apps.iter_mut();
        match apps.find(|known| known.appid == app.appid) {
            Some(known) => {
                *known = Arc::new(MiniApp {
                    secret: known.secret.clone(),
                    ..app
                });
            }
            None => registry.apps.push(Arc::new(app)),
        }
    }

    /// Makes this the one that an RPC without a name means.
    pub(crate) fn prefer(&self, appid: &str) {
        let mut registry = self.0.write();
        let mut apps = registry.apps.iter();
        registry.registered = apps.find(|app| app.appid == appid).cloned();
    }

    /// The longest that a login of any mini program lasts, in days.
    pub(crate) fn longest_login_days(&self) -> u32 {
        let registry = self.0.read();
        let days = registry.apps.iter().map(|app| app.login_duration_days);
        days.max().unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weappd_base::secret::Secret;

    fn app(appid: &str, secret: &str) -> MiniApp {
        MiniApp::new(appid, Secret::new(secret))
    }

    #[test]
    fn an_unnamed_call_means_the_only_one_or_the_registered_one() {
        assert!(MiniApps::new(Vec::new()).unnamed().is_none());
        let apps = MiniApps::new(vec![app("wx1", "s")]);
        assert_eq!(apps.unnamed().expect("the only one").appid, "wx1");
        let apps = MiniApps::new(vec![app("wx1", "s"), app("wx2", "s")]);
        assert!(apps.unnamed().is_none(), "nobody can tell which");
        apps.register(app("wx2", "t"));
        assert_eq!(apps.unnamed().expect("the registered one").appid, "wx2");
    }

    #[test]
    fn registering_keeps_the_configured_durations() {
        let mut configured = app("wx1", "s");
        configured.login_duration_days = 3;
        let apps = MiniApps::new(vec![configured]);
        apps.register(app("wx1", "t"));
        let now = apps.get("wx1").expect("known");
        assert!(now.secret.is("t"));
        assert_eq!(now.login_duration_days, 3);
        assert_eq!(apps.longest_login_days(), 3);
    }

    #[test]
    fn an_old_server_gives_durations_but_not_a_configured_secret() {
        let apps = MiniApps::new(vec![app("wx1", "ours")]);
        for (appid, secret) in [("wx1", "theirs"), ("wx2", "theirs")] {
            apps.adopt(MiniApp {
                login_duration_days: 7,
                ..app(appid, secret)
            });
        }
        let (one, two) = (apps.get("wx1").expect("one"), apps.get("wx2").expect("two"));
        assert!(one.secret.is("ours") && two.secret.is("theirs"));
        assert!(apps.unnamed().is_none());
        apps.prefer("wx2");
        assert_eq!(apps.unnamed().expect("preferred").appid, "wx2");
        assert_eq!((one.login_duration_days, two.login_duration_days), (7, 7));
    }
}
