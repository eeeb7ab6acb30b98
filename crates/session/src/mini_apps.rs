//! The mini programs whose users may log in.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use weappd_base::secret::Secret;

use crate::app_terms::AppTerms;
use crate::config::MiniApp;
use crate::session_lifetime::SessionLifetime;

/// The mini programs, by AppID.
pub(crate) struct MiniApps(RwLock<AppRegistry>);

/// A mini program as it is served now.
#[derive(Debug)]
pub(crate) struct ServedApp {
    pub(crate) appid: String,
    pub(crate) secret: Secret,
    pub(crate) terms: Arc<AppTerms>,
    login_duration_days: u32,
}

/// Where mini programs come from, and what is served of them.
#[derive(Default)]
struct AppRegistry {
    configured: Vec<MiniApp>,
    /// As an old server's database has them.
    adopted: Vec<MiniApp>,
    /// As they came over the RPC, the last one last.
    registered: Vec<MiniApp>,
    /// Whether those count.
    takes_registered: bool,
    /// The one that an RPC without a name means, if it is told.
    preferred: Option<String>,
    served: Vec<Arc<ServedApp>>,
    unnamed: Option<Arc<ServedApp>>,
    /// The terms of all mini programs that are served or have sessions in memory.
    terms: HashMap<String, Weak<AppTerms>>,
}

impl MiniApps {
    pub(crate) fn new(configured: Vec<MiniApp>) -> Self {
        let mut registry = AppRegistry {
            configured,
            ..AppRegistry::default()
        };
        registry.settle();
        Self(RwLock::new(registry))
    }

    pub(crate) fn get(&self, appid: &str) -> Option<Arc<ServedApp>> {
        let registry = self.0.read();
        let mut served = registry.served.iter();
        served.find(|app| app.appid == appid).cloned()
    }

    /// The mini programs a call means: the one it names, or all.
    pub(crate) fn named(&self, appid: Option<&str>) -> Vec<String> {
        if let Some(appid) = appid {
            return vec![appid.to_owned()];
        }
        let registry = self.0.read();
        let served = registry.served.iter();
        served.map(|app| app.appid.clone()).collect()
    }

    /// The one an RPC without a name means: registered over it, or the only one there is.
    pub(crate) fn unnamed(&self) -> Option<Arc<ServedApp>> {
        let registry = self.0.read();
        match (&registry.unnamed, registry.served.as_slice()) {
            (Some(app), _) => Some(Arc::clone(app)),
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().served.is_empty()
    }

    /// Serves these in place of those configured before, and those registered over the RPC if
    /// they count.
    pub(crate) fn configure(&self, configured: Vec<MiniApp>, takes_registered: bool) {
        let mut registry = self.0.write();
        registry.configured = configured;
        registry.takes_registered = takes_registered;
        registry.settle();
    }

    /// Knows those that came over the RPC while that was allowed, the last one last.
    pub(crate) fn remember(&self, registered: Vec<MiniApp>, takes_registered: bool) {
        let mut registry = self.0.write();
        registry.registered = registered;
        registry.takes_registered = takes_registered;
        registry.settle();
    }

    /// Adds one registered over the RPC. What the configuration says of the same AppID is
    /// kept, but for the secret.
    pub(crate) fn register(&self, app: MiniApp) {
        let mut registry = self.0.write();
        registry.registered.retain(|old| old.appid != app.appid);
        registry.registered.push(app);
        registry.settle();
    }

    /// Takes over the durations of an old server's mini programs, and the whole of those that
    /// are not configured; `preferred` is the one that an RPC without a name means.
    pub(crate) fn adopt(&self, adopted: Vec<MiniApp>, preferred: &str) {
        let mut registry = self.0.write();
        registry.adopted = adopted;
        registry.preferred = Some(preferred.to_owned());
        registry.settle();
    }

    /// Whether the mini program stands in an old server's database.
    pub(crate) fn is_adopted(&self, appid: &str) -> bool {
        let registry = self.0.read();
        registry.adopted.iter().any(|app| app.appid == appid)
    }

    /// The longest that a login of any mini program lasts, in days.
    pub(crate) fn longest_login_days(&self) -> u32 {
        let registry = self.0.read();
        let days = registry.served.iter().map(|app| app.login_duration_days);
        days.max().unwrap_or(u32::MAX)
    }

    #[cfg(test)]
    pub(crate) fn known_terms(&self) -> usize {
        self.0.read().terms.len()
    }
}

impl AppRegistry {
    /// Serves what the configuration, the old server and the RPC say together.
    fn settle(&mut self) {
        let mut apps = self.configured.clone();
        for app in &self.adopted {
            match apps.iter_mut().find(|known| known.appid == app.appid) {
                Some(known) => {
                    let secret = known.secret.clone();
                    *known = MiniApp {
                        secret,
                        ..app.clone()
                    };
                }
                None => apps.push(app.clone()),
            }
        }
        let mut unnamed = self.preferred.clone();
        if self.takes_registered {
            for app in &self.registered {
                match apps.iter_mut().find(|known| known.appid == app.appid) {
                    Some(known) => known.secret = app.secret.clone(),
                    None => apps.push(app.clone()),
                }
                unnamed = Some(app.appid.clone());
            }
        }
        let before = std::mem::take(&mut self.served);
        self.served = apps.into_iter().map(|app| self.serve(app)).collect();
        for gone in before {
            if !self.served.iter().any(|app| app.appid == gone.appid) {
                gone.terms.refuse();
            }
        }
        let is_unnamed = |app: &&Arc<ServedApp>| Some(&app.appid) == unnamed.as_ref();
        self.unnamed = self.served.iter().find(is_unnamed).cloned();
        self.terms.retain(|_, terms| terms.strong_count() > 0);
    }

    fn serve(&mut self, app: MiniApp) -> Arc<ServedApp> {
        let lifetime = SessionLifetime::from(&app);
        let terms = match self.terms.get(&app.appid).and_then(Weak::upgrade) {
            Some(terms) => {
                terms.serve(lifetime);
                terms
            }
            None => AppTerms::of(lifetime),
        };
        self.terms.insert(app.appid.clone(), Arc::downgrade(&terms));
        Arc::new(ServedApp {
            appid: app.appid,
            secret: app.secret,
            terms,
            login_duration_days: app.login_duration_days,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        apps.remember(Vec::new(), true);
        apps.register(app("wx2", "t"));
        assert_eq!(apps.unnamed().expect("the registered one").appid, "wx2");
    }

    #[test]
    fn registering_keeps_the_configured_durations() {
        let mut configured = app("wx1", "s");
        configured.login_duration_days = 3;
        let apps = MiniApps::new(vec![configured]);
        apps.remember(Vec::new(), true);
        apps.register(app("wx1", "t"));
        let now = apps.get("wx1").expect("known");
        assert!(now.secret.is("t"));
        assert_eq!(now.login_duration_days, 3);
        assert_eq!(apps.longest_login_days(), 3);
    }

    #[test]
    fn an_old_server_gives_durations_but_not_a_configured_secret() {
        let apps = MiniApps::new(vec![app("wx1", "ours")]);
        assert!(apps.unnamed().is_some_and(|only| only.appid == "wx1"));
        let adopted = [("wx1", "theirs"), ("wx2", "theirs")].map(|(appid, secret)| MiniApp {
            login_duration_days: 7,
            ..app(appid, secret)
        });
        apps.adopt(adopted.into(), "wx2");
        let (one, two) = (apps.get("wx1").expect("one"), apps.get("wx2").expect("two"));
        assert!(one.secret.is("ours") && two.secret.is("theirs"));
        assert_eq!(apps.unnamed().expect("preferred").appid, "wx2");
        assert_eq!((one.login_duration_days, two.login_duration_days), (7, 7));
        assert!(apps.is_adopted("wx2") && !apps.is_adopted("wx3"));
    }

    #[test]
    fn those_of_the_rpc_come_and_go_with_its_being_allowed() {
        let apps = MiniApps::new(vec![app("wx1", "s")]);
        apps.remember(vec![app("wx1", "t"), app("wx2", "t")], false);
        assert!(apps.get("wx1").expect("one").secret.is("s") && apps.get("wx2").is_none());
        apps.configure(vec![app("wx1", "s")], true);
        assert!(apps.get("wx1").expect("one").secret.is("t"));
        assert_eq!(apps.unnamed().expect("the last one").appid, "wx2");
        apps.configure(vec![app("wx1", "s")], false);
        assert!(apps.get("wx1").expect("one").secret.is("s") && apps.get("wx2").is_none());
    }

    #[test]
    fn terms_are_those_of_the_name_and_go_with_their_last_session() {
        let apps = MiniApps::new(vec![app("wx1", "s"), app("wx2", "s")]);
        let (one, two) = (apps.get("wx1").expect("one"), apps.get("wx2").expect("two"));
        let of_a_session = Arc::clone(&two.terms);
        let changed = MiniApp {
            session_duration_secs: 60,
            ..app("wx1", "another")
        };
        apps.configure(vec![changed], false);
        assert_eq!(
            one.terms.lifetime().idle.as_secs(),
            60,
            "what a session has changes"
        );
        assert!(
            one.secret.is("s"),
            "a login under way keeps what it began with"
        );
        assert!(!two.terms.is_served());
        apps.configure(vec![app("wx2", "s")], false);
        assert!(
            of_a_session.is_served() && !one.terms.is_served(),
            "it is back"
        );
        drop((one, two, of_a_session));
        for n in 0..100 {
            apps.configure(vec![app(&format!("wx{n}"), "s"), app("wx1", "s")], false);
            assert!(apps.known_terms() <= 2, "{n}");
        }
    }
}
