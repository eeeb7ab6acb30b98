//! Where a file lies while it is checked: its tree, its problems, its surroundings.

use std::path::PathBuf;

use weappd_base::setting_problem::SettingProblem;
use weappd_base::unix_time::UnixSecs;

use crate::config::{
    document::{PathStep, TomlNode, TomlPath},
    problem::ProblemList,
    read::SectionReader,
    secret_source::EnvLookup,
    wechat_address::HostLookup,
};

/// What every check needs.
pub(crate) struct ConfigChecker<'a> {
    pub(crate) doc: &'a TomlNode,
    pub(crate) reader: &'a SectionReader<'a>,
    pub(crate) problems: &'a ProblemList,
    pub(crate) env: EnvLookup<'a>,
    pub(crate) look_up: HostLookup<'a>,
    /// The file itself.
    pub(crate) file: PathBuf,
    /// What relative paths are relative to.
    pub(crate) dir: PathBuf,
    pub(crate) now: UnixSecs,
}

impl ConfigChecker<'_> {
    /// Notes an error at `path`, unless what stands there could not even be read.
    pub(crate) fn error(
        &self,
        path: &TomlPath<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.reader.is_left_out(self.doc, path) {
            self.problems.error(self.doc.place(path), message, hint);
        }
    }

    /// Notes a warning at `path`.
    pub(crate) fn warning(
        &self,
        path: &TomlPath<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.reader.is_left_out(self.doc, path) {
            self.problems.warning(self.doc.place(path), message, hint);
        }
    }

    /// Notes something good to know at `path`.
    pub(crate) fn note(&self, path: &TomlPath<'_>, message: impl Into<String>) {
        self.problems.note(self.doc.place(path), message);
    }

    /// Whether the file says anything at `path`.
    pub(crate) fn says(&self, path: &TomlPath<'_>) -> bool {
        self.doc.find(path).is_some()
    }

    /// Notes what a room finds wrong with its section at `base`.
    pub(crate) fn room(
        &self,
        base: &TomlPath<'_>,
        problems: impl IntoIterator<Item = SettingProblem>,
    ) {
        for problem in problems {
            let mut path = base.to_vec();
            path.extend(steps(&problem.field));
            let message = format!("{}: {}", key_of(&path), problem.message);
            self.error(&path, message, problem.hint);
        }
    }
}

/// `businesses[0].host` as steps.
fn steps(field: &str) -> impl Iterator<Item = PathStep<'_>> {
    field
        .split(['.', '[', ']'])
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_or(PathStep::Key(word), PathStep::At))
}

/// A path as people write it.
fn key_of(path: &TomlPath<'_>) -> String {
    let words: String = path
        .iter()
        .map(|step| match step {
            PathStep::Key(key) => format!(".{key}"),
            PathStep::At(at) => format!("[{at}]"),
        })
        .collect();
    words.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_paths() {
        let path: Vec<_> = steps("businesses[12].host").collect();
        assert_eq!(
            path,
            [
                PathStep::Key("businesses"),
                PathStep::At(12),
                PathStep::Key("host")
            ]
        );
        assert_eq!(key_of(&path), "businesses[12].host");
        assert_eq!(steps("").count(), 0);
    }
}
