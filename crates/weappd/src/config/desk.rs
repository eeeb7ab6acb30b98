//! Where a file lies while it is checked: its tree, its problems, its surroundings.

use std::{fmt::Display, path::PathBuf};

use crate::config::{
    document::{Node, Path, Step},
    problem::Problems,
    read::Reader,
    secret_source::Env,
    wechat_address::LookUp,
};

/// What every check needs.
pub(crate) struct Desk<'a> {
    pub(crate) doc: &'a Node,
    pub(crate) reader: &'a Reader<'a>,
    pub(crate) problems: &'a Problems,
    pub(crate) env: Env<'a>,
    pub(crate) look_up: LookUp<'a>,
    /// The file itself.
    pub(crate) file: PathBuf,
    /// What relative paths are relative to.
    pub(crate) dir: PathBuf,
    pub(crate) unix_secs: i64,
}

impl Desk<'_> {
    /// Notes an error at `path`, unless what stands there could not even be read.
    pub(crate) fn error(
        &self,
        path: &Path<'_>,
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
        path: &Path<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.reader.is_left_out(self.doc, path) {
            self.problems.warning(self.doc.place(path), message, hint);
        }
    }

    /// Notes something good to know at `path`.
    pub(crate) fn note(&self, path: &Path<'_>, message: impl Into<String>) {
        self.problems.note(self.doc.place(path), message);
    }

    /// Whether the file says anything at `path`.
    pub(crate) fn says(&self, path: &Path<'_>) -> bool {
        self.doc.find(path).is_some()
    }

    /// Notes what a room finds wrong with its section at `base`.
    pub(crate) fn room<F, M, H>(
        &self,
        base: &Path<'_>,
        problems: impl IntoIterator<Item = (F, M, H)>,
    ) where
        F: AsRef<str>,
        M: Display,
        H: Into<String>,
    {
        for (field, message, hint) in problems {
            let field = field.as_ref();
            let mut path = base.to_vec();
            path.extend(steps(field));
            let name = key_of(&path);
            self.error(&path, format!("{name}: {message}"), hint);
        }
    }
}

/// `businesses[0].host` as steps.
fn steps(field: &str) -> impl Iterator<Item = Step<'_>> {
    field
        .split(['.', '[', ']'])
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_or(Step::Key(word), Step::At))
}

/// A path as people write it.
fn key_of(path: &Path<'_>) -> String {
    let words: String = path
        .iter()
        .map(|step| match step {
            Step::Key(key) => format!(".{key}"),
            Step::At(at) => format!("[{at}]"),
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
            [Step::Key("businesses"), Step::At(12), Step::Key("host")]
        );
        assert_eq!(key_of(&path), "businesses[12].host");
        assert_eq!(steps("").count(), 0);
    }
}
