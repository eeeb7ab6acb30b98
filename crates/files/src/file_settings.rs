//! The settings that hold now: a request keeps those it began with.

use crate::config::Config;
use crate::file_type::{self, FileType};

/// The `[files]` section, ready to be asked.
#[derive(Debug)]
pub(crate) struct FileSettings {
    pub(crate) config: Config,
    /// `allowed_types` under the names that types are recognised by.
    allowed: Vec<String>,
}

impl FileSettings {
    pub(crate) fn new(config: Config) -> Self {
        let allowed = config.allowed_types.iter();
        Self {
            allowed: allowed.map(|name| file_type::canonical(name)).collect(),
            config,
        }
    }

    /// Whether files of this type are taken.
    pub(crate) fn allows(&self, kind: FileType) -> bool {
        self.allowed.iter().any(|allowed| allowed == kind.mime)
    }
}
