//! An app as it is to be run: its section of weappd.toml, with what weappd adds to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::AppConfig;
use crate::environment::{self, EnvVariables};
use crate::logs::AppLog;

/// What all instances of an app share.
#[derive(Clone, Debug)]
pub(crate) struct AppSpec {
    pub(crate) name: String,
    pub(crate) config: AppConfig,
    pub(crate) words: Arc<[String]>,
    pub(crate) dir: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Variables that look secret and that it does not get.
    pub(crate) withheld: Vec<String>,
    pub(crate) log: AppLog,
}

/// What weappd adds to each section, the same from its start to its end.
#[derive(Debug)]
pub(crate) struct SpecGround {
    /// Where logs are kept.
    pub(crate) logs: PathBuf,
    /// Where apps without a `dir` start.
    pub(crate) base_dir: PathBuf,
    pub(crate) own_env: Vec<(OsString, OsString)>,
    pub(crate) deny_env: Vec<String>,
}

impl SpecGround {
    /// Where the log of an app is.
    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// An app that was checked, with the variables that weappd gives to it.
    pub(crate) fn spec(
        &self,
        name: String,
        config: AppConfig,
        given: Option<&EnvVariables>,
        log: AppLog,
    ) -> AppSpec {
        let dir =
            (config.dir.as_deref()).map_or(self.base_dir.clone(), |dir| self.base_dir.join(dir));
        let found = environment::inherited(&self.own_env, &self.deny_env, &config.pass_env);
        let own = |variable: &String| {
            config.env.contains_key(variable)
                || given.is_some_and(|given| given.contains_key(variable))
        };
        let withheld: Vec<_> = (found.withheld.into_iter())
            .filter(|name| !own(name))
            .collect();
        let mut env = found.kept;
        env.retain(|(variable, _)| variable != "PORT");
        // Python holds output back unless it writes to a terminal: for hours, or for ever.
        if !env
            .iter()
            .any(|(variable, _)| variable == "PYTHONUNBUFFERED")
        {
            env.push(("PYTHONUNBUFFERED".into(), "1".into()));
        }
        env.push(("HOST".into(), "127.0.0.1".into()));
        env.push(("WEAPPD_APP".into(), name.clone().into()));
        let extra = given.into_iter().flatten();
        for (variable, value) in extra.chain(&config.env) {
            env.push((variable.into(), value.expose().into()));
        }
        AppSpec {
            // Checked before: a command line that cannot be split does not come this far.
            words: config.run.words().unwrap_or_default().into(),
            // A relative program path must mean the same before and after the change of
            // directory.
            dir: std::path::absolute(&dir).unwrap_or(dir),
            name,
            config,
            env,
            withheld,
            log,
        }
    }
}

impl AppSpec {
    /// Whether a process started by `other` is as this one would start it.
    pub(crate) fn starts_like(&self, other: &Self) -> bool {
        let port = |spec: &Self| (spec.config.listens, spec.config.port);
        self.words == other.words
            && self.dir == other.dir
            && self.effective_env() == other.effective_env()
            && port(self) == port(other)
    }

    /// Whether nothing at all differs.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.config == other.config && self.starts_like(other)
    }

    /// The variables as a process sees them: of one that is given twice, the last.
    fn effective_env(&self) -> BTreeMap<&OsString, &OsString> {
        self.env.iter().map(|(name, value)| (name, value)).collect()
    }

    /// Says once which variables the app did not get, and how it would.
    pub(crate) fn tell_withheld(&self) {
        let names = &self.withheld;
        if names.is_empty() {
            return;
        }
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let text = format!(
            "not passed on, as it looks secret: {}; if the app needs it, write pass_env = [{}] in its \
             section",
            names.join(", "),
            quoted.join(", ")
        );
        self.log.spool.note(&text);
        tracing::info!(app.name = self.name, "{text}");
    }
}
