//! A reload: other settings take the place of those that hold.
//!
//! What counts from when:
//! - for uploads and downloads that begin from then on: `max_upload_bytes`, `max_avatar_bytes`,
//!   `allowed_types`, `upload_idle_secs`, `cache_secs`;
//! - for every write from then on, of uploads under way too: `max_total_bytes`. Files that are kept
//!   stay, also where they are more than a new limit allows;
//! - for sites whose table is made from then on: `enabled` and `anonymous`;
//! - `dir` counts after a restart: an upload would end in another directory than it began in.

use crate::config::Config;
use crate::error::Error;
use crate::file_settings::FileSettings;
use crate::files::Files;
use crate::store::StagedLimit;

/// Settings that were checked and can take the place of those that hold.
#[derive(Debug)]
pub struct StagedFiles {
    settings: FileSettings,
    limit: StagedLimit,
}

impl Files {
    /// Checks new settings. Changes nothing. Reads the disk where the files must be counted: for
    /// the first limit of them all.
    pub fn prepare(&self, config: Config) -> Result<StagedFiles, Error> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(Error::Setting {
                field: problem.field,
                message: problem.message,
            });
        }
        let limit = self.store().prepare_limit(config.max_total_bytes);
        Ok(StagedFiles {
            limit: limit.map_err(Error::ReadStore)?,
            settings: FileSettings::new(Config {
                dir: self.settings().config.dir.clone(),
                ..config
            }),
        })
    }

    /// Puts them in place.
    pub fn commit(&self, staged: StagedFiles) {
        self.store().set_limit(&staged.limit);
        self.set_settings(staged.settings);
    }
}

impl Config {
    /// The settings that differ and count after a restart only.
    pub fn restart_keys(&self, next: &Self) -> Vec<&'static str> {
        if self.dir == next.dir {
            Vec::new()
        } else {
            vec!["dir"]
        }
    }
}

#[cfg(test)]
mod tests;
